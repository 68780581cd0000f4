"""What front ends ask control about models, and its answers. It must not know how anything is done.

Every answer to a change is the model's description afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from models.errors import EvergreenError, InputError
from models.registry import Change, ModelState
from service.errors import NotFound
from service.lifecycle import Lifecycle
from service.link import Handler
from service.routing import Share, Split
from service.served import Served
from service.steering import Steering

T = TypeVar("T")

HISTORY = 20
"""Changes of who answers that a description tells."""


class Load(msgspec.Struct):
    """`config`: Triton's configuration, over the settings."""

    model: str
    version: int | None = None
    config: dict[str, Any] | None = None


class Unload(msgspec.Struct):
    """A version, or all of a model."""

    model: str
    version: int | None = None


class Promote(msgspec.Struct):
    """`if_champion`: only while this version is the champion. `force`: without a comparison."""

    model: str
    version: int
    if_champion: int | None = None
    force: bool = False
    reason: str = ""
    who: str = ""


class Rollback(msgspec.Struct):
    """To the previous champion."""

    model: str
    reason: str = ""
    who: str = ""


class Traffic(msgspec.Struct):
    """Who gets requests beside the champion."""

    model: str
    canary: Share | None = None
    shadow: Share | None = None


class Which(msgspec.Struct):
    """One model, or all that are loaded."""

    model: str | None = None


class Questions:
    """The handlers of a link."""

    def __init__(self, lifecycle: Lifecycle, steering: Steering) -> None:
        self._lifecycle = lifecycle
        self._steering = steering

    def handlers(self) -> Mapping[str, Handler]:
        """By the name of the question."""
        return {
            "load": self._change(Load, self._load),
            "unload": self._change(Unload, self._unload),
            "promote": self._change(Promote, self._promote),
            "rollback": self._change(Rollback, self._rollback),
            "traffic": self._change(Traffic, self._traffic),
            "lifecycle": self._describe,
            "index": self._index,
        }

    def _change(self, kind: type[Any], change: Callable[[Any], Awaitable[None]]) -> Handler:
        async def answer(body: Any) -> Any:
            order = read(body, kind)
            await change(order)
            return await self.described(order.model)

        return answer

    async def _load(self, order: Load) -> None:
        await self._lifecycle.load(order.model, order.version, order.config)

    async def _unload(self, order: Unload) -> None:
        await self._lifecycle.unload(order.model, order.version)

    async def _promote(self, order: Promote) -> None:
        await self._lifecycle.promote(
            order.model,
            order.version,
            if_champion=order.if_champion,
            force=order.force,
            who=order.who,
            reason=order.reason,
        )

    async def _rollback(self, order: Rollback) -> None:
        await self._lifecycle.rollback(order.model, who=order.who, reason=order.reason)

    async def _traffic(self, order: Traffic) -> None:
        await self._lifecycle.share(order.model, Split(order.canary, order.shadow))

    async def _describe(self, body: Any) -> Any:
        wanted = read(body or {}, Which).model
        names = [served.name for served in self._lifecycle] if wanted is None else [wanted]
        return {"models": [await self.described(name) for name in names]}

    async def _index(self, body: Any) -> Any:
        """Every version of the registry, loaded or not: name, version, state, reason."""
        states = await asyncio.to_thread(self._lifecycle.registry.snapshot)
        unserved = await asyncio.to_thread(self._lifecycle.unserved, states)
        return [
            {"name": name, **one}
            for name, state in states.items()
            for one in self._served(name).versions(state)
        ] + [
            {"name": name, "version": None, "state": "failed", "reason": reason}
            for name, reason in unserved.items()
        ]

    async def described(self, model: str) -> dict[str, Any]:
        """A model as the registry and this machine have it, with what its canary and shadow did. NotFound."""
        registry, served = self._lifecycle.registry, self._served(model)

        def look() -> tuple[ModelState, list[Change]]:
            if (seen := registry.find(model)) is None:
                raise NotFound(f"Request for unknown model: '{model[:128]}' is not found")
            return seen.state, seen.history(HISTORY)

        try:
            told = served.described(*await asyncio.to_thread(look))
        except EvergreenError as error:
            if not served.running:
                raise
            told = served.described(None, [], str(error))  # it serves on without the registry
        return told | await self._steering.figures(served)

    def _served(self, model: str) -> Served:
        return self._lifecycle.of(model) or Served(model)


def read(body: Any, kind: type[T]) -> T:
    """`body` as `kind`. InputError says what it is not."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise InputError(str(error)) from error
