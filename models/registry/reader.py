"""Reading a registry: what there is, who answers, and where a version lies on this machine. It must not change anything but the cache."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from models import bundle, triton
from models.errors import BundleError, RegistryUnavailable
from models.registry import aliases, names, states
from models.registry.aliases import Change
from models.registry.cache import Cache
from models.registry.objects import opened
from models.registry.states import Found, ModelState
from models.registry.stores import LocalStore, Store

log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Changes that are kept in memory; what is beyond is read again."""


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
        self._log = Log()
        self._heads: dict[str, int] = {}
        """The newest change of each model that was ever seen whole."""
        if self._overlay is not None:
            self._roots.append(self._overlay)
            if self._overlay.remote:
                if cache is None:
                    raise RegistryUnavailable(f"{overlay} needs a local directory for copies")
                self._cache = Cache(cache, self._overlay)

    def models(self) -> list[str]:
        """Names that have at least one version, sorted."""
        return sorted(name for name, look in self._known()[0].items() if look.state.versions)

    def versions(self, model: str) -> list[int]:
        """Every version of `model`, oldest first; none where there is no such model."""
        look = self._known(names.model(model))[0].get(model)
        return list(look.state.versions) if look else []

    def find(self, model: str) -> "Look | None":
        """One model as it is now, with all that can be asked of it; None when there is none."""
        if not names.MODEL.fullmatch(model):
            return None
        looks, away = self._known(model)
        if model in looks and looks[model].state.versions:
            return looks[model]
        if away is not None:
            raise away
        return None

    def look(self, model: str) -> "Look":
        """`find`; BundleError when there is none."""
        if (look := self.find(names.model(model))) is None:
            raise self._unknown(model)
        return look

    def state(self, model: str) -> ModelState:
        """One model as it is now. BundleError when there is none."""
        return self.look(model).state

    def snapshot(self) -> dict[str, ModelState]:
        """Every model as it is now, from one listing of each root: what a poll compares. Never from the cache."""
        return {name: state for name, state in self._now().items() if state.versions}

    def aliases(self, model: str) -> dict[str, int]:
        """Alias -> version; "champion" is always among them."""
        return self.state(model).aliases

    def history(self, model: str, most: int = 100) -> list[Change]:
        """The newest changes of who answers, oldest first. One that is damaged is left out, with a warning."""
        return self.look(model).history(most)

    def resolve(self, model: str, version: int | str | None = None) -> tuple[int, Path]:
        """(number, local directory) of a version, an alias, or the champion; fetched and verified where it lies elsewhere."""
        return self.look(model).resolve(version)

    def manifest(self, model: str, version: int | str | None = None) -> bundle.Manifest | None:
        """What a version declares, read without fetching it; None for one that is only a graph."""
        look = self.look(model)
        number = look.state.number(version)
        about = look.state.versions[number]
        if about.bare:
            return None
        remote = self._cache is not None and about.root == len(self._roots) - 1
        away = look.away and remote and self._cache
        store = away.files if away else self._roots[about.root]
        key = f"{model}/{number}/{bundle.MANIFEST}"
        try:
            return bundle.decoded(store.read(key), f"{store.url}/{key}")
        except FileNotFoundError as error:
            raise BundleError(f"{store.url}/{key} is not there any more") from error

    def tidy(self, states_of: Mapping[str, ModelState], used: Collection[tuple[str, int]]) -> None:
        """Delete the copies of versions that have been removed from the overlay, but for those `used` on this machine."""
        if self._cache is None:
            return
        for model, state in states_of.items():
            for version in state.last.removed if state.last else ():
                if (model, version) not in used:
                    self._cache.forget(model, version)

    def _writable(self) -> Store:
        """Where changes go. RegistryUnavailable where there is no such place."""
        if self._overlay is None:
            raise RegistryUnavailable("this registry is read-only: it has no overlay")
        return self._overlay

    def _now(self, model: str = "") -> dict[str, ModelState]:
        """Model -> state, all of them or one, as the roots have it now. One that is not there has no versions."""
        return {name: look.state for name, look in self._looks_now(model).items()}

    def _looks_now(self, model: str) -> dict[str, "Look"]:
        """RegistryUnavailable, too, where changes are gone that were there: the log only grows, so this is an empty mount point, not the registry."""
        heads = dict(self._heads)  # before the listing: others may see a later one meanwhile
        looks = self._looks([store.find(model) for store in self._roots], self._overlay)
        for name, head in heads.items():
            now = looks[name].newest if name in looks else 0
            if model in ("", name) and now < head and self._overlay is not None:
                raise RegistryUnavailable(
                    f"the registry {self._overlay.url} cannot be used: it has {now} changes of who answers as '{name}', {head} were there"
                )
        self._heads |= {
            name: last.number
            for name, look in looks.items()
            if (last := look.state.last) is not None and last.number > heads.get(name, 0)
        }
        return looks

    def _model_now(self, model: str) -> ModelState:
        """One model as the roots have it now. BundleError when there is none."""
        return self._existing(model, self._now(names.model(model)))

    def _known(self, model: str = "") -> tuple[dict[str, "Look"], RegistryUnavailable | None]:
        """As `_looks_now`, or from the cache and why."""
        try:
            return self._looks_now(model), None
        except RegistryUnavailable as error:
            if self._cache is None or not self._cache.knows(model):
                raise
            log.warning("%s; what was fetched before is used", error)
            copies = self._cache.files
            listings = [store.find(model) for store in (*self._roots[:-1], copies)]
            return self._looks(listings, copies, error), error

    def _existing(self, model: str, states_of: dict[str, ModelState]) -> ModelState:
        if model in states_of and states_of[model].versions:
            return states_of[model]
        raise self._unknown(model)

    def _unknown(self, model: str) -> BundleError:
        there = ", ".join(self.models()) or "an empty repository"
        return BundleError(f"there is no model '{model}', only {there}")

    def _looks(
        self,
        listings: Sequence[dict[str, str]],
        overlay: Store | None,
        away: RegistryUnavailable | None = None,
    ) -> dict[str, "Look"]:
        roots = [states.found(listing) for listing in listings]
        for store, root in zip(self._roots, roots, strict=True):
            for model, of_root in root.items():
                if not store.remote:
                    of_root.placed = triton.placement(Path(store.url) / model / triton.FILE)
        result: dict[str, Look] = {}
        for model in sorted({name for root in roots for name in root}):
            of = [root.get(model, Found()) for root in roots]
            changes = of[-1].changes if overlay else {}
            last, problem = None, None
            if overlay and changes:
                try:
                    number = max(changes)
                    last = self._log.read(overlay, model, number, changes[number])
                except BundleError as error:
                    problem = str(error)
            if self._cache and overlay is self._overlay and not problem:
                self._cache.remember(model, last)
            state = states.merged(model, of, last, problem)
            result[model] = Look(self, state, changes, away)
        return result


