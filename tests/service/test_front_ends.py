"""Several front ends on one port: the kernel spreads callers over them, and what they answer does not depend on which was hit."""

import asyncio
import concurrent.futures
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import live
import msgspec
import pytest
from live import children, connections, engine_of, sockets, stopped, waiting

from service import front_ends
from service.control import Control
from service.engine.client import EngineClient
from service.errors import SettingsError
from service.front_ends import bind, reserve
from service.settings import Settings

FRONT_ENDS = 3
PREDICT = "/v1/models/toy-text/predict"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def answering(url: str, client: httpx.Client, control: int) -> int:
    """The front end, of those below `control`, that has accepted the one connection of `client`."""
    answer = client.get("/v2/health/live")
    here = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    accepted = {row[9] for row in connections(port_of(url)) if row[2].endswith(f":{here:04X}")}
    (pid,) = [pid for pid in children(control, "service.frontend") if accepted & sockets(pid)]
    return pid


@contextmanager
def one_on_each(url: str, control: int, count: int) -> Iterator[list[httpx.Client]]:
    """A client connected to each of the `count` front ends below `control`, by the order of their process numbers."""
    found: dict[int, httpx.Client] = {}
    with ExitStack() as stack:

        def reached() -> bool:
            client = stack.enter_context(httpx.Client(base_url=url, timeout=live.PATIENCE))
            found[answering(url, client, control)] = client
            return len(found) == count

        live.until(reached, f"a connection to each of {count} front ends")
        yield [found[pid] for pid in sorted(found)]


@pytest.fixture(scope="module")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Program]:
    settings = {"front_ends": str(FRONT_ENDS), "models__toy_text__max_batch_rows": "64"}
    with live.serving(repository, tmp_path_factory.mktemp("shared"), **settings) as program:
        yield program


