"""`evergreen drift`: the table, the page, and a profile from rows that are known to be good."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import profiled
import pytest
import toys
from click.testing import CliRunner, Result
from PIL import Image

from models import bundle, profile
from models.registry import Registry
from service.cli import cli, drift_plots
from service.cli.drift import bars
from service.cli.drift_page import page
from service.ledger.ledger import Ledger
from service.ledger.records import Label, Payload, Prediction
from service.monitoring import payloads
from service.monitoring.account import Account, Past, account, not_loaded
from service.monitoring.quality import LabelledQuality
from service.monitoring.report import ReferenceTold, SignalTold
from service.predictor import Identifiers

HOSTILE = '<script>alert("x")</script>'


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["drift", *arguments], env=environ)


def told(**more: Any) -> Account:
    """An account of hostile names."""
    empty = account(not_loaded("m", 1), LabelledQuality((HOSTILE,), 0.05, 0.02).described(), [])
    signal = SignalTold(
        HOSTILE, "input", True, 9.0, 3.0, 0.001, 200, -1.5, 0.3, 0.1, 0.2, 0.4,
        (0.0, 1.0), [0, 150, 50, 0], (10, 10, 10, 0),
    )  # fmt: skip
    changes = {
        "verdict": "drift",
        "reason": HOSTILE,
        "since": 1000.0,
        "samples": 200,
        "p": 0.0005,
        "signals": [signal],
        "reference": ReferenceTold("a" * 64, 5000, HOSTILE, "2026-01-01", (100, 200)),
        "history": [],
    }
    return msgspec.structs.replace(empty, **(changes | more))


class Page(HTMLParser):
    """What a page consists of: tags that are open at its end, and every attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_loads_nothing():
    past = [Past(float(n), 200, 0.5 / n, "quiet") for n in range(1, 9)]
    text = page(told(history=past), 2000.0)
    read = Page(text)
    assert read.open == []
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in read.attributes}
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert HOSTILE not in text
    assert text.count("<polyline") == 1


def test_a_page_without_signals_or_labels_says_why():
    empty = account(not_loaded("m", 1), LabelledQuality((), None, 0.02).described(), [])
    text = page(empty, 0.0)
    assert "not loaded" in text
    assert Page(text).open == []


def test_bars_are_as_high_as_their_share():
    drawn = drift_plots.histogram([10, 30, 0, 0], [0, 20, 20, 0], [0.0, 1.0])
    heights = re.findall(r'class="(\w+)"[^>]*height="([\d.]+)"', drawn)
    highest = drift_plots.HEIGHT - 2
    usual = [float(height) for kind, height in heights if kind == "usual"]
    live_ones = [float(height) for kind, height in heights if kind == "live"]
    assert usual == pytest.approx([highest / 3, highest, 0], abs=0.1)
    assert live_ones == pytest.approx([0, highest * 2 / 3, highest * 2 / 3], abs=0.1)


def test_small_bars_show_what_there_is_and_missing_values_only_if_any():
    assert bars([0, 4, 8, 0]) == " ▄█"
    assert bars([0, 4, 8, 1]) == " ▄█▁"
    assert bars([0, 0]) == " "


def test_a_model_without_a_profile_is_shown_with_the_reason(url: str):
    found = run("show", "toy-text", "--url", url)
    assert found.exit_code == 0, found.output
    assert "no profile.json" in found.output
    missing = run("show", "nobody", "--url", url)
    assert (missing.exit_code, "404" in missing.output) == (1, True)


def test_json_is_what_the_service_says(url: str):
    found = run("show", "toy-text", "--json", "--url", url)
    asked = httpx.get(f"{url}/v1/models/toy-text/drift").json()
    assert json.loads(found.output)["reason"] == asked["reason"]


def test_a_page_that_cannot_be_written_ends_with_a_sentence(url: str, tmp_path: Path):
    found = run("report", "toy-text", "--url", url, "--output", str(tmp_path / "no" / "page"))
    assert found.exit_code == 1
    assert "No such file" in found.output


