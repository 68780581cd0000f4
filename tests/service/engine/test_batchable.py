"""Rows run together only where that was shown to be safe."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oddities as odd
import onnx
import pytest

from models.bundle import ANY_RANK, Tensor
from service.engine import bare, batchable, rows
from service.engine.batchable import Found, Search, TooSlow
from service.engine.config import Options
from service.engine.graph import Signature
from service.engine.layout import Tensors
from service.engine.rows import Guess
from service.errors import EngineError

X, Y = Tensor("x", "float32", ("n", 3)), Tensor("y", "float32", ("n", 3))
Answer = Callable[[np.ndarray], np.ndarray]


def search(answer: Answer, x: Tensor = X, y: Tensor = Y, **more: object) -> Found:
    """What comes out for a graph that answers `y` of `x` so."""
    declared = Signature((x,), (y,), **more)  # type: ignore[arg-type]
    return Search(declared, lambda tensors, _: {"y": answer(tensors["x"])}).result()


def test_rows_that_answer_alike_alone_and_in_company_may_run_together():
    found = search(lambda x: x * 2)
    assert found.batched
    assert "equal answers together and apart in 22 runs" in found.reason
    np.testing.assert_array_equal(found.kept["x"] * 2, found.answers["y"])


REFUSED: dict[str, tuple[Answer, str]] = {
    "the mean of all": (
        lambda x: x - x.mean(),
        "'y' of a row differs by .* when others run with it",
    ),
    "a little of the others": (lambda x: x + 1e-3 * x.max(), "differs by"),
    "the place in the batch": (lambda x: x + np.arange(len(x))[:, None], "differs by"),
    "the number of rows": (lambda x: x * len(x), "differs by"),
    "turned round": (lambda x: x[::-1], "differs by"),
    "one row for all": (lambda x: x.sum(axis=0, keepdims=True), r"shape \[1, 3\] for 8 rows"),
    "no axis at all": (lambda x: x.sum(), r"shape \[\] for one row"),
    "two rows for one": (lambda x: np.concatenate([x, x]), r"shape \[2, 3\] for one row"),
    "only what is positive": (lambda x: x[x[:, 0] > 0], "rows|for one row"),
    "wider with company": (lambda x: np.resize(x, (len(x), 2 + len(x))), r"\[1, 3\] for one alone"),
    "chance": (lambda x: x + np.random.default_rng().normal(size=x.shape), "differs by"),
    "nothing but zeros": (lambda x: x * 0, "answers all generated rows alike"),
    "nothing but NaN": (lambda x: x * np.nan, "answers all generated rows alike"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_know_of_one_another_may_not(case: str):
    answer, says = REFUSED[case]
    found = search(lambda x: answer(x).astype(np.float32))
    assert not found.batched
    assert re.search(says, found.reason), found.reason


def test_a_graph_that_refuses_company_is_served_alone():
    def alone(x: np.ndarray) -> np.ndarray:
        if len(x) > 1:
            raise EngineError("one at a time")
        return x

    assert search(alone).reason == "8 rows fail together, not apart: one at a time"


def test_slow_rows_are_tried_with_little_company(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batchable, "SLOW", 0)
    most = []
    assert search(lambda x: (most.append(len(x)), x)[1]).batched
    assert max(most) == 2 * batchable.FEW


def test_rounding_is_no_company():
    assert search(lambda x: x * np.float32(1 + 1e-6 * len(x))).batched
    assert not search(lambda x: x * np.float32(1 + 1e-3 * len(x))).batched


def test_whole_numbers_truths_and_words_must_be_equal():
    integers, words = Tensor("x", "int64", ("n",)), Tensor("x", "object", ("n",))
    assert search(lambda x: x + 1, integers).batched
    assert not search(lambda x: x + len(x), integers).batched
    assert search(lambda x: x > 3, integers).batched
    assert search(lambda x: x, words).batched
    assert not search(lambda x: x + str(len(x)), words).batched


def test_other_numbers_are_tried_where_some_are_refused():
    def table(x: np.ndarray) -> np.ndarray:
        if x.max() > 1:
            raise EngineError("no such word")
        return x

    found = search(table, Tensor("x", "int64", ("n", "length")))
    assert found.batched
    assert found.kept["x"].max() == 1


def test_other_lengths_are_tried_where_some_are_refused():
    def squares(x: np.ndarray) -> np.ndarray:
        if x.shape[1:] != (3, 32, 32):
            raise EngineError(f"no picture: {x.shape}")
        return x

    found = search(squares, Tensor("x", "float32", ("n", "c", "h", "w")))
    assert (found.batched, found.kept["x"].shape) == (True, (1, 3, 32, 32))


def test_what_takes_no_generated_rows_is_served_alone_with_its_first_complaint():
    def never(x: np.ndarray) -> np.ndarray:
        raise EngineError("not this one")

    found = search(never)
    assert found == (
        False,
        "it takes no generated rows, so nothing could be shown: not this one",
        {},
        {},
    )


def test_slow_rows_end_the_search_with_what_it_has(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def run(tensors: Tensors, seconds: float) -> Tensors:
        asked.append(seconds)
        if len(asked) > 2:
            raise TooSlow("a run took longer than 8 s")
        return {"y": tensors["x"]}

    found = Search(Signature((X,), (Y,)), run).result()
    assert found.reason == "a run took longer than 8 s: too slow to find out more"
    assert not found.batched
    monkeypatch.setattr(batchable, "BUDGET", 0)
    asked.clear()
    assert "more than 0 s: too slow" in Search(Signature((X,), (Y,)), run).result().reason
    assert not asked


DECLARED = {
    "fixed input": (
        [Tensor("x", "float32", (1, 3))],
        Y,
        r"input 'x' has no free first axis: \[1, 3\]",
    ),
    "scalar input": ([X, Tensor("s", "int32", ())], Y, r"input 's' has no free first axis: \[\]"),
    "unknown input": ([Tensor("x", "float32", ANY_RANK)], Y, "input 'x' has no free first axis"),
    "fixed output": ([X], Tensor("y", "float32", (1, 3)), r"output 'y' has no free first axis"),
    "other axis first": (
        [X, Tensor("state", "float32", ("layers", "n"))],
        Y,
        "first axis of input 'x' is 'n', that of 'state' 'layers'",
    ),
    "first axis twice": (
        [Tensor("x", "float32", ("n", "n"))],
        Y,
        "input 'x' has the axis 'n' elsewhere",
    ),
    "nothing to send": (
        [Tensor("x", "float32", ("n",), optional=True)],
        Y,
        "every input has a value",
    ),
}


@pytest.mark.parametrize("case", DECLARED)
def test_what_declares_no_rows_is_not_asked_for_them(case: str):
    inputs, y, says = DECLARED[case]

    def run(tensors: Tensors, seconds: float) -> Tensors:
        return {"y": np.zeros(3, np.float32)}

    found = Search(Signature(tuple(inputs), (y,)), run).result()
    assert not found.batched
    assert re.search(says, found.reason), found.reason
    assert found.answers  # one request runs all the same


def test_operators_that_scale_by_the_whole_batch_need_not_be_tried():
    found = search(lambda x: x, operators=frozenset(("DynamicQuantizeLinear", "Mul")))
    assert found.reason == "DynamicQuantizeLinear takes one scale from all rows of a batch"


def test_names_that_converters_make_up_say_nothing():
    one, other = Tensor("x", "float32", ("unk__1", 3)), Tensor("z", "float32", ("unk__2", 3))
    run = lambda tensors, _: {"y": tensors["x"] + tensors["z"]}  # noqa: E731
    assert Search(Signature((one, other), (Y,)), run).result().batched


GRAPHS: dict[str, tuple[onnx.ModelProto, bool]] = {
    "linear": (odd.linear(), True),
    "an unnamed axis": (odd.linear(None), True),
    "words to vectors": (odd.looked_up(), True),
    "functions": (odd.unfolding(2), True),
    "strings": (odd.identity(odd.STRING), True),
    "truths": (odd.identity(odd.BOOL), True),
    "the mean of all": (odd.centred(), False),
    "int8 with one scale": (odd.quantized(), False),
    "recurrent": (odd.recurrent(), False),
    "four outputs": (odd.four_outputs(), False),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_real_graphs_are_judged_as_they_should_be(tmp_path: Path, case: str):
    made, together = GRAPHS[case]
    session = bare.load(odd.save(tmp_path, made), Options(provider="cpu"))
    assert session.report["together"]["allowed"] == together, session.report["together"]["reason"]
    assert session.batched == together


def test_axes_of_one_name_have_one_length_and_a_first_axis_is_one_row():
    inputs = [
        Tensor("input", "float32", ("batch", "samples")),
        Tensor("state", "float32", (2, "batch", 8)),
        Tensor("mask", "bool", ("samples",)),
        Tensor("sr", "int64", ()),
        Tensor("w", "float32", (3,), optional=True),
    ]
    made = rows.generate(inputs, Guess(5, (0, 7), True), None, 0)
    shapes = {name: array.shape for name, array in made.items()}
    assert shapes == {"input": (1, 5), "state": (2, 1, 8), "mask": (5,), "sr": ()}
    assert {name: array.dtype.name for name, array in made.items()} == {
        "input": "float32",
        "state": "float32",
        "mask": "bool",
        "sr": "int64",
    }


def test_the_same_seed_makes_the_same_rows_and_another_makes_others():
    first, again, other = (
        rows.generate([X], Guess(8, None, True), 3, seed)["x"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
