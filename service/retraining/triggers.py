"""Why a training is asked for. Pure; it must not know whether it will be allowed."""

import hashlib
from typing import Annotated

import msgspec

from models.job import Value
from service.retraining.policy import Reason

Words = Annotated[str, msgspec.Meta(max_length=500)]


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What asks. `key`: asked again with the same one, it is the same job; without one it never is.

    `evidence` is what an alert or the monitoring saw. `parameters` are hyper-parameters of the recipe. `since`, `until`: rows met from then
    on, and before then, in seconds since 1970.
    """

    kind: Reason
    reason: Words = ""
    who: Words = ""
    key: Annotated[str, msgspec.Meta(max_length=200)] = ""
    evidence: dict[str, Value] = {}
    parameters: dict[str, Value] = {}
    since: float | None = None
    until: float | None = None

    @property
    def digest(self) -> str:
        """What has to be the same when a key comes again. A machine that repeats itself may word it differently."""
        said = self.reason if self.kind == "person" else ""
        told = (self.kind, said, sorted(self.parameters.items()), self.since, self.until)
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()
