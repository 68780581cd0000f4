"""On TensorRT: built at load for every shape, kept for the next load, and the same answers."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.engine.config import Gpu, Options
from service.engine.session import Session

Load = Callable[..., Session]


def engines(root: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in root.rglob("*.engine")}


@pytest.mark.usefixtures("tensorrt")
def test_an_engine_is_built_once_and_answers_as_the_cpu_does(cnn: Path, load: Load, tmp_path: Path):
    gpu = Gpu(engines=str(tmp_path / "engines"), most_rows=16)
    session = load(cnn, provider="tensorrt", gpu=gpu)
    assert session.report["device"]["nodes"]["tensorrt"] > 0
    built = engines(tmp_path)
    assert built
    on_cpu = Session.load(cnn, Options(provider="cpu", variant=session.report["variant"]))
    for rows in (1, 5, 16):
        request = session.example(session.buckets()[0], rows)
        (answer,), (expected,) = session.run([request]), on_cpu.run([request])
        np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-2)
    begun = time.monotonic()
    load(cnn, provider="tensorrt", gpu=gpu)
    print(f"the second load took {time.monotonic() - begun:.1f} s")
    assert engines(tmp_path) == built
