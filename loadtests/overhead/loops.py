"""The raw limits: ONNX Runtime in a loop, in a process of its own, beside a running service. It must not know the plan."""

import subprocess
import sys
from typing import Literal

import httpx
import msgspec

from loadtests.compare import loop, serving
from loadtests.compare.contenders import ROOT
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.overhead import buckets
from loadtests.overhead.found import Raw
from loadtests.overhead.measuring import Running
from models import bundle


def alone(running: Running, number: int, seconds: int) -> Raw:
    """The raw session run of the service's file, one row at a time."""
    subject = running.subject
    output = raw(subject, "loadtests.compare.loop", "--batches", "1", "--seconds", str(seconds))
    (one,) = msgspec.json.decode(output, type=list[loop.Pace])
    return limit(subject, number, "alone", buckets.Pace(one.rows_per_second, one.p50_ms))


def in_buckets(running: Running, number: int, seconds: int) -> Raw:
    """The raw loop in the buckets and with the caps of the running service."""
    subject = running.subject
    caps = reported_caps(running)
    padding = bundle.read(subject.file.path.parent).padding
    assert padding is not None
    lengths = ",".join(map(str, padding.buckets))
    told = ["--lengths", lengths, "--caps", msgspec.json.encode(caps).decode()]
    output = raw(subject, "loadtests.overhead.buckets", *told, "--seconds", str(seconds))
    one = msgspec.json.decode(output, type=buckets.Pace)
    return msgspec.structs.replace(limit(subject, number, "buckets", one), caps=caps)


def reported_caps(running: Running) -> dict[str, int]:
    """Most rows of a batch by padded length, as the service says."""
    url = f"http://127.0.0.1:{running.job.port}/v1/models/{running.job.model}"
    (version,) = httpx.get(url, timeout=10).json()["versions"]
    caps: dict[str, int] = version["report"]["batching"]["caps"]
    return caps


def raw(subject: Subject, program: str, *arguments: str) -> bytes:
    """What a loop's program says."""
    with serving.scratch() as folder:
        loop.write_rows(folder / "rows.npz", subject.rows)
        command = [sys.executable, "-m", program, str(subject.file.path), str(folder / "rows.npz")]
        try:
            return subprocess.run(
                [*command, *arguments], capture_output=True, timeout=120, check=True, cwd=ROOT
            ).stdout
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NotMeasured(f"the loop failed: {error.stderr!s}") from error


def limit(
    subject: Subject, number: int, batches: Literal["alone", "buckets"], pace: buckets.Pace
) -> Raw:
    """The figures of one loop."""
    return Raw(
        round=number,
        model=subject.file.model,
        variant=subject.file.variant,
        batches=batches,
        rows_per_second=round(pace.rows_per_second, 2),
        p50_ms=round(pace.p50_ms, 4),
    )
