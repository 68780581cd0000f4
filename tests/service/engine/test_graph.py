"""What is said of a file before it is trusted."""

import os
from pathlib import Path

import oddities as odd
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from models.bundle import ANY_RANK, UNNAMED, Tensor
from models.errors import BundleError
from service.engine import graph, native

DOMAINS = frozenset(("", "ai.onnx.ml", "com.microsoft"))


def examine(tmp_path: Path, made: onnx.ModelProto, most_mb: int = 2048) -> graph.Signature:
    return graph.examine(odd.save(tmp_path, made) / "model.onnx", most_mb, DOMAINS)


def test_a_signature_is_what_the_graph_declares(tmp_path: Path):
    found = examine(tmp_path, odd.recurrent())
    assert found.inputs == (
        Tensor("input", "float32", ("batch", "samples")),
        Tensor("state", "float32", (2, "batch", 8)),
        Tensor("sr", "int64", ()),
    )
    assert [one.name for one in found.outputs] == ["output", "stateN"]
    assert "ReduceMean" in found.operators


def test_an_axis_without_a_name_and_a_tensor_without_axes_are_told_apart(tmp_path: Path):
    assert examine(tmp_path / "a", odd.linear(None)).inputs[0].shape == (UNNAMED, 3)
    assert examine(tmp_path / "b", odd.identity(odd.FLOAT, None)).inputs[0].shape == ANY_RANK
    assert examine(tmp_path / "c", odd.identity(odd.FLOAT, [])).inputs[0].shape == ()


@pytest.mark.parametrize(("code", "dtype"), graph.DTYPES.items())
def test_every_type_of_the_protocol_has_a_name(tmp_path: Path, code: int, dtype: str):
    assert examine(tmp_path, odd.identity(code)).inputs[0].dtype == dtype


def test_a_constant_among_the_inputs_need_not_be_sent_and_before_version_4_cannot_be(
    tmp_path: Path,
):
    assert [one.optional for one in examine(tmp_path / "new", odd.valued()).inputs] == [False, True]
    assert [one.name for one in examine(tmp_path / "old", odd.valued(ir=3)).inputs] == ["x"]


def typed(made: onnx.ModelProto, role: str, kind: onnx.TypeProto) -> onnx.ModelProto:
    getattr(made.graph, role)[0].type.CopyFrom(kind)
    return made


