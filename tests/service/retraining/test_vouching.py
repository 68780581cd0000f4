"""Where only versions that somebody vouches for are loaded, the service signs what it trained, or says at once why it cannot."""

from pathlib import Path

import pytest
import retrained
import signers
import toys
from retrained import MODEL, Trainer

from models import bundle
from models.errors import BundleError, InputError
from models.registry import Registry
from service.retraining.launchers.settings import Training
from service.retraining.vouching import NOBODY, Vouching
from service.settings import Settings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> signers.Pair:
    return signers.pair(tmp_path_factory.mktemp("keys"))


def vouching(trusted: Path | None, key: Path | None, certificate: Path | None = None) -> Vouching:
    training = Training(signing_key=key, signing_certificate=certificate)
    return Vouching(Settings(trusted_keys=(trusted,) if trusted else (), training=training))


async def test_where_nobody_is_trusted_nobody_has_to_sign(pair: signers.Pair) -> None:
    assert await vouching(None, None).missing() is None
    assert await vouching(None, pair.key).missing() is None


async def test_a_key_that_is_trusted_will_do_and_another_is_told_at_once(
    tmp_path: Path, pair: signers.Pair
) -> None:
    assert await vouching(pair.public, pair.key).missing() is None
    assert await vouching(pair.public, None).missing() == NOBODY
    stranger = signers.pair(tmp_path, "stranger")
    why = await vouching(pair.public, stranger.key).missing()
    assert why is not None
    assert "by none of key.pub" in why
    why = await vouching(pair.public, tmp_path / "absent.pem").missing()
    assert why is not None
    assert str(tmp_path / "absent.pem") in why


@pytest.mark.system
async def test_a_certificate_will_do_where_its_root_is_trusted(tmp_path: Path) -> None:
    made = signers.issued(tmp_path / "certificates")
    assert await vouching(made.root, made.key, made.certificate).missing() is None


async def test_a_key_is_tried_again_once_it_has_changed(tmp_path: Path, pair: signers.Pair) -> None:
    key = tmp_path / "rotated.pem"
    key.write_bytes(signers.pair(tmp_path, "stranger").key.read_bytes())
    one = vouching(pair.public, key)
    assert await one.missing() is not None
    key.write_bytes(pair.key.read_bytes())
    assert await one.missing() is None


def test_only_what_the_training_made_is_signed(tmp_path: Path, pair: signers.Pair) -> None:
    registry = Registry([tmp_path / "none"], tmp_path / "registry")
    made = toys.text(tmp_path / "made")
    other = toys.text(tmp_path / "other", version=2)
    (other / "card.md").write_text("another")
    bundle.write(other, bundle.read(other))
    number = registry.publish(made, who="a test")
    one = vouching(pair.public, pair.key)
    with pytest.raises(BundleError, match="is not what the training made"):
        one.sign(registry, MODEL, number, other)
    assert not registry.state(MODEL).versions[number].signed
    one.sign(registry, MODEL, number, made)
    assert registry.state(MODEL).versions[number].signed
    gone = vouching(pair.public, tmp_path / "gone.pem")
    gone.sign(registry, MODEL, number, made)  # it is signed already
    again = registry.publish(made, who="a test")
    with pytest.raises(InputError, match=r"gone\.pem"):
        gone.sign(registry, MODEL, again, made)


@pytest.mark.system
def test_a_challenger_is_signed_and_answers_where_only_signed_versions_do(
    tmp_path: Path, pair: signers.Pair
) -> None:
    trainer = Trainer(tmp_path)
    signers.sign(toys.text(tmp_path / "models"), pair)
    settings = {"trusted_keys": str(pair.public), "training__signing_key": str(pair.key)}
    with retrained.service(tmp_path, trainer, **settings) as (_, client):
        client.teach()
        assert client.until(client.began(), "succeeded")["version"] == 2
        page = client.get(f"/v1/models/{MODEL}").json()
        second = next(one for one in page["versions"] if one["version"] == 2)
        assert (page["aliases"]["champion"], second["report"]["signed_by"]) == (2, "key.pub")


def test_without_a_key_nothing_is_trained_and_the_reason_is_told(
    tmp_path: Path, pair: signers.Pair
) -> None:
    trainer = Trainer(tmp_path)
    signers.sign(toys.text(tmp_path / "models"), pair)
    with retrained.service(tmp_path, trainer, trusted_keys=str(pair.public)) as (_, client):
        client.teach()
        answer = client.retrain()
        assert (answer.status_code, NOBODY in answer.json()["detail"]) == (409, True)
        page = client.get(f"/v1/models/{MODEL}").json()
        assert (page["retrainable"], page["retraining"]["reason"]) == (False, NOBODY)
        assert trainer.runs() == []
