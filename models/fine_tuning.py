"""Retrain a version as a job's directory asks (models.job): from its weights, with the traffic that it met. It reads no ledger and publishes nothing.

    request -> parent, traffic -> fit -> bundle/ -> held_out.npz -> result.json

A run that is told to end leaves no result, and one that is started again begins anew. What cannot be done is a result, too.
"""
# ruff: noqa: T201 - a part of a program: its log is what it prints

import hashlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
import numpy as np
import torch

from models import (
    bundle,
    bundling,
    distributed,
    evaluation,
    job,
    parent,
    profile,
    profiling,
    traffic,
    training,
)
from models.errors import DataError, EvergreenError
from models.mixing import mixed, profiled
from models.recipes import Hyper, Recipe, Splits, recipe

HELD_OUT_ROWS = 5_000
"""So many of the recipe's held-out rows are left for both versions' engines to answer."""
STOPPED = 128 + signal.SIGTERM


class Late(BaseException):
    """The deadline has passed. No Exception: whoever catches those must not catch this one."""


def run(directory: Path) -> int:
    """Do the job, unless it is done. Returns the exit status."""
    if (before := job.read_result(directory)) is not None:
        print(f"{directory} has its result already")
        return 0 if before.ok else 1
    began = time.monotonic()
    try:
        with told_to_end():
            found = retrained(directory, began)
    except Late:
        found = job.Result(
            False, since(began), error="the deadline passed before the run had ended"
        )
    except EvergreenError as error:
        found = job.Result(False, since(began), error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever went wrong, whoever asked has to hear of it
        traceback.print_exc()
        found = job.Result(False, since(began), error=f"{type(error).__name__}: {error}")
    if distributed.leads():
        if found.error:
            print(found.error, file=sys.stderr)
        job.write(directory, job.RESULT, found)
    return 0 if found.ok else 1


def since(began: float) -> float:
    """Seconds."""
    return round(time.monotonic() - began, 1)


@contextmanager
def told_to_end() -> Iterator[None]:
    """SIGTERM ends the program at once, after every `finally`; SIGALRM says that the deadline has passed."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(STOPPED) if number == signal.SIGTERM else Late

    before = [signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGALRM)]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGTERM, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def retrained(directory: Path, began: float) -> job.Result:
    """The run, from the request to what it came to."""
    request = job.read_request(directory)
    spare_threads()
    if request.deadline is not None:
        signal.setitimer(signal.ITIMER_REAL, max(0.01, request.deadline - time.time()), 1)
    tell = job.Reporter(directory) if distributed.leads() else job.nothing
    tell("data", 0, 1)
    asked = understood(directory, request)
    splits = data(directory, asked)
    tell("data", 1, 1, text=f"{len(splits.train):,} rows an epoch, {asked.start}")
    print(f"{request.model} version {request.version}, job {request.id}: {asked.start}")

    with distributed.joined():
        fit = training.fit(
            lambda: parent.network_of(asked.recipe, asked.hyper, asked.weights),
            splits,
            asked.hyper,
            request.seed,
            progress=partial(tell, "fit"),
        )
    if not distributed.leads():
        return job.Result(True, since(began))
    print(evaluation.verdict(fit.history, fit.best))
    manifest = bundled(directory, asked, splits, fit, tell)
    rows = splits.tests["accuracy"]
    held_out = traffic.encoded(traffic.some(rows, asked.recipe, HELD_OUT_ROWS))
    (directory / job.HELD_OUT).write_bytes(held_out)
    regression = None
    if asked.parent is not None:
        regression = parent.compared(asked.parent, directory / job.BUNDLE, asked.recipe, rows)
        print(
            f"held-out rows: {regression.champion:.2%} before, {regression.challenger:.2%} now, n {regression.n:,}"
        )
    return job.Result(
        ok=True,
        seconds=since(began),
        manifest_sha256=bundle.sha256(directory / job.BUNDLE / bundle.MANIFEST),
        metrics=manifest.metrics,
        regression=regression,
        held_out=hashlib.sha256(held_out).hexdigest(),
    )


def spare_threads() -> None:
    """Half of the cores, unless OMP_NUM_THREADS says otherwise: beside a service that is busy, threads that wait for each other hardly move."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))


class Asked(msgspec.Struct):
    """A request, with what it names."""

    request: job.Request
    recipe: Recipe
    hyper: Hyper
    parent: parent.Parent | None

    @property
    def weights(self) -> Path | None:
        """What the network begins with; None for the recipe's own beginning."""
        return self.parent.weights if self.parent and self.request.traffic else None

    @property
    def base_share(self) -> float | None:
        """How much of every batch are the recipe's own rows; None, as many as there are, for a network that begins anew."""
        if self.weights is None:
            return None
        told = self.request.base_share
        return self.recipe.base_share if told is None else told

    @property
    def start(self) -> str:
        """The same in words, for the log."""
        if self.weights is not None:
            return f"from the weights of version {self.request.parent}"
        missing = " (the parent's weights were not shipped)" if self.parent else ""
        return f"from the recipe's own beginning{missing}"


def understood(directory: Path, request: job.Request) -> Asked:
    """The request's recipe, parent and hyper-parameters; its paths as seen from the job's directory."""
    told = request.recipe
    found = recipe(str(directory / told) if told.endswith(".py") else told)
    if found.name != request.model:
        raise DataError(f"the recipe makes '{found.name}', the job asks for '{request.model}'")
    before = parent.read(directory / request.weights, found) if request.weights else None
    hyper = parent.hyper_of(found, before, request.parameters)
    return Asked(request, found, hyper, before)


def data(directory: Path, asked: Asked) -> Splits:
    """What is learned from: the recipe's rows alone, or with the traffic among them."""
    request = asked.request
    base = asked.recipe.splits(asked.hyper, request.seed)
    if request.traffic is None:
        return base
    rows = traffic.read(directory / job.TRAFFIC, request.traffic.sha256)
    return mixed(asked.recipe, asked.hyper, base, rows, asked.base_share, request.seed)


def bundled(
    directory: Path, asked: Asked, splits: Splits, fit: training.Fitted, tell: job.Tell
) -> bundle.Manifest:
    """The bundle in its place in the job's directory, whole."""
    target = directory / job.BUNDLE
    for left in (target, *directory.glob(f".{job.BUNDLE}.*")):
        shutil.rmtree(left, ignore_errors=True)
    workshop = directory / f".{job.BUNDLE}.{os.getpid()}"
    workshop.mkdir()
    made = bundling.Made(
        recipe=asked.recipe,
        version=asked.request.version,
        splits=splits,
        fit=fit,
        record=lineage(asked, bundling.record(splits, asked.hyper, fit, asked.request.seed)),
    )

    def reference(manifest: bundle.Manifest, folder: Path) -> profile.Profile:
        return profiling.build(manifest, folder, rows_of_profile(directory, asked, splits))

    try:
        manifest = bundling.build(made, workshop, reference, tell)
        workshop.rename(target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return manifest


def lineage(asked: Asked, record: bundle.Training) -> bundle.Training:
    """The record with where the version comes from, and why it was made."""
    request = asked.request
    return msgspec.structs.replace(
        record,
        parent=request.parent,
        trigger=request.trigger,
        reason=request.reason,
        evidence=request.evidence,
        traffic=request.traffic,
        base_share=asked.base_share,
    )


def rows_of_profile(directory: Path, asked: Asked, splits: Splits) -> profiling.Rows:
    """Recent traffic where there is enough of it, else the recipe's held-out rows. No folds: those take minutes."""
    told = asked.request.reference
    reference = traffic.Traffic([], np.empty(0, dtype=np.int64))
    if told is not None:
        reference = traffic.read(directory / job.REFERENCE, told.sha256)
    found = profiled(asked.recipe, splits, reference)
    return profiling.held_out(asked.recipe, splits) if found is None else found
