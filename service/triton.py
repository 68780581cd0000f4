"""A Triton model's configuration laid under the settings of a model: what the operator set wins. It must not know how a version is run."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from models import triton
from models.bundle import BARE
from models.errors import BundleError, InputError
from models.modelconfig import ModelConfig, VersionPolicy
from models.triton import TritonConfig
from service.settings import ModelSettings

log = logging.getLogger(__name__)


def beneath(own: ModelSettings, model: Path, cores: int) -> ModelSettings:
    """`own` with what the config.pbtxt in the directory `model`, if there is one, says of what `own` leaves open.

    What cannot be kept is logged. BundleError where the file is malformed or for another backend.
    """
    path = model / triton.FILE
    if not path.is_file():
        return own
    config = triton.read(path)
    found = {key: value for key, value in overrides(config).items() if getattr(own, key) is None}
    kept = fitting(found, own, cores)
    more = [
        f"{path}: {key} {found[key]} becomes {kept[key]}: this container has {cores} cores"
        for key in kept
        if kept[key] != found[key]
    ]
    for sentence in (*config.warnings, *(f"{path}: {one}" for one in unapplied(config)), *more):
        log.warning("%s", sentence)
    return msgspec.structs.replace(own, **kept)


def above(own: ModelSettings, told: Mapping[str, Any], cores: int) -> ModelSettings:
    """`own` with what a caller's configuration, in Triton's JSON, says instead. InputError where it cannot be one.

    What it says that is not used is logged.
    """
    named = told.get("parameters")
    if isinstance(named, Mapping):  # a map in JSON, entries in the message
        told = {**told, "parameters": [{"key": k, "value": v} for k, v in named.items()]}
    try:
        config = msgspec.convert(told, ModelConfig, strict=False)
        understood = triton.understood(Path("config"), config, [])
    except (msgspec.ValidationError, BundleError) as error:
        raise InputError(f"'config': {error}") from error
    found = overrides(understood)
    if "max_batch_size" not in told:
        found.pop("max_batch_rows", None)
    if unused := sorted(told.keys() - set(ModelConfig.__struct_fields__)):
        log.warning("'config': %s is not used", ", ".join(unused))
    return msgspec.structs.replace(own, **fitting(found, ModelSettings(), cores))


def overrides(config: TritonConfig) -> dict[str, Any]:
    """The settings of a model that `config` speaks of. A model that is not to be batched runs each request alone."""
    found = {
        "max_batch_rows": config.max_batch_rows or 1,
        "max_delay_ms": config.max_delay_ms,
        "max_queue_rows": config.max_queue_rows,
        "threads": config.threads,
        "instances": config.instances,
        "provider": config.provider,
    }
    return {name: value for name, value in found.items() if value is not None}


def fitting(found: dict[str, Any], own: ModelSettings, cores: int) -> dict[str, Any]:
    """`found` with no more instances and threads than `cores` can run.

    The file may come from a larger machine. An operator who asks for too much is refused, by whoever reads the settings.
    """
    kept = dict(found)
    if "threads" in kept:
        kept["threads"] = max(1, min(kept["threads"], cores // (own.instances or 1)))
    if "instances" in kept:
        threads = own.threads or kept.get("threads", 1)
        kept["instances"] = max(1, min(kept["instances"], cores // threads))
    return kept


def unapplied(config: TritonConfig) -> Iterator[str]:
    """What is understood, and not done yet."""
    if config.file != BARE:
        yield f"default_model_filename '{config.file}' is not used, a version's file is {BARE}"
    if config.versions != VersionPolicy():
        yield "version_policy is not used, the registry's champion answers"
    if config.warmup:
        yield f"model_warmup is not used, generated rows warm the model instead of {len(config.warmup)} samples"
