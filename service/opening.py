"""A version as a front end needs it, read from its files or from what its engine found out. It must not know who is routed to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from models import bundle, profile, tasks
from models.errors import EvergreenError
from service.monitoring.watch import Watch, watch
from service.signature import Signature


class Opened(NamedTuple):
    """A version as a front end needs it: what it declares, its pre-processing, and what its tensors must be."""

    manifest: bundle.Manifest
    processor: tasks.Processor
    signature: Signature
    watch: Watch | None
    """How to observe its requests; None where they are not rows."""
    variant: str | None
    """Whose answers are observed; None until an engine has told what it runs."""


def open_version(directory: Path, report: Mapping[str, Any], known: Opened | None) -> Opened:
    """The version in `directory`, of which an engine says `report`; `known`, where that is nothing new. Raises BundleError."""
    variant, told = report.get("variant"), report.get("manifest")
    found = None if told is None else bundle.from_builtins(told)
    if known is None or (found is not None and found != known.manifest):
        manifest = bundle.read(directory) if found is None else found
        processor = tasks.processor(manifest.task, directory)
        signature = Signature(manifest, processor)
        return Opened(
            manifest, processor, signature, watched(manifest, directory, variant), variant
        )
    if variant in (None, known.variant):
        return known
    return known._replace(watch=watched(known.manifest, directory, variant), variant=variant)


def watched(manifest: bundle.Manifest, directory: Path, variant: str | None) -> Watch | None:
    """How to observe a version. A profile that cannot be used must not keep it from answering; control says what is wrong with it."""
    try:
        return watch(manifest, directory, profile.read(directory, variant))
    except EvergreenError:
        return watch(manifest, directory, None)
