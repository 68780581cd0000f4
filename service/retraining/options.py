"""How one model is kept fresh: [models.NAME.retraining] in the settings. It must not know how any of it is done."""

from typing import Annotated, Literal

import msgspec

from service.retraining.gate import Limits
from service.retraining.policy import Policy

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Duration = Annotated[float, msgspec.Meta(ge=0)]


class Retraining(Policy, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The policy, and everything that follows once it has let a trigger through."""

    recipe: str | None = None
    """Which recipe trains the model: its name, or the path of a file that holds one. Not set: the recipe with the model's name."""
    base_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """The share of rows from the recipe's own data in every batch: what keeps old knowledge. Not set: what the recipe says."""
    seed: int = 1
    held_out: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.25
    """The share of labelled rows, of each class the newest, that are not trained on but judge the challenger."""
    most_of_source: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """The share of all labels that one of several sources may give: what is more is left out, the oldest first. Worth setting where strangers label."""
    most_hours: Annotated[float, msgspec.Meta(gt=0)] = 6.0
    """A training that takes longer is given up."""
    gate: Limits = Limits()
    approval_days: Annotated[float, msgspec.Meta(gt=0)] = 7.0
    """A challenger that nobody approves for so long has had its chance."""
    trial: Literal["shadow", "canary", "none"] = "shadow"
    """What a challenger that passed the gate does before it answers everybody: it gets copies of requests, some requests, or nothing."""
    trial_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 20.0
    trial_requests: Count = 200
    """The trial goes on until the challenger has had so many..."""
    trial_s: Duration = 600.0
    """... and for so long..."""
    trial_hours: Annotated[float, msgspec.Meta(gt=0)] = 24.0
    """... but no longer than this: without traffic there is no promotion."""
    watch_h: Duration = 24.0
    """For so long after a promotion its labels and errors are watched; a version that hurts is taken back. 0: not at all."""
    guard: bool = True
    """Whether promotions that people made are watched in the same way, and taken back when labels show that they hurt."""
