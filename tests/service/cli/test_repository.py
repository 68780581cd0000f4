"""`evergreen models`: what people read, what is asked of the service, and how a refusal is told."""

import asyncio
import getpass
import json
from pathlib import Path
from typing import Any

import live
import pytest
import toys
from click.testing import CliRunner, Result
from fronted import FrontEnd, front_end

from models.errors import Conflict
from service.cli import cli
from service.settings import Settings

TOKEN = "a-token-of-some-length"
CHANGE = {
    "number": 1,
    "when": "2026-11-21T10:00:00Z",
    "who": "ann",
    "why": "better [at last]",
    "kind": "promote",
    "alias": "champion",
    "before": 1,
    "after": 2,
}
STATE = {
    "name": "m",
    "champion": 2,
    "canary": {"version": 3, "percent": 12.5},
    "shadow": None,
    "history": [CHANGE],
}


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["models", *arguments], env={"EVERGREEN_TOKEN": None, **environ})


async def at(front: FrontEnd, *arguments: str, **environ: str) -> Result:
    url = str(front.client.base_url)
    return await asyncio.to_thread(run, *arguments, "--url", url, **environ)


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_list_names_every_version_and_who_answers(url: str, arguments: tuple[str, ...]):
    found = run(*arguments, "--url", url)
    assert found.exit_code == 0, found.output
    for name in ("toy-image", "toy-series", "toy-text"):
        assert any(
            name in line and "1*" in line and "ready" in line for line in found.output.splitlines()
        )


def test_the_options_of_the_group_count_for_its_commands(url: str):
    found = CliRunner().invoke(cli, ["models", "--url", url, "list"])
    assert (found.exit_code, "toy-text" in found.output) == (0, True)


def test_one_model_is_shown_with_its_labels(url: str):
    found = run("show", "toy-image", "--url", url)
    assert found.exit_code == 0, found.output
    assert "light, dark" in found.output
    missing = run("show", "nobody", "--url", url)
    assert (missing.exit_code, "404" in missing.output) == (1, True)


def test_without_a_service_the_repository_is_listed(repository: Path, tmp_path: Path):
    state = str(tmp_path / "state")
    given = run("list", "--repository", str(repository), EVERGREEN_STATE=state)
    away = run(
        "list",
        "--url",
        "http://127.0.0.1:9",
        EVERGREEN_STATE=state,
        EVERGREEN_REPOSITORY=str(repository),
    )
    for found in (given, away):
        assert found.exit_code == 0, found.output
        assert "toy-text" in found.output
        assert "100.00% (96.0-100.0)" in found.output
    assert "http://127.0.0.1:9" in away.output


def test_other_commands_say_that_nobody_answers():
    found = run("load", "m", "--url", "http://127.0.0.1:9")
    assert (found.exit_code, "http://127.0.0.1:9" in found.output) == (1, True)


