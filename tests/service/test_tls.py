"""The service's own certificate: TLS 1.2 or newer, read again when it changes, and refused in a sentence where it cannot be used."""

import asyncio
import ssl
from pathlib import Path

import certificates
import pytest
from certificates import Files
from cryptography import x509

from service import tls
from service.edge import Tls
from service.errors import SettingsError
from service.tls import Certificate


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return certificates.made(tmp_path / "own")


async def shown(port: int, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[int, str | None]:
    """The serial number of the certificate that a server shows, and the protocol."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = most
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    channel = writer.get_extra_info("ssl_object")
    told = x509.load_der_x509_certificate(channel.getpeercert(binary_form=True))
    found = told.serial_number, channel.version()
    writer.close()
    await writer.wait_closed()
    return found


async def test_who_connects_after_a_change_is_shown_the_new_certificate(
    files: Files, tmp_path: Path
):
    own = Certificate(*files)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=own.context)
    port = server.sockets[0].getsockname()[1]
    first, pair = files.serial(), own.pair
    assert await shown(port) == (first, "TLSv1.3")
    assert await shown(port, ssl.TLSVersion.TLSv1_2) == (first, "TLSv1.2")
    other = certificates.made(tmp_path / "other")
    files.key.write_bytes(other.key.read_bytes())
    with pytest.raises(SettingsError, match=r"tls: .*certificate.pem with the key .*key.pem"):
        own.reload()  # half of the change
    assert (await shown(port))[0] == first
    assert own.pair is pair
    files.put(other)
    own.reload()
    assert (await shown(port))[0] == other.serial()
    assert own.pair == (other.key.read_bytes(), other.certificate.read_bytes())
    server.close()
    await server.wait_closed()


def test_a_file_that_goes_while_it_is_read_ends_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch
):
    own = Certificate(*files)
    pair = own.pair
    monkeypatch.setattr(own, "_fresh", files.key.unlink)
    with pytest.raises(SettingsError, match=r"tls: .*key.pem: No such file"):
        own.reload()
    assert own.pair is pair


def test_nothing_older_than_tls_1_2_is_spoken(files: Files):
    context = Certificate(*files).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_key_may_stand_in_the_file_of_the_certificate(files: Files):
    files.certificate.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    assert tls.of(Tls(certificate=files.certificate)) is not None
    assert tls.of(Tls()) is None


def test_what_cannot_be_used_is_told_and_nobody_is_asked_for_a_password(
    files: Files, tmp_path: Path
):
    with pytest.raises(SettingsError, match=r"tls.key is set, but tls.certificate is not"):
        tls.of(Tls(key=files.key))
    with pytest.raises(SettingsError, match=r"certificate.pem with the key .*none: No such file"):
        tls.of(Tls(certificate=files.certificate, key=tmp_path / "none"))
    with pytest.raises(SettingsError, match="with the key"):
        tls.of(Tls(certificate=files.certificate))
    locked = certificates.made(tmp_path / "locked", password="a password")
    with pytest.raises(SettingsError, match="with the key"):
        tls.of(Tls(certificate=locked.certificate, key=locked.key))
