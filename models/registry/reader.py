"""Reading a registry: what there is, who answers, and where a version lies on this machine. It must not change anything but the cache."""

import logging
from collections.abc import Sequence
from pathlib import Path

from models import bundle
from models.errors import BundleError, RegistryUnavailable
from models.registry import aliases, names, states
from models.registry.aliases import Change
from models.registry.cache import Cache
from models.registry.states import Found, ModelState
from models.registry.stores import LocalStore, Store, opened

log = logging.getLogger(__name__)


class Reader:
    """Versions in read-only directories and in one `overlay`, a directory or a URL. BundleError for what is not there or damaged.

    While an overlay in an object store cannot be reached, `cache` stands in for it, with a warning; what is not in it raises
    RegistryUnavailable.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        overlay: Path | str | None = None,
        cache: Path | None = None,
    ) -> None:
        self._roots: list[Store] = [LocalStore(root) for root in roots]
        self._overlay = None if overlay is None else opened(overlay)
        self._cache: Cache | None = None
        self._read: dict[str, tuple[str, Change]] = {}
        if self._overlay is not None:
            self._roots.append(self._overlay)
            if self._overlay.remote:
                if cache is None:
                    raise RegistryUnavailable(f"{overlay} needs a local directory for copies")
                self._cache = Cache(cache, self._overlay)

    def models(self) -> list[str]:
        """Names that have at least one version, sorted."""
        return sorted(name for name, state in self._known()[0].items() if state.versions)

    def versions(self, model: str) -> list[int]:
        """Every version of `model`, oldest first; none where there is no such model."""
        state = self._known(names.model(model))[0].get(model)
        return list(state.versions) if state else []

    def state(self, model: str) -> ModelState:
        """One model as it is now. BundleError when there is none."""
        return self._known_model(model)[0]

    def snapshot(self) -> dict[str, ModelState]:
        """Every model as it is now, from one listing of each root: what a poll compares. Never from the cache."""
        return {name: state for name, state in self._now().items() if state.versions}

    def aliases(self, model: str) -> dict[str, int]:
        """Alias -> version; "champion" is always among them."""
        return self.state(model).aliases

    def history(self, model: str, most: int = 100) -> list[Change]:
        """The newest changes of who answers, oldest first. One that is damaged is left out, with a warning."""
        folder, overlay = f"{names.model(model)}/{aliases.FOLDER}", self._overlay
        if overlay is None:
            return []
        numbers = states.found(overlay.find(folder)).get(model, Found()).changes
        changes = []
        for number in sorted(numbers)[-most:]:
            try:
                changes.append(aliases.read(overlay, model, number))
            except BundleError as error:
                log.warning("a change cannot be read: %s", error)
        return changes

    def resolve(self, model: str, version: int | str | None = None) -> tuple[int, Path]:
        """(number, local directory) of a version, an alias, or the champion; fetched and verified where it lies elsewhere."""
        state, away = self._known_model(model)
        try:
            number = state.number(version)
        except BundleError as error:
            raise away or error from None
        about = state.versions[number]
        directory = self._roots[about.root].place(f"{model}/{number}")
        if directory is None and self._cache:
            if away is None:
                directory = self._cache.fetch(model, number, about)
            else:
                directory = self._cache.held(model, number)
        if directory is None:
            raise away or BundleError(f"{model}/{number} has no directory")
        return number, directory

    def manifest(self, model: str, version: int | str | None = None) -> bundle.Manifest | None:
        """What a version declares, read without fetching it; None for one that is only a graph."""
        state, away = self._known_model(model)
        number = state.number(version)
        about = state.versions[number]
        if about.bare:
            return None
        remote = self._cache is not None and about.root == len(self._roots) - 1
        store = self._cache.files if away and remote and self._cache else self._roots[about.root]
        key = f"{model}/{number}/{bundle.MANIFEST}"
        try:
            return bundle.decoded(store.read(key), f"{store.url}/{key}")
        except FileNotFoundError as error:
            raise BundleError(f"{store.url}/{key} is not there any more") from error

    def _writable(self) -> Store:
        """Where changes go. RegistryUnavailable where there is no such place."""
        if self._overlay is None:
            raise RegistryUnavailable("this registry is read-only: it has no overlay")
        return self._overlay

    def _now(self, model: str = "") -> dict[str, ModelState]:
        """Model -> state, all of them or one, as the roots have it now. One that is not there has no versions."""
        return self._states([store.find(model) for store in self._roots], self._overlay)

    def _model_now(self, model: str) -> ModelState:
        """One model as the roots have it now. BundleError when there is none."""
        return self._existing(model, self._now(names.model(model)))

    def _known(self, model: str = "") -> tuple[dict[str, ModelState], RegistryUnavailable | None]:
        """As `_now`, or from the cache and why."""
        try:
            return self._now(model), None
        except RegistryUnavailable as error:
            if self._cache is None or not self._cache.knows(model):
                raise
            log.warning("%s; what was fetched before is used", error)
            copies = self._cache.files
            listings = [store.find(model) for store in (*self._roots[:-1], copies)]
            return self._states(listings, copies), error

    def _known_model(self, model: str) -> tuple[ModelState, RegistryUnavailable | None]:
        states_of, away = self._known(names.model(model))
        try:
            return self._existing(model, states_of), away
        except BundleError as error:
            raise away or error from None

    def _existing(self, model: str, states_of: dict[str, ModelState]) -> ModelState:
        if model in states_of and states_of[model].versions:
            return states_of[model]
        there = ", ".join(self.models()) or "an empty repository"
        raise BundleError(f"there is no model '{model}', only {there}")

    def _states(
        self, listings: Sequence[dict[str, str]], overlay: Store | None
    ) -> dict[str, ModelState]:
        roots = [states.found(listing) for listing in listings]
        result: dict[str, ModelState] = {}
        for model in sorted({name for root in roots for name in root}):
            of = [root.get(model, Found()) for root in roots]
            last, problem = None, None
            if overlay and of[-1].changes:
                try:
                    last = self._last(overlay, model, of[-1].changes)
                except BundleError as error:
                    problem = str(error)
            if self._cache and overlay is self._overlay and not problem:
                self._cache.remember(model, last)
            result[model] = states.merged(model, of, last, problem)
        return result

    def _last(self, overlay: Store, model: str, changes: dict[int, str]) -> Change:
        """The newest change, read once: an entry never changes while its stamp stays."""
        number = max(changes)
        seen = f"{overlay.url}/{number}/{changes[number]}"
        if self._read.get(model, ("",))[0] != seen:
            self._read[model] = seen, aliases.read(overlay, model, number)
        return self._read[model][1]
