"""Processes: what happens to requests when an engine, a front end or the service itself ends."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import live
import numpy as np
import pytest
import toys
from live import children, engine_of, stopped

from service import examples

GOOD = {"text": "good"}
PICTURE = examples.png(np.ones((1, 4, 4)))


def ask(url: str, **extra: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/models/toy-text/predict", json=GOOD, timeout=60, **extra)


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of all samples of `name` whose labels include `labels`."""
    total = 0.0
    for line in httpx.get(f"{url}/metrics", timeout=30).text.splitlines():
        if line.startswith((name + "{", name + " ")) and all(
            f'{k}="{v}"' in line for k, v in labels.items()
        ):
            total += float(line.rpartition(" ")[2])
    return total


def test_a_killed_engine_is_replaced_and_meanwhile_requests_get_503_with_retry_after(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        before = engine_of(service.process.pid, "toy-text")
        control = service.process.pid
        # Control is stopped, so that the replacement cannot be there before the first request is.
        with stopped(control):
            os.kill(before, signal.SIGKILL)

            def refused() -> httpx.Response | None:
                answer = ask(service.said)
                return answer if answer.status_code == 503 else None

            answer = live.until(refused, "a 503")
            assert int(answer.headers["Retry-After"]) >= 1
            assert "lost its engine" in answer.json()["detail"]
            ready = httpx.get(f"{service.said}/v2/models/toy-text/ready")
            assert (ready.status_code, "Retry-After" in ready.headers) == (503, True)
        live.until(lambda: ask(service.said).status_code == 200, "an answer of the new engine")
        assert engine_of(control, "toy-text") != before
        live.until(
            lambda: metric(service.said, "inference_engine_restarts_total", model="toy-text") == 1,
            "the restart's count",
        )


def test_requests_in_flight_on_a_killed_engine_are_answered_by_its_replacement(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        engine = engine_of(service.process.pid, "toy-text")
        with (
            stopped(engine),
            concurrent.futures.ThreadPoolExecutor(4) as pool,
        ):  # it holds what it is sent
            waiting = [pool.submit(ask, service.said) for _ in range(4)]
            live.until(lambda: metric_in_flight(service.said) == 4, "four requests in flight")
            os.kill(engine, signal.SIGKILL)
            assert [future.result().status_code for future in waiting] == [200] * 4


def test_a_model_whose_engine_is_stopped_is_not_ready_before_it_is_replaced(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        ready = f"{service.said}/v2/models/toy-text/ready"
        assert httpx.get(ready, timeout=60).status_code == 200
        engine = engine_of(service.process.pid, "toy-text")
        # Control is stopped, so that the engine is not replaced before it is asked about.
        with stopped(service.process.pid), stopped(engine):
            answer = httpx.get(ready, timeout=60)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "says nothing" in answer.json()["error"]
        live.until(lambda: httpx.get(ready, timeout=60).status_code == 200, "the model")


def metric_in_flight(url: str) -> float:
    return metric(url, "inference_in_flight_requests", model="toy-text")


@pytest.mark.parametrize("front_ends", ["1", "3"])
def test_sigterm_answers_what_was_accepted_and_exits_0(
    repository: Path, tmp_path: Path, front_ends: str
):
    with live.serving(repository, tmp_path, front_ends=front_ends) as service:
        engine = engine_of(service.process.pid, "toy-text")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            with stopped(engine):
                waiting = [pool.submit(ask, service.said) for _ in range(8)]
                live.until(lambda: metric_in_flight(service.said) == 8, "eight requests in flight")
                service.process.send_signal(signal.SIGTERM)
                live.until(lambda: not listening(service.said), "the port to close")
            assert [future.result().status_code for future in waiting] == [200] * 8
        assert service.process.wait(live.PATIENCE) == 0


def listening(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def test_a_killed_front_end_is_replaced_and_no_count_is_lost_that_was_seen(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        for _ in range(3):
            assert ask(service.said).status_code == 200
        assert metric(service.said, "inference_requests_total", model="toy-text", status="ok") == 3
        (front_end,) = children(service.process.pid, "service.frontend")
        os.kill(front_end, signal.SIGKILL)

        def answered() -> bool:
            try:
                return ask(service.said).status_code == 200
            except httpx.TransportError:
                return False

        live.until(answered, "an answer of the new front end")
        assert metric(service.said, "inference_requests_total", model="toy-text", status="ok") == 4
        assert metric(service.said, "inference_front_end_restarts_total") == 1
        assert metric(service.said, "inference_front_ends") == 1


def test_nothing_outlives_a_killed_control(repository: Path, tmp_path: Path):
    command = [live.evergreen(), "serve", "--repository", str(repository), "--port", "0"]
    with (tmp_path / "log").open("w") as log:
        control = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env=live.environment(tmp_path)
        )
    try:
        live.until(lambda: "answers on" in (tmp_path / "log").read_text(), "the service")
        family = children(control.pid, "service.engine.worker") + children(
            control.pid, "service.frontend"
        )
        assert len(family) == 4
    finally:
        control.kill()
        control.wait()
    live.until(
        lambda: not any(Path(f"/proc/{pid}").exists() and running(pid) for pid in family),
        "every child to end",
    )


def running(pid: int) -> bool:
    """Not gone, and not a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_damaged_model_is_reported_and_the_others_serve(tmp_path: Path):
    models = toys.repository(tmp_path / "models")
    (models / "toy-image" / "1" / "model.fp32.onnx").write_bytes(b"damaged")
    with live.serving(models, tmp_path) as service:
        assert ask(service.said).status_code == 200
        ready = httpx.get(f"{service.said}/v2/health/ready")
        assert ready.status_code == 503
        assert "toy-image/1" in ready.json()["error"]
        assert "sha256" in ready.json()["error"]
        assert "sha256" in service.output.read_text()
        answer = httpx.post(
            f"{service.said}/v1/models/toy-image/predict",
            content=PICTURE,
            headers={"Content-Type": "image/png"},
        )
        assert answer.status_code == 503
        live_answer = httpx.get(f"{service.said}/v2/health/live")
        assert live_answer.json() == {"live": True}


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["--models", "nobody"], {}, "no model 'nobody', only toy-image, toy-series, toy-text"),
        ([], {"port": "many"}, "EVERGREEN_PORT: Expected `int`"),
        ([], {"prot": "1"}, "EVERGREEN_PROT: Object contains unknown field `prot`"),
        (["--host", "256.0.0.1"], {}, "cannot listen on 256.0.0.1"),
        (["--front-ends", "0"], {}, "Expected `int` >= 1 - at `$.front_ends`"),
        ([], {"models__toy_txt__threads": "1"}, "settings for 'toy_txt', the models are toy-image"),
        (["--repository", "nowhere"], {}, "there are no models in nowhere"),
    ],
)
def test_what_cannot_be_started_ends_with_a_sentence(
    repository: Path, tmp_path: Path, arguments: list[str], settings: dict[str, str], says: str
):
    command = [
        live.evergreen(),
        "serve",
        "--repository",
        str(repository),
        "--port",
        "0",
        *arguments,
    ]
    environ = live.environment(tmp_path, **settings)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environ,
        timeout=live.PATIENCE,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert says in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_that_is_taken_is_named(repository: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [live.evergreen(), "serve", "--repository", str(repository), "--port", port]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=live.environment(tmp_path),
            timeout=live.PATIENCE,
            check=False,
        )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_restarted_front_end_never_says_that_a_model_is_unknown(repository: Path, tmp_path: Path):
    with live.serving(repository, tmp_path) as service:
        (front_end,) = children(service.process.pid, "service.frontend")
        os.kill(front_end, signal.SIGKILL)
        seen = set()

        def answered() -> bool:
            try:
                seen.add(ask(service.said).status_code)
            except httpx.TransportError:
                return False
            return 200 in seen

        live.until(answered, "an answer of the new front end")
        assert seen <= {200, 503}


def test_a_service_that_cannot_write_its_examples_serves(repository: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with live.serving(repository, tmp_path, state=str(tmp_path / "file" / "state")) as service:
        assert ask(service.said).status_code == 200
        live.until(lambda: "no example for toy-image" in service.output.read_text(), "the reason")


PATIENT = """
import sys
if "serve" in sys.orig_argv:
    from service.engine import supervisor
    supervisor.SILENCE_SECONDS = 600.0
"""


def test_a_lost_connection_to_a_living_engine_is_made_again(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A front end takes seconds to start, and an engine that is silent for so long would be replaced.
    (tmp_path / "sitecustomize.py").write_text(PATIENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with live.serving(repository, tmp_path) as service:
        engine = engine_of(service.process.pid, "toy-text")
        (front_end,) = children(service.process.pid, "service.frontend")
        with stopped(engine):  # the new front end waits in vain for its hello
            os.kill(front_end, signal.SIGKILL)

            def refused() -> bool:
                try:
                    return ask(service.said).status_code == 503
                except httpx.TransportError:
                    return False

            live.until(refused, "a front end without that engine")
        live.until(
            lambda: ask(service.said).status_code == 200,
            "the connection to the engine that was there all along",
        )
        assert engine_of(service.process.pid, "toy-text") == engine
