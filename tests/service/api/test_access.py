"""Who may do what: tokens and where they come from, told apart by where the service listens."""

import subprocess
from pathlib import Path

import httpx
import live
import pytest

from service.api.access import Access, is_loopback, read_tokens
from service.errors import Forbidden, SettingsError, Unauthenticated
from service.settings import Settings

TOKEN = "a-token-of-some-length"
GOOD = f"Bearer {TOKEN}"


def access(host: str = "127.0.0.1", token: str | None = None, **settings: object) -> Access:
    environ = {} if token is None else {"EVERGREEN_TOKEN": token}
    return Access(Settings(host=host, **settings), environ)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_on_the_loopback_without_a_token_everybody_may_change(host: str):
    access(host).check_change(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_elsewhere_without_a_token_nobody_may_and_is_told_how(host: str):
    assert not is_loopback(host)
    for given in (None, GOOD):
        with pytest.raises(Forbidden, match="EVERGREEN_TOKEN, or token_file"):
            access(host).check_change(given)
    access(host).check_use(None)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_where_there_is_a_token_it_is_needed_everywhere(host: str):
    one = access(host, TOKEN)
    one.check_change(GOOD)
    one.check_change(f"bearer   {TOKEN} ")
    for given in (
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        GOOD[:-1],
        f"{GOOD}x",
        "Bearer ä",
        "Bearer \udcff",
    ):
        with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
            one.check_change(given)
    one.check_use(None)


def test_a_page_in_a_browser_may_not_change_what_has_no_token():
    one = access()
    one.check_change(None, "http://127.0.0.1:8000", "127.0.0.1:8000")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9000"):
        with pytest.raises(Forbidden, match="may not change"):
            one.check_change(None, origin, "127.0.0.1:8000")
    access(token=TOKEN).check_change(GOOD, "http://evil.example", "127.0.0.1:8000")


def test_everything_can_be_protected():
    one = access(token=TOKEN, protect="all")
    assert one.protects_all
    one.check_use(GOOD)
    with pytest.raises(Unauthenticated):
        one.check_use(None)
    with pytest.raises(SettingsError, match="protect is 'all', but there is no token"):
        access(protect="all")


def test_tokens_come_from_a_file_and_the_environment(tmp_path: Path):
    file = tmp_path / "tokens"
    file.write_text("# for the pipeline\n\nfirst-token\n  second-token  \n")
    environ = {"EVERGREEN_TOKEN": "third-token, fourth-token,"}
    assert set(read_tokens(file, environ)) == {
        b"first-token",
        b"second-token",
        b"third-token",
        b"fourth-token",
    }
    assert Access(Settings(token_file=file), {}).knows(b"Bearer second-token")


@pytest.mark.parametrize(
    ("content", "says"),
    [("# nothing\n", "holds no token"), ("short", "5 characters, 8 are the fewest")],
)
def test_a_file_that_protects_nothing_stops_the_start(tmp_path: Path, content: str, says: str):
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(SettingsError, match=says):
        read_tokens(file, {})
    with pytest.raises(SettingsError, match="No such file"):
        read_tokens(tmp_path / "none", {})


def test_a_service_keeps_its_secrets_off_every_command_line(repository: Path, tmp_path: Path):
    secrets = {"token": TOKEN, "ledger_url": f"postgresql://me:{TOKEN}@127.0.0.1:1/none"}
    with live.serving(repository, tmp_path, **secrets, protect="all", front_ends="2") as service:
        infer = f"{service.said}/v2/models/toy-image/infer"
        inputs = [{"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [1.0] * 16}]
        for headers, status in ((None, 401), ({"Authorization": GOOD}, 200)):
            for _ in range(4):  # both front ends
                answer = httpx.post(infer, json={"inputs": inputs}, headers=headers)
                assert answer.status_code == status
        assert httpx.get(f"{service.said}/v2/health/ready").status_code == 200
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert not any(TOKEN.encode() in line for line in lines)


def test_a_service_that_cannot_keep_its_word_does_not_start(repository: Path, tmp_path: Path):
    command = [live.evergreen(), "serve", "--repository", str(repository), "--port", "0"]
    environ = live.environment(tmp_path, protect="all")
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, "protect is 'all', but there is no token" in done.stderr) == (2, True)
