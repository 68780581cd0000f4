"""The page about security is true: its settings are settings, its commands make tokens, its metrics and files are there."""

import re
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from service.api.tokens import PREDICT, Tokens, read
from service.edge import Limits
from service.refusals import Refusals
from service.settings import Settings, check

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy" / "security.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_settings_are_settings(block: str):
    check(tomllib.loads(block), "the page: ")


def test_the_limits_are_the_defaults():
    (limits,) = [
        found["limits"] for one in blocks("toml") if "limits" in (found := tomllib.loads(one))
    ]
    defaults = msgspec.structs.asdict(Limits())
    assert limits == {name: defaults[name] for name in limits}
    assert set(defaults) - set(limits) == {"body_bytes_per_s"}


def test_the_command_makes_a_token_and_the_line_that_knows_it(tmp_path: Path):
    (command,) = blocks("sh")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    told, line = done.stdout.splitlines()
    (tmp_path / "tokens").write_text(line)
    found = Tokens(tmp_path / "tokens", {}).find(f"Bearer {told.split()[1]}".encode())
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {PREDICT})


def test_the_lines_of_the_example_can_be_read():
    (example,) = blocks("text")
    for line in example.replace("sha256:...", f"sha256:{'0' * 64}").splitlines():
        if not line.startswith("#"):
            read("the page: ", line)


def test_the_metrics_and_files_are_there():
    counts = Refusals()
    counts.ask("a")
    counts.refuse("quota")
    counts.close("limit")
    counts.reread("tls", fine=True)
    names = {sample.name for family in counts.collect() for sample in family.samples}
    assert set(re.findall(r"inference_[a-z_]+", PAGE)) <= names
    for name in re.findall(r"`((?:tests|service)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).is_file()
    for name in re.findall(r"`make (\w+)`", PAGE):
        assert f"\n{name}: .venv/audit" in (ROOT / "Makefile").read_text()
    assert set(re.findall(r"`(trusted_\w+|max_\w+|protect)\b", PAGE)) <= set(
        Settings.__struct_fields__
    )
