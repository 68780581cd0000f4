"""MLServer, as its documentation writes a custom runtime: an MLModel that decodes, runs and encodes.

Its adaptive batching joins the requests before `predict` sees them: the flat data one after the other, with the first one's shape.
"""

# mypy: disable-error-code="import-not-found,misc"
# MLServer lives in an environment of its own, so its classes are unknown here.

from typing import Any

from job import OUTPUT, Session, job
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    """Named in the environment as MLSERVER_MODEL_IMPLEMENTATION."""

    session: Session

    async def load(self) -> bool:
        self.session = Session(job().file)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds: dict[str, Any] = {
            one.name: NumpyCodec.decode_input(one).reshape(one.shape) for one in payload.inputs
        }
        probabilities = self.session.feed(feeds)
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name=OUTPUT, payload=probabilities)],
        )
