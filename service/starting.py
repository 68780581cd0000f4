"""What is to be served from the start: of every model who answers, and beside it what a Triton configuration has served. It must not start anything.

A mistake of the operator's raises. A model of a Triton repository whose own configuration cannot be kept is left out, with its reason, unless the
settings name it.
"""

import asyncio
import logging
from typing import NamedTuple

from models.errors import BundleError
from models.triton import FILE
from service import triton
from service.deployments import options_of
from service.engine.config import Options
from service.settings import Settings
from service.versions import Found, Versions

log = logging.getLogger(__name__)


class First(NamedTuple):
    """A version to start with."""

    found: Found
    options: Options


class Plan(NamedTuple):
    """Of each model its versions, the one that answers first; and of those left out the newest version with the reason."""

    models: dict[str, list[First]]
    left_out: dict[str, tuple[int, str]]


async def plan(settings: Settings, versions: Versions) -> Plan:
    """What the settings and the models' configurations ask. SettingsError, BundleError where that cannot be."""
    names = await asyncio.to_thread(versions.names)
    made = Plan({}, {})
    for name in names:
        try:
            made.models[name] = await of_model(name, settings, versions, len(names))
        except BundleError as error:
            if name in settings.serve or not (settings.repository / name / FILE).is_file():
                raise await better(name, settings, versions, error) from error
            log.error("%s is not served: %s", name, error)
            newest = await asyncio.to_thread(versions.registry.versions, name)
            made.left_out[name] = newest[-1], str(error)
    if not made.models:
        raise BundleError(next(iter(made.left_out.values()))[1])
    return made


async def of_model(name: str, settings: Settings, versions: Versions, models: int) -> list[First]:
    """The versions of one model."""
    own = settings.model(name).version
    first = await versions.find(name, own)
    found = [first]
    for number in beside(first, own):
        found.append(await versions.find(name, number))  # noqa: PERF401 - one after another
    return [First(one, options_of(name, settings, models, one.directory.parent)) for one in found]


def beside(first: Found, chosen: int | None) -> list[int]:
    """What a version policy has served beside the version that answers, unless the settings have `chosen` one."""
    policy = first.state.policy or ()
    return [] if chosen is not None else [number for number in policy if number != first.number]


async def better(
    name: str, settings: Settings, versions: Versions, error: BundleError
) -> BundleError:
    """The error of a model that the settings name, or the reason why its registry has none such."""
    known = await asyncio.to_thread(versions.registry.models)
    reason = triton.unserved(settings.repository, known).get(name)
    return BundleError(reason) if reason else error
