"""`evergreen models sign` and `verify`: for a committed version, a published one and one in a bucket, and what is refused."""

import uuid
from pathlib import Path

import pytest
import signers
import toys
from click.testing import CliRunner, Result

from models.errors import BundleError
from models.registry import Registry
from service.cli import cli


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> signers.Pair:
    return signers.pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(params=["committed", "published", "in a bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Options that name where version 1 of toy-image lies, the committed or the published one."""
    seed, overlay = tmp_path / "seed", str(tmp_path / "overlay")
    made = toys.image(tmp_path / "made")
    if request.param == "in a bucket":
        overlay = f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    if request.param == "committed":
        seed = tmp_path / "made"
    else:
        seed.mkdir()
        Registry([seed], overlay, tmp_path / "copies").publish(made, who="a test")
    return ["--repository", str(seed), "--registry", overlay]


def run(tmp_path: Path, *arguments: str, said: str | None = None) -> Result:
    environ = {"EVERGREEN_STATE": str(tmp_path / "state")}
    return CliRunner().invoke(cli, ["models", *arguments], env=environ, input=said)


def test_a_version_is_signed_where_it_lies_and_verified_from_there(
    tmp_path: Path, place: list[str], pair: signers.Pair
):
    verify = ["verify", "toy-image", "--public-key", str(pair.public), *place]
    unsigned = run(tmp_path, *verify)  # fetches it from the bucket, without a signature
    assert (unsigned.exit_code, type(unsigned.exception)) == (1, BundleError)
    assert "toy-image/1 is not signed" in str(unsigned.exception)
    signed = run(tmp_path, "sign", "toy-image", "--version", "1", "--key", str(pair.key), *place)
    assert signed.exit_code == 0, signed.exception
    assert "toy-image/1 is signed with" in signed.output
    verified = run(tmp_path, *verify)
    assert verified.exit_code == 0, verified.exception
    assert f"toy-image/1 is what {pair.public} vouches for" in verified.output


def test_who_signs_later_takes_the_place_of_who_signed_before(
    tmp_path: Path, place: list[str], pair: signers.Pair
):
    other = signers.pair(tmp_path, "other")
    for key in (pair.key, other.key):
        assert run(tmp_path, "sign", "toy-image", "--key", str(key), *place).exit_code == 0
    for key, code in ((other.public, 0), (pair.public, 1)):
        found = run(tmp_path, "verify", "toy-image", "--public-key", str(key), *place)
        assert found.exit_code == code


def test_the_trusted_keys_are_taken_where_none_is_named(
    tmp_path: Path, pair: signers.Pair, monkeypatch: pytest.MonkeyPatch
):
    directory = toys.image(tmp_path / "seed")
    place = ["--repository", str(tmp_path / "seed")]
    signers.sign(directory, pair)
    assert run(tmp_path, "verify", "toy-image", *place).exit_code == 2
    other = signers.pair(tmp_path, "other")
    monkeypatch.setenv("EVERGREEN_TRUSTED_KEYS", f"{other.public}, {pair.public}")
    assert run(tmp_path, "verify", "toy-image", *place).exit_code == 0
    monkeypatch.setenv("EVERGREEN_TRUSTED_KEYS", str(other.public))
    assert run(tmp_path, "verify", "toy-image", *place).exit_code == 1


def test_nobody_vouches_for_what_contradicts_itself(tmp_path: Path, pair: signers.Pair):
    directory = toys.image(tmp_path / "seed")
    (directory / "model.fp32.onnx").write_bytes(b"damaged")
    found = run(
        tmp_path,
        "sign",
        "toy-image",
        "--key",
        str(pair.key),
        "--repository",
        str(tmp_path / "seed"),
    )
    assert (found.exit_code, "has sha256" in str(found.exception)) == (1, True)
    assert not (directory / "model.sig").exists()


def test_a_key_with_a_password_asks_for_it(tmp_path: Path):
    toys.image(tmp_path / "seed")
    locked = signers.pair(tmp_path, password="correct horse")
    sign = ["sign", "toy-image", "--key", str(locked.key), "--repository", str(tmp_path / "seed")]
    wrong = run(tmp_path, *sign, said="battery\n")
    assert (wrong.exit_code, "cannot sign" in str(wrong.exception)) == (1, True)
    assert run(tmp_path, *sign, said="correct horse\n").exit_code == 0


def test_a_certificate_signs_with_its_key(tmp_path: Path):
    toys.image(tmp_path / "seed")
    issued, place = signers.issued(tmp_path), ["--repository", str(tmp_path / "seed")]
    by = ["--key", str(issued.key), "--certificate", str(issued.certificate)]
    assert run(tmp_path, "sign", "toy-image", *by, *place).exit_code == 0
    trusted = ["--public-key", str(issued.root)]
    assert run(tmp_path, "verify", "toy-image", *trusted, *place).exit_code == 0


def test_a_bare_file_is_signed_too(tmp_path: Path, pair: signers.Pair):
    made = toys.image(tmp_path / "made")
    directory = tmp_path / "seed" / "bare" / "1"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes((made / "model.fp32.onnx").read_bytes())
    place = ["--repository", str(tmp_path / "seed")]
    assert run(tmp_path, "sign", "bare", "--key", str(pair.key), *place).exit_code == 0
    trusted = ["--public-key", str(pair.public)]
    assert run(tmp_path, "verify", "bare", *trusted, *place).exit_code == 0
    (directory / "model.onnx").write_bytes(b"another")
    assert run(tmp_path, "verify", "bare", *trusted, *place).exit_code == 1