class Look:
    """One model at one moment: whatever is asked of it, each root was listed once.

    `away`: why the overlay cannot be reached, where copies stand in for it.
    """

    def __init__(
        self,
        reader: Reader,
        state: ModelState,
        changes: Mapping[int, str],
        away: RegistryUnavailable | None,
    ) -> None:
        self.state = state
        self.away = away
        self._reader = reader
        self._changes = changes

    @property
    def newest(self) -> int:
        """The number of the newest change of who answers; 0 where there is none."""
        return max(self._changes, default=0)

    def history(self, most: int = 100) -> list[Change]:
        """The newest changes of who answers, oldest first. One that is damaged is left out, with a warning."""
        reader, found = self._reader, []
        if self.away is not None:
            raise self.away
        for number in sorted(self._changes)[-most:]:
            try:
                stamp = self._changes[number]
                found.append(reader._log.read(reader._writable(), self.state.name, number, stamp))
            except BundleError as error:
                log.warning("a change cannot be read: %s", error)
        return found

    def resolve(self, version: int | str | None = None) -> tuple[int, Path]:
        """(number, local directory) of a version, an alias, or the champion; fetched and verified where it lies elsewhere."""
        model, reader = self.state.name, self._reader
        try:
            number = self.state.number(version)
        except BundleError as error:
            raise self.away or error from None
        about = self.state.versions[number]
        directory = reader._roots[about.root].place(f"{model}/{number}")
        if directory is None and reader._cache:
            if self.away is None:
                directory = reader._cache.fetch(model, number, about)
            else:
                directory = reader._cache.held(model, number)
        if directory is None:
            raise self.away or BundleError(f"{model}/{number} has no directory")
        return number, directory


class Log:
    """Changes that have been read and were whole: an entry never changes while its stamp stays, so none is read twice."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str, int], tuple[str, Change]] = {}

    def read(self, store: Store, model: str, number: int, stamp: str) -> Change:
        """One change. BundleError when it is damaged or not there."""
        key = (store.url, model, number)
        known = self._read.get(key)
        if known is None or known[0] != stamp:
            known = stamp, aliases.read(store, model, number)
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            self._read[key] = known
        return known[1]
