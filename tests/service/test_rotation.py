"""Files that change while the service runs: what they hold counts, or what they held goes on and everybody hears of it."""

import asyncio
import logging
from pathlib import Path

import pytest

from service import rotation
from service.errors import SettingsError
from service.refusals import Refusals
from service.rotation import Watched, follow, state


def told(counts: Refusals) -> dict[str, float]:
    return {
        f"{sample.name} {' '.join(sample.labels.values())}": sample.value
        for family in counts.collect()
        for sample in family.samples
        if "secret" in sample.name
    }


async def test_a_file_is_read_when_it_changes_and_what_it_held_goes_on_where_it_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(rotation, "LOOK_SECONDS", 0.01)
    file, counts, read = tmp_path / "tokens", Refusals(), asyncio.Queue[str]()
    file.write_text("first")

    def reload() -> None:
        read.put_nowait(text := file.read_text())
        if text == "broken":
            raise SettingsError("it is broken")

    async with asyncio.timeout(30):
        watched = Watched("tokens", [file], reload, state([file]))
        following = asyncio.create_task(follow([watched], counts))
        await asyncio.sleep(0.1)
        assert read.empty()
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").replace(file)
        assert await read.get() == "second"
        assert told(counts)["inference_outdated_secrets tokens"] == 0
        (tmp_path / "new").write_text("broken")
        (tmp_path / "new").replace(file)  # written in place, it may be read twice
        assert await read.get() == "broken"
        assert told(counts)["inference_outdated_secrets tokens"] == 1
        assert told(counts)["inference_secret_reloads_total tokens failed"] == 1
        (tmp_path / "new").write_text("third")
        (tmp_path / "new").replace(file)
        assert await read.get() == "third"
        following.cancel()
    assert told(counts)["inference_outdated_secrets tokens"] == 0
    (broken,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "it is broken" in broken.message


async def test_what_changed_between_reading_and_watching_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rotation, "LOOK_SECONDS", 0.01)
    file, read = tmp_path / "tokens", asyncio.Event()
    file.write_text("old")
    watched = Watched("tokens", [file], read.set, state([file]))
    file.write_text("another")
    following = asyncio.create_task(follow([watched], Refusals()))
    async with asyncio.timeout(30):
        await read.wait()
    following.cancel()


async def test_a_file_that_is_being_written_is_not_read(monkeypatch: pytest.MonkeyPatch):
    """`operator admin a-long-secret` cut off behind its first word would be a token that may do everything."""
    monkeypatch.setattr(rotation, "LOOK_SECONDS", 0)
    states = [((1, size, size),) for size in (0, 8, 16, 24, 24, 24)]
    monkeypatch.setattr(rotation, "state", lambda _: states.pop(0))
    left: asyncio.Queue[int] = asyncio.Queue()
    watched = Watched("tokens", [], lambda: left.put_nowait(len(states)), ((1, 99, 99),))
    following = asyncio.create_task(follow([watched], Refusals()))
    async with asyncio.timeout(30):
        assert await left.get() == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_what_a_link_leads_to_is_what_counts(tmp_path: Path):
    """As Kubernetes replaces a secret: the file stays a link, what it leads to is another."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens").write_text("token")
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "tokens").symlink_to("data/tokens")
    before = state([tmp_path / "tokens"])
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "data")
    assert state([tmp_path / "tokens"]) != before
    (tmp_path / "two" / "tokens").unlink()
    assert state([tmp_path / "tokens"]) == (None,)
