"""Who answers: the log of changes. It must not know where versions come from.

One small file per change, created only where there is none yet, so exactly one of several writers gets a number. Each holds every alias as
it is after the change: reading the last one is enough, and an earlier one that is missing or damaged does no harm. A last one that
is damaged is an error: taking the one before it would undo somebody's decision without a word.
"""

from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

import msgspec

from models.errors import BundleError, InputError
from models.registry import names
from models.registry.stores import Store

FOLDER = "aliases"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

LONGEST = 2000
"""Characters of `who` and `why`, each."""

Kind = Literal["promote", "rollback", "set", "clear", "keep", "remove"]


class Change(msgspec.Struct, frozen=True):
    """One entry of the log. Unknown fields are skipped, so that older programs read what newer ones write.

    `alias` went from version `before` to `after`. "keep" writes down who the champion is because another version is being
    published; "remove" takes version `before` out of the registry. `aliases` and `removed` are complete, as after the change.
    """

    number: int
    when: str
    who: str
    why: str
    kind: Kind
    alias: str | None
    before: int | None
    after: int | None
    forced: bool
    aliases: dict[str, int]
    removed: tuple[int, ...] = ()
    id: str = ""
    """Differs in every entry ever written, so that a writer knows its own."""


def made(
    last: Change | None, kind: Kind, alias: str | None, to: int | None, *, who: str, why: str
) -> Change:
    """The entry after `last` in which `alias` goes to version `to`, or away."""
    for field, text in (("who", who), ("why", why)):
        if len(text) > LONGEST:
            raise InputError(f"'{field}' has {len(text)} characters, {LONGEST} are allowed")
    aliases = dict(last.aliases) if last else {}
    before = aliases.pop(alias, None) if alias else None
    if alias and to is not None:
        aliases[alias] = to
    return Change(
        number=last.number + 1 if last else 1,
        when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        who=who,
        why=why,
        kind=kind,
        alias=alias,
        before=before,
        after=to,
        forced=False,
        aliases=aliases,
        removed=last.removed if last else (),
        id=uuid4().hex,
    )


def key(model: str, number: int) -> str:
    """Where the `number`th change of `model` lies."""
    return f"{model}/{FOLDER}/{names.entry(number)}"


def append(store: Store, model: str, change: Change) -> bool:
    """Write `change` down; False when somebody else's has its number."""
    data = msgspec.json.format(msgspec.json.encode(change), indent=2) + b"\n"
    return store.create(key(model, change.number), data)


def decoded(data: bytes, where: str, number: int) -> Change:
    """The entry in `data`. BundleError names `where` when it is damaged."""
    try:
        change = msgspec.json.decode(data, type=Change)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{where}: {error}") from error
    if change.number != number:
        raise BundleError(f"{where} says that it is change {change.number}")
    for name, version in change.aliases.items():
        if not names.ALIAS.fullmatch(name) or not 1 <= version <= names.MOST:
            raise BundleError(f"{where}: alias {names.shown(name)} names version {version}")
    return change


def read(store: Store, model: str, number: int) -> Change:
    """One change. BundleError when it is damaged or not there."""
    where = key(model, number)
    try:
        return decoded(store.read(where), f"{store.url}/{where}", number)
    except FileNotFoundError as error:
        raise BundleError(f"{store.url}/{where} is not there any more") from error
