"""A version of one file: what is concluded of it, and that it runs as it is."""

import re
from pathlib import Path

import numpy as np
import oddities as odd
import onnx
import pytest
from onnx import TensorProto

from models import bundle
from models.errors import BundleError
from service.engine import bare, graph, providers, runner
from service.engine.config import Options
from service.engine.latency import Bucket
from service.engine.layout import Tensors
from service.engine.session import Session
from service.errors import EngineError, OutOfMemory, SettingsError

CPU = Options(provider="cpu")


def load(tmp_path: Path, made: onnx.ModelProto, **options: object) -> Session:
    return bare.load(odd.save(tmp_path, made), Options(**{"provider": "cpu", **options}))  # type: ignore[arg-type]


def run(session: Session, **tensors: np.ndarray) -> Tensors:
    (answer,) = session.run([tensors])
    return answer


def manifest(session: Session) -> bundle.Manifest:
    return bundle.from_builtins(session.report["manifest"])


def test_what_is_concluded_of_rows_is_a_manifest(tmp_path: Path):
    session = load(tmp_path, odd.linear())
    found = manifest(session)
    assert (found.name, found.version, found.batched) == ("odd", 1, True)
    assert found.inputs == (bundle.Tensor("x", "float32", ("batch", 3)),)
    assert found.outputs == (bundle.Tensor("y", "float32", ("batch", 2)),)
    assert found.files == {"model.onnx": bundle.sha256(tmp_path / "odd" / "1" / "model.onnx")}
    assert session.buckets() == (Bucket(1, ((3,),)),)
    assert session.report["variant"] == "bare"
    assert session.report["device"]["nodes"] == {"cpu": 1}


def test_rows_of_several_requests_run_together_and_each_gets_its_own(tmp_path: Path):
    session = load(tmp_path, odd.linear())
    one, other = np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)
    first, second = session.run([{"x": one}, {"x": other}])
    np.testing.assert_allclose(first["y"], [[6.5, 8.5]] * 2)
    np.testing.assert_allclose(second["y"], [[0.5, -0.5]])


def test_a_request_that_runs_alone_counts_as_one_whatever_its_shape(tmp_path: Path):
    session = load(tmp_path, odd.centred())
    tensors = {"x": np.eye(3, dtype=np.float32)}
    assert session.rows(tensors) == 1
    np.testing.assert_allclose(run(session, **tensors)["y"].sum(axis=0), 0, atol=1e-6)
    assert session.bucket(tensors) == Bucket(1, ((3, 3),))


def test_a_state_travels_and_so_does_time_as_first_axis(tmp_path: Path):
    session = load(tmp_path, odd.recurrent("time"))
    state = np.zeros((2, 5, 8), np.float32)
    rate = np.array(16000, np.int64)
    for step in (1, 2):
        answer = run(session, input=np.zeros((5, 100), np.float32), state=state, sr=rate)
        state = answer["stateN"]
        assert (answer["output"].shape, float(state.max())) == ((5, 1), step)


def test_scalars_and_four_outputs_with_odd_names(tmp_path: Path):
    session = load(tmp_path, odd.four_outputs())
    images = np.ones((1, 2, 3), np.float32)
    answer = run(session, **{"images:0": images, "count": np.array(7, np.int32)})
    assert (answer["sum/total?"].shape, float(answer["sum/total?"])) == ((), 6)
    assert answer["scaled:0"].max() == 7
    assert answer["shape"].tolist() == [1, 2, 3]
    (some,) = session.run([{"images:0": images, "count": np.array(7, np.int32)}], ["largest"])
    assert some.keys() == {"largest"}


@pytest.mark.parametrize(("code", "dtype"), graph.DTYPES.items())
@pytest.mark.parametrize("shape", [["n", 2], [2], [], None])
def test_every_type_passes_unchanged(
    tmp_path: Path, code: int, dtype: str, shape: list[int | str] | None
):
    session = load(tmp_path, odd.identity(code, shape))
    sent = np.ones(shape=[2 if axis == "n" else axis for axis in (shape or [])], dtype=np.int8)
    array = (
        sent.astype(dtype) if dtype != "object" else np.full(sent.shape, "Grün".encode(), object)
    )
    answer = run(session, x=array)["y"]
    assert (answer.shape, answer.dtype) == (array.shape, array.dtype)
    expected = np.full(sent.shape, "Grün", object) if dtype == "object" else array
    np.testing.assert_array_equal(answer, expected)


