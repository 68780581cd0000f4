"""Only a right answer is taken for one."""

import json
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from loadtests.answers import Timings, read_prediction, refusal, retry_after, tensor_fault
from loadtests.payloads import Workload

WORKLOAD = Workload([], frozenset({"light", "dark"}), "probabilities")


def response(status: int, text: str = "", **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, text=text, error=None, headers=headers)


def prediction(*labels: str, **timings: float) -> bytes:
    given = {"predictions": [{"label": label} for label in labels], "timings_ms": timings}
    return msgspec.json.encode(given)


def infer(output: str, shares: list[float], *, binary: bool) -> tuple[bytes, str | None]:
    """An answer as the protocol has it: JSON alone, or with the values behind it."""
    described: dict[str, object] = {"name": output, "datatype": "FP32", "shape": [1, len(shares)]}
    values = np.array(shares, dtype=np.float32).tobytes()
    described |= {"parameters": {"binary_data_size": len(values)}} if binary else {"data": shares}
    head = json.dumps({"model_name": "toy", "outputs": [described]}).encode()
    return (head + values, str(len(head))) if binary else (head, None)


def test_refusal_says_when_to_come_back() -> None:
    assert retry_after(response(503, **{"retry-after": "7"})) == 7
    assert retry_after(response(503, **{"retry-after": "0"})) == 0


@pytest.mark.parametrize(
    "other",
    [
        response(503),
        response(503, **{"retry-after": "Sat, 21 Nov 2026 07:00:00 GMT"}),
        response(500, **{"retry-after": "7"}),
        response(200, **{"retry-after": "7"}),
    ],
)
def test_other_answers_are_no_such_refusal(other: SimpleNamespace) -> None:
    assert retry_after(other) is None


def test_other_status_is_named_with_what_it_says() -> None:
    assert refusal(response(200)) is None
    assert refusal(response(500, "a defect")) == "500: a defect"
    lost = SimpleNamespace(status_code=0, text=None, error=ConnectionRefusedError("nobody there"))
    assert refusal(lost) == "0: nobody there"


def test_right_prediction_gives_its_timings() -> None:
    read = read_prediction(prediction("dark", queue=1, compute=2, total=5), WORKLOAD)
    assert read == Timings(1, 2)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (prediction("dusk", queue=1, compute=2), "'dusk' is no label of the model"),
        (prediction("dark", "dark", queue=1, compute=2), "2 predictions for one item"),
        (prediction(queue=1, compute=2), "0 predictions for one item"),
        (prediction("dark", queue=1), "the answer is no prediction: .*`compute`"),
        (b"<html>", "the answer is no prediction: .*malformed"),
    ],
)
def test_wrong_prediction_is_named(content: bytes, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(read_prediction(content, WORKLOAD))


@pytest.mark.parametrize("binary", [True, False])
def test_right_tensors_have_no_fault(binary: bool) -> None:
    assert tensor_fault(*infer("probabilities", [0.3, 0.7], binary=binary), WORKLOAD) is None


@pytest.mark.parametrize(
    ("output", "shares", "fault"),
    [
        ("probabilities", [0.3, 0.3, 0.4], r"'probabilities' has shape (1, 3), expected (1, 2)"),
        ("logits", [0.3, 0.7], "'probabilities' is missing, expected (1, 2)"),
        ("probabilities", [0.3, 0.3], "the probabilities add up to 0.6"),
        ("probabilities", [float("nan"), 1], "the probabilities add up to nan"),
    ],
)
def test_wrong_tensors_are_named(output: str, shares: list[float], fault: str) -> None:
    found = tensor_fault(*infer(output, shares, binary=True), WORKLOAD)
    assert found is not None
    assert found.startswith(fault)


@pytest.mark.parametrize("length", [None, "7", "many"])
def test_body_that_is_no_tensors_is_named(length: str | None) -> None:
    fault = tensor_fault(json.dumps("sorry").encode(), length, WORKLOAD)
    assert fault is not None
    assert fault.startswith("the answer is no infer response")
