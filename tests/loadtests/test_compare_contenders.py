"""The table of servers: what each is asked, what it is told, and how the pinned versions stand beside it."""

from pathlib import Path

import pytest

from loadtests.compare import contenders, environments
from loadtests.compare.contenders import CONTENDERS, EVERGREEN, PEERS, Job
from loadtests.compare.processes import MARK
from service import settings

REQUEST = {
    "inputs": [
        {"name": "series", "shape": [1, 3, 2], "datatype": "FP32", "data": [0.0] * 6},
        {"name": "lengths", "shape": [1], "datatype": "INT32", "data": [3]},
    ]
}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        *("fashion-cnn", "int8", tmp_path / "model.onnx", tmp_path, tmp_path / "bin"),
        *(tmp_path, "token", 4321, True),
    )


def test_evergreen_takes_its_settings_from_the_environment_of_the_run(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERGREEN_MODELS__FASHION_CNN__THREADS", "7")
    read = settings.load(environ=EVERGREEN.environment(job), directory=tmp_path)
    model = read.model("fashion-cnn")
    assert (model.variant, model.instances, model.threads) == ("int8", 1, 1)


def test_every_process_of_a_server_carries_its_mark(job: Job) -> None:
    for contender in CONTENDERS.values():
        assert contender.environment(job)[MARK] == "token"


def test_everybody_is_asked_on_the_loopback_at_the_given_port(job: Job) -> None:
    for contender in CONTENDERS.values():
        assert contender.url(job).startswith("http://127.0.0.1:4321/")


def test_every_peer_runs_programs_of_its_own_environment(job: Job) -> None:
    for contender in PEERS:
        assert Path(contender.command(job)[0]).parent == job.programs


def test_every_peers_program_is_there(job: Job) -> None:
    for contender in PEERS:
        named = [Path(part).name for part in contender.command(job)]
        known = any((contenders.PROGRAMS / name).is_file() for name in named)
        module = contender.environment(job).get("MLSERVER_MODEL_IMPLEMENTATION", "").partition(".")
        served = next((part for part in named if ":" in part), module[0]).partition(":")[0]
        assert known or (contenders.PROGRAMS / f"{served}.py").is_file(), contender.name


def test_every_peers_version_is_pinned() -> None:
    pinned = environments.CONSTRAINTS.read_text().splitlines()
    for contender in PEERS:
        name = contender.requirements[0].partition("[")[0]
        assert any(line.startswith(f"{name}==") for line in pinned), name


def test_an_environment_is_made_again_when_what_it_is_made_from_changes() -> None:
    mosec, litserve = CONTENDERS["mosec"], CONTENDERS["litserve"]
    recipe = environments.recipe(mosec, "mosec==1\n")
    assert recipe == environments.recipe(mosec, "mosec==1\n")
    assert recipe != environments.recipe(mosec, "mosec==2\n")
    assert recipe != environments.recipe(litserve, "mosec==1\n")


def test_of_pips_output_the_error_is_told() -> None:
    output = "WARNING: old\nERROR: No matching distribution found for x\nnotice: y\n"
    assert environments.complaint(output) == "ERROR: No matching distribution found for x"
    assert environments.complaint("") == "no reason given"


def test_triton_gets_an_axis_behind_the_batch_and_all_else_as_it_is() -> None:
    inputs = contenders.deep(REQUEST)["inputs"]
    assert [one["shape"] for one in inputs] == [[1, 3, 2], [1, 1]]
    assert REQUEST["inputs"][1]["shape"] == [1]


def test_bentoml_gets_the_request_as_its_only_row() -> None:
    assert contenders.one_row(REQUEST) == {"rows": [REQUEST]}
    assert contenders.first_row([{"outputs": []}]) == {"outputs": []}
