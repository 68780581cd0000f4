"""`evergreen retrain`: what people read, what is asked of the service, and how a refusal is told."""

import asyncio
import getpass
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from fronted import FrontEnd, front_end

from models.errors import InputError
from service.cli import cli
from service.errors import NotFound, Refused
from service.retraining import jobs
from service.retraining.gate import Line, Verdict
from service.retraining.jobs import Found, Job, Learnt, Plan, Progress
from service.retraining.policy import Condition, Decision
from service.retraining.triggers import Trigger
from service.settings import Settings

GATE = Verdict(True, (Line("accuracy", True, 0.1, -0.02, 20, "it gains [4] rows"),), 0.5, 12)
LEARNT = Learnt(labels=60, with_payload=40, trained=20, held_out=20, left_out={"torn": 3})
CONDITION = Condition("labels", False, 3.0, 20.0, "3 labels, 20 are needed")
PLAN = Plan("m", False, "too few", Decision(False, "too few", (CONDITION,), True), 60, 40)


def history() -> list[Found]:
    """Everything that happened to a job that went well."""
    trigger = Trigger(kind="person", reason="[new] words", who="ann")
    found = [jobs.began("abc", "m", trigger, "queued", 1.0, reason="[new] words")]

    def add(kind: Any, state: Any, **more: Any) -> None:
        before, at = found[-1].job, found[-1].job.changed_at + 1
        if kind == "state":
            found.append(jobs.moved(before, state, at, **more))
        else:
            found.append(jobs.noted(before, kind, at, **more))

    add("state", "submitted", version=2, parent=1, learnt=LEARNT)
    add("state", "running", reference="/there")
    add("progress", "", progress=Progress("fit", 3, 4, loss=0.25))
    add("state", "evaluating")
    add("state", "promoting", gate=GATE, champion=1)
    add("state", "watching")
    add("state", "succeeded", reason="version 2 does no harm")
    return found


FOUND = history()
LAST = FOUND[-1].job


def told(job: Job = LAST) -> Any:
    return msgspec.to_builtins(job)


def events(body: Any) -> Any:
    """Two at a time, as they come."""
    new = [found.event for found in FOUND if found.event.number > body["after"]][:2]
    return {"ended": True, "number": LAST.number, "events": msgspec.to_builtins(new)}


async def run(
    directory: Path, *arguments: str, **answers: Any
) -> tuple[Result, list[tuple[str, Any]]]:
    """What the command says to a front end with these answers, and what control was asked."""
    async with front_end(directory, Settings(state=directory), **answers) as front:
        result = await invoked(front, *arguments)
        return result, front.asked


async def invoked(front: FrontEnd, *arguments: str) -> Result:
    url = str(front.client.base_url)
    runner = CliRunner()
    environ = {"EVERGREEN_TOKEN": None}
    return await asyncio.to_thread(
        runner.invoke, cli, ["retrain", *arguments, "--url", url], env=environ
    )


@pytest.mark.parametrize("start", [("m",), ("start", "m")])
async def test_a_model_is_trained_by_its_name(tmp_path: Path, start: tuple[str, ...]):
    given = ("--reason", "new words", "--parameter", "epochs=3", "--parameter", "name=x")
    found, asked = await run(tmp_path, *start, *given, retrain=told(FOUND[0].job))
    assert found.exit_code == 0, found.output
    assert "m is trained again: abc, queued" in found.output
    ((what, body),) = asked
    assert (what, body["model"], body["dry_run"]) == ("retrain", "m", False)
    assert body["trigger"]["parameters"] == {"epochs": 3, "name": "x"}
    assert (body["trigger"]["reason"], body["trigger"]["who"]) == ("new words", getpass.getuser())


async def test_a_dry_run_tells_every_condition_and_both_numbers(tmp_path: Path):
    found, asked = await run(tmp_path, "m", "--dry-run", retrain=msgspec.to_builtins(PLAN))
    assert "it would not be trained" in found.output
    assert "60 labels since the last training, 40 of them with kept rows" in found.output
    assert "3 labels, 20 are needed" in found.output
    assert asked[0][1]["dry_run"]


async def test_following_shows_every_state_and_ends_with_the_table(tmp_path: Path):
    answers = {"retrain": told(FOUND[0].job), "retraining events": events, "retraining": told()}
    found, _ = await run(tmp_path, "m", "--follow", **answers)
    assert found.exit_code == 0, found.output
    states = [one.event.state for one in FOUND if one.event.kind == "state"]
    places = [found.output.index(f"\n{state}") for state in states[1:]]
    assert places == sorted(places)
    for piece in (
        "m abc: succeeded",
        "version 2 does no harm",
        "version 2, made from version 1",
        "60 new labels, 40 with kept rows; 20 rows to learn from, 20 to judge by, 3 left out (torn)",
        "it gains [4] rows",
        "power 50%; 12 more labels for 80 %",
    ):
        assert piece in found.output


async def test_a_job_that_did_not_succeed_ends_the_program_with_1(tmp_path: Path):
    ended = told(msgspec.structs.replace(LAST, state="rejected"))
    answers = {"retraining events": events, "retraining": ended}
    found, _ = await run(tmp_path, "show", "abc", "--follow", "--json", **answers)
    assert (found.exit_code, json.loads(found.stdout)["state"]) == (1, "rejected")


async def test_the_list_names_triggers_that_came_to_nothing(tmp_path: Path):
    refused = told(msgspec.structs.replace(FOUND[0].job, state="suppressed", reason="too [few]"))
    found, asked = await run(
        tmp_path, "list", "--model", "m", "--state", "suppressed", retrainings=[refused]
    )
    assert "suppressed" in found.output
    assert "too [few]" in found.output
    wanted = {"model": "m", "state": "suppressed", "before": None, "limit": 20}
    assert asked == [("retrainings", wanted)]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("cancel", "is being ended"),
        ("approve", "goes on"),
        ("reject", "is turned down"),
    ],
)
async def test_a_word_is_passed_on(tmp_path: Path, command: str, says: str):
    found, asked = await run(
        tmp_path, command, "abc", "--reason", "why", **{f"retraining {command}": told()}
    )
    assert (found.exit_code, f"abc {says}" in found.output) == (0, True)
    body = {"job": "abc", "who": getpass.getuser(), "why": "why"}
    assert asked == [(f"retraining {command}", body)]


async def test_logs_are_printed_as_they_are(tmp_path: Path):
    printed = {"text": "epoch [1]\n", "offset": 10}
    found, _ = await run(
        tmp_path, "logs", "abc", **{"retraining": told(), "retraining logs": printed}
    )
    assert found.output == "epoch [1]\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("no torch here"), 409),
        (NotFound("no such model"), 404),
        (InputError("used already"), 422),
    ],
)
async def test_a_refusal_is_told_in_its_own_words(tmp_path: Path, error: Exception, status: int):
    found, _ = await run(tmp_path, "m", retrain=error)
    assert (found.exit_code, f"{status}: {error}" in found.output) == (1, True)


async def test_a_suppressed_trigger_is_a_refusal(tmp_path: Path):
    refused = told(msgspec.structs.replace(LAST, state="suppressed", reason="too few labels"))
    found, _ = await run(tmp_path, "m", retrain=refused)
    assert (found.exit_code, "409: no retraining: too few labels" in found.output) == (1, True)


def test_a_parameter_without_a_value_is_refused():
    found = CliRunner().invoke(cli, ["retrain", "m", "--parameter", "epochs"])
    assert (found.exit_code, "is not NAME=VALUE" in found.output) == (2, True)
