"""A retraining's files: whole or not there, and readable while somebody else writes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import job
from models.errors import DataError
from models.job import Reporter, Request, Result

REQUEST = Request(
    id="01J", model="activity-lstm", version=2, recipe="activity-lstm", parameters={"epochs": 3}
)


def test_a_request_comes_back_as_it_was(tmp_path: Path):
    job.write(tmp_path, job.REQUEST, REQUEST)
    assert job.read_request(tmp_path) == REQUEST
    assert [path.name for path in tmp_path.iterdir()] == [job.REQUEST]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": "x"}', "missing required field"),
        (
            '{"id": "x", "model": "../x", "version": 1, "recipe": "x"}',
            r"regex.*\$\.model",
        ),
        (
            '{"id": "x", "model": "m", "version": 1, "recipe": "x", "base_share": 1}',
            r"\$\.base_share",
        ),
        ('{"id": "x", "model": "m", "version": 1, "recipe": "x", "epochs": 1}', "unknown field"),
        ("{", "truncated"),
    ],
)
def test_a_request_that_is_none_is_refused_with_the_field(tmp_path: Path, text: str, told: str):
    (tmp_path / job.REQUEST).write_text(text)
    with pytest.raises(DataError, match=told):
        job.read_request(tmp_path)


def test_a_run_without_a_result_has_not_ended(tmp_path: Path):
    assert job.read_result(tmp_path) is None
    job.write(tmp_path, job.RESULT, Result(True, 1.5, "ab"))
    assert job.read_result(tmp_path) == Result(True, 1.5, "ab")


def test_progress_is_read_from_where_it_was_left(tmp_path: Path):
    tell = Reporter(tmp_path)
    tell("fit", 1, 10, loss=0.5)
    first, offset = job.read_progress(tmp_path)
    assert [(one.stage, one.done, one.loss) for one in first] == [("fit", 1, 0.5)]
    tell("evaluate", 0, 1)
    second, end = job.read_progress(tmp_path, offset)
    assert [one.stage for one in second] == ["evaluate"]
    assert job.read_progress(tmp_path, end) == ([], end)


def test_steps_of_one_stage_are_thinned_but_its_end_is_told(tmp_path: Path):
    tell = Reporter(tmp_path)
    for step in range(1, 1001):
        tell("fit", step, 1000)
    lines, _ = job.read_progress(tmp_path)
    assert lines[0].done == 1
    assert lines[-1].done == 1000
    assert len(lines) < 1000


@given(st.integers(0, 400))
def test_half_a_line_is_left_until_it_is_whole(tmp_path_factory: pytest.TempPathFactory, cut: int):
    whole = tmp_path_factory.mktemp("whole")
    tell = Reporter(whole)
    for stage in ("data", "fit", "export"):
        tell(stage, 1, 1, text="é")
    data = (whole / job.PROGRESS).read_bytes()
    partial = tmp_path_factory.mktemp("partial")
    (partial / job.PROGRESS).write_bytes(data[:cut])
    first, offset = job.read_progress(partial)
    (partial / job.PROGRESS).write_bytes(data)
    rest, _ = job.read_progress(partial, offset)
    assert [one.stage for one in (*first, *rest)] == ["data", "fit", "export"]


def test_a_line_that_a_dying_run_left_is_passed_over(tmp_path: Path):
    Reporter(tmp_path)("data", 1, 1)
    with (tmp_path / job.PROGRESS).open("ab") as file:
        file.write(b'{"at": 1, "sta\n')
    assert len(job.read_progress(tmp_path)[0]) == 1


def test_a_run_that_is_started_again_writes_behind_half_a_line(tmp_path: Path):
    Reporter(tmp_path)("data", 1, 1)
    with (tmp_path / job.PROGRESS).open("ab") as file:
        file.write(b'{"at": 1, "sta')
    Reporter(tmp_path)("fit", 1, 1)
    assert [one.stage for one in job.read_progress(tmp_path)[0]] == ["data", "fit"]
