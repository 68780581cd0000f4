"""Signatures: what a key vouched for passes, whatever else was changed, added, taken away or exchanged does not."""

import datetime
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import signers
import toys

from models import bundle, signing
from models.errors import BundleError, InputError
from models.signing import Signer


class Signed(NamedTuple):
    """A signed bundle, and the key that vouches for it."""

    directory: Path
    public: Path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> signers.Pair:
    return signers.pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(tmp_path: Path, keys: signers.Pair) -> Signed:
    directory = toys.image(tmp_path)
    signers.sign(directory, keys)
    return Signed(directory, keys.public)


def test_the_key_that_vouches_is_named(signed: Signed, tmp_path: Path):
    other = signers.pair(tmp_path, "other").public
    assert signing.verify(signed.directory, [other, signed.public]) == signed.public


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_three_curves_sign(tmp_path: Path, curve: str):
    pair = signers.pair(tmp_path, curve=curve)
    directory = toys.text(tmp_path / "repository")
    signers.sign(directory, pair)
    assert signing.verify(directory, [pair.public]) == pair.public


def flip(directory: Path) -> None:
    path = directory / "model.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def relabel(directory: Path) -> None:
    path = directory / bundle.MANIFEST
    path.write_text(path.read_text().replace('"dark"', '"dusk"'))