FLOATS = helper.make_tensor_type_proto(odd.FLOAT, ["n"])
IN_A_BRANCH = helper.make_graph(
    [odd.node("Mystery", ["x"], ["z"], domain="org.elsewhere")], "branch", [], []
)
REFUSED = {
    "other file": (odd.external("weights.bin"), r"'w' lies in another file \('weights.bin'\)"),
    "other folder": (
        odd.external("../../etc/passwd"),
        r"lies in another file \('../../etc/passwd'\)",
    ),
    "bfloat16": (odd.identity(odd.BF16), "input 'x' has type BFLOAT16"),
    "float8": (odd.identity(TensorProto.FLOAT8E4M3FN), "input 'x' has type FLOAT8E4M3FN"),
    "complex": (odd.identity(TensorProto.COMPLEX64), "input 'x' has type COMPLEX64"),
    "sequence in": (
        typed(odd.linear(), "input", helper.make_sequence_type_proto(FLOATS)),
        "input 'x' is a sequence, only tensors travel",
    ),
    "sequence out": (
        typed(odd.linear(), "output", helper.make_sequence_type_proto(FLOATS)),
        "output 'y' is a sequence.*zipmap=False",
    ),
    "optional": (
        typed(odd.linear(), "input", helper.make_optional_type_proto(FLOATS)),
        "input 'x' is an optional value",
    ),
    "map": (
        typed(odd.linear(), "output", helper.make_map_type_proto(odd.INT64, FLOATS)),
        "output 'y' is a map",
    ),
    "sparse": (
        typed(odd.linear(), "input", helper.make_sparse_tensor_type_proto(odd.FLOAT, ["n"])),
        "input 'x' is a sparse tensor",
    ),
    "no type": (typed(odd.linear(), "output", onnx.TypeProto()), "output 'y' is of no type"),
    "no inputs": (
        odd.model([odd.node("Identity", ["w"], ["y"])], [], [odd.tensor("y", 1, [1])]),
        "no inputs",
    ),
    "no outputs": (odd.model([], [odd.tensor("x", 1, [1])], []), "no outputs"),
    "unknown domain": (
        odd.model(
            [odd.node("Tokenize", ["x"], ["y"], domain="ai.onnx.contrib")],
            [odd.tensor("x", 1, [1])],
            [odd.tensor("y", 1, [1])],
        ),
        "'Tokenize' is of the domain 'ai.onnx.contrib', which is not there; known are ai.onnx, ai.onnx.ml, com",
    ),
    "unknown domain in a branch": (
        odd.model(
            [odd.node("If", ["x"], ["y"], then_branch=IN_A_BRANCH, else_branch=IN_A_BRANCH)],
            [odd.tensor("x", 9, [])],
            [odd.tensor("y", 1, [1])],
        ),
        "'Mystery' is of the domain 'org.elsewhere'",
    ),
    "reads a file": (
        odd.model(
            [
                odd.node(
                    "EPContext",
                    ["x"],
                    ["y"],
                    domain="com.microsoft",
                    ep_cache_context="/etc/passwd",
                )
            ],
            [odd.tensor("x", 1, [1])],
            [odd.tensor("y", 1, [1])],
        ),
        "'EPContext' reads another file",
    ),
    "functions that unfold": (
        odd.unfolding(9),
        "comes to 1,000,000,000 nodes, the limit is 200,000",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trusted_or_served_is_refused_with_a_sentence(tmp_path: Path, case: str):
    made, says = REFUSED[case]
    with pytest.raises(BundleError, match=f"^model.onnx.*{says}"):
        examine(tmp_path, made)


def test_a_constant_in_another_file_is_found_wherever_it_hides(tmp_path: Path):
    hidden = odd.external("weights.bin").graph.initializer[0]
    inside = odd.model([odd.node("Constant", [], ["w"], value=hidden)], [], []).graph
    branch = odd.node("If", ["go"], ["y"], then_branch=inside, else_branch=inside)
    function = helper.make_function("mine", "f", [], ["w"], [inside.node[0]], [])
    ends = ([odd.tensor("x", 1, [1])], [odd.tensor("y", 1, [1])])
    for number, made in enumerate(
        (odd.model([branch], *ends), odd.model([], *ends, functions=[function]))
    ):
        with pytest.raises(BundleError, match="'w' lies in another file"):
            examine(tmp_path / str(number), made)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path):
    made = odd.unfolding(1)
    made.functions[0].node[0].op_type, made.functions[0].node[0].domain = "f0", "mine"
    with pytest.raises(BundleError, match="function 'f0' calls itself"):
        examine(tmp_path, made)


def test_nodes_count_wherever_they_are_and_so_does_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    examine(tmp_path / "small", odd.nested(5))
    monkeypatch.setattr(graph, "MOST_NODES", 30)
    with pytest.raises(BundleError, match="comes to 31 nodes, the limit is 30"):
        examine(tmp_path / "many", odd.nested(5))
    monkeypatch.setattr(graph, "MOST_DEPTH", 3)
    with pytest.raises(BundleError, match="graphs lie more than 3 deep"):
        examine(tmp_path / "deep", odd.nested(5))


def test_a_file_beyond_the_limit_is_not_even_read(tmp_path: Path):
    directory = odd.save(tmp_path, odd.linear())
    os.truncate(directory / "model.onnx", 3 << 20)
    with pytest.raises(BundleError, match="has 3 MB, the limit is 2"):
        graph.examine(directory / "model.onnx", 2, DOMAINS)
    os.truncate(directory / "model.onnx", 3 << 30)  # a hole: it takes no room
    with pytest.raises(BundleError, match="has 3,072 MB, the limit is 2,048"):
        graph.examine(directory / "model.onnx", 1 << 20, DOMAINS)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_model(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"^model"):
        graph.examine(path, 2048, DOMAINS)


def test_this_build_knows_the_usual_domains():
    assert native.domains() >= DOMAINS