def test_nothing_at_all_can_be_sent_where_an_axis_is_free(tmp_path: Path):
    session = load(tmp_path, odd.centred())
    assert run(session, x=np.ones((0, 3), np.float32))["y"].shape == (0, 3)


def test_nan_passes_where_nobody_said_that_it_means_nothing(tmp_path: Path):
    session = load(tmp_path, odd.linear())
    row, other = np.full((1, 3), np.nan, np.float32), np.ones((1, 3), np.float32)
    assert np.isnan(run(session, x=row)["y"]).all()
    with pytest.raises(EngineError, match="holds NaN"):  # in company: it is run apart
        session.run([{"x": row}, {"x": other}])
    ran = runner.run(session, [{"x": row}, {"x": other}])
    assert [isinstance(answer, dict) for answer in ran.answers] == [True, True]


def test_an_input_with_a_value_of_its_own_may_be_sent(tmp_path: Path):
    session = load(tmp_path, odd.valued())
    x = np.zeros(3, np.float32)
    assert run(session, x=x)["y"].tolist() == [1, 2, 3]
    assert run(session, x=x, w=x + 5)["y"].tolist() == [5, 5, 5]


def test_an_input_with_a_value_of_its_own_keeps_it_where_rows_run_together(tmp_path: Path):
    made = odd.linear()
    made.graph.input.append(odd.tensor("w", odd.FLOAT, [3, 2]))
    session = load(tmp_path, made)
    assert [one.name for one in manifest(session).inputs] == ["x"]
    assert session.report["notes"] == [
        "1 inputs have values of their own, which callers cannot replace because rows run together: w"
    ]


def test_an_output_that_is_not_as_declared_is_told_and_passes(tmp_path: Path):
    made = odd.model(
        [odd.node("Concat", ["x", "x"], ["y"], axis=0)],
        [odd.tensor("x", odd.FLOAT, ["n", 3])],
        [odd.tensor("y", odd.FLOAT, [1, 3])],
    )
    session = load(tmp_path, made)
    assert session.report["notes"] == ["output 'y' is declared [1, 3], it answered [2, 3]"]
    assert manifest(session).outputs[0].shape == ("?", "?")
    assert run(session, x=np.ones((2, 3), np.float32))["y"].shape == (4, 3)


def test_an_input_that_takes_more_than_it_declares_is_held_to_its_word(tmp_path: Path):
    session = load(tmp_path, odd.linear(first=1))
    assert manifest(session).inputs[0].shape == (1, 3)
    assert run(session, x=np.ones((1, 3), np.float32))["y"].shape == (1, 2)
    with pytest.raises(EngineError, match="Got invalid dimensions for input: x"):
        run(session, x=np.ones((2, 3), np.float32))


def test_a_graph_that_takes_none_of_the_generated_rows_runs_what_it_does_take(tmp_path: Path):
    made = odd.model(
        [odd.node("Reshape", ["x", "shape"], ["y"])],
        [odd.tensor("x", odd.FLOAT, ["n", "m"])],
        [odd.tensor("y", odd.FLOAT, ["n", 7, 11])],
        [odd.constant("shape", [-1, 7, 11], "int64")],
    )
    session = load(tmp_path, made)
    assert session.report["together"]["reason"].startswith("it takes no generated rows, so nothing")
    assert session.buckets() == ()
    assert run(session, x=np.ones((2, 77), np.float32))["y"].shape == (2, 7, 11)


