"""`evergreen predict`: one thing, classified by a running service."""

import json
import mimetypes
from pathlib import Path

import click
from rich.table import Table

from service.cli.asking import Service, console, reaching


@click.command("predict")
@click.argument("model")
@click.argument("what")
@reaching
def predict_command(service: Service, model: str, what: str) -> None:
    """Classify WHAT: an image, a JSON file {"series": ...}, a text file, or a text itself."""
    path = Path(what)
    is_file = len(what) < 4096 and path.is_file()
    kind = mimetypes.guess_type(what)[0] if len(what) < 4096 and " " not in what else None
    if kind is not None and kind.startswith("image/") and not is_file:
        raise click.ClickException(f"there is no file '{what}'")
    if is_file and kind is not None and (kind.startswith("image/") or kind == "application/json"):
        body, sent = path.read_bytes(), kind
    else:
        text = path.read_text(errors="replace") if is_file else what
        body, sent = json.dumps({"text": text}).encode(), "application/json"
    answer = service.asked(
        "POST", f"/v1/models/{model}/predict", content=body, headers={"Content-Type": sent}
    )
    table = Table(box=None)
    for column in ("item", "label", "probability", "then"):
        table.add_column(column, justify="right" if column == "probability" else "left")
    for index, prediction in enumerate(answer["predictions"]):
        rest = ", ".join(
            f"{ranked['label']} {ranked['probability']:.1%}" for ranked in prediction["top"][1:]
        )
        table.add_row(str(index), prediction["label"], f"{prediction['probability']:.1%}", rest)
    console.print(table)
    console.print(
        f"{answer['model']}/{answer['version']}, {answer['timings_ms']['total']} ms, {answer['prediction_id']}"
    )
