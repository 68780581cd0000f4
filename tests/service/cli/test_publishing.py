"""`evergreen models publish`: what becomes of a bundle and of a bare file, and how it is told when nothing does."""

import json
from pathlib import Path

import httpx
import live
import oddities
import pytest
import signers
import toys
from click.testing import CliRunner, Result

from models import bundle, signing
from models.registry import Registry
from service.cli import cli


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    toys.image(tmp_path / "seed", "toy")
    return tmp_path / "seed"


def run(seed: Path, *arguments: str, **environ: str) -> Result:
    state = str(seed.parent / "state")
    settings = {"EVERGREEN_REPOSITORY": str(seed), "EVERGREEN_STATE": state, **environ}
    return CliRunner().invoke(cli, ["models", *arguments], env=settings)


def registry(seed: Path) -> Registry:
    return Registry([seed], seed.parent / "state" / "registry")


def test_a_bundle_becomes_the_next_version_and_who_answers_stays(seed: Path, tmp_path: Path):
    made = toys.image(tmp_path / "made", "toy", 1)
    found = run(seed, "publish", str(made), "--who", "ann", "--why", "retrained")
    assert found.exit_code == 0, found.output
    assert "is toy/2 now: a bundle" in found.output
    assert registry(seed).versions("toy") == [1, 2]
    assert registry(seed).aliases("toy")["champion"] == 1
    claim = json.loads((tmp_path / "state/registry/toy/claims/000002.json").read_text())
    assert (claim["who"], claim["why"]) == ("ann", "retrained")


def test_under_another_name_it_is_another_model(seed: Path, tmp_path: Path):
    made = toys.image(tmp_path / "made", "toy", 1)
    assert "is other/1 now" in run(seed, "publish", str(made), "--name", "other").output
    assert registry(seed).manifest("other", 1).name == "other"
    _, directory = registry(seed).resolve("other")
    bundle.verify(directory, bundle.read(directory))


@pytest.mark.parametrize("form", ["a file", "a directory"])
def test_a_bare_file_becomes_a_version_and_needs_a_name(seed: Path, tmp_path: Path, form: str):
    file = tmp_path / "found" / "model.onnx"
    file.parent.mkdir()
    file.write_bytes((toys.image(tmp_path / "made") / "model.fp32.onnx").read_bytes())
    what = str(file if form == "a file" else file.parent)
    nameless = run(seed, "publish", what)
    assert nameless.exit_code == 1
    assert "does not say which model it is: give a name" in str(nameless.exception)
    found = run(seed, "publish", what, "--name", "bare", "--json")
    assert json.loads(found.stdout) == {"model": "bare", "version": 1, "signed": False}
    _, directory = registry(seed).resolve("bare")
    assert bundle.is_bare(directory)
    assert (directory / "model.onnx").read_bytes() == file.read_bytes()


def test_where_it_lies_may_say_what_a_bare_file_is_called(seed: Path, tmp_path: Path):
    directory = tmp_path / "made" / "where-it-lies" / "7"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(b"anything")
    assert "is where-it-lies/1 now: a bare file" in run(seed, "publish", str(directory)).output


def test_what_cannot_be_published_is_a_sentence(seed: Path, tmp_path: Path):
    empty, damaged = tmp_path / "empty", toys.image(tmp_path / "damaged")
    empty.mkdir()
    (damaged / "model.fp32.onnx").write_bytes(b"x")
    for what, name, says in (
        (empty, "m", "holds neither manifest.json nor model.onnx"),
        (tmp_path / "nothing", "m", "there is no file or directory"),
        (damaged, "m", "has sha256"),
        (toys.image(tmp_path / "made"), "../m", "there is no model '../m'"),
    ):
        found = run(seed, "publish", str(what), "--name", name)
        assert (found.exit_code, says in str(found.exception)) == (1, True), found.exception
    assert registry(seed).models() == ["toy"]


def test_with_a_key_it_is_signed_where_it_was_put(seed: Path, tmp_path: Path):
    pair = signers.pair(tmp_path)
    made = toys.image(tmp_path / "made", "toy", 1)
    found = run(seed, "publish", str(made), "--key", str(pair.key))
    assert "is toy/2 now: a bundle, signed" in found.output, found.output
    _, directory = registry(seed).resolve("toy", 2)
    assert signing.verify(directory, [pair.public]) == pair.public


def test_a_certificate_without_a_key_is_refused(seed: Path, tmp_path: Path):
    made = toys.image(tmp_path / "made", "toy", 1)
    issued = signers.issued(tmp_path)
    found = run(seed, "publish", str(made), "--certificate", str(issued.certificate))
    assert (found.exit_code, "--key" in found.output) == (2, True)
    assert registry(seed).versions("toy") == [1]


def test_what_is_published_can_be_promoted_at_once(tmp_path: Path):
    toys.image(tmp_path / "repository", "toy")
    made = toys.image(tmp_path / "made", "toy")
    bare = oddities.save(tmp_path / "repository", oddities.linear())
    environ = {
        "EVERGREEN_REPOSITORY": str(tmp_path / "repository"),
        "EVERGREEN_STATE": str(tmp_path / "state"),
    }
    with live.serving(tmp_path / "repository", tmp_path) as service:

        def publish(what: Path, *more: str) -> Result:
            arguments = ["models", "publish", str(what), "--promote", "--url", service.said, *more]
            return CliRunner().invoke(cli, arguments, env=environ)

        found = publish(made, "--why", "retrained")
        assert found.exit_code == 0, found.output
        assert "version 2 answers" in found.output
        told = json.loads(publish(made, "--json").stdout)
        assert (told["version"], told["state"]["champion"]) == (3, 3)
        assert "version 2 answers" in publish(bare).output
        assert httpx.get(f"{service.said}/v2/models/odd/versions/2/ready").status_code == 200
