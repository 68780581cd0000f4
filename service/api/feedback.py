"""Labels that come back, which ones are wanted, and forgetting a prediction. Control keeps them, whichever front end is asked."""

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from models.errors import InputError, TooLarge
from service.api.access import CHANGE, LABEL
from service.api.bodies import read_json
from service.api.repository import model_name, read_version
from service.errors import NotFound
from service.link import Link
from service.monitoring.wanted import Wanted

MOST_LABELS = 1000
MOST_WANTED = 1000
PATIENCE = 30.0
"""Seconds that control may take: labels are on the disk when it answers, and the ledger may be in another place."""

AnyRequest = Request[Any, Any, Any]


class Label(msgspec.Struct, forbid_unknown_fields=True):
    """What a row of a prediction really is, by one of the model's labels.

    `row`: which of the request's items, from 0. `source`: who says so; of several the one that observed last counts. `observed_at`: when
    (RFC 3339); without it now, and what the same source said before is a duplicate.
    """

    prediction_id: uuid.UUID
    label: Annotated[str, msgspec.Meta(max_length=500)]
    row: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    source: Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00]*$")] = ""
    observed_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Labels(msgspec.Struct, forbid_unknown_fields=True):
    """A batch: all of it is taken, or none."""

    labels: list[Label]


class Unstored(msgspec.Struct):
    """A label that is not stored: its place in the batch, and why."""

    item: int
    outcome: str


class Taken(msgspec.Struct):
    """How many labels were new, were there already, are about no prediction that was kept, and are about one that has expired.

    `unstored` names the last two.
    """

    accepted: int
    duplicate: int
    unknown: int
    late: int
    unstored: list[Unstored]


class WantedLabels(msgspec.Struct):
    """The most wanted first."""

    model: str
    version: int
    wanted: list[Wanted]


class Feedback(Controller):
    """Labels of a model's predictions."""

    path = "/v1/models/{name:str}"
    tags = ("feedback",)

    @post("/feedback", status_code=200, opt=LABEL, summary="Say what was right")
    async def feedback(
        self, request: AnyRequest, name: FromPath[str], link: NamedDependency[Link]
    ) -> Taken:
        """Labels of up to 1,000 rows. What is answered is on the disk; sending a batch again changes nothing.

        A label that is no class of the model, a row that the request did not have, or two labels of one batch that contradict each other
        refuse the whole batch (422, naming the item): nothing of it is stored.
        """
        model = model_name(name)
        batch: Labels = read_json(await request.body(), Labels)
        if len(batch.labels) > MOST_LABELS:
            raise TooLarge(f"the batch has {len(batch.labels):,} labels, the limit is 1,000")
        body = {"model": model, "labels": [plain(label) for label in batch.labels]}
        return msgspec.convert(await link.ask("feedback", body, PATIENCE), Taken)

    @get("/labels/wanted", summary="Predictions most worth a label")
    async def wanted(
        self,
        name: FromPath[str],
        link: NamedDependency[Link],
        limit: FromQuery[int] = 20,
        version: FromQuery[int | None] = None,
    ) -> WantedLabels:
        """Of a version, the champion without one: rows whose input is kept and that nobody has labelled, and why each is worth it.

        `drift` and `sample` are drawn by lot, and tell how good the model is on the traffic. `uncertain` and `class` are picked, and teach
        most; send their labels with the `source` that they are told with, so that they do not count as a sample.
        """
        if not 1 <= limit <= MOST_WANTED:
            raise InputError(f"'limit' is {limit}, it must lie between 1 and {MOST_WANTED:,}")
        chosen = read_version({"version": version})
        body = {"model": model_name(name), "version": chosen, "limit": limit}
        return msgspec.convert(await link.ask("wanted", body, PATIENCE), WantedLabels)


class Erasure(Controller):
    """Forgetting what somebody sent."""

    path = "/v1/predictions"
    tags = ("feedback",)

    @delete("/{prediction_id:str}", opt=CHANGE, summary="Forget a prediction")
    async def erase(self, prediction_id: FromPath[str], link: NamedDependency[Link]) -> None:
        """Its answer, what was asked and every label of it, wherever they are kept or on their way.

        204 when it was there and is gone, 404 when there is nothing to forget: never kept, expired, or forgotten before. Counts that it was
        added to stay.
        """
        try:
            prediction = str(uuid.UUID(prediction_id))
        except ValueError:
            raise NotFound(f"there is no prediction '{prediction_id[:80]}'") from None
        if not await link.ask("erase", {"prediction": prediction}, PATIENCE):
            raise NotFound(f"there is no prediction '{prediction}'")


def plain(label: Label) -> dict[str, Any]:
    """A label as control reads it."""
    observed = None if label.observed_at is None else label.observed_at.timestamp()
    return {
        "prediction_id": str(label.prediction_id),
        "label": label.label,
        "row": label.row,
        "source": label.source,
        "observed_at": observed,
    }