def fill(state: Path, images: np.ndarray, labelled: bool) -> None:
    """A ledger in which `images` were recorded."""
    state.mkdir(parents=True, exist_ok=True)
    ledger, new_id = Ledger.open(f"sqlite:///{state / 'ledger.sqlite'}"), Identifiers()
    ids = [new_id() for _ in images]
    at = 0.0
    ledger.add_predictions(
        [Prediction(one, 0, "toy-image", 1, at, 0, 0.9, 1.0, "v1") for one in ids]
    )
    ledger.add_payloads(
        [
            Payload(one, 0, "toy-image", 1, at, payloads.encode({"image": image}), 1.0)
            for one, image in zip(ids, images, strict=True)
        ]
    )
    if labelled:
        now = int(ids[0].replace("-", "")[:12], 16) / 1000
        ledger.add_labels(
            [
                Label(one, 0, "light" if image.mean() > 0.5 else "dark", "", now, now)
                for one, image in zip(ids, images, strict=True)
            ]
        )
    ledger.close()


def profiling(root: Path, *arguments: str) -> Result:
    environ = {
        "EVERGREEN_STATE": str(root / "state"),
        "EVERGREEN_REPOSITORY": str(root / "models"),
    }
    return run("profile", "toy-image", *arguments, **environ)


def made(root: Path) -> tuple[profile.Profile, bundle.Manifest]:
    registry = Registry([root / "models"], root / "state" / "registry")
    _, directory = registry.resolve("toy-image", 2)
    manifest = bundle.read(directory)
    bundle.verify(directory, manifest)
    found = profile.read(directory)
    assert found is not None
    return found, manifest


@pytest.mark.parametrize("labelled", [True, False])
def test_recorded_traffic_becomes_the_profile_of_a_new_version(tmp_path: Path, labelled: bool):
    toys.image(tmp_path / "models")
    fill(tmp_path / "state", profiled.pictures(np.random.default_rng(1), 400), labelled)
    result = profiling(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["version"] == 2
    found, manifest = made(tmp_path)
    assert (found.rows, found.version, found.sizes) == (400, 2, (100,))
    assert found.source == "recorded traffic"
    assert (found.estimate is not None) == labelled
    assert manifest.files[profile.FILE]
    registry = Registry([tmp_path / "models"], tmp_path / "state" / "registry")
    assert registry.aliases("toy-image")["champion"] == 1


def test_a_file_of_what_people_send_becomes_a_profile(tmp_path: Path):
    toys.image(tmp_path / "models")
    lines = []
    for number, image in enumerate(profiled.pictures(np.random.default_rng(1), 300)):
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(json.dumps({"image": f"{number}.png", "label": "light"}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    result = profiling(tmp_path, "--from", str(tmp_path / "rows.jsonl"))
    assert result.exit_code == 0, result.output
    found, _ = made(tmp_path)
    assert (found.rows, found.source) == (300, "rows.jsonl")


BAD = {
    "too few": ({"image": np.zeros((20, 1, 4, 4), np.float32)}, "20 rows is too small"),
    "another tensor": ({"picture": np.zeros((20, 1, 4, 4), np.float32)}, "the model takes image"),
    "no class": (
        {"image": np.zeros((20, 1, 4, 4), np.float32), "labels": np.full(20, 7)},
        "'7' is no class",
    ),
    "another type": ({"image": np.zeros((400, 1, 4, 4), np.float64)}, "image"),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_make_no_profile_publish_nothing(tmp_path: Path, name: str):
    arrays, says = BAD[name]
    toys.image(tmp_path / "models")
    np.savez(tmp_path / "rows.npz", **arrays)
    result = profiling(tmp_path, "--from", str(tmp_path / "rows.npz"))
    assert result.exit_code == 1
    assert says in f"{result.output} {result.exception}"
    assert Registry([tmp_path / "models"], tmp_path / "state" / "registry").versions(
        "toy-image"
    ) == [1]


@pytest.mark.parametrize("source", ["ledger", "nowhere.npz", "nowhere.jsonl"])
def test_without_rows_there_is_no_profile(tmp_path: Path, source: str):
    toys.image(tmp_path / "models")
    result = profiling(tmp_path, "--from", source)
    assert result.exit_code == 1
    assert "no rows" in result.output or "nowhere" in result.output
