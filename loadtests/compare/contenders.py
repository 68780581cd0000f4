"""The table of who is measured: how each is installed and started, what its request looks like, how its answer is read.

It must not know how measuring works. Each peer's program lies in peers/ and is written as the peer's own documentation does it.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from loadtests.compare.processes import MARK

HERE = Path(__file__).parent
PROGRAMS = HERE / "peers"
ROOT = HERE.parent.parent

Json = dict[str, Any]


class Job(NamedTuple):
    """One server to start: a model's file, the environment's folder of programs, a scratch folder of its own, how to batch."""

    model: str
    variant: str
    file: Path
    repository: Path
    programs: Path
    scratch: Path
    token: str
    port: int
    batching: bool


class Contender(NamedTuple):
    """One server. `rows` and `wait_ms` are its batching: how many rows at most, and how long for.

    `requirements` are what pip installs; Evergreen is there already. `system_python`: the peer has a compiled part that
    loads the libpython of the distribution, so its environment must be made with that Python.
    """

    name: str
    requirements: tuple[str, ...]
    command: Callable[[Job], list[str]]
    path: str
    rows: int = 32
    wait_ms: float = 0
    environ: Callable[[Job], dict[str, str]] = lambda job: {}
    request: Callable[[Json], Json] = lambda request: request
    answer: Callable[[Json], Json] = lambda answer: answer
    system_python: bool = False
    batches: str = "up to {rows} rows, waits for at most {wait_ms:g} ms"
    """Its batching in words."""
    end_s: float = 4
    """How long it may take to tidy up: some wait for their own timeouts, and nothing of theirs is worth that."""
    start_s: float = 1.5
    """How long a start takes, roughly: for the estimate alone."""

    @property
    def batching(self) -> str:
        """How it batches, for the results."""
        return self.batches.format(rows=self.rows, wait_ms=self.wait_ms)

    def environment(self, job: Job) -> dict[str, str]:
        """This process's environment, without its settings of Evergreen, with the job and the mark that its processes are known by."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVERGREEN_", "COMPARE_"))}
        own = {MARK: job.token, "TMPDIR": str(job.scratch)}
        if self.requirements:
            described = {
                "name": job.model,
                "file": str(job.file),
                "port": job.port,
                "rows": self.rows if job.batching else 1,
                "wait_ms": self.wait_ms,
            }
            own |= {"COMPARE_JOB": json.dumps(described), "PYTHONPATH": str(PROGRAMS)}
            own["PATH"] = f"{job.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return kept | own | self.environ(job)

    def url(self, job: Job) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{job.port}{self.path.format(name=job.model)}"


def program(name: str, *arguments: str) -> Callable[[Job], list[str]]:
    """Runs a file of peers/ with the environment's Python; {port} in an argument is replaced."""
    return lambda job: [
        str(job.programs / "python"),
        str(PROGRAMS / name),
        *(argument.format(port=job.port) for argument in arguments),
    ]


def script(name: str, *arguments: str) -> Callable[[Job], list[str]]:
    """Runs a command that the peer installed; by its Python, as the script's first line may be too long for the system."""
    return lambda job: [
        str(job.programs / "python"),
        str(job.programs / name),
        *(argument.format(port=job.port, scratch=job.scratch) for argument in arguments),
    ]


def evergreen(job: Job) -> list[str]:
    """`evergreen serve`, beside the Python that runs this."""
    command = [str(Path(sys.executable).with_name("evergreen")), "serve", "--models", job.model]
    return [*command, "--repository", str(job.repository), "--port", str(job.port)]


def evergreen_settings(job: Job) -> dict[str, str]:
    """One instance with one thread, as for everybody, and the file that is compared. All else is its default."""
    model = f"EVERGREEN_MODELS__{job.model.upper().replace('-', '_')}__"
    return {
        f"{model}VARIANT": job.variant,
        f"{model}INSTANCES": "1",
        f"{model}THREADS": "1",
        "EVERGREEN_STATE": str(job.scratch / "state"),
        "EVERGREEN_PROVIDER": "cpu",
    }


def mlserver_settings(job: Job) -> dict[str, str]:
    """MLServer reads its settings and its only model's from the environment."""
    batch = {"MAX_BATCH_SIZE": "32", "MAX_BATCH_TIME": "0.002"} if job.batching else {}
    model = {"NAME": job.model, "IMPLEMENTATION": "mlserver_server.Runtime"} | batch
    server = {
        "HOST": "127.0.0.1",
        "HTTP_PORT": str(job.port),
        "GRPC_PORT": "0",
        "METRICS_ENDPOINT": "",
        "DEBUG": "false",
    }
    return {f"MLSERVER_MODEL_{k}": v for k, v in model.items()} | {
        f"MLSERVER_{k}": v for k, v in server.items()
    }


def one_row(request: Json) -> Json:
    """BentoML names its parameters: the same request is the only item of `rows`."""
    return {"rows": [request]}


def first_row(answer: Any) -> Json:
    """BentoML answers with a list where it was asked with one."""
    first: Json = answer[0]
    return first


def deep(request: Json) -> Json:
    """Triton's batches want an axis behind the first: what has none gets one."""
    inputs = [
        one if len(one["shape"]) > 1 else one | {"shape": [*one["shape"], 1]}
        for one in request["inputs"]
    ]
    return request | {"inputs": inputs}


EVERGREEN = Contender(
    "evergreen",
    (),
    evergreen,
    "/v2/models/{name}/infer",
    environ=evergreen_settings,
    batches="its defaults",
)
PEERS = (
    Contender(
        "mosec",
        ("mosec",),
        program("mosec_server.py", "--address=127.0.0.1", "--port={port}", "--timeout=60000"),
        "/inference",
        wait_ms=2,
    ),
    Contender(
        "mlserver",
        # Its workers ask for an event loop that uvloop 0.22 and later no longer make.
        ("mlserver", "uvloop<0.22"),
        script("mlserver", "start", "{scratch}"),
        "/v2/models/{name}/infer",
        wait_ms=2,
        environ=mlserver_settings,
        start_s=2.5,
    ),
    Contender(
        "pytriton",
        ("nvidia-pytriton",),
        program("pytriton_server.py"),
        "/v2/models/{name}/infer",
        batches="up to {rows} rows of equal shape that wait while it is busy",
        request=deep,
        system_python=True,
        end_s=15,  # killed, it would leave megabytes of shared memory behind
        start_s=4,
    ),
    Contender("litserve", ("litserve",), program("litserve_server.py"), "/predict", wait_ms=2),
    Contender(
        "bentoml",
        ("bentoml",),
        script(
            *("bentoml", "serve", "bentoml_server:Peer", "--working-dir", str(PROGRAMS)),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        "/infer",
        environ=lambda job: {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(job.scratch)},
        request=one_row,
        answer=first_row,
        batches="up to {rows} rows, adaptive",
        start_s=2.5,
    ),
    Contender(
        "ray-serve",
        ("ray[serve]",),
        program("ray_server.py"),
        "/",
        wait_ms=2,
        environ=lambda job: {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(job.scratch)},
        start_s=9,
    ),
)
CONTENDERS: Mapping[str, Contender] = {one.name: one for one in (EVERGREEN, *PEERS)}