def link(directory: Path) -> None:
    target = directory / "samples.npz"
    moved = shutil.move(target, directory.parent / "elsewhere.npz")
    target.symlink_to(moved)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (flip, r"is not what was signed: Hash mismatch for 'model\.fp32\.onnx'$"),
    "a label": (relabel, "is not what was signed: Hash mismatch for 'manifest.json'"),
    "one more file": (lambda d: (d / "more.txt").touch(), "Extra files .*: more.txt"),
    "one more hidden file": (lambda d: (d / ".gitattributes").touch(), "Extra files"),
    "one file less": (lambda d: (d / "samples.npz").unlink(), "Missing files .*: samples.npz"),
    "no manifest": (lambda d: (d / bundle.MANIFEST).unlink(), "Missing files .*: manifest.json"),
    "a link": (link, "samples.npz is a symbolic link"),
    "no signature": (lambda d: (d / "model.sig").unlink(), "is not signed: it has no model.sig"),
    "a signature that is none": (lambda d: (d / "model.sig").write_text("x"), "cannot be read"),
    "a signature of nothing": (lambda d: (d / "model.sig").write_text("{}"), "is by none of"),
    "a signature of megabytes": (
        lambda d: (d / "model.sig").write_bytes(bytes(1 << 21)),
        "has 2,097,152 bytes, 1,048,576 are most",
    ),
    "a signature without end": (
        lambda d: (d / "model.sig").write_text('{"a":' * 100_000),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_changed_is_told(signed: Signed, change: str):
    make, says = CHANGES[change]
    make(signed.directory)
    with pytest.raises(BundleError, match=says):
        signing.verify(signed.directory, [signed.public])


def test_another_key_vouches_for_nothing(signed: Signed, tmp_path: Path):
    other = signers.pair(tmp_path, "other").public
    with pytest.raises(BundleError, match=r"the signature of toy-image/1 is by none of other\.pub"):
        signing.verify(signed.directory, [other])


def test_a_signature_made_with_another_key_under_this_keys_name_is_refused(
    signed: Signed, tmp_path: Path
):
    """The hint in a signature is only a hint."""
    other = signers.pair(tmp_path, "other")
    hint = signers.hint(signed.directory / "model.sig")
    signers.sign(signed.directory, other)
    path = signed.directory / "model.sig"
    path.write_text(path.read_text().replace(signers.hint(path), hint))
    with pytest.raises(BundleError, match="is by none of"):
        signing.verify(signed.directory, [signed.public])


def test_what_was_signed_under_one_number_is_no_other_version(signed: Signed):
    """The manifest is signed, and it says which version it is of."""
    moved = signed.directory.rename(signed.directory.with_name("7"))
    signing.verify(moved, [signed.public])
    with pytest.raises(BundleError, match="7 holds toy-image/1"):
        bundle.verify(moved, bundle.read(moved))


def test_signing_again_and_writing_again_leave_the_signature_out(
    signed: Signed, keys: signers.Pair
):
    manifest = bundle.write(signed.directory, bundle.read(signed.directory))
    assert "model.sig" not in manifest.files
    signers.sign(signed.directory, keys)
    bundle.verify(signed.directory, manifest)
    signing.verify(signed.directory, [signed.public])


def test_a_certificate_counts_where_one_above_it_is_trusted(tmp_path: Path):
    issued, stranger = signers.issued(tmp_path / "a"), signers.issued(tmp_path / "b")
    directory = toys.image(tmp_path)
    signature = Signer(issued.key, certificate=issued.certificate).sign(directory)
    (directory / "model.sig").write_bytes(signature)
    assert signing.verify(directory, [issued.root]) == issued.root
    with pytest.raises(BundleError, match=r"is by none of root\.crt"):
        signing.verify(directory, [stranger.root])


def test_a_key_with_a_password_signs_with_it(tmp_path: Path):
    pair = signers.pair(tmp_path, password="correct horse")
    directory = toys.image(tmp_path)
    (directory / "model.sig").write_bytes(Signer(pair.key, "correct horse").sign(directory))
    signing.verify(directory, [pair.public])
    for wrong in ("battery", None):
        with pytest.raises(InputError, match=r"key\.pem cannot sign"):
            Signer(pair.key, wrong).sign(directory)


def test_what_is_no_key_is_named(tmp_path: Path, signed: Signed):
    (tmp_path / "text.pub").write_text("nothing")
    (tmp_path / "odd.pub").write_text(
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    )
    for name, says in (
        ("text.pub", "holds neither a public key nor a certificate"),
        ("odd.pub", "cannot be used to verify"),
        ("missing.pub", "No such file"),
    ):
        with pytest.raises(InputError, match=f"{name}.*{says}"):
            signing.verify(signed.directory, [signed.public, tmp_path / name])
    rsa = signers.rsa(tmp_path)
    with pytest.raises(InputError, match=r"rsa\.pub cannot be used to verify"):
        signing.verify(signed.directory, [rsa.public])
    with pytest.raises(InputError, match=r"rsa\.pem cannot sign"):
        Signer(rsa.key).sign(signed.directory)


def test_without_the_package_it_is_named(signed: Signed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signing.importlib.util, "find_spec", lambda _: None)
    signing.check_trusted([])
    with pytest.raises(InputError, match=r"signatures need .*pip install -e '\.\[sign\]'"):
        signing.check_trusted([signed.public])


def test_another_process_says_the_same(signed: Signed, tmp_path: Path):
    key = str(signed.public)
    assert signing.verify_apart(signed.directory, [key]) == key
    flip(signed.directory)
    with pytest.raises(BundleError, match="toy-image/1 is not what was signed"):
        signing.verify_apart(signed.directory, [key])
    with pytest.raises(BundleError, match="No such file"):
        signing.verify_apart(signed.directory, [str(tmp_path / "missing.pub")])


def test_a_process_that_breaks_vouches_for_nothing(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BundleError, match="the signature could not be verified"):
        signing.verify_apart(signed.directory, [str(signed.public)])


def test_the_package_is_imported_only_where_it_is_needed():
    code = (
        "import models.signing, service.engine.loading, sys; print('model_signing' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_expired_certificate_counts_for_what_it_signed(tmp_path: Path):
    """A certificate is judged at the moment from which it was valid: the package's own rule."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    issued = signers.issued(tmp_path, since=past)
    directory = toys.image(tmp_path)
    signature = Signer(issued.key, certificate=issued.certificate).sign(directory)
    (directory / "model.sig").write_bytes(signature)
    assert signing.verify(directory, [issued.root]) == issued.root
