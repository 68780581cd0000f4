"""Traffic that changes part-way: the real test sets, then the same rows shifted, or rows from elsewhere. It must not know Locust.

    "dim:0.4@50%" -> Shift -> (workload before, workload after)

    noise:0.2   pictures and series get noise, texts as large a share of typing errors      dim:0.4   pictures have 0.4 of their light
    people      series are of people whom the model never saw        tweets, amazon, nyt   texts come from elsewhere

What a shift is not about goes on as before.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loadtests.compare.rows import SOURCES
from loadtests.drift.suites import texts
from loadtests.payloads import Api, Payload, Workload, to_json, to_tensors
from models import bundle, tasks
from models.datasets import reviews, watch
from models.errors import BundleError, InputError
from models.registry import Registry
from service import examples

AMOUNTS = {"noise": 0.2, "dim": 0.4}
"""How much it is when nobody says."""
KINDS = (*AMOUNTS, "people", *reviews.DOMAINS)
MOST = 1000
"""Items of one model: enough that windows of traffic are not made of the same few rows."""
SEED = 5


class Shift(NamedTuple):
    """What happens to the traffic, how much of it, and after which share of the run."""

    kind: str
    amount: float = 0.0
    at: float = 0.5

    def __str__(self) -> str:
        amount = f":{self.amount:g}" if self.kind in AMOUNTS else ""
        return f"{self.kind}{amount}@{100 * self.at:g}%"


def parse(text: str) -> Shift:
    """KIND[:AMOUNT][@PERCENT%]. An argparse type: what is wrong is said in a sentence."""
    rest, _, when = text.partition("@")
    kind, _, amount = rest.partition(":")
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"no shift '{kind}'; known: {', '.join(KINDS)}")
    if amount and kind not in AMOUNTS:
        raise argparse.ArgumentTypeError(f"'{kind}' has no amount, '{text}' gives {amount}")
    share = number(when.removesuffix("%"), text) / 100 if when else 0.5
    size = number(amount, text) if amount else AMOUNTS.get(kind, 0.0)
    if not 0 <= share <= 1 or not 0 <= size <= 1:
        raise argparse.ArgumentTypeError(
            f"'{text}': the amount lies in 0..1 and the time in 0..100%, not {size:g} and {100 * share:g}%"
        )
    return Shift(kind, size, share)


def number(text: str, whole: str) -> float:
    """A number in `whole`."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{whole}': '{text}' is no number") from None


def workloads(repository: Path, name: str, api: Api, shift: Shift) -> tuple[Workload, Workload]:
    """What is sent before and after. BundleError or DataError where there is no model, or no test set."""
    if name not in SOURCES:
        raise BundleError(f"there is no test set for {name}")
    _, directory = Registry([repository]).resolve(name)
    manifest = bundle.read(directory)
    output = manifest.output("probabilities")
    if output is None:
        raise BundleError(f"{directory} gives no probabilities, so no answer could be checked")
    rng = np.random.default_rng(SEED)
    before = drawn(SOURCES[name]()[0], rng)
    after = shifted(manifest.task, before, shift, rng)
    processor = tasks.processor(manifest.task, directory)
    labels = frozenset(manifest.labels)
    first, second = (list(payloads(processor, part, api, output.name)) for part in (before, after))
    return Workload(first, labels, output.name), Workload(second, labels, output.name)


def drawn(items: list[Any], rng: np.random.Generator) -> list[Any]:
    """At most MOST of them."""
    return [items[i] for i in rng.permutation(len(items))[:MOST]]


def shifted(
    task: tasks.Task, items: list[Any], shift: Shift, rng: np.random.Generator
) -> list[Any]:
    """The items after it; as they are where it is about something else."""
    match task, shift.kind:
        case tasks.ImageTask(), "noise":
            spread = 255 * shift.amount
            return [pixels(one + rng.normal(0, spread, one.shape)) for one in items]
        case tasks.ImageTask(), "dim":
            return [pixels(shift.amount * one) for one in items]
        case tasks.SeriesTask(), "noise":
            spread = shift.amount * np.concatenate(items).std(axis=0)
            return [
                (one + spread * rng.standard_normal(one.shape)).astype(np.float32) for one in items
            ]
        case tasks.SeriesTask(), "people":
            return drawn(watch.windows(watch.parts()[2]).series, rng)
        case tasks.TextTask(), "noise":
            change = texts.typos(shift.amount)
            return [change(one, items, rng) for one in items]
        case tasks.TextTask(), "tweets" | "amazon" | "nyt":
            return drawn(reviews.snippets(shift.kind).texts, rng)
    return items


def pixels(image: np.ndarray) -> np.ndarray:
    """What a camera would send."""
    found: np.ndarray = np.round(image).clip(0, 255).astype(np.uint8)
    return found


def payloads(
    processor: tasks.Processor, items: list[Any], api: Api, output: str
) -> Iterator[Payload]:
    """Each item as one request. What the model would refuse is left out."""
    for item in items:
        try:
            row = processor.row(item)
        except InputError:
            continue
        if api == "v2":
            yield to_tensors(tasks.stack([row]), output)
        elif isinstance(item, str):
            yield to_json({"text": item})
        elif item.dtype == np.uint8:
            picture = item[None] / np.float32(255)
            yield Payload({"Content-Type": "image/png"}, examples.png(picture))
        else:
            yield to_json({"series": item.tolist()})
