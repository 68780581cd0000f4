"""A request that works, for each model: made from the rows kept in its bundle. It must not know whether anything runs."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from models import bundle, tasks


def curl(directory: Path, into: Path, url: str) -> str:
    """A `curl` line for the version in `directory`; a body too long for a command line is written to `into`.

    Where nobody has told what a model's tensors mean, the line asks which ones there are.
    """
    if bundle.is_bare(directory):
        return f"curl -s {url}/v2/models/{directory.parent.name}"
    manifest = bundle.read(directory)
    inputs, _ = bundle.read_samples(directory)
    match manifest.task:
        case tasks.ImageTask() as task:
            kind, data = (
                "image/png",
                f"@{written(into / f'{manifest.name}.png', png(inputs[task.input][0]))}",
            )
        case tasks.SeriesTask() as task:
            steps = int(inputs[task.lengths][0])
            series = np.round(inputs[task.input][0, :steps].astype(float), 4).tolist()
            body = json.dumps({"series": series}).encode()
            kind, data = "application/json", f"@{written(into / f'{manifest.name}.json', body)}"
        case tasks.TensorTask():
            return f"curl -s {url}/v2/models/{manifest.name}"
        case task:
            tokenizer = Tokenizer.from_file(str(directory / task.tokenizer))
            ids = inputs[task.ids][0][inputs[task.mask][0] == 1]
            kind, data = (
                "application/json",
                json.dumps({"text": tokenizer.decode(ids.tolist())}, ensure_ascii=False),
            )
    return f"curl -s {url}/v1/models/{manifest.name}/predict -H 'Content-Type: {kind}' --data-binary {shlex.quote(data)}"


def png(row: np.ndarray) -> bytes:
    """A row [channels, height, width] in 0..1 as a PNG."""
    pixels = np.round(row * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def written(path: Path, data: bytes) -> Path:
    """`path`, holding `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
