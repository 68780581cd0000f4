"""The load: wrk with one thread, bounded in time. It must not know who answers."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

from loadtests.compare.errors import NotMeasured

SCRIPT = Path(__file__).with_name("load.lua")
PREFIX = "RESULT "
PATIENCE_S = 20
"""How much longer than asked for wrk may take before it is ended."""
REPLY_TIMEOUT_S = 10


class Load(msgspec.Struct, frozen=True):
    """What wrk counted. `refused` were answered with another status than 2xx or 3xx, `broken` lost their connection, `late` timed out."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    refused: int
    broken: int
    late: int

    @property
    def failures(self) -> int:
        """Requests without a good answer."""
        return self.refused + self.broken + self.late

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return max(self.requests - self.refused, 0) / (self.duration_us / 1e6)


def parse(output: str) -> Load:
    """What load.lua printed among wrk's own lines."""
    for line in output.splitlines():
        if line.startswith(PREFIX):
            return msgspec.json.decode(line.removeprefix(PREFIX), type=Load)
    last = output.strip().splitlines()[-1:] or ["nothing"]
    raise NotMeasured(f"wrk gave no result; it said: {last[0]}")


def available() -> str | None:
    """Why there can be no load; None where wrk is installed."""
    if shutil.which("wrk"):
        return None
    return "wrk is not installed; on Debian and Ubuntu: apt-get install wrk"


def write(path: Path, bodies: Iterable[tuple[bytes, int]]) -> None:
    """What `send` sends: each body with how many of its bytes are JSON in front of raw tensors, 0 where all are."""
    path.write_bytes(b"".join(b"%d %d\n" % (len(body), head) + body for body, head in bodies))


def send(url: str, bodies: Path, concurrency: int, seconds: int) -> Load:
    """Keep `concurrency` requests under way for `seconds`; `bodies` is what `write` wrote."""
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", f"--timeout={REPLY_TIMEOUT_S}s"]
    command += ["-s", str(SCRIPT), url, "--", str(bodies)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"wrk did not end within {error.timeout:.0f} s") from error
    return parse(done.stdout + done.stderr)
