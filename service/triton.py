"""A Triton model's configuration laid under the settings of a model: what the operator set wins. It must not know how a version is run."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from models import pbtxt, triton
from models.bundle import NAME
from models.errors import BundleError, InputError
from models.modelconfig import ModelConfig
from models.pbtxt import Converted, Unused
from models.triton import TritonConfig
from service.settings import ModelSettings

log = logging.getLogger(__name__)

SAME = {
    "input": "inputs",
    "output": "outputs",
    "max_batch_size": "max_batch_rows",
    "default_model_filename": "file",
    "model_warmup": "warmup",
}
"""What of a configuration is the engine's, by its names in Triton's words and in ours."""


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
    for sentence in (*config.warnings, *more):
        log.warning("%s", sentence)
    return msgspec.structs.replace(own, **kept)


def above(own: ModelSettings, told: Mapping[str, Any], cores: int) -> ModelSettings:
    """`own` with what a caller's configuration, in Triton's JSON, says instead. InputError where it cannot be one.

    What it says that is not used is logged.
    """
    config = sent(told)
    for sentence in config.warnings:
        log.warning("%s", sentence)
    return msgspec.structs.replace(own, **fitting(overrides(config), ModelSettings(), cores))


def sent(told: Mapping[str, Any]) -> TritonConfig:
    """A caller's configuration. InputError where it cannot be one."""
    named = told.get("parameters")
    if isinstance(named, Mapping):  # a map in JSON, entries in the message
        told = {**told, "parameters": [{"key": k, "value": v} for k, v in named.items()]}
    unused = [Unused(name, 0) for name in sorted(told.keys() - ModelConfig.__struct_fields__)]
    try:
        config = msgspec.convert(told, ModelConfig, strict=False)
        named_so = Path(
            config.name, "'config'"
        )  # a model is not called otherwise by whoever loads it
        return triton.understood(named_so, Converted(config, unused, pbtxt.Lines()))
    except (msgspec.ValidationError, BundleError) as error:
        raise InputError(f"'config': {error}") from error


def arrangement(model: Path | None, told: Mapping[str, Any] | None) -> TritonConfig | None:
    """What an engine has to know of the config.pbtxt in the directory `model` and of a caller's configuration, which wins where it speaks.

    None where there is neither.
    """
    path = None if model is None else model / triton.FILE
    config = triton.read(path) if path is not None and path.is_file() else None
    if told is not None:
        over = sent(told)
        spoken = {SAME[name]: getattr(over, SAME[name]) for name in SAME if name in told}
        if over.priorities:
            spoken["priorities"] = over.priorities
        config = msgspec.structs.replace(config or TritonConfig(), **spoken)
    return config and msgspec.structs.replace(config, warnings=())


def overrides(config: TritonConfig) -> dict[str, Any]:
    """The settings of a model that `config` speaks of. A model that is not to be batched runs each request alone."""
    rows = config.max_batch_rows
    found = {
        "max_batch_rows": 1 if rows == 0 else rows,
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


def unserved(repository: Path, served: Collection[str]) -> dict[str, str]:
    """Models of a Triton repository that are not among `served`, and why: for another backend, or nothing there to serve."""
    return dict(named(repository, served))


def named(repository: Path, served: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each such model with its reason."""
    for path in sorted(repository.glob(f"*/{triton.FILE}")):
        name = path.parent.name
        if name in served or re.search(NAME, name) is None:
            continue
        try:
            config = triton.read(path)
        except BundleError as error:
            yield name, str(error)
        else:
            yield name, f"{path.parent} has no version with a file {config.file}"
