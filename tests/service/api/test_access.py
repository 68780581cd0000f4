"""Who may do what: by the scopes of a token, or by where the service listens."""

import subprocess
from pathlib import Path

import httpx
import live
import pytest

from service.api.access import Access, is_loopback
from service.api.tokens import ADMIN, FEEDBACK, HOOKS, PREDICT, READ, SCOPES
from service.errors import Forbidden, SettingsError, Unauthenticated
from service.refusals import Refusals
from service.settings import Settings

TOKEN = "a-token-of-some-length"
GOOD = f"Bearer {TOKEN}".encode()
SCOPED = "".join(f"the-{scope} {scope} {scope}-secret\n" for scope in SCOPES)


def access(host: str = "127.0.0.1", token: str | None = None, **settings: object) -> Access:
    environ = {} if token is None else {"EVERGREEN_TOKEN": token}
    return Access(Settings(host=host, **settings), environ)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
@pytest.mark.parametrize("scope", SCOPES)
def test_on_the_loopback_without_a_token_everybody_may_do_everything(host: str, scope: str):
    access(host).permit(scope, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_elsewhere_without_a_token_nobody_may_change_anything_and_is_told_how(host: str):
    assert not is_loopback(host)
    for given in (None, GOOD):
        for scope in (FEEDBACK, HOOKS, ADMIN):
            with pytest.raises(Forbidden, match="EVERGREEN_TOKEN, or token_file"):
                access(host).permit(scope, given)
    access(host).permit(READ, None)
    access(host).permit(PREDICT, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_where_there_is_a_token_changes_need_it_everywhere(host: str):
    one = access(host, TOKEN)
    for scope in (FEEDBACK, HOOKS, ADMIN):
        one.permit(scope, GOOD)
        one.permit(scope, f"bearer   {TOKEN} ".encode())
        for given in (None, b"", TOKEN.encode(), b"Bearer", b"Bearer ", GOOD[:-1], GOOD + b"x"):
            with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
                one.permit(scope, given)
    one.permit(PREDICT, None)
    one.permit(PREDICT, b"Bearer somebody-else")


def test_a_page_in_a_browser_may_not_change_what_has_no_token():
    one = access()
    one.permit(ADMIN, None, "http://127.0.0.1:8000", "127.0.0.1:8000")
    one.permit(ADMIN, None, "http://localhost:8000", "localhost:8000")
    one.permit(ADMIN, None, "http://[::1]:8000", "[::1]:8000")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9000", "http://[::1", ""):
        with pytest.raises(Forbidden, match="may not change"):
            one.permit(ADMIN, None, origin, "127.0.0.1:8000")
    access(token=TOKEN).permit(ADMIN, GOOD, "http://evil.example", "127.0.0.1:8000")


def test_a_name_that_leads_here_makes_no_page_ours():
    """DNS rebinding: to the browser page and service are one origin."""
    with pytest.raises(Forbidden, match="may not change"):
        access().permit(ADMIN, None, "http://evil.example:8000", "evil.example:8000")


def test_behind_a_proxy_the_loopback_is_no_protection():
    with pytest.raises(Forbidden, match="EVERGREEN_TOKEN, or token_file"):
        access(trusted_proxies=("127.0.0.1",)).permit(ADMIN, None)
    access(trusted_proxies=("127.0.0.1",)).permit(PREDICT, None)


def test_everything_can_be_protected():
    one = access(token=TOKEN, protect="all")
    assert one.protects_all
    one.permit(READ, GOOD)
    assert one.may_predict(GOOD)
    assert not one.may_predict(None)
    for scope in SCOPES:
        with pytest.raises(Unauthenticated):
            one.permit(scope, None)
    with pytest.raises(SettingsError, match="protect is 'all', but there is no token"):
        access(protect="all")


@pytest.mark.parametrize("has", SCOPES)
def test_a_token_may_what_its_scope_says_and_no_more(tmp_path: Path, has: str):
    file = tmp_path / "tokens"
    file.write_text(SCOPED)
    one = Access(Settings(token_file=file, protect="all"), {})
    given = f"Bearer {has}-secret".encode()
    for scope in SCOPES:
        if scope == READ or has in (scope, ADMIN):
            one.permit(scope, given)
        else:
            with pytest.raises(Forbidden, match=f"'the-{has}' may .*this needs {scope}"):
                one.permit(scope, given)
    assert one.may_predict(given) == (has in (PREDICT, ADMIN))


def test_who_asks_is_counted_by_name_and_who_is_refused_by_reason(tmp_path: Path):
    file, counts = tmp_path / "tokens", Refusals()
    file.write_text(SCOPED)
    one = Access(Settings(token_file=file), {}, counts)
    for given, refusal in ((None, Unauthenticated), (b"Bearer guess", Unauthenticated)):
        with pytest.raises(refusal):
            one.permit(ADMIN, given)
    with pytest.raises(Forbidden):
        one.permit(ADMIN, b"Bearer feedback-secret")
    told = {sample.name: sample for family in counts.collect() for sample in family.samples}
    found = [
        (sample.labels, sample.value)
        for family in counts.collect()
        for sample in family.samples
        if sample.name == "inference_denied_requests_total"
    ]
    assert ({"reason": "scope", "token": "the-feedback"}, 1) in found
    assert ({"reason": "no token", "token": ""}, 1) in found
    assert ({"reason": "unknown token", "token": ""}, 1) in found
    assert told["inference_token_requests_total"].labels == {"token": "the-feedback"}
    assert "secret" not in str(told)


def test_a_service_keeps_its_secrets_off_every_command_line(repository: Path, tmp_path: Path):
    secrets = {"token": TOKEN, "ledger_url": f"postgresql://me:{TOKEN}@127.0.0.1:1/none"}
    with live.serving(repository, tmp_path, **secrets, protect="all", front_ends="2") as service:
        infer = f"{service.said}/v2/models/toy-image/infer"
        inputs = [{"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [1.0] * 16}]
        for headers, status in ((None, 401), ({"Authorization": GOOD.decode()}, 200)):
            for _ in range(4):  # both front ends
                answer = httpx.post(infer, json={"inputs": inputs}, headers=headers)
                assert answer.status_code == status
        assert httpx.get(f"{service.said}/v2/health/ready").status_code == 200
        lines = live.command_lines()
        assert not any(TOKEN.encode() in line for line in lines)


def test_a_service_that_cannot_keep_its_word_does_not_start(repository: Path, tmp_path: Path):
    command = [live.evergreen(), "serve", "--repository", str(repository), "--port", "0"]
    environ = live.environment(tmp_path, protect="all")
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, "protect is 'all', but there is no token" in done.stderr) == (2, True)
