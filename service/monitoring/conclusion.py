"""Drift, labels and faults of the data as one answer. Pure; it must not know how any of them was found.

fault of the data > harmful > drift that is benign, or not known to be > quiet
"""

from typing import Literal

import msgspec

from service.monitoring.detector import Verdict
from service.monitoring.faults import Intake
from service.monitoring.harm import Harm
from service.monitoring.quality import Accuracy

Kind = Literal["insufficient", "fine", "watch", "benign drift", "harmful", "data fault"]

MOST_INVALID = 0.01
"""A larger share of requests that were refused for what was in them is a fault of what sends them."""
FEWEST_REQUESTS = 100


class Conclusion(msgspec.Struct, frozen=True):
    """What it all comes to, and why."""

    kind: Kind
    why: str


class Findings(msgspec.Struct, frozen=True):
    """What it is concluded from. `harm` is what all labels say, `since_drift` those of rows that came since the drift began, `newest` the
    accuracy by the last ones."""

    drift: Verdict
    intake: Intake | None = None
    harm: Harm | None = None
    since_drift: Harm | None = None
    newest: Accuracy | None = None


def concluded(found: Findings) -> Conclusion:
    """One answer."""
    intake, harm = found.intake, found.harm
    if intake and intake.requests >= FEWEST_REQUESTS and intake.share > MOST_INVALID:
        refused = sum(intake.invalid.values())
        why = f"{refused:,} of the last {intake.requests:,} requests were refused for what was in them"
        return Conclusion("data fault", f"{why}: mend what sends them before training anything")
    for one in (found.since_drift, harm):
        if one is not None and one.verdict == "harmful":
            why = f"labels show an error above the limit of {one.limit:.1%}{right(found.newest)}"
            return Conclusion("harmful", why)
    if found.drift == "drift":
        return of_drift(harm, found.since_drift)
    if found.drift == "watch":
        return Conclusion("watch", "the newest window looks unusual; the next ones will tell")
    if found.drift == "quiet":
        return Conclusion("fine", "the traffic looks like the reference")
    if harm is not None and harm.verdict == "harmless":
        why = f"labels show an error below the limit of {harm.limit:.1%}{right(found.newest)}"
        return Conclusion("fine", why)
    return Conclusion("insufficient", "there are neither samples nor labels enough to tell")


def of_drift(harm: Harm | None, since: Harm | None) -> Conclusion:
    """The traffic moved: whether that is known to do no harm."""
    if since is not None and since.verdict == "harmless":
        why = f"the traffic moved; of {since.labels:,} labelled answers since then {since.wrong:,} were wrong, which is no harm"
        return Conclusion("benign drift", why)
    if harm is None:
        return Conclusion(
            "watch", "the traffic moved; nobody promised an accuracy to hold labels against"
        )
    needed = (since or harm).labels_to_harmless
    about = f"about {needed:,} labels" if needed > 0 else "labels"
    return Conclusion("watch", f"the traffic moved; {about} of new rows would tell if it hurts")


def right(newest: Accuracy | None) -> str:
    """What the newest labels say, to end a sentence with."""
    if newest is None:
        return ""
    return f"; of the newest {newest.n:,}, {newest.value:.1%} were right"
