"""What becomes of a batch when a row, the memory or the device fails."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import runner
from service.engine.runner import Tensors
from service.errors import DeviceLost, EngineError, OutOfMemory


class Session:
    """Doubles its rows. A row of -1 fails its batch, as does a batch of more rows than fit."""

    def __init__(self, fits: int = 1000) -> None:
        self.fits = fits
        self.batches: list[int] = []

    def run(
        self, requests: Sequence[Tensors], wanted: Sequence[str] | None = None
    ) -> list[Tensors]:
        rows = np.concatenate([request["x"] for request in requests])
        self.batches.append(len(rows))
        if len(rows) > self.fits:
            raise OutOfMemory("no room")
        if (rows == -1).any():
            raise EngineError("bad row")
        if (rows == -2).any():
            raise DeviceLost("gone")
        if (rows == -3).any():
            raise ZeroDivisionError("a defect")
        return [{"y": 2 * request["x"]} for request in requests]

    def rows(self, tensors: Tensors) -> int:
        return len(tensors["x"])


def request(*values: int) -> Tensors:
    return {"x": np.array(values)}


def test_a_batch_that_runs_is_run_once():
    session = Session()
    ran = runner.run(session, [request(1), request(2, 3)])
    assert [answer["y"].tolist() for answer in ran.answers] == [[2], [4, 6]]  # type: ignore[union-attr,index]
    assert (ran.whole, ran.too_large, session.batches) == (True, None, [3])


@given(st.lists(st.sampled_from([1, -1, -3]), min_size=1, max_size=20))
def test_every_guilty_request_fails_alone_and_every_other_is_answered(values: list[int]):
    ran = runner.run(Session(), [request(value) for value in values])
    for value, answer in zip(values, ran.answers, strict=True):
        if value == 1:
            assert not isinstance(answer, EngineError)
            assert answer["y"].tolist() == [2]
        else:
            assert isinstance(answer, EngineError)
    assert ran.whole == (set(values) == {1})


def test_the_guilty_request_is_found_in_logarithmically_many_runs():
    session = Session()
    runner.run(session, [request(1)] * 7 + [request(-1)] + [request(1)] * 8)
    assert len(session.batches) <= 1 + 2 * 4


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 20))
def test_what_does_not_fit_is_run_in_parts_and_joined_again(rows: list[int], fits: int):
    requests = [request(*range(1, count + 1)) for count in rows]
    session = Session(fits)
    ran = runner.run(session, requests)
    for given_, answer in zip(requests, ran.answers, strict=True):
        assert not isinstance(answer, EngineError)
        assert answer["y"].tolist() == (2 * given_["x"]).tolist()
    if sum(rows) > fits:
        assert ran.too_large is not None
        assert ran.too_large > fits
    else:
        assert ran.too_large is None


def test_a_single_row_that_does_not_fit_fails_alone():
    ran = runner.run(Session(fits=0), [request(1), request(2)])
    assert all(isinstance(answer, OutOfMemory) for answer in ran.answers)


def test_a_lost_device_is_not_tried_again():
    session = Session()
    with pytest.raises(DeviceLost):
        runner.run(session, [request(1), request(-2)])
    assert session.batches == [2]
