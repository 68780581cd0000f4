"""What Prometheus reads: every bin from the first scrape on, and figures that add up over machines."""

from pathlib import Path

import numpy as np
import profiled
import pytest
from monitored import MODEL, feed, monitoring
from prometheus_client import CollectorRegistry

from service import snapshots
from service.monitoring.monitor import Loaded


def samples(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name -> label values but the version's -> value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in snapshots.snapshot(registry):
        for name, labels, value in family.samples:
            key = tuple(v for k, v in labels.items() if k not in ("model", "version"))
            found.setdefault(name, {})[key] = value
    return found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return profiled.image(tmp_path_factory.mktemp("repository"))


async def test_every_bin_is_there_before_the_first_row_and_counts_every_row(
    directory: Path, tmp_path: Path
):
    known = profiled.reference()
    async with monitoring(tmp_path, directory) as (one, _, _):
        registry = CollectorRegistry()
        registry.register(one.metrics)
        name = "inference_signal_bin_observations_total"
        empty = samples(registry)
        assert set(empty[name].values()) == {0.0}
        assert len(empty[name]) == len(known.reference)
        assert empty["inference_predictions_total"] == {("light",): 0.0, ("dark",): 0.0}
        assert "inference_drift_last_evaluation_timestamp_seconds" not in empty
        await feed(one, directory, 730)
        full = samples(registry)
    bins = profiled.bins(profiled.pictures(np.random.default_rng(1), 730))
    assert list(full[name].values()) == known.counts(bins).tolist()
    shares = full["inference_signal_reference_ratio"]
    for signal in known.names:
        assert sum(v for key, v in shares.items() if key[0] == signal) == pytest.approx(1)


async def test_scores_are_those_of_the_report(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, _, _):
        registry = CollectorRegistry()
        registry.register(one.metrics)
        told = await feed(one, directory, 700, shift=0.2)
        found = samples(registry)
    for signal in told.signals:
        assert found["inference_signal_drift_pvalue_ratio"][signal.name,] == signal.p
        for method in ("psi", "js", "ks", "w1"):
            score = found["inference_signal_drift_score"][signal.name, method]
            assert score == getattr(signal, method)
    assert found["inference_drift_detected"]["input",] == 1
    assert found["inference_drift_detected"]["embedding",] == 0
    assert found["inference_drift_window_samples"][()] == 500
    assert found["inference_drift_last_evaluation_timestamp_seconds"][()] == told.ended_at
    for estimate in told.estimates:
        assert found["inference_estimated_accuracy_ratio"][estimate.method,] == estimate.value


async def test_predictions_stand_for_all_requests_where_a_share_is_observed(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path, directory) as (one, _, _):
        registry = CollectorRegistry()
        registry.register(one.metrics)
        await feed(one, directory, 40)  # each observed with a probability of one half
        found = samples(registry)
    assert sum(found["inference_predictions_total"].values()) == 80
    assert found["inference_prediction_confidence_ratio_count"][()] == 80
    bounds = [key[0] for key in found["inference_prediction_confidence_ratio_bucket"]]
    assert bounds == [*(f"{step / 10}" for step in range(1, 11)), "+Inf"]


async def test_a_version_that_is_unloaded_has_no_series(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, _, running):
        registry = CollectorRegistry()
        registry.register(one.metrics)
        await feed(one, directory, 100)
        running.clear()
        await one.follow()
        assert samples(registry) == {"inference_monitor_sampling_ratio": {(): 0.5}}
        running.append(Loaded(*MODEL, directory))
        await one.follow()
        assert len(samples(registry)) > 1
