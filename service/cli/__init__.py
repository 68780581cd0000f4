"""The command line: `evergreen serve | predict | models | drift | retrain | demo`. What it prints is for people, and for programs where there is `--json`.

Exit code 1: it was refused or did not work. 2: it was asked for what cannot be, by an option or a setting.
"""

import sys

import click
from rich.markup import escape

from models.errors import EvergreenError
from service.cli.asking import error_console
from service.cli.demo import demo_command
from service.cli.drift import drift_command
from service.cli.predicting import predict_command
from service.cli.publishing import publish_command
from service.cli.repository import models_command
from service.cli.retraining import retrain_command
from service.cli.serving import serve_command
from service.cli.trusting import sign_command, verify_command
from service.errors import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evergreen-serving")
def cli() -> None:
    """Serve trained models over HTTP and keep them fresh."""


cli.add_command(serve_command)
cli.add_command(predict_command)
cli.add_command(models_command)
cli.add_command(drift_command)
cli.add_command(retrain_command)
cli.add_command(demo_command)
for command in (publish_command, sign_command, verify_command):
    models_command.add_command(command)


def main() -> None:
    """The entry point: an error that we raised on purpose is a sentence, not a traceback."""
    try:
        cli()
    except EvergreenError as error:
        error_console.print(f"[red]{escape(str(error))}[/]")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
