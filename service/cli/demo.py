"""`evergreen demo`: the loop on real data, as loadtests.demo shows it. It must not know what is shown."""

import importlib.util
import os
import sys
from pathlib import Path

import click

import models
from service.errors import SettingsError

ROOT = Path(models.__file__).parent.parent
NEEDED = {"torch": "train", "matplotlib": "train", "tritonclient": "load", "psutil": "load"}


@click.command("demo", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo_command(arguments: tuple[str, ...]) -> None:
    """Watch the loop close on real data, in under five minutes."""
    if not (ROOT / "loadtests").is_dir():
        raise SettingsError("the demonstration is in the repository, not in the package: clone it")
    missing = sorted({extra for name, extra in NEEDED.items() if not has(name)})
    if missing:
        raise SettingsError(
            f"the demonstration trains, sends and draws: pip install -e '.[{','.join(missing)}]'"
        )
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "loadtests.demo", *arguments]
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": path})  # noqa: S606 - our own


def has(name: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(name) is not None
