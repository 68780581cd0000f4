"""A job goes elsewhere only where the other side sees all that it names, under a name that both sides can hold."""

from pathlib import Path

import pytest

from models import job
from models.errors import DataError
from models.job import Request
from service.errors import LauncherError, SettingsError
from service.retraining.launchers import shared


def written(directory: Path, **named: str) -> Path:
    directory.mkdir(exist_ok=True)
    given = {"id": "1", "model": "m", "version": 2, "recipe": "toy"} | named
    job.write(directory, job.REQUEST, Request(**given))
    return directory


def test_all_that_a_job_names_must_be_shared(tmp_path: Path):
    directory = written(tmp_path / "a", weights="parent", recipe="./recipe.py")
    assert shared.read(directory, tmp_path, "it").weights == "parent"
    assert shared.read(directory, None, "it").id == "1"
    with pytest.raises(
        LauncherError, match=r"the job in .*: not below /data.*\(training\.shared\)"
    ):
        shared.read(directory, Path("/data"), "training.shared")
    written(directory, weights="/elsewhere/parent")
    with pytest.raises(LauncherError, match="its weights in /elsewhere/parent"):
        shared.read(directory, tmp_path, "it")
    written(directory, weights="../../parent")
    with pytest.raises(LauncherError, match=f"its weights in {tmp_path.parent}/parent"):
        shared.read(directory, tmp_path, "it")
    written(directory, recipe="/home/me/recipe.py")
    with pytest.raises(LauncherError, match=r"its recipe in /home/me/recipe\.py"):
        shared.read(directory, tmp_path, "it")


def test_a_job_without_a_request_is_none(tmp_path: Path):
    with pytest.raises(DataError, match=r"request\.json"):
        shared.read(tmp_path, None, "it")


def test_a_directory_below_a_folder_that_begins_alike_is_not_below_it(tmp_path: Path):
    directory = written(tmp_path / "jobs-of-others")
    with pytest.raises(LauncherError):
        shared.read(directory, tmp_path / "jobs", "it")


def test_a_run_is_called_after_its_job():
    uuid = "0199aa00-7c76-77e4-8e58-9a0baf50b133"
    assert shared.run_name(f"/data/jobs/{uuid}") == f"evergreen-{uuid}"


@pytest.mark.parametrize("name", ["A", "a_b", "a.b", "a-", "ä", "x" * 54])
def test_a_name_that_cannot_be_one_is_refused(name: str):
    with pytest.raises(LauncherError, match="cannot be called"):
        shared.run_name(f"/data/jobs/{name}")


@pytest.mark.parametrize("place", ["s3://bucket/jobs", "jobs", "gs://x"])
def test_a_place_that_is_no_absolute_path_is_refused(place: str):
    with pytest.raises(SettingsError, match=r"training\.x is .* Object stores are not supported"):
        shared.check_place(Path(place), "training.x")
