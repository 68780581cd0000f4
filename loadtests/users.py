"""Users of the three committed models: people who send what a model was made for (/v1), programs that send tensors (/v2).

A user sends the next request when the last one is answered: as many are under way as there are users. One who is refused with
Retry-After waits that long, as a well-behaved client does; otherwise a share of refusals would only tell how fast they are given.
"""

import random
from typing import Any, ClassVar

import gevent
import msgspec
from locust import FastHttpUser, task

from loadtests.answers import read_prediction, refusal, retry_after, tensor_fault
from loadtests.payloads import HEADER_LENGTH, Api, Workload

SHED = "shed"
"""The request type under which Locust lists what was refused with 503 and Retry-After: neither answered nor failed."""
TIMINGS = "timings_ms"
"""Where a request's context carries the server's own timings."""
LONGEST_PAUSE_S = 5.0
"""A user waits no longer than this, whatever Retry-After says: the run goes on."""


class ModelUser(FastHttpUser):  # type: ignore[misc]
    """Sends one model's samples in random order. FastHttpUser, because Locust often shares the cores with the service."""

    abstract = True
    api: ClassVar[Api]
    model: ClassVar[str]
    workload: ClassVar[Workload]
    later: ClassVar[Workload]
    """What `workload` becomes when the traffic is shifted part-way."""

    @classmethod
    def line(cls) -> str:
        """The name of these requests in statistics and report."""
        raise NotImplementedError

    def path(self) -> str:
        """Where the requests go."""
        raise NotImplementedError

    def fault(self, response: Any) -> str | None:
        """What is wrong with an answer of status 200; None when it is right."""
        raise NotImplementedError

    @task  # type: ignore[untyped-decorator]
    def predict(self) -> None:
        """One request; an answer that is none counts as a failure."""
        payload = random.choice(self.workload.payloads)
        with self.client.post(
            self.path(),
            data=payload.body,
            headers=payload.headers,
            name=self.line(),
            catch_response=True,
        ) as response:
            pause = retry_after(response)
            if pause is not None:
                response.request_meta["request_type"] = SHED
                response.success()
            elif wrong := refusal(response) or self.fault(response):
                response.failure(wrong)
        if pause:
            gevent.sleep(min(pause, LONGEST_PAUSE_S))


class TaskUser(ModelUser):
    """A person: a picture, a series, a text; the answer has labels and the server's timings."""

    abstract = True
    api = "v1"

    @classmethod
    def line(cls) -> str:
        return cls.model

    def path(self) -> str:
        return f"/v1/models/{self.model}/predict"

    def fault(self, response: Any) -> str | None:
        read = read_prediction(response.content, self.workload)
        if isinstance(read, str):
            return read
        response.request_meta["context"][TIMINGS] = msgspec.structs.asdict(read)
        return None


class TensorUser(ModelUser):
    """A program: binary tensors of the Open Inference Protocol, both ways. Its answers carry no timings."""

    abstract = True
    api = "v2"

    @classmethod
    def line(cls) -> str:
        return f"{cls.model} (tensors)"

    def path(self) -> str:
        return f"/v2/models/{self.model}/infer"

    def fault(self, response: Any) -> str | None:
        length = response.headers.get(HEADER_LENGTH)
        return tensor_fault(response.content, length, self.workload)


class FashionCnn(TaskUser):
    """Uploads a picture."""

    model = "fashion-cnn"
    weight = 3


class ActivityLstm(TaskUser):
    """Sends two to six seconds of a sensor."""

    model = "activity-lstm"
    weight = 2


class SentimentTransformer(TaskUser):
    """Sends a review."""

    model = "sentiment-transformer"
    weight = 1


class FashionCnnTensors(TensorUser):
    """Sends pixels."""

    model = "fashion-cnn"
    weight = 3


class ActivityLstmTensors(TensorUser):
    """Sends a sensor's samples and their number."""

    model = "activity-lstm"
    weight = 2


class SentimentTransformerTensors(TensorUser):
    """Sends tokens and their mask."""

    model = "sentiment-transformer"
    weight = 1
