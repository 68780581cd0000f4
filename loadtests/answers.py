"""What an answer is: right, wrong, or a refusal that says when to come back. It must not know Locust, see recording.py."""

import math
from typing import Any

import msgspec
import tritonclient.http as triton  # type: ignore[import-untyped]

from loadtests.payloads import Workload


class Ranked(msgspec.Struct):
    """The likeliest label of one item."""

    label: str


class Timings(msgspec.Struct):
    """Milliseconds that the server spent."""

    queue: float
    compute: float


class Answer(msgspec.Struct):
    """What is read of an answer of /v1."""

    predictions: list[Ranked]
    timings_ms: Timings


def retry_after(response: Any) -> float | None:
    """For how many seconds a refused user is asked to stay away; None when this is no such refusal."""
    if response.status_code != 503:
        return None
    value = str(response.headers.get("retry-after", ""))
    return float(value) if value.isascii() and value.isdigit() else None


def refusal(response: Any) -> str | None:
    """The status and what it says, unless the status is 200."""
    if response.status_code == 200:
        return None
    return f"{response.status_code}: {(response.text or response.error or 'no answer')!s:.200}"


def read_prediction(content: bytes, workload: Workload) -> Timings | str:
    """The timings in a right answer of /v1 to one item, or what is wrong with it."""
    try:
        answer = msgspec.json.decode(content, type=Answer)
    except msgspec.DecodeError as error:
        return f"the answer is no prediction: {error}"
    if len(answer.predictions) != 1:
        return f"{len(answer.predictions)} predictions for one item"
    label = answer.predictions[0].label
    return answer.timings_ms if label in workload.labels else f"'{label}' is no label of the model"


def tensor_fault(content: bytes, header_length: str | None, workload: Workload) -> str | None:
    """What is wrong with an answer of /v2 to one row; None when it is right."""
    try:
        result = triton.InferenceServerClient.parse_response_body(
            content, header_length=int(header_length) if header_length else None
        )
        shares = result.as_numpy(workload.output)
    except Exception as error:  # noqa: BLE001 - Triton's client has no one error for a body that is none
        return f"the answer is no infer response: {error!r:.200}"
    expected = (1, len(workload.labels))
    if shares is None or shares.shape != expected:
        found = "is missing" if shares is None else f"has shape {shares.shape}"
        return f"'{workload.output}' {found}, expected {expected}"
    total = float(shares.sum())
    return None if math.isclose(total, 1, abs_tol=0.01) else f"the probabilities add up to {total}"
