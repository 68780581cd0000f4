"""Two services on two machines, as far as they know: each with a state of its own, both on one registry in a bucket."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import live
import pytest
import versions as variants

from models.registry import Registry
from service.control import Control
from service.settings import Settings

MODEL = "toy-text"
MACHINES = ("one", "two")


class Machine:
    """A service, with what its callers saw."""

    def __init__(self, control: Control) -> None:
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{control.port}", timeout=live.PATIENCE
        )
        self.seen: list[int | str] = []

    async def promote(self, version: int, **more: object) -> httpx.Response:
        body = {"version": version} | more
        return await self.http.post(f"/v1/models/{MODEL}/promotions", json=body)

    async def call(self) -> None:
        """Requests without a break; every outcome is kept."""
        while True:
            answer = await self.http.post(f"/v1/models/{MODEL}/predict", json={"text": "good"})
            good = answer.status_code == 200
            self.seen.append(answer.json()["version"] if good else answer.text)

    async def answers(self, version: int) -> None:
        """Return once `version` answers."""
        begun = len(self.seen)
        async with asyncio.timeout(live.PATIENCE):
            while version not in self.seen[begun:]:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(seed: Path, registry: str, state: Path) -> AsyncIterator[Machine]:
    told = Settings(
        port=0,
        serve=(MODEL,),
        repository=seed,
        registry=registry,
        state=state,
        registry_poll_s=0.1,
    )
    control = Control(told)
    try:
        await control.start()
        machine = Machine(control)
        calling = asyncio.create_task(machine.call())
        yield machine
        calling.cancel()
        await asyncio.wait([calling])
        await machine.http.aclose()
    finally:
        await control.close()


@pytest.fixture
async def machines(bucket: str, tmp_path: Path) -> AsyncIterator[list[Machine]]:
    """Both answer with version 1, the seed's; 2 and 3 lie in the bucket alone."""
    seed, url = tmp_path / "seed", f"{bucket}/{uuid.uuid4().hex}"
    made = variants.text(seed, 1)
    publisher = Registry([seed], url, tmp_path / "publisher")
    for _ in range(2):
        await asyncio.to_thread(publisher.publish, made, who="a test")
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(serving(seed, url, tmp_path / name))
            for name in MACHINES
        ]
        for machine in found:
            await machine.answers(1)
        yield found


async def test_a_promotion_on_one_machine_is_followed_by_the_other_and_costs_no_request(
    machines: list[Machine],
):
    one, two = machines
    answer = await one.promote(2)
    assert answer.status_code == 200, answer.text
    await asyncio.gather(one.answers(2), two.answers(2))
    answer = await two.http.post(f"/v1/models/{MODEL}/rollback")
    assert answer.status_code == 200, answer.text
    await asyncio.gather(one.answers(1), two.answers(1))
    assert [set(machine.seen) for machine in machines] == [{1, 2}, {1, 2}]


async def test_of_two_promotions_at_once_on_two_machines_exactly_one_wins(
    machines: list[Machine],
):
    one, two = machines
    answers = await asyncio.gather(one.promote(2, if_champion=1), two.promote(3, if_champion=1))
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) == 1, [answer.text for answer in answers]
    assert set(codes) - {200} <= {409, 412}
    winner = (2, 3)[codes.index(200)]
    await asyncio.gather(*(machine.answers(winner) for machine in machines))
    view = (await one.http.get(f"/v1/models/{MODEL}")).json()
    assert view["aliases"] == {"champion": winner, "previous": 1}
    assert [set(machine.seen) for machine in machines] == [{1, winner}, {1, winner}]
