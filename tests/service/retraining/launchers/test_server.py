"""A server is asked with its token and its certificate, and every way in which it can fail is one of two errors with its words."""

import datetime
import ipaddress
import json
import logging
import socket
import ssl
from pathlib import Path

import httpx
import msgspec
import pytest
import signers
from answering import Answer, Asked, answering
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.errors import LauncherError, SettingsError, Unavailable
from service.retraining.launchers import server as servers
from service.retraining.launchers.server import Server

TOKEN = "a-token-that-nobody-may-see"


class Thing(msgspec.Struct):
    name: str


def at(url: str, token: Path | None = None, ca: Path | None = None) -> Server:
    return Server("the cluster", url, token, ca)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def refused(answer: Answer, token: Path | None = None) -> Exception:
    """What asking raises where this is the answer."""
    with (
        answering(lambda _: answer) as url,
        pytest.raises((LauncherError, Unavailable)) as caught,
    ):
        await at(url, token).ask("POST", "jobs/", {"a": 1})
    return caught.value


async def test_a_question_has_the_token_and_a_body(token: Path):
    asked: list[Asked] = []

    def answer(one: Asked) -> Answer:
        asked.append(one)
        return Answer(200, b'{"name": "x"}')

    with answering(answer) as url:
        server = at(url + "/prefix/", token)
        await server.ask("POST", "jobs/", {"a": 1}, {"strict": "yes"})
        token.write_text("another")
        assert await server.read(Thing, "jobs/x") == Thing("x")
    first, second = asked
    assert (first.method, first.path, first.query) == ("POST", "/prefix/jobs/", {"strict": "yes"})
    assert json.loads(first.body) == {"a": 1}
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert first.headers["content-type"] == "application/json"
    assert second.headers["authorization"] == "Bearer another"


async def test_without_a_token_none_is_sent():
    asked: list[Asked] = []

    def answer(one: Asked) -> Answer:
        asked.append(one)
        return Answer(404)

    with answering(answer) as url:
        assert await at(url).find(Thing, "jobs/x") is None
    assert "authorization" not in asked[0].headers


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_what_may_pass_is_unavailable(status: int):
    error = await refused(Answer(status, b"busy now", "text/plain", {"retry-after": "7"}))
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7.0
    assert f"answered {status} to POST /jobs/: busy now" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
async def test_a_refusal_is_told_in_the_servers_words(status: int):
    body = json.dumps({"kind": "Status", "message": "jobs is forbidden", "code": status}).encode()
    error = await refused(Answer(status, body))
    assert isinstance(error, LauncherError)
    assert f"answered {status} to POST /jobs/: jobs is forbidden" in str(error)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_to_tell_ends_no_run(status: int):
    with (
        answering(lambda _: Answer(status, b"not for you", "text/plain")) as url,
        pytest.raises(Unavailable, match=f"answered {status} to GET /jobs/x: not for you"),
    ):
        await at(url).read(Thing, "jobs/x")


async def test_of_a_traceback_the_last_line_is_told():
    error = await refused(
        Answer(400, b"Traceback\n  File\nValueError: no such thing\n.\n", "text/plain")
    )
    assert str(error).endswith(": ValueError: no such thing")


async def test_of_a_page_or_nothing_the_status_is_told():
    page = Answer(403, b"<html>\n<body>secret ways</body>\n</html>", "text/html; charset=utf-8")
    assert str(await refused(page)).endswith(": Forbidden")
    assert str(await refused(Answer(403))).endswith(": Forbidden")


async def test_a_redirect_is_not_followed(token: Path):
    error = await refused(Answer(302, headers={"location": "http://127.0.0.1:1/"}), token)
    assert isinstance(error, LauncherError)
    assert "answered 302" in str(error)


async def test_what_is_long_is_cut():
    error = await refused(Answer(400, b"x" * 100_000, "text/plain"))
    assert len(str(error)) < 500


async def test_something_else_than_what_was_asked_for_is_no_answer():
    page, noise = Answer(200, b"<html>sign in</html>", "text/html"), Answer(200, b"\xff\xfe")
    answers = iter((page, noise))
    with answering(lambda _: next(answers)) as url:
        with pytest.raises(Unavailable, match="answered /jobs/x with something else"):
            await at(url).read(Thing, "jobs/x")
        with pytest.raises(Unavailable, match="with something else"):
            await at(url).find(Thing, "jobs/x")


async def test_a_server_that_is_not_there_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        Unavailable, match=f"the cluster at http://127.0.0.1:{port} cannot be reached"
    ):
        await at(f"http://127.0.0.1:{port}").ask("GET", "x")


async def test_a_connection_that_breaks_is_unavailable():
    with (
        answering(lambda _: Answer(0)) as url,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        await at(url).ask("GET", "x")


async def test_a_server_that_is_silent_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "TIMEOUT", httpx.Timeout(0.2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unavailable, match="did not answer in time"):
            await at(url).ask("GET", "x")


@pytest.mark.parametrize("held", ["", "two words", "line\nline", "tök", "a\x00b"])
async def test_what_is_no_token_is_refused_before_it_is_sent(tmp_path: Path, held: str):
    path = tmp_path / "token"
    path.write_text(held)
    with pytest.raises(LauncherError, match="holds no token") as caught:
        await at("http://127.0.0.1:1", path).ask("GET", "x")
    assert not held or held not in str(caught.value)


async def test_a_token_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(LauncherError, match=f"{tmp_path}/none cannot be read"):
        await at("http://127.0.0.1:1", tmp_path / "none").ask("GET", "x")


async def test_the_token_is_in_no_error_and_in_no_log(
    token: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    echo = f"who is '{TOKEN}'?".encode()
    for answer in (Answer(401, echo, "text/plain"), Answer(500, echo, "text/plain"), Answer(0)):
        assert TOKEN not in str(await refused(answer, token))
    assert TOKEN not in caplog.text


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server on 127.0.0.1 needs for https, and the root that vouches for it."""
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    top, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = signers.certificate("a root", top, top, begin, authority=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=30))
        .add_extension(here, critical=False)
        .sign(top, hashes.SHA256())
    )
    for path, text in (
        ("key", signers.private(key)),
        ("own", own.public_bytes(serialization.Encoding.PEM)),
        ("root", root.public_bytes(serialization.Encoding.PEM)),
    ):
        (folder / path).write_bytes(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own", folder / "key")
    return context, folder / "root"


async def test_the_certificate_is_checked_against_the_one_that_is_named(
    tmp_path: Path, token: Path
):
    context, root = certified(tmp_path)
    asked: list[Asked] = []

    def answer(one: Asked) -> Answer:
        asked.append(one)
        return Answer(200, b'{"name": "x"}')

    with answering(answer, context) as url:
        assert await at(url, token, root).read(Thing, "x") == Thing("x")
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await at(url, token).read(Thing, "x")
    assert len(asked) == 1


def test_a_certificate_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path):
    with pytest.raises(SettingsError, match="none"):
        at("https://127.0.0.1", ca=tmp_path / "none")
    (tmp_path / "empty").write_text("")
    with pytest.raises(SettingsError, match="empty"):
        at("https://127.0.0.1", ca=tmp_path / "empty")
