"""A Prometheus of one's own with the committed configuration, on one service. It must not know what is asked of it."""

import asyncio
import re
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from loadtests.demo.service import Failed, end, free_port

CONFIG = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yml"
RULES = CONFIG.with_name("rules.yml")
READY_S, LOOK_S = 30.0, 0.1


@asynccontextmanager
async def scraping(service: str, folder: Path, scrape_s: int) -> AsyncIterator[str]:
    """The URL of a Prometheus that scrapes `service` (host:port); what it knows stays in `folder`."""
    program = shutil.which("prometheus")
    if program is None:
        raise Failed("prometheus is not installed: apt-get install prometheus")
    file = folder / "prometheus.yml"
    file.write_text(configuration(service, scrape_s))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    process = await asyncio.create_subprocess_exec(
        *command, f"--web.listen-address={address}", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        await ready(f"http://{address}")
        yield f"http://{address}"
    finally:
        await end(process)


def configuration(service: str, scrape_s: int) -> str:
    """The committed one, with the service's address, the rules' place, another interval and no Alertmanager."""
    text = re.sub(r"^alerting:.*?(?=^\S)", "", CONFIG.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(_(?:interval|timeout)): \w+", rf"\1: {scrape_s}s", text)
    return text.replace("localhost:8000", service).replace("- rules.yml", f"- {RULES}")


async def ready(url: str) -> None:
    """Returns once it answers."""
    async with httpx.AsyncClient() as client, asyncio.timeout(READY_S):
        while True:
            try:
                if (await client.get(f"{url}/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(LOOK_S)