COMMANDS: dict[str, tuple[list[str], str, dict[str, Any], str]] = {
    "load": (["load", "m"], "load", {"model": "m", "version": None, "config": None}, "m is loaded"),
    "load a version": (
        ["load", "m", "--version", "2"],
        "load",
        {"model": "m", "version": 2, "config": None},
        "m is loaded",
    ),
    "unload": (["unload", "m"], "unload", {"model": "m", "version": None}, "m is unloaded"),
    "promote": (
        ["promote", "m", "2", "--if-champion", "1", "--force", "--reason", "better"],
        "promote",
        {"model": "m", "version": 2, "if_champion": 1, "force": True, "reason": "better"},
        "version 2 answers",
    ),
    "rollback": (
        ["rollback", "m", "--reason", "worse"],
        "rollback",
        {"model": "m", "reason": "worse"},
        "version 2 answers",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
async def test_a_change_is_asked_for_and_told(tmp_path: Path, case: str):
    arguments, what, body, says = COMMANDS[case]
    async with front_end(tmp_path, Settings(), **{what: STATE}) as front:
        found = await at(front, *arguments)
    assert found.exit_code == 0, found.output
    assert says in found.output
    if what in ("promote", "rollback"):
        body = body | {"who": getpass.getuser()}
        assert "better [at last]" in found.output
        assert "canary: version 3, 12.5 %" in found.output
    assert front.asked == [(what, body)]


async def test_a_refusal_is_a_sentence(tmp_path: Path):
    error = Conflict("the champion is version 3, not 1")
    async with front_end(tmp_path, Settings(), promote=error, load=error) as front:
        for arguments in (["promote", "m", "2", "--if-champion", "1"], ["load", "m"]):
            found = await at(front, *arguments)
            assert found.exit_code == 1
            assert "412: the champion is version 3, not 1" in found.output


async def test_the_token_comes_from_the_option_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVERGREEN_TOKEN", f"{TOKEN},another-token")
    async with front_end(tmp_path, Settings(), load=STATE) as front:
        assert (await at(front, "load", "m", EVERGREEN_TOKEN=TOKEN)).exit_code == 0
        assert (await at(front, "load", "m", EVERGREEN_TOKEN=f"{TOKEN},x")).exit_code == 0
        assert (await at(front, "load", "m", "--token", TOKEN)).exit_code == 0
        refused = await at(front, "load", "m")
        assert (refused.exit_code, "401" in refused.output) == (1, True)


def test_two_versions_are_compared(tmp_path: Path):
    toys.image(tmp_path / "repository", "toy")
    toys.series(tmp_path / "repository", "toy", 2)
    toys.image(tmp_path / "repository", "toy", 3)
    where = ["--repository", str(tmp_path / "repository")]
    found = run("diff", "toy", "1", "2", *where, EVERGREEN_STATE=str(tmp_path))
    assert found.exit_code == 0, found.output
    for what in ("task", "labels", "input image", "input series"):
        assert any(line.strip().startswith(what) for line in found.output.splitlines()), what
    same = run("diff", "toy", "1", "3", *where, EVERGREEN_STATE=str(tmp_path))
    assert "declare the same" in same.output
    missing = CliRunner().invoke(cli, ["models", "diff", "toy", "1", "9", *where])
    assert missing.exit_code != 0


def test_a_promotion_and_its_rollback_reach_a_running_service(tmp_path: Path):
    for version in (1, 2):
        toys.image(tmp_path / "repository", "toy", version)
    with live.serving(tmp_path / "repository", tmp_path) as service:
        url = ["--url", service.said]
        assert "2*" in run("list", *url).output
        done = run("promote", "toy", "1", "--if-champion", "2", "--reason", "a test", *url)
        assert done.exit_code == 0, done.output
        assert "version 1 answers" in done.output
        shown = run("show", "toy", *url).output
        assert "1*" in shown
        assert "a test" in shown
        again = run("promote", "toy", "1", "--if-champion", "2", *url)
        assert (again.exit_code, "412" in again.output) == (1, True)
        assert "version 2 answers" in run("rollback", "toy", *url).output
        assert "is loaded" in run("load", "toy", "--version", "1", *url).output
        assert "is unloaded" in run("unload", "toy", *url).output
        assert run("load", "toy", "--version", "9", *url).exit_code == 1
        assert "is loaded" in run("load", "toy", *url).output


def test_programs_read_json_and_nothing_else(url: str, repository: Path, tmp_path: Path):
    away = {"EVERGREEN_STATE": str(tmp_path), "EVERGREEN_REPOSITORY": str(repository)}
    served = json.loads(run("list", "--json", "--url", url).stdout)
    held = json.loads(run("list", "--json", "--url", "http://127.0.0.1:9", **away).stdout)
    for told in (served, held):
        assert {model["name"] for model in told} == {"toy-image", "toy-series", "toy-text"}
        assert {model["aliases"]["champion"] for model in told} == {1}
    shown = json.loads(run("show", "toy-image", "--json", "--url", url).stdout)
    assert shown["labels"] == ["light", "dark"]
    toys.image(tmp_path / "made", "toy")
    toys.series(tmp_path / "made", "toy", 2)
    where = ["--repository", str(tmp_path / "made")]
    lines = json.loads(run("diff", "toy", "1", "2", "--json", *where, **away).stdout)
    assert {"what": "task", "first": "image", "second": "series"} in lines
