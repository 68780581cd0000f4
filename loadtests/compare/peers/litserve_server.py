"""LitServe, as its documentation writes a server: five verbs, with its own `batch` where rows differ in length."""

# mypy: disable-error-code="import-not-found,misc"
# LitServe lives in an environment of its own, so its classes are unknown here.

from typing import Any

import litserve
import numpy as np
from job import Row, Session, answer, job, read


class Api(litserve.LitAPI):
    """`batch` and `unbatch` are called only where max_batch_size is above 1."""

    session: Session

    def setup(self, device: str) -> None:
        self.session = Session(job().file)

    def decode_request(self, request: dict[str, Any]) -> Row:
        return read(request)

    def batch(self, inputs: list[Row]) -> list[Row]:
        return inputs

    def predict(self, x: Row | list[Row]) -> np.ndarray:
        probabilities: np.ndarray = self.session.run(x if isinstance(x, list) else [x])
        return probabilities

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        answered: dict[str, Any] = answer(output if output.ndim == 1 else output[0])
        return answered


if __name__ == "__main__":
    api = Api(max_batch_size=job().rows, batch_timeout=job().wait_ms / 1000)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=job().port, generate_client_file=False, log_level="warning")
