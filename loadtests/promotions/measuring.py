"""One run: a service with two versions of a model, its capacity, a share of it at rest, the same while versions change.

It must not know the command line or how results are shown.
"""

import datetime
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec

from loadtests.compare import comparison, files, machine, measure, processes, rows, serving
from loadtests.compare.contenders import EVERGREEN, ROOT, Contender, Job
from loadtests.compare.errors import NotMeasured
from loadtests.overhead import trivial
from loadtests.overhead.found import TRIVIAL
from loadtests.promotions.found import Found, Memory, Options, Swaps
from loadtests.promotions.sender import Sent, prepared
from models import bundle
from models.registry import Registry

MODELS = ("fashion-cnn", TRIVIAL)
CONNECTIONS = 32
WARM_UP_S, CAPACITY_S, REST_S = 3.0, 5.0, 20.0
LONGEST_S = 3600.0
"""Of the promotions, together."""
CHANGE_S = 60.0
"""Of one promotion, and of the wait for a version's end."""
LOOK_S = 0.25
STEP = 10
"""So many promotions are told as one."""
SETTLE_S = 1.0

Say = Callable[[str], None]


class Service(NamedTuple):
    """A running service: where it is asked, its processes, and the file with requests."""

    model: str
    port: int
    tree: processes.Tree
    requests: Path

    @property
    def url(self) -> str:
        """The model, for people."""
        return f"http://127.0.0.1:{self.port}/v1/models/{self.model}"


def run(options: Options, say: Say) -> Found:
    """Measure. NotMeasured says why it could not be done."""
    notes = comparison.busy(machine.cores_in_use())
    with started(options) as service, httpx.Client(timeout=CHANGE_S) as client:
        say("warming up, then its capacity")
        send(service, WARM_UP_S)
        before = memory(service)
        capacity = send(service, CAPACITY_S)
        if not (rate := options.share * capacity.per_second):
            raise NotMeasured(f"it answered nothing: {capacity.failed}")
        swap(service, options, client, 2, lambda done: None)
        send(service, WARM_UP_S, rate)
        say(f"at rest: {rate:.0f} requests/s for {REST_S:g} s")
        rest = send(service, REST_S, rate)
        start, count = memory(service), options.promotions
        with sending(service, LONGEST_S, rate) as load:
            swaps = swap(
                service, options, client, count, lambda done: say(f"{done} of {count} promotions")
            )
        return Found(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            machine=machine.describe(),
            options=options,
            capacity=capacity,
            rest=rest,
            swapping=result(load),
            swaps=swaps,
            before=before,
            start=start,
            end=memory(service),
            notes=notes,
        )


@contextmanager
def started(options: Options) -> Iterator[Service]:
    """`evergreen serve` with its defaults and two versions of the model, of which the first answers."""
    file = files.find(MODELS[0], "fp32")
    if file is None:
        raise NotMeasured(f"the fp32 file of {MODELS[0]} is not there")
    with serving.scratch() as folder:
        subject = measure.subject(file)
        if options.model != MODELS[0]:
            subject = trivial.subject(subject, folder / "models")
        twice(subject.file.path.parent, subject.file.repository, folder)
        job = Job(
            model=options.model,
            variant=subject.file.variant,
            file=subject.file.path,
            repository=subject.file.repository,
            programs=Path(sys.executable).parent,
            scratch=folder,
            token=serving.new_token(),
            port=serving.free_port(),
            batching=True,
        )
        requests = folder / "requests"
        bodies = [rows.compact(one) for one in subject.requests]
        path = EVERGREEN.path.format(name=options.model)
        requests.write_bytes(msgspec.msgpack.encode(prepared(path, bodies)))
        with serving.serving(contender(options), job, subject.requests[0]) as server:
            yield Service(options.model, job.port, server.tree, requests)


def contender(options: Options) -> Contender:
    """Evergreen with its defaults but for how long a version stays."""

    def environ(job: Job) -> dict[str, str]:
        more = {"EVERGREEN_KEEP_PREVIOUS_S": "0"} if options.fresh else {}
        return {"EVERGREEN_STATE": str(job.scratch / "state"), "EVERGREEN_PROVIDER": "cpu"} | more

    return EVERGREEN._replace(environ=environ)


def twice(directory: Path, repository: Path, folder: Path) -> None:
    """Publish a copy of the only version as version 2, in a registry of this run's own."""
    registry = Registry([repository], folder / "state" / "registry")
    manifest = bundle.read(directory)
    number = registry.publish(directory, who="a load test")
    if (manifest.version, number) != (1, 2):
        raise NotMeasured(f"{manifest.name} has versions {manifest.version} and {number}")


def swap(
    service: Service, options: Options, client: httpx.Client, count: int, say: Callable[[int], None]
) -> Swaps:
    """Promote version 2, then 1, and so on, each after the one before has been done."""
    taken: list[float] = []
    refused: list[str] = []
    until = time.monotonic() + LONGEST_S
    for number in range(count):
        if number % STEP == 0:
            say(number)
        begun = time.perf_counter()
        answer = client.post(f"{service.url}/promotions", json={"version": 2 - number % 2})
        if answer.status_code != 200:
            refused.append(answer.text)
            continue
        taken.append(1000 * (time.perf_counter() - begun))
        if options.fresh:
            wait_alone(service, client)
        if time.monotonic() > until:
            break
        time.sleep(options.pause)
    if not taken:
        raise NotMeasured(f"no promotion was done: {refused[0]}")
    cuts = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
    return Swaps(len(taken), round(cuts[49], 2), round(cuts[98], 2), refused)


def wait_alone(service: Service, client: httpx.Client) -> None:
    """Until only the champion is loaded."""
    until = time.monotonic() + CHANGE_S
    while time.monotonic() < until:
        versions = client.get(service.url).json()["versions"]
        if sum(one["state"] == "ready" for one in versions) == 1:
            return
        time.sleep(LOOK_S)
    raise NotMeasured(f"the version before was still loaded after {CHANGE_S:g} s")


def send(service: Service, seconds: float, rate: float | None = None) -> Sent:
    """A load that ends by itself; without a rate, as much as is answered."""
    with sending(service, seconds, rate) as load:
        load.wait(seconds + CHANGE_S)
    return result(load)


@contextmanager
def sending(
    service: Service, seconds: float, rate: float | None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A load while the block runs."""
    command = [sys.executable, "-m", "loadtests.promotions.sender"]
    command += [str(service.port), str(service.requests), str(CONNECTIONS), str(seconds)]
    if rate is not None:
        command.append(str(rate))
    pipe = subprocess.PIPE
    load = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    try:
        yield load
        if load.stdin is not None:
            load.stdin.close()
        load.wait(CHANGE_S)
    finally:
        load.kill()
        load.wait()


def result(load: "subprocess.Popen[bytes]") -> Sent:
    """What a load said at its end."""
    assert load.stdout is not None
    assert load.stderr is not None
    with load.stdout, load.stderr:
        said = load.stdout.read()
        if load.returncode or not said:
            raise NotMeasured(f"the load failed: {load.stderr.read().decode(errors='replace')}")
    return msgspec.json.decode(said, type=Sent)


def memory(service: Service) -> Memory:
    """Of all processes, once what has just been done is over."""
    time.sleep(SETTLE_S)
    page = os.sysconf("SC_PAGE_SIZE")
    resident = 0
    for pid in service.tree.alive():
        try:
            resident += int((processes.PROC / str(pid) / "statm").read_text().split()[1]) * page
        except OSError:
            continue
    return Memory(round(resident / 2**20, 1), round(service.tree.memory_mib(), 1))
