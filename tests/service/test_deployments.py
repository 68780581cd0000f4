"""Settings become what engines are told; what engines report becomes metrics."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service import deployments
from service.deployments import Deployments
from service.engine import cores
from service.engine.config import Options
from service.errors import SettingsError
from service.settings import ModelSettings, Settings
from service.snapshots import exposition, snapshot


@pytest.fixture(autouse=True)
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available", lambda: 4)


@pytest.mark.parametrize(
    ("own", "models", "instances"),
    [
        (ModelSettings(), 1, 4),
        (ModelSettings(), 3, 1),
        (ModelSettings(), 9, 1),
        (ModelSettings(threads=2), 1, 2),
        (ModelSettings(threads=4), 3, 1),
        (ModelSettings(instances=4), 3, 4),
        (ModelSettings(instances=2, threads=2), 3, 2),
    ],
)
def test_a_model_runs_as_often_at_a_time_as_its_share_of_the_cores_unless_set(
    own: ModelSettings, models: int, instances: int
):
    assert deployments.instances_of("m", own, models) == instances


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (ModelSettings(instances=5), "5 instances of 1 threads need 5 cores, .* has 4"),
        (ModelSettings(instances=3, threads=2), "3 instances of 2 threads need 6 cores, .* has 4"),
        (ModelSettings(threads=8), "1 instances of 8 threads need 8 cores, .* has 4"),
    ],
)
def test_more_threads_than_cores_are_refused_with_both_numbers(own: ModelSettings, says: str):
    with pytest.raises(SettingsError, match=f"models.m: {says}"):
        deployments.options_of("m", Settings(models={"m": own}), 1)


def test_a_models_own_settings_win(tmp_path: Path):
    own = ModelSettings(
        provider="cuda", instances=2, spinning=True, gpu_memory_mb=512, tf32=False, variant="fp16"
    )
    settings = Settings(
        provider="tensorrt", strict_provider=True, state=tmp_path, models={"m": own}
    )
    options = deployments.options_of("m", settings, 1)
    assert (options.provider, options.strict, options.variant) == ("cuda", True, "fp16")
    assert (options.instances, options.gpu.instances, options.spinning) == (2, 2, True)
    assert (options.gpu.memory_mb, options.gpu.tf32, options.gpu.graphs) == (512, False, True)
    assert options.gpu.engines == str(tmp_path / "tensorrt")
    other = deployments.options_of("other", settings, 1)
    assert (other.provider, other.instances, other.gpu.instances) == ("tensorrt", 4, 1)


Report = Callable[..., dict[str, float]]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Let an engine of model m say on what it runs; the device metrics that follow."""
    every = Deployments(Settings(state=tmp_path), tmp_path, lambda _: None)
    one = every.add("m", 1, tmp_path, Options())

    def said(requested: str, provider: str, **nodes: int) -> dict[str, float]:
        device = {"requested": requested, "provider": provider, "nodes": nodes}
        one.supervisor.state = "ready"
        one.supervisor.report = {"variant": "fp32", "device": device}
        every._changed(one)
        page = exposition(snapshot(every.metrics.registry)).decode().splitlines()
        return {
            name.replace('model="m",', "").replace(',version="1"', ""): float(value)
            for name, value in (line.rsplit(" ", 1) for line in page if line[0] != "#")
            if name.startswith("inference_device")
        }

    return said


@pytest.mark.parametrize(
    ("requested", "provider", "fallback"),
    [
        ("auto", "cpu", 0),
        ("cpu", "cpu", 0),
        ("cuda", "cuda", 0),
        ("cuda", "cpu", 1),
        ("tensorrt", "cuda", 1),
    ],
)
def test_less_than_was_named_is_a_fallback(
    report: Report, requested: str, provider: str, fallback: int
):
    shown = report(requested, provider, **{provider: 7})
    assert [v for name, v in shown.items() if "fallback" in name] == [fallback]


def test_nodes_are_shown_by_provider_and_change_with_the_engine(report: Report):
    def nodes(shown: dict[str, float]) -> list[float]:
        return [v for name, v in shown.items() if name.startswith("inference_device_nodes")]

    assert nodes(report("tensorrt", "tensorrt", tensorrt=5, cuda=2, cpu=1)) == [5, 2, 1]
    shown = report("tensorrt", "cpu", cpu=8)
    assert nodes(shown) == [0, 0, 8]
    assert len([name for name in shown if name.startswith("inference_device_info")]) == 1
