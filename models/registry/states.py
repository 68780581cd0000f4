"""What a listing says of each model: versions, numbers that are taken, who answers. Pure: it must not touch files."""

import hashlib
from collections.abc import Sequence

import msgspec

from models.bundle import BARE, MANIFEST
from models.errors import BundleError
from models.registry import aliases, names
from models.registry.aliases import CHAMPION, Change

CLAIMS = "claims"


class Found(msgspec.Struct):
    """What one root has of a model: files of each version, claimed numbers, numbers of changes; each with its stamp."""

    files: dict[int, dict[str, str]] = {}
    claims: dict[int, str] = {}
    changes: dict[int, str] = {}

    def versions(self, root: int) -> dict[int, "Version"]:
        """Those that are published. A claimed number without a manifest is still being written, or was given up."""
        return {
            number: Version(root, files.get(MANIFEST) or combined(files), MANIFEST not in files)
            for number, files in self.files.items()
            if MANIFEST in files or (BARE in files and number not in self.claims)
        }


class Version(msgspec.Struct, frozen=True):
    """A published version: which root has it, a stamp that changes with it, and whether it comes without a manifest."""

    root: int
    stamp: str
    bare: bool


class ModelState(msgspec.Struct, frozen=True):
    """One model at one moment. Two that are equal need nothing done; a poll compares them."""

    name: str
    versions: dict[int, Version] = {}
    """Oldest first."""
    taken: int = 0
    """The highest number that a version has, had, or is being written under."""
    last: Change | None = None
    """The newest change of who answers."""
    problem: str | None = None
    """Why the newest change cannot be read. Who answers is then unknown, and asking raises BundleError."""

    @property
    def aliases(self) -> dict[str, int]:
        """Alias -> version. Until the first change, the champion is the newest version, one with a manifest if there is any."""
        if self.problem:
            raise BundleError(self.problem)
        written = dict(self.last.aliases) if self.last else {}
        if CHAMPION not in written and self.versions:
            declared = [number for number, version in self.versions.items() if not version.bare]
            written[CHAMPION] = max(declared or self.versions)
        return dict(sorted(written.items()))

    @property
    def unwritten(self) -> int | None:
        """The champion that is one only because no change has named another."""
        written = self.last is not None and CHAMPION in self.last.aliases
        return None if written else self.aliases.get(CHAMPION)

    @property
    def revision(self) -> str:
        """16 hex digits that change with anything above, as far as this machine sees it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def number(self, wanted: int | str | None = None) -> int:
        """The version that `wanted` means: a number, an alias, or the champion. BundleError names what there is."""
        there = ", ".join(map(str, self.versions)) or "none"
        if isinstance(wanted, str) or wanted is None:
            alias = wanted or CHAMPION
            known = self.aliases
            if alias not in known:
                raise BundleError(f"'{self.name}' has no {alias}, only {', '.join(known)}")
            if known[alias] not in self.versions:
                raise BundleError(
                    f"version {known[alias]} of '{self.name}', its {alias}, is not there any more, only {there}: "
                    "put its files back or promote another"
                )
            return known[alias]
        if names.version(wanted) not in self.versions:
            gone = self.last is not None and wanted in self.last.removed
            raise BundleError(
                f"'{self.name}' has no version {wanted}{' any more' if gone else ''}, only {there}"
            )
        return wanted


def found(listing: dict[str, str]) -> dict[str, Found]:
    """Model -> what the listing of a root says of it. Keys that belong to no model are passed over."""
    models: dict[str, Found] = {}
    for key, stamp in listing.items():
        if key.count("/") != 2:  # Triton's config.pbtxt lies beside the versions
            continue
        model, folder, file = key.split("/")
        if not names.MODEL.fullmatch(model) or not names.file(file):
            continue
        of = models.setdefault(model, Found({}, {}, {}))
        if names.VERSION.fullmatch(folder):
            of.files.setdefault(int(folder), {})[file] = stamp
        elif number := names.entry_number(file):
            {CLAIMS: of.claims, aliases.FOLDER: of.changes}.get(folder, {})[number] = stamp
    return models


def merged(
    name: str, roots: Sequence[Found], last: Change | None = None, problem: str | None = None
) -> ModelState:
    """The state of a model that lies in `roots`. A version belongs to the first root that has it."""
    versions: dict[int, Version] = {}
    for index, root in enumerate(roots):
        versions = root.versions(index) | versions
    removed = last.removed if last else ()
    taken = max([0, *removed, *(n for root in roots for n in (*root.files, *root.claims))])
    there = {number: versions[number] for number in sorted(versions) if number not in removed}
    return ModelState(name, there, taken, last, problem)


def combined(files: dict[str, str]) -> str:
    """One stamp for several files."""
    return hashlib.sha256(msgspec.json.encode(files, order="sorted")).hexdigest()[:16]