FAILS = {
    "opset": (
        odd.model(
            [odd.node("Relu", ["x"], ["y"])],
            [odd.tensor("x", 1, [1])],
            [odd.tensor("y", 1, [1])],
            opset=99,
        ),
        r"it is written for opset 99 of ai\.onnx, ONNX Runtime [\d.]+ knows them up to \d+",
    ),
    "IR version": (
        odd.linear(),
        r"Unsupported model IR version: 99, max supported IR version: \d+",
    ),
    "operator": (
        odd.model(
            [odd.node("Foo", ["x"], ["y"])], [odd.tensor("x", 1, [1])], [odd.tensor("y", 1, [1])]
        ),
        "No Op registered for Foo",
    ),
}
FAILS["IR version"][0].ir_version = 99


@pytest.mark.parametrize("case", FAILS)
def test_what_this_build_cannot_run_is_refused_with_a_sentence(tmp_path: Path, case: str):
    made, says = FAILS[case]
    with pytest.raises(BundleError, match=f"^model.onnx cannot be loaded: .*{says}") as refused:
        load(tmp_path, made)
    assert str(tmp_path) not in str(refused.value)
    assert "/onnxruntime_src" not in str(refused.value)


def test_a_variant_cannot_be_pinned_where_there_is_one_file(tmp_path: Path):
    with pytest.raises(
        SettingsError, match="variant 'int8' was asked for, but odd/1 is one bare file"
    ):
        load(tmp_path, odd.linear(), variant="int8")


def test_a_folder_that_is_no_models_name_is_refused(tmp_path: Path):
    directory = odd.save(tmp_path, odd.linear(), name="my model")
    with pytest.raises(BundleError, match="matching regex"):
        bare.load(directory, CPU)


def test_what_does_not_fit_into_memory_fails_and_the_next_request_runs(tmp_path: Path):
    session = load(tmp_path, odd.hungry())
    with pytest.raises(OutOfMemory, match="did not fit into memory"):
        run(session, count=np.array([1 << 50]))
    ran = runner.run(session, [{"count": np.array([1 << 50])}])
    assert isinstance(ran.answers[0], OutOfMemory)  # not halved: it is no batch of rows
    assert float(run(session, count=np.array([3]))["y"]) == 0


def test_tensorrt_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(providers, "choose", lambda *_: ("tensorrt", None))
    monkeypatch.setitem(providers.LESS, "tensorrt", "cpu")
    session = bare.load(odd.save(tmp_path, odd.linear()), Options(provider="tensorrt"))
    assert session.report["device"]["reason"].startswith("TensorRT needs bounds for every axis")


def test_a_search_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = onnx.helper.make_graph(
        [odd.node("MatMul", ["state", "state"], ["next"]), odd.node("Identity", ["go"], ["on"])],
        "body",
        [
            odd.tensor("i", odd.INT64, []),
            odd.tensor("go", odd.BOOL, []),
            odd.tensor("state", odd.FLOAT, [64, 64]),
        ],
        [odd.tensor("on", odd.BOOL, []), odd.tensor("next", odd.FLOAT, [64, 64])],
    )
    endless = odd.model(
        [
            odd.node("Loop", ["", "", "start"], ["end"], body=body),
            odd.node("ReduceSum", ["end"], ["sum"], keepdims=0),
            odd.node("Add", ["x", "sum"], ["y"]),
        ],
        [odd.tensor("x", odd.FLOAT, ["n", 2])],
        [odd.tensor("y", odd.FLOAT, ["n", 2])],
        [odd.constant("start", np.eye(64))],
    )
    monkeypatch.setattr("service.engine.batchable.BUDGET", 0.3)
    session = load(tmp_path, endless)
    assert re.match(
        r"a run took longer than 0\.\d+ s: too slow to find out",
        session.report["together"]["reason"],
    )


def test_bfloat16_inside_a_graph_is_nobodys_business(tmp_path: Path):
    made = odd.model(
        [
            odd.node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16),
            odd.node("Cast", ["b"], ["y"], to=odd.FLOAT),
        ],
        [odd.tensor("x", odd.FLOAT, ["n"])],
        [odd.tensor("y", odd.FLOAT, ["n"])],
    )
    assert run(load(tmp_path, made), x=np.ones(2, np.float32))["y"].tolist() == [1, 1]
