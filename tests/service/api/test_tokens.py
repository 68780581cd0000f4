"""Tokens: how they are written, whose they are, and that a file that cannot be read changes nothing."""

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.tokens import ADMIN, FEEDBACK, PREDICT, READ, UNNAMED, Tokens, read
from service.errors import SettingsError

DIGEST = hashlib.sha256(b"what-only-labs-knows").hexdigest()
FILE = f"""# who may ask
first-token
  second-token

shop   predict            the-shop-token
labs   feedback,predict   sha256:{DIGEST}
"""


def bearer(secret: str) -> bytes:
    return f"Bearer {secret}".encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "tokens"
    found.write_text(FILE)
    return found


def test_tokens_come_from_a_file_and_the_environment(file: Path):
    tokens = Tokens(file, {"EVERGREEN_TOKEN": "third-token, fourth-token,"})
    for secret in ("first-token", "second-token", "third-token", "fourth-token"):
        token = tokens.find(bearer(secret))
        assert token is not None
        assert (token.name, token.may(ADMIN), token.may(PREDICT)) == (UNNAMED, True, True)
    assert not Tokens(None, {})


def test_a_token_has_a_name_and_scopes_and_may_be_kept_as_its_digest(file: Path):
    tokens = Tokens(file, {})
    shop, labs = tokens.find(bearer("the-shop-token")), tokens.find(bearer("what-only-labs-knows"))
    assert shop is not None
    assert labs is not None
    assert [shop.name, labs.name] == ["shop", "labs"]
    assert [shop.may(scope) for scope in (READ, PREDICT, FEEDBACK, ADMIN)] == [1, 1, 0, 0]
    assert [labs.may(scope) for scope in (READ, PREDICT, FEEDBACK, ADMIN)] == [1, 1, 1, 0]
    assert tokens.find(bearer(DIGEST)) is None
    assert tokens.find(bearer(f"sha256:{DIGEST}")) is None


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"first-token", b"Basic first-token", b"Bearer \xff"],
)
def test_what_brings_no_known_token_is_nobodys(file: Path, header: bytes | None):
    assert Tokens(file, {}).find(header) is None


def test_a_changed_file_counts_at_once_also_for_who_was_known(file: Path):
    tokens = Tokens(file, {})
    for _ in range(2):
        assert tokens.find(bearer("first-token")) is not None
    file.write_text("shop predict the-shop-token\nshop predict the-new-shop-token\n")
    tokens.reload()
    assert tokens.find(bearer("first-token")) is None
    old, new = tokens.find(bearer("the-shop-token")), tokens.find(bearer("the-new-shop-token"))
    assert old == new
    assert old is not None


BROKEN = {
    "# nothing\n": "holds no token",
    "short": "line 1: a token has 5 characters, 8 are the fewest",
    "\n\nshop predict": "line 3: it has 2 words",
    "shop predict a-secret-token or so": "it has 5 words",
    "shop root a-secret-token": "1 of its scopes is not known, there are read, predict",
    "shop predict,,read a-secret-token": "scopes is not known",
    "sh/op predict a-secret-token": "a name has 1 to 40",
    "unnamed predict a-secret-token": "is not 'unnamed'",
    "shop predict sha256:abc": "not 64 hexadecimal digits",
    "sha256:a-secret-token": "not 64 hexadecimal digits",
    "a-secret-token\nshop predict a-secret-token": "line 2: this token is there twice",
    "\udcff": "it is no UTF-8",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_that_cannot_be_used_says_where_shows_no_secret_and_changes_nothing(
    file: Path, content: str
):
    tokens = Tokens(file, {})
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=BROKEN[content]) as caught:
        tokens.reload()
    assert "a-secret-token" not in str(caught.value)
    assert tokens.find(bearer("the-shop-token")) is not None
    file.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        tokens.reload()
    assert tokens.find(bearer("the-shop-token")) is not None


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z")), min_size=8), st.binary())
def test_no_other_header_is_a_token(secret: str, header: bytes):
    if secret.startswith("sha256:"):
        return
    tokens = Tokens(None, {"EVERGREEN_TOKEN": secret.replace(",", "")[:100] + "-and-more"})
    assert tokens.find(header) is None
    assert tokens.find(b"Bearer " + header) is None


@given(st.text())
def test_any_line_is_a_token_or_a_sentence(line: str):
    with contextlib.suppress(SettingsError):
        digest, token = read("here: ", line)
        assert len(digest) == 32
        assert token.scopes
