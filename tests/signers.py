"""Keys and certificates for tests, made with `cryptography`, and versions signed with them."""

import datetime
import json
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models.signing import Signer

DAYS = 30


class Pair(NamedTuple):
    """Files of a private key and its public one."""

    key: Path
    public: Path


class Issued(NamedTuple):
    """Files of a private key, its certificate, and the certificate that vouches for that."""

    key: Path
    certificate: Path
    root: Path


def sign(directory: Path, pair: Pair) -> None:
    """Put a signature beside the files of a version."""
    (directory / "model.sig").write_bytes(signature(directory, pair))


def signature(directory: Path, pair: Pair) -> bytes:
    return Signer(pair.key).sign(directory)


def hint(signature: Path) -> str:
    """What a signature says of its key."""
    return json.loads(signature.read_text())["verificationMaterial"]["publicKey"]["hint"]


def pair(
    folder: Path, name: str = "key", curve: str = "SECP256R1", password: str | None = None
) -> Pair:
    return written(folder, name, ec.generate_private_key(getattr(ec, curve)()), password)


def rsa(folder: Path) -> Pair:
    """A pair of another kind, which cannot sign here."""
    return written(folder, "rsa", rsa_keys.generate_private_key(65537, 2048), None)


def written(folder: Path, name: str, key, password: str | None) -> Pair:
    made = Pair(folder / f"{name}.pem", folder / f"{name}.pub")
    made.key.write_bytes(private(key, password))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    made.public.write_bytes(public)
    return made


def private(key, password: str | None = None) -> bytes:
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        locked = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def issued(folder: Path, since: datetime.datetime | None = None) -> Issued:
    """A certificate for signing, and the root that has issued it."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = since or datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    top, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("a root", top, top, begin, authority=True)
    own = certificate("a signer", key, top, begin, authority=False)
    made = Issued(folder / "signer.pem", folder / "signer.crt", folder / "root.crt")
    made.key.write_bytes(private(key))
    made.certificate.write_bytes(own.public_bytes(serialization.Encoding.PEM))
    made.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    return made


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    *,
    authority: bool,
) -> x509.Certificate:
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a root")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                content_commitment=False,
                key_cert_sign=authority,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
    )
    if not authority:
        signing = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(signing, critical=False)
    return builder.sign(issuer, hashes.SHA256())
