"""A graph and its configuration: what both say is kept, what contradicts is refused, and shapes are changed without losing a number."""

from pathlib import Path

import numpy as np
import oddities as odd
import pytest
import tritons
from hypothesis import given
from hypothesis import strategies as st

from models import tasks, triton
from models.bundle import Manifest, Tensor
from models.errors import BundleError
from models.modelconfig import Reshape as Told
from models.modelconfig import Tensor as Configured
from models.triton import TritonConfig
from service.engine import arranged, bare
from service.engine.config import Options
from service.engine.graph import Signature
from service.engine.session import Session
from service.errors import EngineError


def configured(text: str, root: Path) -> TritonConfig:
    path = root / triton.FILE
    path.write_text(text)
    return triton.read(path)


def loaded(made: object, text: str, root: Path, **options: object) -> Session:
    directory = odd.save(root, made)  # type: ignore[arg-type]
    config = configured(text, directory.parent)
    return bare.load(directory, Options(provider="cpu", triton=config, **options))  # type: ignore[arg-type]


def ends(inner: str, width: int = 3) -> str:
    """A configuration of `oddities.linear`."""
    return (
        f'{inner}\ninput {{ name: "x" data_type: TYPE_FP32 dims: [ {width} ] }}\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }'
    )


def test_rows_run_together_where_both_graph_and_configuration_allow_it(tmp_path: Path):
    session = loaded(odd.linear(), ends("max_batch_size: 4"), tmp_path)
    assert session.batched
    assert session.report["manifest"]["most_rows"] == 4


def test_rows_that_must_not_run_together_are_rows_nonetheless(tmp_path: Path):
    told = 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: 3 }'
    session = loaded(odd.centred(), told, tmp_path)
    assert (session.batched, session.counts_rows) == (False, True)
    assert session.rows({"x": np.zeros((3, 3), np.float32)}) == 3


def test_a_model_without_batches_takes_the_shape_that_is_told(tmp_path: Path):
    told = 'input { name: "x" data_type: TYPE_FP32 dims: [ 2, 3 ] }'
    session = loaded(odd.linear(), told, tmp_path)
    assert not session.counts_rows
    assert session.report["together"] == {"allowed": False, "reason": "max_batch_size is 0"}
    assert session.report["manifest"]["inputs"][0]["shape"] == (2, 3)


def test_a_graph_alone_decides_where_nothing_is_told(tmp_path: Path):
    session = loaded(odd.linear(), 'backend: "onnxruntime"', tmp_path)
    assert session.batched
    assert session.report["manifest"]["most_rows"] is None


def test_a_batch_size_for_a_graph_without_rows_is_noted(tmp_path: Path):
    session = loaded(odd.linear(first=4), "max_batch_size: 8", tmp_path)
    assert not session.counts_rows
    assert "no free first axis: requests run as they are" in session.report["notes"][0]


def test_outputs_that_are_not_told_are_not_given(tmp_path: Path):
    told = """max_batch_size: 0
        input [ { name: "count" data_type: TYPE_INT32 dims: [ ] },
                { name: "images:0" data_type: TYPE_FP32 dims: [ -1, 2, 2 ] } ]
        output { name: "largest" data_type: TYPE_FP32 dims: [ ] }"""
    session = loaded(odd.four_outputs(), told, tmp_path)
    manifest = session.report["manifest"]
    assert [one["name"] for one in manifest["inputs"]] == ["count", "images:0"]
    assert [one["name"] for one in manifest["outputs"]] == ["largest"]
    given = {"count": np.array(1, np.int32), "images:0": np.ones((5, 2, 2), np.float32)}
    assert session.run([given])[0].keys() == {"largest"}


def test_an_output_whose_declaration_lies_is_told_as_the_configuration_and_the_answers_have_it(
    tmp_path: Path,
):
    made = odd.linear()
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    session = loaded(made, ends("max_batch_size: 4"), tmp_path)
    assert session.report["manifest"]["outputs"][0]["shape"] == ("batch", 2)


