"""A service that trusts some keys: what they vouch for is served, everything else is refused with the reason, unopened."""

import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
import live
import pytest
import signers
import toys

from models import bundle
from models.registry import Registry

LOAD_SECONDS = live.PATIENCE


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> signers.Pair:
    return signers.pair(tmp_path_factory.mktemp("keys"))


def bare(root: Path, name: str) -> Path:
    directory = root / name / "1"
    directory.mkdir(parents=True)
    made = toys.image(root.parent / f"made-{name}") / "model.fp32.onnx"
    (directory / bundle.BARE).write_bytes(made.read_bytes())
    return directory


def version(url: str, model: str, number: int = 1) -> dict[str, Any]:
    told = httpx.get(f"{url}/v1/models/{model}").json()
    return next(one for one in told["versions"] if one["version"] == number)


def load(url: str, model: str) -> httpx.Response:
    return httpx.post(f"{url}/v2/repository/models/{model}/load", json={}, timeout=LOAD_SECONDS)


@pytest.fixture
def repository(tmp_path: Path, pair: signers.Pair) -> Path:
    """Signed and unsigned, bundles and bare files; one is unsigned and damaged as well."""
    root = tmp_path / "repository"
    signers.sign(toys.image(root, "signed"), pair)
    signers.sign(bare(root, "bare-signed"), pair)
    toys.image(root, "unsigned")
    (bare(root, "bare-unsigned") / bundle.BARE).write_bytes(b"no ONNX file")
    changed = toys.image(root, "changed")
    signers.sign(changed, pair)
    (changed / "card.md").write_text("best model ever")
    signers.sign(toys.image(root, "stranger"), signers.pair(tmp_path, "stranger"))
    return root


def test_only_what_is_vouched_for_is_loaded(repository: Path, tmp_path: Path, pair: signers.Pair):
    reasons = {
        "unsigned": "unsigned/1 is not signed: it has no model.sig",
        "bare-unsigned": "bare-unsigned/1 is not signed: it has no model.sig",
        "changed": "changed/1 is not what was signed: Extra files found in model '1': card.md",
        "stranger": "the signature of stranger/1 is by none of key.pub",
    }
    with live.serving(repository, tmp_path, trusted_keys=str(pair.public)) as service:
        for model in ("signed", "bare-signed"):
            found = version(service.said, model)
            assert (found["state"], found["report"]["signed_by"]) == ("ready", "key.pub")
        for model, reason in reasons.items():
            found = version(service.said, model)
            assert (found["state"], found["reason"]) == ("failed", reason)
            refused = load(service.said, model)
            assert (refused.status_code, reason in refused.text) == (409, True), refused.text
        signers.sign(repository / "unsigned" / "1", pair)
        assert load(service.said, "unsigned").status_code == 200
        assert version(service.said, "unsigned")["state"] == "ready"


def test_without_trusted_keys_signatures_are_not_looked_at(tmp_path: Path, pair: signers.Pair):
    directory = toys.image(tmp_path / "repository", "signed")
    (directory / "model.sig").write_text("no signature")
    with live.serving(tmp_path / "repository", tmp_path) as service:
        found = version(service.said, "signed")
        assert (found["state"], "signed_by" in found["report"]) == ("ready", False)


def test_a_version_from_a_bucket_is_held_to_it_too(tmp_path: Path, bucket: str, pair: signers.Pair):
    root = tmp_path / "repository"
    signers.sign(toys.image(root, "toy"), pair)
    overlay = f"{bucket}/{uuid.uuid4().hex}"
    registry = Registry([root], overlay, tmp_path / "copies")
    assert registry.publish(toys.image(tmp_path / "made", "toy"), who="a test") == 2
    trusted = str(pair.public)
    with live.serving(root, tmp_path, trusted_keys=trusted, registry=overlay) as service:

        def promote() -> httpx.Response:
            url = f"{service.said}/v1/models/toy/promotions"
            return httpx.post(url, json={"version": 2}, timeout=LOAD_SECONDS)

        refused = promote()
        assert refused.status_code == 409
        assert "toy/2 is not signed: it has no model.sig" in refused.text
        assert version(service.said, "toy")["state"] == "ready"
        _, copy = registry.resolve("toy", 2)
        registry.sign("toy", 2, signers.signature(copy, pair))
        promoted = promote()
        assert (promoted.status_code, promoted.json()["champion"]) == (200, 2), promoted.text
        assert version(service.said, "toy", 2)["report"]["signed_by"] == "key.pub"


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), ("a key", "holds neither a public key nor a certificate")],
)
def test_a_key_that_is_none_stops_the_start(tmp_path: Path, content: str | None, says: str):
    toys.image(tmp_path / "repository")
    key = tmp_path / "some.pub"
    if content is not None:
        key.write_text(content)
    command = [live.evergreen(), "serve", "--repository", str(tmp_path / "repository")]
    environ = live.environment(tmp_path, trusted_keys=str(key))
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environ, check=False
    )
    assert done.returncode == 2
    assert f"trusted_keys: {key}" in done.stderr
    assert says in done.stderr
