"""The records that a ledger keeps, as they travel from where they are made. They must not know a database.

Ids of predictions are UUIDs of version 7 as text; times are seconds since 1970.
"""

from typing import Literal

import msgspec

DAY = 86_400.0
MEGABYTE = 1024 * 1024

Outcome = Literal["accepted", "duplicate", "unknown", "late"]
"""What became of a label.

accepted    it is new, and stored; it counts unless one with a later `observed_at` is there already
duplicate   this prediction's row has a label of this source and `observed_at` already: the one that came first stays
unknown     no such prediction was kept: it never was, was not sampled, or was erased
late        the prediction is older than what is kept
"""


class Prediction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a model said about one row of a request."""

    id: str
    row: int
    model: str
    version: int
    at: float
    label: int
    """Index among the model's labels."""
    confidence: float
    share: float
    """The probability with which a request like this was kept: 1 where all are."""
    api: str


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the model was given for one row."""

    id: str
    row: int
    model: str
    version: int
    at: float
    data: bytes
    share: float


class Label(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What somebody says that a row really is."""

    id: str
    row: int
    label: str
    source: str
    observed_at: float
    received_at: float


class Labelled(msgspec.Struct, frozen=True, gc=False):
    """A label that counted when it arrived, with the prediction that it is about."""

    position: int
    """Grows with every arrival, on whatever machine; never used again."""
    label: Label
    prediction: Prediction
    before: str | None
    """What counted until then: the row's label is corrected. None for its first."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Samples of one machine, counted: adding blocks adds their counts and sums."""

    model: str
    version: int
    profile: str
    machine: str
    number: int
    begun_at: float
    ended_at: float
    samples: int
    counts: bytes
    """int32, little endian."""
    sums: dict[str, float]


class Evaluation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a window of `n` samples was found to be."""

    model: str
    version: int
    profile: str
    at: float
    n: int
    p: float
    verdict: str
    signals: bytes
    """JSON."""


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a source says of a row whose payload is there. `answer`: index of the class that version `version` named."""

    position: int
    id: str
    row: int
    label: str
    source: str
    observed_at: float
    counted: bool
    version: int
    at: float
    answer: int


class Counted(msgspec.Struct, frozen=True):
    """Labels that came after a position: rows that have one, those whose payload was kept by class, and the newest position there is."""

    labels: int
    by_class: dict[str, int]
    position: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept, and for how long."""

    age_s: float = 90 * DAY
    rows: int = 20_000_000
    """Predictions: with their index about 2 GB."""
    payload_age_s: float = 30 * DAY
    payload_bytes: int = 1024 * MEGABYTE


class Erased(msgspec.Struct, frozen=True):
    """Rows that one step of `expire` took away; false when there was nothing left to do."""

    predictions: int = 0
    payloads: int = 0
    labels: int = 0
    blocks: int = 0
    evaluations: int = 0

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))


class Figures(msgspec.Struct, frozen=True):
    """How much there is: rows, bytes of payloads, and bytes of the database altogether."""

    predictions: int
    payloads: int
    labels: int
    blocks: int
    evaluations: int
    payload_bytes: int
    bytes: int
