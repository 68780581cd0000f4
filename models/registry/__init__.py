"""Which models and versions there are, and which one answers. It must not know how a version is run.

    <root>/<model>/<version>/manifest.json     written last: a version exists once it is there
    <root>/<model>/<version>/model.onnx        a version as well, where no publisher has claimed its number ...
    <root>/<model>/<version>/published.json    ... or has written this last
    <root>/<model>/claims/000003.json          whoever creates it may publish version 3; it stays, so no number comes twice
    <root>/<model>/aliases/000017.json         the 17th change of who answers; the last one holds everything

Read-only roots come first (the seed), then one overlay, a directory or an object store, that takes what is published and every alias.
Whoever creates a file first has won; nothing that decides is ever overwritten.
"""

from models.registry.aliases import Change
from models.registry.publishing import Publication, prepared
from models.registry.reader import Look
from models.registry.registry import Registry
from models.registry.states import ModelState, Version

__all__ = ["Change", "Look", "ModelState", "Publication", "Registry", "Version", "prepared"]
