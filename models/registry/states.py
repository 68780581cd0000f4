"""What a listing says of each model: versions, numbers that are taken, who answers. Pure: it must not touch files."""

import hashlib
from collections.abc import Sequence

import msgspec

from models.bundle import MANIFEST, SIGNATURE
from models.errors import BundleError
from models.registry import aliases, names
from models.registry.aliases import CHAMPION, Change
from models.triton import Placement

CLAIMS = "claims"
PUBLISHED = "published.json"


class Published(msgspec.Struct, frozen=True):
    """What a publisher writes last beside a bare file, which has no manifest: the sha256 of each file."""

    files: dict[str, str]


class Found(msgspec.Struct):
    """What one root has of a model: files of each version, claimed numbers, numbers of changes; each with its stamp."""

    files: dict[int, dict[str, str]] = {}
    claims: dict[int, str] = {}
    changes: dict[int, str] = {}
    placed: Placement = Placement()
    """What a Triton configuration there says of versions."""

    def versions(self, root: int) -> dict[int, "Version"]:
        """Those that are published. A claimed number without what is written last is still being written, or was given up."""
        return {
            number: Version(root, stamp(files), MANIFEST not in files, SIGNATURE in files)
            for number, files in self.files.items()
            if MANIFEST in files
            or (self.placed.file in files and (PUBLISHED in files or number not in self.claims))
        }


class Version(msgspec.Struct, frozen=True):
    """A published version: which root has it, a stamp that changes with it, whether it comes without a manifest or with a signature."""

    root: int
    stamp: str
    bare: bool
    signed: bool = False


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
    policy: tuple[int, ...] | None = None
    """The versions that a Triton configuration has served, oldest first; None where none says."""

    @property
    def aliases(self) -> dict[str, int]:
        """Alias -> version. Until the first change, the champion is the newest version that a policy has served, one with a manifest if
        there is any.
        """
        if self.problem:
            raise BundleError(self.problem)
        written = dict(self.last.aliases) if self.last else {}
        served = self.versions if self.policy is None else self.policy
        if CHAMPION not in written and served:
            declared = [number for number in served if not self.versions[number].bare]
            written[CHAMPION] = max(declared or served)
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
            if alias == CHAMPION and alias not in known:
                raise BundleError(
                    f"the version_policy of '{self.name}' chooses none of its versions, which are {there}"
                )
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
    policy = next((root.placed.versions for root in roots if root.placed.versions), None)
    chosen = None if policy is None else tuple(policy.chosen(there))
    return ModelState(name, there, taken, last, problem, chosen)


def stamp(files: dict[str, str]) -> str:
    """What changes with a version: the stamp of its manifest, which names all of its files, or one for several files."""
    decides = {MANIFEST, SIGNATURE} if MANIFEST in files else files.keys()
    stamps = {name: files[name] for name in decides & files.keys()}
    if stamps.keys() == {MANIFEST}:
        return stamps[MANIFEST]
    return hashlib.sha256(msgspec.json.encode(stamps, order="sorted")).hexdigest()[:16]
