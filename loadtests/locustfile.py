"""The load test: users of the committed models in a chosen shape, judged by thresholds, told in a report.

    python -m loadtests --headless --shape spike --run-time 60s --p99-ms 100 --report .evergreen/load

Without --host it is this machine's own service on port 8000. --users and --run-time mean what the shape makes of them (shapes.py).
The exit code is 0 only if every answer was right, no more were refused than may be, and every threshold held; `--help` lists them all.
`locust -f loadtests/locustfile.py` is the same, but that `locust --help` ends before it reads this file.

The lines "queue" and "compute" of Locust's statistics are the server's own timings. They stand beside the requests and are not part
of the total, so a long line says whether the service waited or worked; what neither explains is HTTP, decoding and Locust itself.
"""

import datetime
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from locust import LoadTestShape, events
from locust import log as locust_log
from locust.runners import LocalRunner

from loadtests import commandline, shapes, shifting
from loadtests.payloads import workload
from loadtests.recording import Outcome
from loadtests.report import Verdict, write
from loadtests.thresholds import Limits, violations
from loadtests.users import (
    SHED,
    TIMINGS,
    ActivityLstm,
    ActivityLstmTensors,
    FashionCnn,
    FashionCnnTensors,
    ModelUser,
    SentimentTransformer,
    SentimentTransformerTensors,
)
from models.errors import BundleError, DataError

log = logging.getLogger(__name__)

# Locust spawns what it finds here.
USERS = (FashionCnn, ActivityLstm, SentimentTransformer)
TENSOR_USERS = (FashionCnnTensors, ActivityLstmTensors, SentimentTransformerTensors)

HOST = "http://127.0.0.1:8000"
SERVER_STAGES = ("queue", "compute")


class LocustShape(LoadTestShape):  # type: ignore[misc]
    """A shape as Locust asks for it. Abstract, so that Locust leaves it to `LoadTest` to make one."""

    abstract = True

    def __init__(self, shape: shapes.Shape, each_second: Callable[[], None]) -> None:
        super().__init__()
        self.shape = shape
        self.each_second = each_second

    def tick(self) -> tuple[int, float] | None:
        self.each_second()
        return self.shape.tick()


