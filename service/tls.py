"""The service's own certificate, for HTTP and gRPC alike, and reading it again. It must not know what is sent."""

import ssl
from pathlib import Path

from service.edge import Tls
from service.errors import SettingsError


class Certificate:
    """A certificate with its key: `context` is for HTTP, `pair` (key and chain in PEM) for gRPC. SettingsError names what cannot be used."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = certificate, key
        self.context = self._fresh()
        self.pair = self._read()

    def reload(self) -> None:
        """Take what the files hold now, for whoever connects from now on; nothing changes where it cannot be used."""
        self._fresh()
        self.pair = self._read()
        self._load(self.context)

    def _fresh(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION  # a client could make a server compute without end
        made.set_alpn_protocols(["http/1.1"])
        self._load(made)
        return made

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self.files
        try:
            # Without a password OpenSSL would ask whoever sits at the terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:  # what OpenSSL says is one, too, and names no file
            raise SettingsError(
                f"tls: {certificate} with the key {key}: {error.strerror or error}"
            ) from error

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = self.files
        try:
            return key.read_bytes(), certificate.read_bytes()
        except OSError as error:  # it was there a moment ago
            raise SettingsError(f"tls: {error.filename}: {error.strerror or error}") from error


def of(settings: Tls) -> Certificate | None:
    """The certificate that is set, None where none is. SettingsError when it cannot be used."""
    if settings.certificate is None:
        if settings.key is not None:
            raise SettingsError("tls.key is set, but tls.certificate is not")
        return None
    return Certificate(settings.certificate, settings.key or settings.certificate)
