"""Which models and versions there are, and which one answers. It must not know how a version is run.

A registry is one or more roots of <model>/<version>/manifest.json; a later root adds to an earlier one. The first is the seed that
comes with the code and is never written to.
"""

from collections.abc import Sequence
from pathlib import Path

from models import bundle
from models.errors import BundleError


class Registry:
    """Reads versions where they lie. A version exists once its manifest does."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [root for root in roots if root.is_dir()]

    def models(self) -> list[str]:
        """Names that have at least one version, sorted."""
        names = {path.name for root in self._roots for path in root.iterdir() if path.is_dir()}
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> dict[int, Path]:
        """Every version of `name` with its directory, oldest first."""
        found: dict[int, Path] = {}
        for root in self._roots:
            for manifest in root.glob(f"*/*/{bundle.MANIFEST}"):
                directory = manifest.parent
                if directory.parent.name == name and directory.name.isdecimal():
                    found.setdefault(int(directory.name), directory)
        return dict(sorted(found.items()))

    def resolve(self, name: str, version: int | None = None) -> tuple[int, Path]:
        """`version` of `name` with its directory, the newest without one. BundleError names what there is."""
        versions = self.versions(name)
        if not versions:
            raise BundleError(
                f"there is no model '{name}', only {', '.join(self.models()) or 'an empty repository'}"
            )
        if version is None:
            return list(versions.items())[-1]
        if version not in versions:
            raise BundleError(
                f"'{name}' has no version {version}, only {', '.join(map(str, versions))}"
            )
        return version, versions[version]
