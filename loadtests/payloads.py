"""What users send: the held-out rows that a bundle keeps, turned back into pictures, series and texts.

It must not know Locust or the service's address. Real rows matter: lengths differ as they do in life, so batches are padded as in life.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from models import bundle, tasks
from models.errors import BundleError
from models.registry import Registry
from service import examples

Arrays = dict[str, np.ndarray]


class Payload(NamedTuple):
    """One request's body."""

    content_type: str
    body: bytes


class Workload(NamedTuple):
    """What is sent to one model, and which labels its answers may have."""

    payloads: list[Payload]
    labels: frozenset[str]


def workload(repository: Path, name: str) -> Workload:
    """From the newest version of `name`. Raises BundleError when there is none, or nothing in it that can be sent."""
    _, directory = Registry([repository]).resolve(name)
    manifest = bundle.read(directory)
    inputs, _ = bundle.read_samples(directory)
    payloads = list(bodies(manifest.task, inputs, directory))
    if not payloads:
        raise BundleError(f"no sample in {directory} can be sent to its model")
    return Workload(payloads, frozenset(manifest.labels))


def bodies(task: tasks.Task, inputs: Arrays, directory: Path) -> Iterator[Payload]:
    """One request for each row."""
    match task:
        case tasks.ImageTask():
            for row in inputs[task.input]:
                yield Payload("image/png", examples.png(row))
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
    return Payload("application/json", json.dumps(value).encode())