class LoadTest:
    """One run, from Locust's events."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.options = environment.parsed_options
        self.classes: list[type[ModelUser]] = list(environment.user_classes)
        self.faults: list[str] = []
        self.started = now()
        self.report: Path | None = None
        environment.host = (environment.host or HOST).rstrip("/")
        self.shape = shapes.SHAPES[self.options.shape](
            planned(self.options), lambda: int(environment.runner.user_count)
        )
        environment.shape_class = LocustShape(self.shape, self.shift_traffic)
        environment.events.test_start.add_listener(self.begin)
        environment.events.request.add_listener(self.count)
        environment.events.quitting.add_listener(self.judge)
        environment.events.quit.add_listener(self.tell)

    def begin(self, **_: Any) -> None:
        """Spawn only users whose model is served. Where none is, nothing is sent, and `judge` fails the run."""
        self.faults.clear()
        self.environment.user_classes = list(self.ready_users())
        self.started = now()
        self.shape.begin()
        if not self.environment.user_classes:
            self.environment.runner.quit()

    def ready_users(self) -> Any:
        """The classes that were asked for and have something to send to somebody."""
        apis = ("v1", "v2") if self.options.api == "both" else (self.options.api,)
        served = served_models(self.environment.host)
        for user in self.classes:
            if user.api not in apis:
                continue
            if user.model not in served:
                log.warning("%s is not served: no user of it is spawned", user.model)
                continue
            try:
                self.prepare(user)
            except (BundleError, DataError) as error:
                self.faults.append(f"{user.line()} cannot be asked: {error}")
                continue
            yield user

    def prepare(self, user: type[ModelUser]) -> None:
        """What it sends, and what it sends later."""
        repository, shift = self.options.repository, self.options.shift
        if shift is None:
            user.workload = user.later = workload(repository, user.model, user.api)
        else:
            user.workload, user.later = shifting.workloads(repository, user.model, user.api, shift)

    def shift_traffic(self) -> None:
        """From the time on that was asked for, everybody sends what was prepared for later."""
        shift = self.options.shift
        if shift and self.shape.elapsed() >= shift.at * self.shape.plan.seconds:
            for user in self.environment.user_classes:
                user.workload = user.later

    def count(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        exception: Any,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        """A request came to its end. The server's timings get lines of their own, past the total that Locust keeps."""
        outcome: Outcome = "answered"
        if request_type == SHED:
            outcome = "shed"
        elif exception:
            outcome = "failed"
        timings = context.get(TIMINGS, {})
        self.shape.recorder.count(name, outcome, response_time, timings)
        for stage in SERVER_STAGES:
            if stage in timings:
                self.environment.stats.get(name, stage).log(timings[stage], 0)

    def judge(self, **_: Any) -> None:
        """The report and the exit code; a defect of this file keeps the code that Locust has for it."""
        recording = self.shape.recorder.end()
        asked = limits(self.options, self.shape.sheds)
        found = [*self.faults, *self.unanswered(recording.models), *violations(recording, asked)]
        for line in found:
            log.error("%s", line)
        defect = self.environment.runner.exceptions or locust_log.unhandled_greenlet_exception
        if found or not defect:
            self.environment.process_exit_code = int(bool(found))
        if self.options.report and recording.models:
            verdict = Verdict(
                host=self.environment.host,
                api=self.options.api,
                started=self.started,
                limits=asked,
                violations=found,
                notes=self.notes(),
            )
            self.report = write(self.options.report, recording, verdict)

    def unanswered(self, asked: list[str]) -> list[str]:
        """Users who waited for their first answer when the run ended: Locust counts only what came to an end."""
        counts = self.environment.runner.final_user_classes_count
        return [
            f"{user.line()}: {counts[user.__name__]} users, and no answer to any came before the end"
            for user in self.environment.user_classes
            if counts.get(user.__name__) and user.line() not in asked
        ]

    def notes(self) -> list[str]:
        """What a reader of the report must know."""
        notes = [
            "Latencies are of answered requests, measured by Locust. Queue and compute are the server's own timings, as its "
            "answers of /v1 tell them; rest is what they do not explain: HTTP, decoding, and Locust itself.",
        ]
        if self.options.shift:
            notes.append(
                f"The real test sets were sent, and shifted part-way: {self.options.shift}."
            )
        if self.environment.runner.cpu_warning_emitted:
            notes.append(
                "Locust itself used more than 90 % of a core at times: these may be its limits, not the service's."
            )
        return notes

    def tell(self, **_: Any) -> None:
        """The last line, after Locust's tables."""
        if self.report:
            log.info("the report is %s", self.report)


def planned(options: Any) -> shapes.Plan:
    """The plan as the options and the shape's own figures make it."""
    shape = shapes.SHAPES[options.shape]
    return shapes.Plan(
        users=options.num_users or shape.users,
        seconds=options.run_time or shape.seconds,
        ramp_from=options.ramp_from,
        spike_factor=options.spike_factor,
        max_requests=options.max_requests,
        spawn_rate=options.spawn_rate or shapes.MOST_SPAWNED_PER_S,
        p99_ms=options.p99_ms,
    )


def limits(options: Any, sheds: bool) -> Limits:
    """What the run must hold. A shape that is to overload the service may be refused as often as it is, unless asked otherwise."""
    shed = options.max_shed_share
    if shed is None:
        shed = 1.0 if sheds else 0.0
    return Limits(options.p50_ms, options.p99_ms, options.min_rps, options.max_failure_share, shed)


def served_models(host: str) -> set[str]:
    """The names that the service answers to; none when it cannot be reached."""
    try:
        answer = requests.get(f"{host}/v1/models", timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        log.error("%s", error)
        return set()
    return {model["name"] for model in answer.json()}


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def start(environment: Any, **_: Any) -> None:
    """A mistake in the options ends here, with a sentence and before anything is sent."""
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit(
            "the load test runs in one process: --processes, --master, --worker do not work"
        )
    try:
        LoadTest(environment)
    except ValueError as error:
        raise SystemExit(str(error)) from error


commandline.register()
events.init.add_listener(start)
