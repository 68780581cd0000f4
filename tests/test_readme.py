"""The README says what is true: its examples answer as printed, its map names what is there."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import live
import pytest

from service.settings import check

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CURLS = re.findall(r"^```sh\n(curl .*)\n```\n```json\n(.*)\n```$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(URL of a service with the committed models, the folder it runs in)."""
    folder = tmp_path_factory.mktemp("clone")
    with live.serving(ROOT / "models" / "repository", folder, state=".evergreen") as service:
        yield service.said, folder


def test_every_committed_model_has_an_example():
    models = sorted(path.name for path in (ROOT / "models" / "repository").iterdir())
    assert sorted(json.loads(answer)["model"] for _, answer in CURLS) == models


@pytest.mark.parametrize(
    ("line", "printed"), CURLS, ids=[json.loads(answer)["model"] for _, answer in CURLS]
)
def test_a_pasted_curl_line_answers_as_printed(served: tuple[str, Path], line: str, printed: str):
    url, folder = served
    done = subprocess.run(
        line.replace("http://127.0.0.1:8000", url),
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, expected = json.loads(done.stdout), json.loads(printed)
    assert answer.keys() == expected.keys()
    (found,), (wanted,) = answer["predictions"], expected["predictions"]
    assert found["label"] == wanted["label"]
    assert found["probability"] == pytest.approx(
        wanted["probability"], abs=0.05
    )  # another processor picks another variant


def test_a_label_sent_back_as_printed_is_accepted(served: tuple[str, Path]):
    url, folder = served
    lines, printed = re.findall(r"```sh\n(ID=.*?)\n```\n```json\n(.*?)\n```", README, re.DOTALL)[0]
    line = lines.replace("http://127.0.0.1:8000", url)
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(printed)


def test_the_start_prints_the_lines_of_the_readme(served: tuple[str, Path]):
    url, folder = served
    printed = (folder / "evergreen.log").read_text()
    for line, _ in CURLS:
        assert line.replace("http://127.0.0.1:8000", url) in printed


def test_the_map_names_what_is_there_and_misses_no_module():
    drawn = README.partition("## The map of the house")[2].partition("```\n")[2].partition("```")[0]
    words = set(re.findall(r"[\w.]+", drawn))
    for package in ("models", "service"):
        for path in sorted((ROOT / package).iterdir()):
            if path.name.startswith(("__", ".")) or path.suffix not in ("", ".py"):
                continue
            assert {path.name, path.stem} & words, f"{package}/{path.name} is not on the map"
    for name in re.findall(r"^ {2}(\w+\.py|\w+/)", drawn, re.MULTILINE):
        assert any((ROOT / package / name).exists() for package in ("models", "service")), name


def test_the_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target[0] or target[1]}:", makefile, re.MULTILINE)


def test_ci_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.findall(r"^make (\S+)$", script, re.MULTILINE) == ["test", "test-system"]


@pytest.mark.parametrize(
    "block", re.findall(r"^```toml\n(.*?)```$", README, re.DOTALL | re.MULTILINE)
)
def test_settings_that_are_shown_can_be_set(block: str):
    check(tomllib.loads(block), "the README: ")
