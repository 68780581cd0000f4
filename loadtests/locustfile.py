"""Users of the three committed models, each sending what the model was made for.

    locust -f loadtests/locustfile.py --headless --users 16 --run-time 30s --host http://127.0.0.1:8000 --p99-ms 100

A user sends the next request when the last one is answered: as many are under way as there are users. The exit code is 0 only if
every answer was right and no model's p99 exceeded --p99-ms.

The lines "queue" and "compute" of the statistics are the server's own timings. They stand beside the requests and are not part of
the total, so a long line says whether the service waited or worked; what neither explains is HTTP, decoding and Locust itself.
"""

import logging
import random
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import requests
from locust import FastHttpUser, events, task
from locust.stats import RequestStats, StatsEntry

from loadtests.payloads import Workload, workload
from models.errors import BundleError

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).parent.parent / "models" / "repository"
SERVER_STAGES = ("queue", "compute")
REQUEST = "POST"


class ModelUser(FastHttpUser):  # type: ignore[misc]
    """Sends one model's samples in random order. FastHttpUser, because Locust often shares the cores with the service."""

    abstract = True
    model: ClassVar[str]
    workload: ClassVar[Workload]

    @task  # type: ignore[untyped-decorator]
    def predict(self) -> None:
        """One request; an answer that is none counts as a failure."""
        payload = random.choice(self.workload.payloads)
        with self.client.post(
            f"/v1/models/{self.model}/predict",
            data=payload.body,
            headers={"Content-Type": payload.content_type},
            name=self.model,
            catch_response=True,
        ) as response:
            answer = read(response)
            wrong = answer if isinstance(answer, str) else fault(answer, self.workload.labels)
            if wrong:
                response.failure(wrong)
            elif isinstance(answer, Answer):
                count_stages(self.environment.stats, self.model, answer.timings_ms)


class FashionCnn(ModelUser):
    """Uploads a picture."""

    model = "fashion-cnn"
    weight = 3


class ActivityLstm(ModelUser):
    """Sends two to six seconds of a sensor."""

    model = "activity-lstm"
    weight = 2


class SentimentTransformer(ModelUser):
    """Sends a review."""

    model = "sentiment-transformer"
    weight = 1


USERS: tuple[type[ModelUser], ...] = (FashionCnn, ActivityLstm, SentimentTransformer)


class Ranked(msgspec.Struct):
    """The likeliest label of one item."""

    label: str


class Answer(msgspec.Struct):
    """What is read of an answer."""

    predictions: list[Ranked]
    timings_ms: dict[str, float]


def read(response: Any) -> Answer | str:
    """The answer, or why there is none."""
    if response.status_code != 200:
        return f"{response.status_code}: {(response.text or response.error or 'no answer')!s:.200}"
    try:
        return msgspec.json.decode(response.content, type=Answer)
    except msgspec.DecodeError as error:
        return f"the answer is no prediction: {error}"


def fault(answer: Answer, labels: frozenset[str]) -> str | None:
    """What is wrong with an answer to one item; None when it is right."""
    if len(answer.predictions) != 1:
        return f"{len(answer.predictions)} predictions for one item"
    label = answer.predictions[0].label
    return None if label in labels else f"'{label}' is no label of the model"


def count_stages(stats: RequestStats, model: str, timings: dict[str, float]) -> None:
    """Enter the server's timings on lines of their own, past the total that Locust keeps of requests."""
    for stage in SERVER_STAGES:
        stats.get(model, stage).log(timings[stage], 0)


def add_options(parser: Any) -> None:
    """Options of this file, in `locust --help` and in the environment."""
    parser.add_argument(
        "--repository",
        type=Path,
        default=REPOSITORY,
        env_var="EVERGREEN_REPOSITORY",
        help="Where the samples are taken from: <model>/<version>/.",
    )
    parser.add_argument(
        "--p99-ms",
        type=float,
        default=0.0,
        help="Fail when a model's 99th percentile is above this; 0 asks for nothing.",
    )


def choose_users(environment: Any, **_: Any) -> None:
    """Spawn only users whose model is served. Where none is, nothing is sent, and `judge` fails the run."""
    options = environment.parsed_options
    served = served_models(environment.host)
    chosen = []
    for user in USERS:
        if user.model not in served:
            log.warning("%s is not served: no user of it is spawned", user.model)
            continue
        try:
            user.workload = workload(options.repository, user.model)
        except BundleError as error:
            environment.stats.log_error("samples", user.model, str(error))
            continue
        chosen.append(user)
    environment.user_classes = chosen
    if not chosen:
        environment.runner.quit()


def served_models(host: str) -> set[str]:
    """The names that the service answers to; none when it cannot be reached."""
    try:
        answer = requests.get(f"{host}/v1/models", timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        log.error("%s", error)
        return set()
    return {model["name"] for model in answer.json()}


def judge(environment: Any, **_: Any) -> None:
    """Exit code 1 with a line for each reason. Otherwise Locust's own code stands, which knows of exceptions in this file."""
    verdict = faults(environment.stats, environment.parsed_options.p99_ms)
    for line in verdict:
        log.error("%s", line)
    if verdict:
        environment.process_exit_code = 1


def faults(stats: RequestStats, p99_ms: float) -> list[str]:
    """What is wrong with a run."""
    if stats.total.num_requests == 0:
        return ["no request was sent"]
    found = []
    if stats.total.num_failures:
        found.append(f"{stats.total.num_failures} failures in {stats.total.num_requests} requests")
    entries: list[StatsEntry] = [e for e in stats.entries.values() if e.method == REQUEST]
    for entry in entries:
        p99 = entry.get_response_time_percentile(0.99)
        if p99_ms and p99 > p99_ms:
            found.append(f"{entry.name}: p99 is {p99:g} ms, at most {p99_ms:g} were asked for")
    return found


events.init_command_line_parser.add_listener(add_options)
events.test_start.add_listener(choose_users)
events.quitting.add_listener(judge)
