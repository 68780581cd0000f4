"""One row as a request in either form, and an answer read back: the whole body JSON, or JSON in front of raw tensors. Pure.

row -> Sent(body, bytes of its JSON part) -> load.write
"""

import json
from typing import Literal, NamedTuple

import numpy as np

from loadtests.compare import rows
from loadtests.compare.errors import NotMeasured

Form = Literal["binary", "JSON"]
FORMS: tuple[Form, ...] = ("binary", "JSON")
HEADER = "Inference-Header-Content-Length"


class Sent(NamedTuple):
    """A request's body; `head` is how many bytes of it are JSON, 0 where all of it is."""

    body: bytes
    head: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What must be said with it."""
        if not self.head:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER: str(self.head)}


def sent(row: rows.Row, form: Form) -> Sent:
    """The request for one row, asking for the probabilities alone, in the form in which it is sent."""
    if form == "JSON":
        return Sent(rows.compact(rows.request(row)))
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": rows.TYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in row.items()
    ]
    outputs = [{"name": rows.OUTPUT, "parameters": {"binary_data": True}}]
    head = rows.compact({"inputs": inputs, "outputs": outputs})
    return Sent(b"".join([head, *(array.tobytes() for array in row.values())]), len(head))


def probabilities(body: bytes, head: int | None) -> list[float]:
    """The values of the only output in an answer of either form; NotMeasured where it is none."""
    try:
        (output,) = json.loads(body[:head])["outputs"]
        if head is None:
            return list(output["data"])
        values: list[float] = np.frombuffer(body[head:], np.float32).tolist()
    except (ValueError, KeyError, TypeError) as error:
        raise NotMeasured(f"an answer holds no probabilities: {body[:80]!r}") from error
    return values
