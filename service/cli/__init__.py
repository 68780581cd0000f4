"""The command line: `evergreen serve | predict | models`. What it prints is for people; programs use HTTP."""

import sys

import click
from rich.markup import escape

from models.errors import EvergreenError
from service.cli.asking import console
from service.cli.predicting import predict_command
from service.cli.repository import models_command
from service.cli.serving import serve_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evergreen-serving")
def cli() -> None:
    """Serve trained models over HTTP and keep them fresh."""


cli.add_command(serve_command)
cli.add_command(predict_command)
cli.add_command(models_command)


def main() -> None:
    """The entry point: an error that we raised on purpose is a sentence, not a traceback."""
    try:
        cli()
    except EvergreenError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        sys.exit(2)
