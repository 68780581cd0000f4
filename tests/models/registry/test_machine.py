"""Any sequence of publications and changes: the registry does what a dictionary would, and its log tells the whole story."""

import itertools
import shutil
import tempfile
import uuid
from pathlib import Path

import hypothesis.stateful as stateful
import pytest
import toys
from hypothesis import settings
from hypothesis import strategies as st

from models.errors import BundleError, Conflict
from models.registry import Registry

MODEL = "toy-image"
versions = st.integers(1, 8)
maybe = st.none() | versions


class Machine(stateful.RuleBasedStateMachine):
    """Two machines over one overlay take turns; every change goes through either, every reading through the other."""

    memory: bool

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.made = toys.image(self.folder / "made")
        overlay = f"memory://{uuid.uuid4().hex}" if self.memory else self.folder / "overlay"
        toys.image(self.folder / "seed")
        self.registries = [
            Registry([self.folder / "seed"], overlay, self.folder / name) for name in "ab"
        ]
        self.there, self.taken = {1}, 1
        self.aliases: dict[str, int] = {}
        self.entries = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def registry(self) -> Registry:
        self.registries.reverse()
        return self.registries[0]

    @property
    def named(self) -> dict[str, int]:
        return {"champion": max(self.there)} | self.aliases

    def written(self, aliases: dict[str, int]) -> None:
        self.aliases, self.entries = aliases, self.entries + 1

    @stateful.precondition(lambda self: self.taken < 8)
    @stateful.rule(finished=st.booleans())
    def publish(self, finished: bool) -> None:
        self.taken += 1
        if not finished:
            assert self.registry.allocate(MODEL, who="x") == self.taken
            return
        assert self.registry.publish(self.made, who="x") == self.taken
        if "champion" not in self.aliases:
            self.written({**self.aliases, "champion": max(self.there)})
        self.there.add(self.taken)

    @stateful.rule(version=versions, expected=maybe)
    def promote(self, version: int, expected: int | None) -> None:
        champion = self.named["champion"]
        if version not in self.there:
            with pytest.raises(BundleError):
                self.registry.promote(MODEL, version, if_champion=expected, who="x")
        elif expected not in (None, champion):
            with pytest.raises(Conflict, match=f"is version {champion}, not {expected}"):
                self.registry.promote(MODEL, version, if_champion=expected, who="x")
        else:
            self.registry.promote(MODEL, version, if_champion=expected, who="x")
            after = {**self.aliases, "champion": version}
            if champion != version:
                after["previous"] = champion
            if after.get("challenger") == version:
                del after["challenger"]
            self.written(after)

    @stateful.rule(expected=maybe)
    def rollback(self, expected: int | None) -> None:
        if expected not in (None, self.named["champion"]) or "previous" not in self.aliases:
            with pytest.raises(Conflict):
                self.registry.rollback(MODEL, if_champion=expected, who="x")
            return
        self.registry.rollback(MODEL, if_champion=expected, who="x")
        after = {**self.aliases, "champion": self.aliases["previous"]}
        del after["previous"]
        self.written(after)

    @stateful.rule(version=versions)
    def challenge(self, version: int) -> None:
        if version not in self.there:
            with pytest.raises(BundleError):
                self.registry.set_alias(MODEL, "challenger", version, who="x")
            return
        self.registry.set_alias(MODEL, "challenger", version, who="x")
        self.written({**self.aliases, "challenger": version})

    @stateful.rule(alias=st.sampled_from(["challenger", "previous"]))
    def clear(self, alias: str) -> None:
        if alias not in self.aliases:
            with pytest.raises(BundleError):
                self.registry.clear_alias(MODEL, alias, who="x")
            return
        self.registry.clear_alias(MODEL, alias, who="x")
        self.written({name: v for name, v in self.aliases.items() if name != alias})

    @stateful.rule(version=versions)
    def remove(self, version: int) -> None:
        if version not in self.there:
            with pytest.raises(BundleError):
                self.registry.remove(MODEL, version, who="x")
        elif version == 1 or version in self.named.values():
            with pytest.raises(Conflict):
                self.registry.remove(MODEL, version, who="x")
        else:
            self.registry.remove(MODEL, version, who="x")
            self.there.remove(version)
            self.written(self.aliases)

    @stateful.invariant()
    def both_see_the_same(self) -> None:
        for registry in self.registries:
            state = registry.snapshot()[MODEL]
            assert list(state.versions) == sorted(self.there)
            assert state.aliases == self.named
            assert state.taken == self.taken
            assert registry.resolve(MODEL)[0] == self.named["champion"]

    @stateful.invariant()
    def the_log_leads_to_what_is(self) -> None:
        history = self.registry.history(MODEL)
        assert [change.number for change in history] == list(range(1, self.entries + 1))
        for before, after in itertools.pairwise(history):
            kept = {
                k: v
                for k, v in before.aliases.items()
                if k not in (after.alias, "previous", "challenger")
            }
            assert kept.items() <= after.aliases.items()
            assert set(before.removed) <= set(after.removed)


class Local(Machine):
    memory = False


class Memory(Machine):
    memory = True


rules = settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True)
TestLocal, TestMemory = Local.TestCase, Memory.TestCase
TestLocal.settings = TestMemory.settings = rules
