"""Changing a registry: publish, remove, and say who answers. It must not know how files are kept or how a version is run."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec

from models import bundle
from models.errors import BundleError, Conflict, InputError
from models.registry import aliases, names, publishing, states
from models.registry.aliases import CHALLENGER, CHAMPION, PREVIOUS, Change
from models.registry.publishing import Publication, Sent
from models.registry.reader import Reader
from models.registry.states import Found, ModelState

GIVEN_UP = timedelta(days=1)
"""A publication that has not ended after this long never will."""


def ignored(_: str, __: int) -> None:
    """How much has been sent, where nobody wants to know."""


class Registry(Reader):
    """A reader that also changes its overlay. Whoever loses a race gets Conflict, and nothing of theirs has happened."""

    def allocate(self, model: str, *, who: str, why: str = "") -> int:
        """A version number that nobody has, had or will get; `publish` takes it."""
        overlay = self._writable()
        first = self._any(names.model(model)).taken + 1
        taken = (n for n in count(first) if publishing.claim(overlay, model, n, who=who, why=why))
        return names.version(next(taken))

    def publish(
        self,
        what: Path | Publication,
        *,
        who: str,
        why: str = "",
        version: int | None = None,
        sent: Sent = ignored,
    ) -> int:
        """Copy a bundle's directory, or what `prepared` made of one, into the overlay, as `version` (from `allocate`) or the next one.

        Returns its number. Who answers stays the same. BundleError when it is damaged, Conflict when `version` is no longer free.
        """
        overlay = self._writable()
        if isinstance(what, Path):
            what = publishing.prepared(what)
        model = what.model
        number = version or self.allocate(model, who=who, why=why)
        self._check_free(model, number)
        publishing.upload(overlay, what, number, sent)
        self._keep_champion(model, who, number)
        publishing.finish(overlay, what, number)
        if number not in (there := self._any(model)).versions:
            raise Conflict(f"version {number} of '{model}' was given up before it was published")
        if len(there.versions) > 1:  # somebody else's first publication may have ended meanwhile
            self._keep_champion(model, who, number, first=min(there.versions))
        return number

    def sign(self, model: str, version: int, signature: bytes) -> None:
        """Put a signature beside a version's files, in a read-only root as well: it changes nothing of what is there."""
        state = self._model_now(model)
        about = state.versions[state.number(names.version(version))]
        key = f"{model}/{version}/{bundle.SIGNATURE}"
        publishing.attach(self._roots[about.root], key, signature)

    def remove(self, model: str, version: int, *, who: str, why: str = "") -> Change:
        """Take a version out of the overlay, for good: its number is not given again. Conflict while an alias names it."""
        state = self._model_now(model)
        about = state.versions[state.number(names.version(version))]
        if self._writable() is not self._roots[about.root]:
            raise Conflict(
                f"version {version} of '{model}' lies in {self._roots[about.root].url}, which is read-only"
            )
        if named := [alias for alias, number in state.aliases.items() if number == version]:
            raise Conflict(f"version {version} of '{model}' is its {' and '.join(named)}")
        return self._drop(state, version, who=who, why=why)

    def prune(self, model: str, keep: int, *, who: str) -> list[int]:
        """Remove all but the newest `keep` versions of the overlay and those that an alias names. Returns the removed ones."""
        state = self._model_now(model)
        own = [n for n, v in state.versions.items() if self._roots[v.root] is self._overlay]
        old = own[: max(0, len(own) - keep)]
        unnamed = [number for number in old if number not in state.aliases.values()]
        for number in unnamed:
            self.remove(model, number, who=who, why=f"the newest {keep} are kept")
        return unnamed

    def clean(self, *, who: str, older: timedelta = GIVEN_UP) -> list[tuple[str, int]]:
        """Delete what publications left that began `older` ago and never ended, and what is left of removed versions."""
        overlay = self._writable()
        found, before = states.found(overlay.find()), datetime.now(UTC) - older
        cleaned = []
        for model, state in self._now().items():
            of, removed = found.get(model, Found()), state.last.removed if state.last else ()
            for number in sorted({*of.claims, *removed} - state.versions.keys()):
                if number in removed and number in of.files:
                    publishing.delete(overlay, model, number)
                elif (
                    number not in removed
                    and publishing.claimed_at(overlay, model, number) <= before
                ):
                    self._drop(self._any(model), number, who=who, why="never finished")
                else:
                    continue
                cleaned.append((model, number))
        return cleaned

    def promote(
        self,
        model: str,
        version: int,
        *,
        if_champion: int | None = None,
        who: str,
        why: str = "",
        force: bool = False,
    ) -> Change:
        """Make `version` the champion and the old champion `previous`; a challenger that wins is one no longer.

        Conflict when the champion is not `if_champion`, or another change came first; then nothing has changed.
        `force` is only written down: that somebody wanted it against advice.
        """
        state = self._model_now(model)
        state.number(names.version(version))
        champion = self._expected(state, if_champion)
        change = aliases.made(state.last, "promote", CHAMPION, version, who=who, why=why)
        after = dict(change.aliases)
        if champion is not None and champion != version:
            after[PREVIOUS] = champion
        if after.get(CHALLENGER) == version:
            del after[CHALLENGER]
        change = msgspec.structs.replace(change, before=champion, forced=force, aliases=after)
        return self._append(state, change)

    def rollback(
        self, model: str, *, if_champion: int | None = None, who: str, why: str = ""
    ) -> Change:
        """Make `previous` the champion again. Then there is no previous: asked for twice, it does not bring the bad one back."""
        state = self._model_now(model)
        champion = self._expected(state, if_champion)
        if PREVIOUS not in state.aliases:
            raise Conflict(
                f"'{model}' has nothing to go back to: version {champion} is its champion, and none is its previous"
            )
        to = state.number(PREVIOUS)
        change = aliases.made(state.last, "rollback", CHAMPION, to, who=who, why=why)
        after = {alias: number for alias, number in change.aliases.items() if alias != PREVIOUS}
        return self._append(state, msgspec.structs.replace(change, before=champion, aliases=after))

    def set_alias(self, model: str, alias: str, version: int, *, who: str, why: str = "") -> Change:
        """Let `alias`, any but champion and previous, name `version`."""
        state = self._model_now(model)
        if names.alias(alias) in (CHAMPION, PREVIOUS):
            raise InputError(f"'{alias}' is set by promote and rollback")
        to = state.number(names.version(version))
        return self._append(state, aliases.made(state.last, "set", alias, to, who=who, why=why))

    def clear_alias(self, model: str, alias: str, *, who: str, why: str = "") -> Change:
        """Take `alias`, any but champion, away."""
        state = self._model_now(model)
        if names.alias(alias) == CHAMPION:
            raise InputError("a model always has a champion: promote another version instead")
        if alias not in state.aliases:
            raise BundleError(f"'{model}' has no {alias}, only {', '.join(state.aliases)}")
        return self._append(state, aliases.made(state.last, "clear", alias, None, who=who, why=why))

    def _any(self, model: str) -> ModelState:
        """One model as the roots have it now, without versions where there is none."""
        return self._now(model).get(model, ModelState(model))

    def _check_free(self, model: str, number: int) -> None:
        state = self._any(model)
        given_up = state.last is not None and number in state.last.removed
        if names.version(number) in state.versions or given_up:
            raise Conflict(f"version {number} of '{model}' is not free any more")
        claims = states.found(self._writable().find(f"{model}/{states.CLAIMS}"))
        if number not in claims.get(model, Found()).claims:
            raise Conflict(f"version {number} of '{model}' was never allocated")

    def _keep_champion(self, model: str, who: str, version: int, first: int | None = None) -> None:
        """Write down who answers, or that `first` does, where nobody has yet: otherwise the newest would, which is about to be another."""
        why = (
            f"version {version} is being published"
            if first is None
            else f"it was published beside version {version}"
        )
        while champion := (state := self._any(model)).unwritten:
            change = aliases.made(state.last, "keep", CHAMPION, first or champion, who=who, why=why)
            if aliases.append(self._writable(), model, change):
                return

    def _drop(self, state: ModelState, version: int, *, who: str, why: str) -> Change:
        """Write down that a version is gone, which decides it, and delete its files."""
        change = aliases.made(state.last, "remove", None, None, who=who, why=why)
        removed = (*change.removed, version)
        change = msgspec.structs.replace(change, before=version, removed=removed)
        self._append(state, change)
        publishing.delete(self._writable(), state.name, version)
        return change

    def _expected(self, state: ModelState, expected: int | None) -> int | None:
        """The champion, if there is one. Conflict when it is not `expected`."""
        champion = state.aliases.get(CHAMPION)
        if expected not in (None, champion):
            raise Conflict(
                f"the champion of '{state.name}' is version {champion}, not {expected}: look again and decide anew"
            )
        return champion

    def _append(self, state: ModelState, change: Change) -> Change:
        """Write `change` down. Conflict tells who came first."""
        if state.problem:
            raise BundleError(state.problem)
        overlay = self._writable()
        if aliases.append(overlay, state.name, change):
            return change
        first = aliases.read(overlay, state.name, change.number)
        raise Conflict(
            f"'{state.name}' was to be changed ({told(change)}), but {first.who} came first ({told(first)}): look again and decide anew"
        )


def told(change: Change) -> str:
    """A change in a few words: "promote champion 3 -> 4"."""
    versions = " -> ".join("none" if n is None else str(n) for n in (change.before, change.after))
    return f"{change.kind} {change.alias or 'version'} {versions}"
