"""The loop, put together from its parts. It must not know what any of them does."""

from models.job import Value
from service.evidence import Evidence
from service.metrics import ControlMetrics
from service.retraining.deciding import Deciding, Known, Traffic
from service.retraining.driver import Driver
from service.retraining.forgetting import Forgetting
from service.retraining.guard import Guard
from service.retraining.journal import Journal
from service.retraining.launchers.chosen import launcher
from service.retraining.loop import Loop, Parts
from service.retraining.metrics import RetrainingMetrics
from service.retraining.place import Place
from service.retraining.promotion import Promotion
from service.retraining.readiness import Readiness
from service.retraining.training import Training
from service.retraining.trial import Trials
from service.retraining.watching import Watching

NO_DRIFT = Traffic()


def loop(place: Place, evidence: Evidence, counts: ControlMetrics) -> Loop:
    """One service's loop. SettingsError where the settings name a launcher that cannot be."""
    metrics = RetrainingMetrics(counts.registry)
    journal = Journal(place, metrics)
    readiness = Readiness(place.settings)
    program = (readiness.python(), "-m", "models.train")
    launched = launcher(place.settings.training, program)
    training = Training(place, journal, launched, evidence.drifting_since)
    watching = Watching(place)
    promotion = Promotion(place, journal, Trials(place), watching)
    parts = Parts(
        journal,
        training,
        Driver(place, journal, training, promotion),
        Deciding(
            place, journal, readiness, Known(lambda model: traffic(evidence, model), evidence.worth)
        ),
        Guard(place, evidence.qualities, watching, metrics),
        Forgetting(place),
    )
    return Loop(place, parts)


async def traffic(evidence: Evidence, model: str) -> Traffic:
    """What monitoring knows of a champion. Labels that show harm are a drift of what is asked, whatever the inputs look like."""
    seen = await evidence.seen(model)
    if seen is None:
        return NO_DRIFT
    drift, conclusion = seen
    harmful = conclusion.kind == "harmful"
    said: dict[str, Value] = {
        "drift": drift.verdict,
        "rows": drift.samples,
        "conclusion": conclusion.why,
    }
    if drift.p is not None:
        said["p"] = drift.p
    drifting = drift.verdict == "drift" or harmful
    return Traffic(drift.inputs.requests, drift.inputs.share, drifting, harmful, said)
