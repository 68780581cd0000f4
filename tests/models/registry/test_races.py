"""Eight processes want the same thing at once: exactly one gets it, the others hear of it, and nothing is lost."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import racer

from models import bundle
from models.registry import Registry

RACERS = 8


class Racers:
    """Processes over one overlay, told together and asked together."""

    def __init__(self, overlay: Path | str, caches: list[Path], stack: ExitStack) -> None:
        self.processes = []
        for cache in caches:
            command = [sys.executable, racer.__file__, str(overlay), str(cache)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)  # closes its input, at which it ends, and waits for it
            self.processes.append(process)
        assert [process.stdout.readline() for process in self.processes] == ["ready\n"] * RACERS

    def tell(self, orders: list[dict]) -> list[dict]:
        """One order each, all of them at once; the answers in the same order."""
        for process, order in zip(self.processes, orders, strict=True):
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self.processes]


def order(call: str, *arguments: object, until: bool = False, **options: object) -> dict:
    return {"call": call, "arguments": arguments, "options": options, "until": until}


@pytest.fixture(params=["local", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """What several processes can see."""
    if request.param == "local":
        return tmp_path / "overlay"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"


@pytest.fixture
def racers(shared: Path | str, tmp_path: Path) -> Iterator[Racers]:
    with ExitStack() as stack:
        yield Racers(shared, [tmp_path / str(number) for number in range(RACERS)], stack)


def test_of_eight_at_once_one_wins_each_time_and_no_change_is_lost(
    racers: Racers, shared: Path | str, made: Path, tmp_path: Path
) -> None:
    watching = Registry([], shared, tmp_path / "cache")

    # They publish at once: eight versions, each whole, each with a number of its own.
    answers = racers.tell([order("publish", str(made), who=f"racer {n}") for n in range(RACERS)])
    assert sorted(answer["value"] for answer in answers) == list(range(1, RACERS + 1))
    assert watching.versions("toy-image") == list(range(1, RACERS + 1))
    for version in watching.versions("toy-image"):
        _, directory = watching.resolve("toy-image", version)
        bundle.verify(directory, bundle.read(directory))

    # Each expects the same champion and wants its own version, or the next where that is the champion, round after round.
    for _ in range(5):
        before = watching.aliases("toy-image")["champion"]
        others = [n if n != before else n % RACERS + 1 for n in range(1, RACERS + 1)]
        answers = racers.tell(
            [order("promote", "toy-image", n, if_champion=before, who=f"racer {n}") for n in others]
        )
        won = [answer["value"] for answer in answers if "value" in answer]
        assert len(won) == 1
        after = watching.aliases("toy-image")
        assert (after["champion"], after["previous"]) == (won[0]["after"], before)
        for answer in answers:
            if "conflict" in answer:
                assert str(before) in answer["conflict"]
                assert str(won[0]["after"]) in answer["conflict"]

    # Whoever tries again gets through in the end, and keeps what the others wrote.
    length = watching.history("toy-image")[-1].number
    for turn in range(3):
        answers = racers.tell(
            [
                order("set_alias", "toy-image", f"racer-{n}", n + 1, until=True, who=f"{turn}.{n}")
                for n in range(RACERS)
            ]
        )
        assert all("value" in answer for answer in answers)
    history = watching.history("toy-image")
    assert [change.number for change in history] == list(range(1, length + 3 * RACERS + 1))
    assert len({change.id for change in history}) == len(history)
    wanted = {f"{turn}.{n}" for turn in range(3) for n in range(RACERS)}
    assert {change.who for change in history[length:]} == wanted
    aliases = watching.aliases("toy-image")
    assert [aliases[f"racer-{n}"] for n in range(RACERS)] == list(range(1, RACERS + 1))


def test_processes_that_fetch_one_version_at_once_share_one_whole_copy(
    bucket: str, made: Path, tmp_path: Path
) -> None:
    overlay, cache = f"{bucket}/{uuid.uuid4().hex}", tmp_path / "cache"
    publisher = Registry([], overlay, tmp_path / "mine")
    with ExitStack() as stack:
        racers = Racers(overlay, [cache] * RACERS, stack)
        for version in range(1, 4):
            publisher.publish(made, who="test")
            answers = racers.tell([order("resolve", "toy-image", version)] * RACERS)
            assert answers == [answers[0]] * RACERS
            directory = Path(answers[0]["value"][1])
            bundle.verify(directory, bundle.read(directory))
            left = {path.name for path in directory.parent.glob(f"*{version}*")}
            assert left == {f"{version}", f".{version}.lock"}
