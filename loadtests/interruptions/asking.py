"""Those who ask all the while: requests, and labels that come back. It must not know what happens to the service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import httpx
import numpy as np

from loadtests.interruptions.recipe import LABELS, drawn
from loadtests.interruptions.world import MODEL

PAUSE_S = 0.2
LABELLED = 5
"""One request in so many is labelled while nothing else is asked for."""
TOGETHER = 2
"""Rows in a request. Those of one request stay on one side, where rows are trained on or judge."""
PATIENCE_S = 5.0


class Told(NamedTuple):
    """A row whose label the service has said that it keeps."""

    prediction: str
    row: int
    label: str


class Asker:
    """Asks, and remembers every label that was acknowledged."""

    def __init__(self, url: str, seed: int) -> None:
        self.kept: list[Told] = []
        self.answered = self.unanswered = 0
        self.versions: set[int] = set()
        """Those that have answered since somebody last looked."""
        self._url, self._seed = url, seed << 20
        self._lock, self._over = threading.Lock(), threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A request every moment, in a thread, as long as the block lasts."""
        thread = threading.Thread(target=self._ask, name="asker")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def teach(self, count: int) -> int:
        """Rows and their labels, two in a request; how many were acknowledged."""
        told = 0
        with suppress(httpx.TransportError), self._client() as client:
            for _ in range(0, count, TOGETHER):
                rows = drawn(TOGETHER, self._next())
                told += self._tell(client, self._sent(client, rows.inputs["image"]), rows.labels)
        return told

    def version(self) -> int | None:
        """Who answers a new connection; None where nobody does."""
        try:
            with self._client() as client:
                answer = self._sent(client, drawn(1, self._next()).inputs["image"])
        except httpx.TransportError:
            return None
        return int(answer.json()["model_version"]) if answer.is_success else None

    def _ask(self) -> None:
        number = 0
        while not self._over.wait(PAUSE_S):
            number += 1
            rows = drawn(1, self._next())
            try:
                with self._client() as client:
                    answer = self._sent(client, rows.inputs["image"])
                    if number % LABELLED == 0:
                        self._tell(client, answer, rows.labels)
            except httpx.TransportError:
                self.unanswered += 1
            else:
                self.answered += answer.is_success
                self.unanswered += not answer.is_success
                if answer.is_success:
                    self.versions.add(int(answer.json()["model_version"]))

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, timeout=PATIENCE_S)

    def _next(self) -> int:
        """No picture comes twice."""
        with self._lock:
            self._seed += 1
            return self._seed

    def _sent(self, client: httpx.Client, pictures: np.ndarray) -> httpx.Response:
        tensor: dict[str, Any] = {"name": "image", "datatype": "FP32"}
        tensor |= {"shape": pictures.shape, "data": pictures.ravel().tolist()}
        return client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})

    def _tell(self, client: httpx.Client, answer: httpx.Response, labels: np.ndarray) -> int:
        if not answer.is_success:
            return 0
        prediction = answer.headers["prediction-id"]
        told = [Told(prediction, row, LABELS[label]) for row, label in enumerate(labels)]
        body = [{"prediction_id": prediction, "row": o.row, "label": o.label} for o in told]
        said = client.post(f"/v1/models/{MODEL}/feedback", json={"labels": body})
        if not said.is_success or said.json()["accepted"] != len(told):
            return 0  # of a request that was not observed, nothing is known
        with self._lock:
            self.kept += told
        return len(told)
