"""The settings say who runs trainings: from a file, or from the environment alone."""

from pathlib import Path

import certifi
import pytest

from service.errors import SettingsError
from service.retraining.launchers.chosen import launcher
from service.retraining.launchers.kubernetes import KubernetesJobs
from service.retraining.launchers.local import Local
from service.retraining.launchers.ray import RayJobs
from service.settings import load

FILE = """
[training]
launcher = "kubernetes"
jobs = "/data/jobs"

[training.kubernetes]
image = "registry/train:1"
claim = "evergreen"
mount = "/data"
namespace = "trainings"
node_selector = { pool = "gpu" }
tolerations = [{ key = "nvidia.com/gpu", operator = "Exists" }]
"""


def environ(**given: str) -> dict[str, str]:
    return {f"EVERGREEN_TRAINING__{name}": value for name, value in given.items()}


def test_without_a_word_it_runs_here(tmp_path: Path):
    assert isinstance(launcher(load(environ={}, directory=tmp_path).training), Local)


def test_a_file_names_a_cluster(tmp_path: Path):
    (tmp_path / "evergreen.toml").write_text(FILE)
    more = environ(KUBERNETES__GPUS="2", KUBERNETES__CA_FILE=certifi.where())
    training = load(environ=more, directory=tmp_path).training
    assert isinstance(launcher(training), KubernetesJobs)
    assert training.jobs == Path("/data/jobs")
    assert training.kubernetes.gpus == 2
    assert training.kubernetes.node_selector == {"pool": "gpu"}
    assert training.kubernetes.tolerations[0].key == "nvidia.com/gpu"


def test_the_environment_names_a_cluster(tmp_path: Path):
    given = environ(LAUNCHER="ray", RAY__ADDRESS="https://head:8265", RAY__SHARED="/data")
    assert isinstance(launcher(load(environ=given, directory=tmp_path).training), RayJobs)


def test_what_a_launcher_needs_is_asked_for_at_the_start(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"training\.kubernetes\.image is not set"):
        launcher(load(environ=environ(LAUNCHER="kubernetes"), directory=tmp_path).training)
    with pytest.raises(SettingsError, match="EVERGREEN_TRAINING__LAUNCHER"):
        load(environ=environ(LAUNCHER="slurm"), directory=tmp_path)


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://me:secret@head"])
def test_an_address_is_a_url_without_secrets(tmp_path: Path, address: str):
    with pytest.raises(SettingsError, match=r"training\.ray\.address") as caught:
        load(environ=environ(RAY__ADDRESS=address), directory=tmp_path)
    assert "secret" not in str(caught.value)
