"""What the start says: nothing that cannot be pasted yet."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import live


def test_the_address_is_said_when_the_bodies_of_its_examples_are_on_disk(
    repository: Path, tmp_path: Path
):
    body = tmp_path / "state" / "examples" / "toy-image.png"
    body.parent.mkdir(parents=True)
    os.mkfifo(body)  # nobody gets past writing it before it is read

    def said_before_written() -> bool:
        with body.open("rb") as file:
            said = "answers on" in (tmp_path / "evergreen.log").read_text()
            assert file.read().startswith(b"\x89PNG")
        return said

    with ThreadPoolExecutor() as pool:
        early = pool.submit(said_before_written)
        with live.serving(repository, tmp_path):
            assert not early.result(live.PATIENCE)
