"""What users send: the held-out rows that a bundle keeps, as people send them (/v1) and as programs do (/v2).

It must not know Locust or the service's address. Real rows matter: lengths differ as they do in life, so batches are padded as in life.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tritonclient.http as triton  # type: ignore[import-untyped]
from tokenizers import Tokenizer
from tritonclient.utils import np_to_triton_dtype  # type: ignore[import-untyped]

from models import bundle, tasks
from models.errors import BundleError
from models.registry import Registry
from service import examples

Api = Literal["v1", "v2"]
Arrays = dict[str, np.ndarray]

HEADER_LENGTH = "Inference-Header-Content-Length"


class Payload(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes


class Workload(NamedTuple):
    """What is sent to one model, and what its answers can be: one of `labels`, or a row of `output` with as many shares."""

    payloads: list[Payload]
    labels: frozenset[str]
    output: str


def workload(repository: Path, name: str, api: Api = "v1") -> Workload:
    """From the newest version of `name`. Raises BundleError when there is none, or nothing in it that can be sent."""
    _, directory = Registry([repository]).resolve(name)
    manifest = bundle.read(directory)
    inputs, _ = bundle.read_samples(directory)
    output = manifest.output("probabilities")
    if output is None:
        raise BundleError(f"{directory} gives no probabilities, so no answer could be checked")
    if api == "v1":
        payloads = list(bodies(manifest.task, inputs, directory))
    else:
        payloads = [to_tensors(row, output.name) for row in rows(manifest.task, inputs)]
    if not payloads:
        raise BundleError(f"no sample in {directory} can be sent to its model")
    return Workload(payloads, frozenset(manifest.labels), output.name)


def bodies(task: tasks.Task, inputs: Arrays, directory: Path) -> Iterator[Payload]:
    """A picture, a series or a text for each row."""
    match task:
        case tasks.ImageTask():
            for row in inputs[task.input]:
                yield Payload({"Content-Type": "image/png"}, examples.png(row))
        case tasks.SeriesTask():
            for row, length in zip(inputs[task.input], inputs[task.lengths], strict=True):
                yield to_json({"series": row[: int(length)].tolist()})
        case tasks.TextTask():
            for text in texts(task, inputs, Tokenizer.from_file(str(directory / task.tokenizer))):
                yield to_json({"text": text})


def texts(task: tasks.TextTask, inputs: Arrays, tokenizer: Tokenizer) -> Iterator[str]:
    """The texts of the token rows. One that no longer fits the model when it is read again is left out."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for ids, mask in zip(inputs[task.ids], inputs[task.mask], strict=True):
        text = tokenizer.decode(ids[mask == 1].tolist())
        if text.strip() and len(tokenizer.encode(text).ids) <= task.maximum:
            yield text


def to_json(value: object) -> Payload:
    """A JSON body."""
    return Payload({"Content-Type": "application/json"}, json.dumps(value).encode())


def rows(task: tasks.Task, inputs: Arrays) -> Iterator[Arrays]:
    """Each row as a batch of one, without padding: whoever sends tensors leaves that to the service."""
    count = len(next(iter(inputs.values())))
    for index in range(count):
        row = {name: array[index : index + 1] for name, array in inputs.items()}
        match task:
            case tasks.SeriesTask():
                row[task.input] = row[task.input][:, : int(row[task.lengths][0])]
            case tasks.TextTask():
                real = row[task.mask][0] == 1
                row = {name: array[:, real] for name, array in row.items()}
                if not real.any():
                    continue
        yield row


def to_tensors(row: Arrays, output: str) -> Payload:
    """An infer body with binary tensors, put together by Triton's own client."""
    inputs = []
    for name, array in row.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(np.ascontiguousarray(array)))
    body, length = triton.InferenceServerClient.generate_request_body(
        inputs, outputs=[triton.InferRequestedOutput(output)]
    )
    headers = {"Content-Type": "application/octet-stream"}
    return Payload(headers if length is None else headers | {HEADER_LENGTH: str(length)}, body)
