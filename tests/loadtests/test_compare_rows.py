"""What is sent, how the loop takes it, and that the peers' programs read it alike."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from loadtests.compare import contenders, loop, rows
from models import tasks
from models.errors import DataError

SERIES = tasks.SeriesTask("series", "lengths", ("x", "y"), 1, 4, 50.0)
TEXT = tasks.TextTask("ids", "mask", "tokenizer.json", 8)
REPOSITORY = Path(__file__).parents[2] / "models" / "repository"


def series(length: int, value: float = 1.0) -> rows.Row:
    return {
        "series": np.full((1, length, 2), value, dtype=np.float32),
        "lengths": np.array([length], dtype=np.int32),
    }


@pytest.fixture(scope="module")
def job() -> ModuleType:
    """peers/job.py, as the peers' programs import it."""
    spec = importlib.util.spec_from_file_location("job", contenders.PROGRAMS / "job.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_float32_is_written_with_the_fewest_digits_that_name_it() -> None:
    array = np.array([[0.1, 1 / 255]], dtype=np.float32)
    written = rows.numbers(array)
    assert json.dumps(written) == "[0.1, 0.003921569]"
    assert (np.array(written, dtype=np.float32) == array[0]).all()


def test_the_request_asks_for_the_probabilities_alone() -> None:
    request = rows.request(series(3))
    assert request["outputs"] == [{"name": "probabilities"}]
    assert [(one["name"], one["shape"], one["datatype"]) for one in request["inputs"]] == [
        ("series", [1, 3, 2], "FP32"),
        ("lengths", [1], "INT32"),
    ]


def test_a_sample_is_sent_without_its_padding() -> None:
    padded = {"series": np.zeros((1, 4, 2), np.float32), "lengths": np.array([3], np.int32)}
    assert rows.cut(padded, SERIES)["series"].shape == (1, 3, 2)
    text = {"ids": np.array([[5, 6, 0, 0]]), "mask": np.array([[1, 1, 0, 0]])}
    assert [array.shape for array in rows.cut(text, TEXT).values()] == [(1, 2), (1, 2)]


def test_without_the_data_the_bundles_samples_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> tuple[list[object], str]:
        raise DataError("there is no such data here")

    monkeypatch.setitem(rows.SOURCES, "activity-lstm", missing)
    found = rows.held_out("activity-lstm", REPOSITORY / "activity-lstm" / "1")
    assert "no such data here" in found.source
    assert len({rows.length(row) for row in found.rows}) > 5


def test_expected_answers_are_those_of_the_bundle() -> None:
    directory = REPOSITORY / "activity-lstm" / "1"
    file = directory / "model.fp32.onnx"
    found = rows.samples(directory, "a test")
    with np.load(directory / "samples.npz") as archive:
        expected = archive["output.probabilities"]
    assert rows.answers(file, found.rows) == pytest.approx(expected, abs=1e-4)


def test_the_loop_fills_its_last_batch_with_the_first_rows() -> None:
    given = [series(2, value) for value in (1.0, 2.0, 3.0)]
    values = [[row["series"][0, 0, 0] for row in chunk] for chunk in loop.chunks(given, 2)]
    assert values == [[1.0, 2.0], [3.0, 1.0]]


def test_the_loop_pads_to_the_longest_of_a_batch() -> None:
    batch = loop.padded([series(2), series(4)])
    assert batch["series"].shape == (2, 4, 2)
    assert batch["series"][0, 2:].sum() == 0
    assert batch["lengths"].tolist() == [2, 4]


def test_rows_of_different_lengths_fit_into_one_file(tmp_path: Path) -> None:
    given = [series(length) for length in range(1, 13)]
    loop.write_rows(tmp_path / "rows.npz", given)
    read = loop.read_rows(tmp_path / "rows.npz")
    assert [row["series"].shape for row in read] == [row["series"].shape for row in given]


def test_peers_read_what_is_sent_and_pad_as_the_loop_does(job: ModuleType) -> None:
    given = [series(2), series(4, 3.0)]
    read = [job.read(json.loads(json.dumps(rows.request(row)))) for row in given]
    for row, sent in zip(read, given, strict=True):
        assert {name: array.dtype for name, array in row.items()} == {
            name: array.dtype for name, array in sent.items()
        }
    for name, expected in loop.padded(given).items():
        assert (job.join([row[name] for row in read]) == expected).all()


def test_peers_answer_one_row_in_the_protocols_form(job: ModuleType) -> None:
    (output,) = job.answer(np.array([0.25, 0.75]))["outputs"]
    assert output["name"] == rows.OUTPUT
    assert output["shape"] == [1, 2]
    assert output["data"] == [0.25, 0.75]


def test_a_peer_knows_its_job_from_the_environment(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mosec = contenders.CONTENDERS["mosec"]
    for batching, most in ((True, mosec.rows), (False, 1)):
        given = contenders.Job(
            *("m", "fp32", tmp_path / "m.onnx", tmp_path, tmp_path, tmp_path, "t", 9, batching)
        )
        monkeypatch.setenv("COMPARE_JOB", mosec.environment(given)["COMPARE_JOB"])
        assert job.job().rows == most
        assert job.job().batching is batching
