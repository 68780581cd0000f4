"""The end of a service while it is asked: one alone, and two that are restarted in turn behind nginx."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from loadtests.compare.serving import free_port
from loadtests.torture import material
from loadtests.torture.errors import Missed, Skipped
from loadtests.torture.found import TRUTH_S, Found
from loadtests.torture.load import calling
from loadtests.torture.material import EXACT, PICTURES
from loadtests.torture.probes import probing
from loadtests.torture.service import Service, running, until
from loadtests.torture.trial import Options, Trial, trial

MODELS = (EXACT, PICTURES)
STARTED_S = 10.0
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/unused-1;
    uwsgi_temp_path {folder}/unused-2;
    scgi_temp_path {folder}/unused-3;
    client_max_body_size 16m;
    upstream evergreen {{
        # One that has ended refuses at once: nobody has to be left out for a while.
        server 127.0.0.1:{ports[0]} max_fails=0;
        server 127.0.0.1:{ports[1]} max_fails=0;
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://evergreen;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_next_upstream error timeout http_502 http_503 http_504 non_idempotent;
            proxy_next_upstream_tries 3;
        }}
    }}
}}
"""


async def sigterm(options: Options, folder: Path) -> Found:
    """SIGTERM while callers ask without a pause: what was accepted is answered, and it ends with 0."""
    async with trial(folder, options, MODELS, {}) as one:
        for number in range(options.rounds):
            one.fault("SIGTERM")
            one.prober.excused = True
            code = await one.service.end()
            one.require(code == 0, f"it ended with {code} after SIGTERM")
            due = one.found.faults[-1].at + TRUTH_S
            late = [probe for probe in one.prober.found.service if probe.ready and probe.at > due]
            one.require(not late, f"it said ready more than {TRUTH_S:g} s after SIGTERM")
            one.fault("started again")
            await one.service.start()
            one.prober.excused = False
            await one.recovered()
            if number < options.rounds - 1:
                await one.rest()
    return one.found


async def restart_in_turn(options: Options, folder: Path) -> Found:
    """Two services behind nginx are restarted in turn, under load: not one request may fail."""
    root = material.repository(folder / "models", MODELS)
    questions = material.questions(MODELS)
    settings = {"provider": "cpu"} | material.settings(MODELS)
    places = [folder / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
    replicas = [Service(place, root, settings) for place in places]
    proxy = nginx(folder, [one.port for one in replicas])
    async with running(replicas[0]), running(replicas[1]), proxy as port:
        one = Trial(replicas[0], options, questions, port)
        try:
            async with probing(one.prober), calling(one.load, options.callers):
                await one.rest()
                for _ in range(options.rounds):
                    for name, replica in zip(("first", "second"), replicas, strict=True):
                        await restart(one, name, replica)
                        await one.rest()
        except (Missed, OSError, httpx.HTTPError) as error:
            one.found.missed.append(str(error) or repr(error))
        one.close()
    refused = one.found.total.refused
    one.require(not refused, f"{refused} requests were refused, one of two services could answer")
    return one.found


async def restart(one: Trial, name: str, replica: Service) -> None:
    """End one replica, start it again; return when it is ready."""
    one.fault(f"SIGTERM to the {name}")
    code = await replica.end()
    one.require(code == 0, f"the {name} ended with {code} after SIGTERM")
    await replica.start()
    one.fault(f"the {name} is back")


@contextlib.asynccontextmanager
async def nginx(folder: Path, ports: list[int]) -> AsyncIterator[int]:
    """A proxy in front of both ports; its own. Skipped where it is not installed."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise Skipped("nginx is not there: apt-get install nginx-light")
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, ports=ports, port=port))
    process = await asyncio.create_subprocess_exec(
        *(program, "-c", str(config), "-e", str(folder / "error.log")),
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: listening(port), "nginx", STARTED_S)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def listening(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    wanted = f"0100007F:{port:04X}"
    rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines())
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
