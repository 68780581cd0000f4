"""What a version has to answer before it may take another's place: kept rows over its socket. It must not know who asks why.

Its own kept rows, alone and together, must be answered as they were when it was made; those of the champion must mostly get the label
that the champion gives them.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models import bundle
from models.bundle import Manifest
from models.errors import EvergreenError
from service.deployments import Deployment
from service.engine.client import EngineClient
from service.errors import Refused

AGREEMENT = 0.6
"""Share of labels that must agree. Two good models of 85 % accuracy agree on four rows of five; of the 16 kept rows 10 are then all but
certain, while a version with exchanged labels or untrained weights stays below."""
SECONDS = 10.0
"""An answer to kept rows that takes longer is none."""


class Kept(NamedTuple):
    """A version's kept rows: what it declares, tensors [rows, ...], and the probabilities it gave them, if it gives any."""

    manifest: Manifest
    tensors: dict[str, np.ndarray]
    probabilities: np.ndarray | None


async def admit(candidate: Deployment, champion: Deployment | None) -> str:
    """What was compared, in a sentence. Refused says what speaks against `candidate`.

    An engine that has shown beside this champion what it makes of all kept rows, and is the same process still, is asked for one.
    """
    own = await asyncio.to_thread(kept, candidate.directory)
    beside = champion.directory if champion is not None else None
    if (
        own is not None
        and candidate.compared
        and candidate.compared[:2] == (candidate.socket, beside)
    ):
        await ask(candidate, first_row(own), asked(own.manifest))
        return candidate.compared[2]
    found = await compared(candidate, champion, own)
    candidate.compared = (candidate.socket, beside, found)
    return found


async def compared(candidate: Deployment, champion: Deployment | None, own: Kept | None) -> str:
    """All kept rows of both versions."""
    theirs = await asyncio.to_thread(kept, champion.directory) if champion is not None else None
    name = f"{candidate.model}/{candidate.version}"
    if own is None:
        return f"{name} has no kept rows to ask it about"
    await answers(candidate, own)
    if champion is None or theirs is None:
        return f"{name} answers its kept rows; there is no champion to compare it with"
    if (why := incomparable(own.manifest, theirs.manifest)) is not None:
        return f"{name} answers its kept rows; it is not compared with version {champion.version}: {why}"
    return await agrees(candidate, champion, own, theirs)


async def answers(candidate: Deployment, own: Kept) -> None:
    """Ask for one kept row, as a first caller would, then for all of them. Refused when one is not answered, or with another label."""
    output = asked(own.manifest)
    await ask(candidate, first_row(own), output)
    answer = await ask(candidate, own.tensors, output)
    if own.probabilities is not None:
        share = agreement(answer, own.probabilities, own.manifest.labels, own.manifest.labels)
        if share < AGREEMENT:
            raise Refused(
                f"{candidate.model}/{candidate.version} gives {share:.0%} of its own kept rows the label that they had, "
                f"{AGREEMENT:.0%} are needed"
            )


def first_row(own: Kept) -> dict[str, np.ndarray]:
    """One kept row."""
    return {name: array[:1] for name, array in own.tensors.items()}


async def agrees(candidate: Deployment, champion: Deployment, own: Kept, theirs: Kept) -> str:
    """Compare the labels of the champion's kept rows. Refused when too few agree."""
    assert theirs.probabilities is not None  # noqa: S101 - incomparable has looked
    answer = await ask(candidate, theirs.tensors, asked(own.manifest))
    share = agreement(answer, theirs.probabilities, own.manifest.labels, theirs.manifest.labels)
    rows, name = len(answer), f"{candidate.model}/{candidate.version}"
    if share < AGREEMENT:
        raise Refused(
            f"{name} gives {share:.0%} of {rows} kept rows the label that version {champion.version} gives them, "
            f"{AGREEMENT:.0%} are needed; 'force' promotes it nevertheless"
        )
    return f"{name} agrees with version {champion.version} on {share:.0%} of {rows} kept rows"


async def ask(candidate: Deployment, tensors: dict[str, np.ndarray], output: str) -> np.ndarray:
    """One output for kept rows. Refused when there is none, or it holds what is no number."""
    name = f"{candidate.model}/{candidate.version}"
    if candidate.socket is None:
        raise Refused(f"{name} has no engine")
    try:
        client = await EngineClient.connect(candidate.socket, SECONDS)
        try:
            answer = await client.infer(tensors, [output], time.monotonic() + SECONDS)
        finally:
            client.close()
    except (EvergreenError, OSError) as error:
        raise Refused(f"{name} does not answer kept rows: {error}") from error
    found = answer.outputs[output]
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise Refused(f"{name} answers kept rows with '{output}' that holds NaN or infinity")
    return found


def kept(directory: Path) -> Kept | None:
    """The kept rows of a version; None where it came without, or they cannot be read any more."""
    try:
        manifest = bundle.read(directory)
        tensors, expected = bundle.read_samples(directory)
    except (EvergreenError, OSError):
        return None
    output = manifest.output("probabilities")
    return Kept(manifest, tensors, None if output is None else expected.get(output.name))


def asked(manifest: Manifest) -> str:
    """The output that is compared."""
    return (manifest.output("probabilities") or manifest.outputs[0]).name


def incomparable(own: Manifest, other: Manifest) -> str | None:
    """Why answers of two versions to the same rows say nothing, or None."""
    if other.output("probabilities") is None or own.output("probabilities") is None:
        return "they give no probabilities"
    if prepared(own) != prepared(other):
        return "they take different tensors, or make them in different ways"
    if not set(own.labels) & set(other.labels):
        return "they have no label in common"
    return None


def prepared(manifest: Manifest) -> object:
    """What a row of one version has to have in common with a row of another, to mean the same."""
    tensors = {
        one.name: (one.dtype, [None if isinstance(axis, str) else axis for axis in one.shape[1:]])
        for one in manifest.inputs
    }
    tokenizer = getattr(manifest.task, "tokenizer", None)
    return tensors, manifest.task, manifest.files.get(tokenizer) if tokenizer else None


def agreement(
    ours: np.ndarray, theirs: np.ndarray, labels: Sequence[str], other_labels: Sequence[str]
) -> float:
    """The share of rows whose most probable label is the same. [rows, labels] each."""
    if len(ours) != len(theirs):
        return 0.0
    pairs = zip(ours.argmax(axis=1), theirs.argmax(axis=1), strict=True)
    return float(np.mean([labels[one] == other_labels[other] for one, other in pairs]))
