"""`evergreen demo` finds the demonstration wherever it is called, and says what is missing for it."""

import subprocess
from pathlib import Path

import live
import pytest

from service.cli import demo
from service.errors import SettingsError


def test_it_is_there_in_any_folder(tmp_path: Path):
    command = [live.evergreen(), "demo", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: evergreen demo")


def test_an_unknown_model_is_refused_by_its_name(tmp_path: Path):
    command = [live.evergreen(), "demo", "nobody"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nobody" in done.stderr


def test_what_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "has", lambda name: name != "torch")
    with pytest.raises(SettingsError, match=r"pip install .*\[train\]"):
        demo.demo_command.callback(())  # type: ignore[misc]
