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
        following = asyncio.create_task(follow([Watched("tokens", [file], reload)], counts))
        await asyncio.sleep(0.1)
        assert read.empty()
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").replace(file)
        assert await read.get() == "second"
        assert told(counts)["inference_outdated_secrets tokens"] == 0
        file.write_text("broken")
        while await read.get() != "broken":  # a file that is being written may be seen half
            pass
        assert told(counts)["inference_outdated_secrets tokens"] == 1
        assert told(counts)["inference_secret_reloads_total tokens failed"] == 1
        file.write_text("third")
        while await read.get() != "third":
            pass
        following.cancel()
    assert told(counts)["inference_outdated_secrets tokens"] == 0
    (broken,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "it is broken" in broken.message


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
