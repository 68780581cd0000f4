"""A Triton model's configuration beneath the settings: the operator wins, and what cannot be kept is logged."""

import logging
from pathlib import Path

import msgspec
import pytest
import toys

from models.errors import BundleError, InputError
from models.triton import FILE
from service import deployments, triton
from service.engine.config import Options
from service.settings import ModelSettings, Settings

CONFIG = """
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 2500 default_queue_policy { max_queue_size: 99 } }
instance_group { kind: KIND_CPU count: 2 }
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The directory of a model with CONFIG."""
    directory = toys.image(tmp_path).parent
    (directory / FILE).write_text(CONFIG)
    return directory


def test_what_the_settings_leave_open_comes_from_the_file(model: Path):
    found = triton.beneath(ModelSettings(), model, 4)
    assert found == ModelSettings(
        max_batch_rows=16,
        max_delay_ms=2.5,
        max_queue_rows=99,
        instances=2,
        threads=2,
        provider="cpu",
    )


def test_what_the_settings_say_wins(model: Path):
    own = ModelSettings(
        max_batch_rows=1,
        max_delay_ms=0,
        max_queue_rows=1024,
        instances=1,
        threads=1,
        provider="cuda",
    )
    assert triton.beneath(own, model, 4) == own


def test_a_model_without_such_a_file_is_run_by_the_settings_alone(tmp_path: Path):
    assert triton.beneath(ModelSettings(), tmp_path, 4) == ModelSettings()


def test_a_model_that_is_not_batched_runs_each_request_alone(model: Path):
    (model / FILE).write_text("max_batch_size: 0")
    assert triton.beneath(ModelSettings(), model, 4) == ModelSettings(max_batch_rows=1)


@pytest.mark.parametrize(
    ("own", "cores", "instances", "threads"),
    [
        (ModelSettings(), 3, 1, 2),
        (ModelSettings(), 1, 1, 1),
        (ModelSettings(threads=1), 1, 1, 1),
        (ModelSettings(instances=4), 4, 4, 1),
        (ModelSettings(threads=4), 4, 1, 4),
    ],
)
def test_a_file_from_a_larger_machine_is_cut_to_this_one(
    own: ModelSettings,
    cores: int,
    instances: int,
    threads: int,
    model: Path,
    caplog: pytest.LogCaptureFixture,
):
    found = triton.beneath(own, model, cores)
    assert (found.instances, found.threads) == (instances, threads)
    assert f"becomes 1: this container has {cores} cores" in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("response_cache { enable: true }", "line 1: 'response_cache' is not used here"),
        ('name: "other"', "line 1: the model is called 'toy-image'"),
    ],
)
def test_what_is_not_kept_is_logged(
    text: str, says: str, model: Path, caplog: pytest.LogCaptureFixture
):
    (model / FILE).write_text(text)
    with caplog.at_level(logging.WARNING):
        triton.beneath(ModelSettings(), model, 4)
    assert says in caplog.text


def test_an_engine_is_started_by_the_file(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deployments.cores, "available", lambda: 4)
    settings = Settings(models={"toy_image": ModelSettings(max_delay_ms=1)})
    options = deployments.options_of("toy-image", settings, 1, model)
    assert (options.provider, options.max_batch_rows, options.max_queue_rows) == ("cpu", 16, 99)
    assert (options.instances, options.threads, options.max_delay_ms) == (2, 2, 1)


def test_a_malformed_file_is_named(model: Path):
    (model / FILE).write_text("max_batch_size: many")
    with pytest.raises(BundleError, match=r"config\.pbtxt, line 1: max_batch_size"):
        deployments.options_of("toy-image", Settings(), 1, model)


def test_a_callers_configuration_wins_over_the_settings_where_it_speaks():
    own = ModelSettings(max_batch_rows=2, max_delay_ms=1.0, variant="fp32")
    told = {
        "max_batch_size": "16",  # protobuf's JSON writes large integers as text
        "dynamic_batching": {"max_queue_delay_microseconds": 500},
        "parameters": {"intra_op_thread_count": {"string_value": "2"}},
        "something_new": {},
        "model_transaction_policy": {"decoupled": False},
    }
    found = triton.above(own, told, 4)
    assert (found.max_batch_rows, found.max_delay_ms, found.threads) == (16, 0.5, 2)
    assert found.variant == "fp32"
    assert triton.above(own, {}, 4) == own


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"max_batch_size": "many"}, "'config': Expected `int`"),
        ({"backend": "python"}, "'config': .*'python' is not served here"),
        ({"sequence_batching": {}}, "'sequence_batching' is not served"),
        ({"instance_group": [{"kind": "KIND_TPU"}]}, "KIND_TPU"),
    ],
)
def test_a_callers_configuration_that_cannot_be_one_is_refused(told: dict, says: str):
    with pytest.raises(InputError, match=says):
        triton.above(ModelSettings(), told, 4)


TENSORS = """
default_model_filename: "a.onnx"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 3 }
dynamic_batching { priority_levels: 3 default_priority_level: 2 }
"""


def test_an_engine_is_told_of_the_file_and_of_what_a_caller_says_instead(model: Path):
    assert triton.arrangement(None, None) is None
    assert triton.arrangement(model.parent, None) is None
    (model / FILE).write_text(TENSORS)
    own = triton.arrangement(model, None)
    assert own is not None
    assert (own.file, own.max_batch_rows, own.priorities) == ("a.onnx", 4, (3, 2))
    over = triton.arrangement(
        model,
        {"max_batch_size": 0, "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}]},
    )
    assert over is not None
    assert (over.file, over.max_batch_rows, over.priorities) == ("a.onnx", 0, (3, 2))
    assert over.inputs == own.inputs
    assert [one.name for one in over.outputs] == ["y"]


def test_what_an_engine_is_told_survives_its_command_line(model: Path):
    (model / FILE).write_text(TENSORS)
    told = Options(triton=triton.arrangement(model, None))
    assert msgspec.json.decode(msgspec.json.encode(told), type=Options) == told


def test_models_that_are_not_served_are_named_with_the_reason(model: Path):
    def add(name: str, text: str) -> None:
        (model.parent / name).mkdir()
        (model.parent / name / FILE).write_text(text)

    add("graphs", 'platform: "tensorflow_graphdef"')
    add("broken", "input {")
    add("empty", "")
    add("not a name", "")
    found = triton.unserved(model.parent, ["toy-image"])
    assert sorted(found) == ["broken", "empty", "graphs"]
    assert "line 1: 'tensorflow_graphdef' is not served here" in found["graphs"]
    assert "line 1: '}' is missing" in found["broken"]
    assert found["empty"].endswith("empty has no version with a file model.onnx")
