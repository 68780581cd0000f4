"""How a command reaches a running service, and where it prints. It must not know what is asked."""

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import httpx
from rich.console import Console
from rich.table import Table

from service.api.tokens import VARIABLE

# Off a terminal nobody folds lines back together: tables get the room they need.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
error_console = Console(stderr=True, highlight=False, soft_wrap=True)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs: JSON, and no table.")

URL = "http://127.0.0.1:8000"
PATIENCE = 60.0
"""Seconds that an answer may take; where a version has to be loaded the service's own limit counts."""


class Unreachable(click.ClickException):
    """Nobody answers there."""


class Service(NamedTuple):
    """Where a service is, and what it asks for."""

    url: str = URL
    token: str | None = None

    def asked(
        self, method: str, path: str, *, seconds: float | None = PATIENCE, **request: Any
    ) -> Any:
        """Its JSON answer, None where there is none. A refusal or an unreachable service ends the program with a sentence."""
        headers = request.pop("headers", {})
        if self.token is not None:
            headers = {"Authorization": f"Bearer {self.token}"} | headers
        try:
            response = httpx.request(
                method, self.url + path, timeout=seconds, headers=headers, **request
            )
        except httpx.ConnectError as error:
            raise Unreachable(f"{self.url}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise click.ClickException(f"{self.url}: {error}") from error
        if response.is_error:
            raise click.ClickException(f"{response.status_code}: {sentence(response)}")
        return response.json() if response.content else None


def sentence(response: httpx.Response) -> str:
    """What a refusal says."""
    try:
        told = response.json()
        return str(told.get("detail") or told.get("error") or response.text)
    except (ValueError, AttributeError):
        return response.text


def reaching(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is the service that --url and --token name, or that those of the group above it do."""

    @click.option("--url", help=f"Where the service is [{URL}].")
    @click.option("--token", help=f"The service's token [${VARIABLE}].")
    @functools.wraps(command)
    def run(url: str | None, token: str | None, **given: Any) -> None:
        context = click.get_current_context()
        outer = context.obj if isinstance(context.obj, Service) else Service()
        known = os.environ.get(VARIABLE, "").partition(",")[0].strip() or None
        context.obj = Service((url or outer.url).rstrip("/"), token or outer.token or known)
        command(context.obj, **given)

    return run


def print_json(told: Any) -> None:
    """What a program asked for."""
    click.echo(json.dumps(told, indent=2))


def table(*columns: str) -> Table:
    """A table without lines."""
    made = Table(box=None)
    for column in columns:
        made.add_column(column)
    return made