CONTRADICTIONS = {
    "another type": (
        'input { name: "x" data_type: TYPE_INT64 dims: 3 }',
        "input 'x' is float32 in the graph, config.pbtxt says TYPE_INT64",
    ),
    "a type that numpy has not": (
        'input { name: "x" data_type: TYPE_BF16 dims: 3 }',
        "config.pbtxt says TYPE_BF16",
    ),
    "another width": (
        ends("max_batch_size: 2", width=4),
        r"input 'x' has shape \['n', 3\] in the graph, config.pbtxt makes it \[-1, 4\], with an axis of rows",
    ),
    "no rows": (ends("max_batch_size: 0"), r"config.pbtxt makes it \[3\]$"),
    "an unknown input": (
        'input { name: "z" data_type: TYPE_FP32 dims: 3 }',
        "input 'z' of config.pbtxt is not in the graph, which has x",
    ),
    "an unknown output": (
        'output { name: "z" data_type: TYPE_FP32 dims: 3 }',
        "output 'z' of config.pbtxt is not in the graph, which has y",
    ),
    "an output of another width": (
        'max_batch_size: 2 output { name: "y" data_type: TYPE_FP32 dims: 5 }',
        r"output 'y' has shape \[1, 2\] in the graph, config.pbtxt makes it \[-1, 5\]",
    ),
    "no such file": ('default_model_filename: "b.onnx"', "holds neither manifest.json nor b.onnx"),
    "labels that are not there": (
        'max_batch_size: 2 output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "l.txt" }',
        "l.txt: No such file",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_is_refused_with_both(case: str, tmp_path: Path):
    text, says = CONTRADICTIONS[case]
    with pytest.raises(BundleError, match=says):
        loaded(odd.linear(), text, tmp_path)


def test_an_input_of_the_graph_that_is_not_told_is_missed(tmp_path: Path):
    told = 'input { name: "count" data_type: TYPE_INT32 dims: [ ] }'
    with pytest.raises(BundleError, match=r"input 'images:0' of the graph is not in config\.pbtxt"):
        loaded(odd.four_outputs(), told, tmp_path)


def test_an_input_that_is_optional_in_the_configuration_alone_must_be_sent(tmp_path: Path):
    told = 'max_batch_size: 2 input { name: "x" data_type: TYPE_FP32 dims: 3 optional: true }'
    session = loaded(odd.linear(), told, tmp_path)
    assert "'x' is optional in config.pbtxt, the graph has no value" in session.report["notes"][0]


def test_a_batch_is_reshaped_for_the_graph_and_its_answers_for_the_callers(tmp_path: Path):
    told = """max_batch_size: 4
        input { name: "x" data_type: TYPE_FP32 dims: [ 3, 1 ] reshape { shape: [ 3 ] } }
        output { name: "y" data_type: TYPE_FP32 dims: [ 1, 2, 1 ] reshape { shape: [ 2 ] } }"""
    session = loaded(odd.linear(), told, tmp_path)
    plain = bare.load(odd.save(tmp_path / "plain", odd.linear()), Options(provider="cpu"))
    requests = [np.arange(3 * n, dtype=np.float32).reshape(n, 3) for n in (1, 2)]
    shaped = session.run([{"x": x[:, :, None]} for x in requests])
    for found, wanted in zip(shaped, plain.run([{"x": x} for x in requests]), strict=True):
        assert found["y"].shape == (len(wanted["y"]), 1, 2, 1)
        np.testing.assert_array_equal(found["y"].reshape(-1, 2), wanted["y"])


def test_a_graph_for_one_picture_takes_one_row(tmp_path: Path):
    directory = odd.save(tmp_path, tritons.densenet())
    (directory.parent / "labels.txt").write_text("a\nb")
    config = configured(tritons.ONE_ROW, directory.parent)
    session = bare.load(directory, Options(provider="cpu", triton=config))
    output = session.report["manifest"]["outputs"][0]
    assert (output["shape"], output["labels"]) == (("batch", 4), ("a", "b"))
    (answer,) = session.run([{"data_0": np.ones((1, 3, 2, 2), np.float32)}])
    assert answer["fc6_1"].tolist() == [[0, 12, 24, 36]]


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@given(SIZES, st.integers(1, 3), st.booleans())
def test_free_axes_follow_one_another_and_every_number_stays(
    free: list[int], rows: int, batched: bool
):
    given = tuple(one for _ in free for one in (2, "?"))
    wanted = tuple(one for _ in free for one in ("?", 1, 2))
    lead = ("batch",) if batched else ()
    told = Manifest(
        name="m", version=1, description="", task=tasks.TensorTask(), labels=(), inputs=(), outputs=(),
        variants=(), metrics={}, training=None, files={}, batched=batched,
    )  # fmt: skip
    change = arranged.Reshape(
        told, [Tensor("x", "float32", lead + given)], [Tensor("x", "float32", lead + wanted)]
    )
    head = (rows,) if batched else ()
    shape = head + tuple(axis for length in free for axis in (2, length))
    array = np.arange(np.prod(shape)).reshape(shape)
    changed = change({"x": array})["x"]
    assert changed.shape == head + tuple(axis for length in free for axis in (length, 1, 2))
    assert changed.ravel().tolist() == array.ravel().tolist()


def test_an_answer_that_has_another_shape_than_was_told_is_that_requests_error():
    declared = Signature((), ())
    config = TritonConfig(
        outputs=(Configured("y", "TYPE_FP32", (4,), Told((2, 2))),), max_batch_rows=None
    )
    assert arranged.most_rows(declared, config) is None
    told = Manifest(
        name="m", version=1, description="", task=tasks.TensorTask(), labels=(), inputs=(), outputs=(),
        variants=(), metrics={}, training=None, files={}, batched=False,
    )  # fmt: skip
    change = arranged.Reshape(
        told, [Tensor("y", "float32", (2, 2))], [Tensor("y", "float32", (4,))]
    )
    with pytest.raises(
        EngineError, match=r"'y' has shape \[3, 2\], config.pbtxt makes \[4\] of it"
    ):
        change({"y": np.zeros((3, 2))})


def test_types_of_the_graph_are_those_of_the_configuration(tmp_path: Path):
    told = 'max_batch_size: 2 input { name: "ids" data_type: TYPE_INT64 dims: -1 }'
    assert loaded(odd.looked_up(), told, tmp_path).batched