def figures(client: httpx.Client, name: str) -> float:
    """The sum over what a metric's samples say about toy-text."""
    lines = client.get("/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name + "{") and 'model="toy-text"' in line
    )


def test_the_kernel_spreads_connections_over_all_front_ends(service: live.Program):
    control, port = service.process.pid, port_of(service.said)
    pids = children(control, "service.frontend")
    assert len(pids) == FRONT_ENDS
    with ExitStack() as stack:
        for _ in range(30 * FRONT_ENDS):
            client = stack.enter_context(httpx.Client(base_url=service.said))
            assert client.post(PREDICT, json={"text": "good"}).status_code == 200
        accepted = {row[9] for row in connections(port)}
        held = [len(accepted & sockets(pid)) for pid in pids]
    assert min(held) >= 10, held
    assert sum(held) >= 30 * FRONT_ENDS


def settled(page: str) -> str:
    """A page without what goes on after the answers: observing them, and writing that down."""
    later = ("inference_monitor_", "inference_ledger_")
    return "\n".join(line for line in page.splitlines() if not any(name in line for name in later))


def test_the_metrics_page_is_the_same_whichever_front_end_answers(service: live.Program):
    with one_on_each(service.said, service.process.pid, FRONT_ENDS) as clients:
        before = figures(clients[0], "inference_requests_total")
        for client in clients:
            assert client.post(PREDICT, json={"text": "good"}).status_code == 200

        def page() -> str | None:
            # What was observed is told later, and may be told between two of them.
            pages = {settled(client.get("/metrics").text) for client in clients}
            return pages.pop() if len(pages) == 1 else None

        page_of_all = live.until(page, "one page")
        assert figures(clients[0], "inference_requests_total") == before + FRONT_ENDS
        assert f"\ninference_front_ends {FRONT_ENDS}.0\n" in page_of_all


async def test_requests_at_different_front_ends_share_a_batch(service: live.Program):
    engine = engine_of(service.process.pid, "toy-text")
    command = Path(f"/proc/{engine}/cmdline").read_bytes().split(b"\0")
    holder = await EngineClient.connect(msgspec.json.decode(command[3])["socket"])
    with one_on_each(service.said, service.process.pid, FRONT_ENDS) as clients:
        before = [figures(clients[0], f"inference_batch_rows_{part}") for part in ("count", "sum")]
        holder.hold(FRONT_ENDS)
        await holder.stats()  # it has been heard
        answers = await asyncio.gather(
            *(asyncio.to_thread(one.post, PREDICT, json={"text": "good"}) for one in clients)
        )
        assert [answer.status_code for answer in answers] == [200] * FRONT_ENDS
        after = [figures(clients[0], f"inference_batch_rows_{part}") for part in ("count", "sum")]
    holder.close()
    assert (after[0] - before[0], after[1] - before[1]) == (1, FRONT_ENDS)


def test_connections_that_waited_for_a_front_end_which_died_are_answered_by_the_next(
    repository: Path, tmp_path: Path
):
    count = 40
    with (
        live.serving(repository, tmp_path, front_ends="2") as service,
        concurrent.futures.ThreadPoolExecutor(count) as pool,
    ):
        port = port_of(service.said)
        victim, _ = children(service.process.pid, "service.frontend")
        with stopped(victim):  # it accepts nothing: the kernel holds what it is given
            asked = [pool.submit(ask, service.said) for _ in range(count)]
            live.until(
                lambda: sum(one.done() for one in asked) + waiting(port) == count,
                "every request to be answered or to wait",
            )
            assert waiting(port) > 0
            os.kill(victim, signal.SIGKILL)
        assert [one.result().status_code for one in asked] == [200] * count


def ask(url: str) -> httpx.Response:
    return httpx.post(url + PREDICT, json={"text": "good"}, timeout=live.PATIENCE)


@pytest.fixture
async def control(repository: Path, tmp_path: Path) -> AsyncIterator[Control]:
    """Control in this process, with two front ends and one engine."""
    control = Control(
        Settings(port=0, repository=repository, state=tmp_path, serve=("toy-text",), front_ends=2)
    )
    try:
        await control.start()
        yield control
    finally:
        await control.close()


def processes() -> list[int]:
    """The front ends below this process."""
    return children(os.getpid(), "service.frontend")


def readiness(control: Control) -> list[int]:
    """What each of two front ends answers now: its table says whether the service is ready."""
    with one_on_each(f"http://127.0.0.1:{control.port}", os.getpid(), 2) as clients:
        return [client.get("/v2/health/ready").status_code for client in clients]


async def test_when_publish_returns_every_front_end_routes_by_the_new_table(control: Control):
    # No await between publish and the questions: nothing else of control runs meanwhile.
    for _ in range(5):
        await control.publish(ready=False)
        assert readiness(control) == [503, 503]
        await control.publish(ready=True)
        assert readiness(control) == [200, 200]


async def test_a_front_end_that_does_not_take_a_table_is_gone_when_publish_returns(
    control: Control, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(front_ends, "ACKNOWLEDGE_SECONDS", 2.0)
    victim, other = processes()
    with stopped(victim):
        await control.publish(ready=False)
        assert processes() == [other]
    await replaced(control, victim)
    assert readiness(control) == [503, 503]


async def test_a_front_end_that_has_lost_its_link_is_replaced(
    control: Control, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(front_ends, "ENDING_SECONDS", 0.5)
    victim, _ = processes()
    unlink(control, victim)
    await replaced(control, victim)


async def test_a_front_end_that_has_lost_its_link_is_gone_when_publish_returns(
    control: Control, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(front_ends, "ENDING_SECONDS", 0.5)
    victim, other = processes()
    unlink(control, victim)
    await control.publish(ready=False)
    assert processes() == [other]
    await replaced(control, victim)
    assert readiness(control) == [503, 503]


def unlink(control: Control, pid: int) -> None:
    """Close the link of one front end; its process lives on."""
    (front_end,) = [one for one in control.front_ends._all if one.supervisor.pid == pid]
    front_end._link.close()  # type: ignore[union-attr]


async def replaced(control: Control, victim: int) -> None:
    """Wait until another process answers for `victim`, which the metrics say."""
    supervisors = [one.supervisor for one in control.front_ends._all]

    def again() -> bool:
        states = {one.state for one in supervisors}
        return sum(one.restarts for one in supervisors) == 1 and states == {"ready"}

    await asyncio.to_thread(live.until, again, "another front end")
    assert len(processes()) == 2
    assert victim not in processes()
    page = (await control.metrics_page()).decode()
    assert "\ninference_front_end_restarts_total 1.0\n" in page
    assert "\ninference_front_ends 2.0\n" in page


ONE_FAILS = """
import os, sys
if "service.frontend" in sys.orig_argv:
    try:
        os.open("first", os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        {failure}
"""


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        ("os._exit(7)", r"front end \d does not start: process \d+ ended with exit code 7"),
        (
            "import service.app; service.app.FIRST_TABLE_SECONDS = 0",
            r"front end \d does not start: process \d+ ended with exit code 3: its application does not start; the log says why",
        ),
    ],
)
def test_one_front_end_that_does_not_start_ends_the_service_with_the_reason(
    repository: Path, tmp_path: Path, failure: str, says: str
):
    (tmp_path / "sitecustomize.py").write_text(ONE_FAILS.format(failure=failure))
    done = subprocess.run(
        [live.evergreen(), "serve", "--repository", str(repository), "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=live.environment(tmp_path, front_ends="2") | {"PYTHONPATH": str(tmp_path)},
        timeout=live.PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert re.search(says, re.sub(r"\s+", " ", done.stderr))
    assert "answers on" not in done.stdout


def test_one_free_port_is_shared_by_all_listeners():
    listeners = bind("127.0.0.1", 0, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("second", [1, 3])
@pytest.mark.parametrize("first", [1, 3])
def test_a_second_service_on_the_port_is_refused_whoever_shares(first: int, second: int):
    listeners = bind("127.0.0.1", 0, first)
    port = listeners[0].getsockname()[1]
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}: Address already"):
        bind("127.0.0.1", port, second)
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("count", [1, 3])
def test_a_program_that_would_share_its_port_keeps_it_for_itself(count: int):
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        with pytest.raises(SettingsError, match="cannot listen on"):
            bind("127.0.0.1", foreign.getsockname()[1], count)


def shared(port: int) -> socket.socket:
    """A listener as gRPC's library opens it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def test_a_reserved_port_is_shared_by_front_ends_and_takes_no_connection_itself():
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with shared(port) as one, shared(port), socket.create_connection(("127.0.0.1", port)):
            assert one.getsockname() == held.getsockname()


@pytest.mark.parametrize("answering", [False, True])
def test_a_second_service_on_a_reserved_port_is_refused(answering: bool):
    with reserve("127.0.0.1", 0) as held, ExitStack() as stack:
        port = held.getsockname()[1]
        if answering:
            stack.enter_context(shared(port))
        says = f"cannot listen on 127.0.0.1:{port} for gRPC: Address already in use"
        with pytest.raises(SettingsError, match=says):
            reserve("127.0.0.1", port)


def test_a_port_that_http_has_cannot_be_reserved():
    (listener,) = bind("127.0.0.1", 0)
    with listener, pytest.raises(SettingsError, match="for gRPC: Address already in use"):
        reserve("127.0.0.1", listener.getsockname()[1])


def test_a_port_whose_last_connections_are_closing_can_be_reserved():
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with shared(port) as listener:
            caller = socket.create_connection(("127.0.0.1", port))
            listener.accept()[0].close()  # the end that closes first waits for stragglers
            assert caller.recv(1) == b""
            caller.close()
    reserve("127.0.0.1", port).close()


def test_without_what_speaks_grpc_the_start_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(front_ends, "find_spec", lambda name: None if name == "grpc" else name)
    says = r"grpc_port is set, but grpc is not installed: pip install -e '\.\[grpc\]'"
    with pytest.raises(SettingsError, match=says):
        reserve("127.0.0.1", 0)
