"""Whether eight replicas that share the traffic come to the same verdict, to the last bit (A10)."""

from collections.abc import Sequence

import msgspec
import numpy as np

from loadtests.drift import shifts
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Verdict
from loadtests.drift.material import Ours
from loadtests.drift.rows import Scored
from models import profile
from service.ledger.records import Block
from service.monitoring.window import Window

REPLICAS = 8
BLOCK = 50
N = 200


def run(bench: Bench) -> Steps:
    """Random divisions of clean and of shifted windows among replicas, whose blocks arrive in any order."""
    same, asked = 0, 0
    for material in bench.materials():
        shift = bench.of(material.modality)[1]
        for _ in material.load([shift]):
            pass
        split, ours = material.split(0)
        for number in range(max(bench.scale.windows // 4, 2)):
            yield asked, asked + 1, material.modality
            rng = np.random.default_rng([bench.seed, number])
            for kind in (shifts.clean(material.modality), shift):
                window = material.window(kind, split, ours.size(N), number)
                same += merged(ours, window, rng) == alone(ours, window)
                asked += 1
    bench.found.verdicts.append(
        Verdict(
            id="A10",
            what=f"windows of which {REPLICAS} replicas say the same as one, bit for bit",
            value=same / asked,
            least=1,
            note=f"{asked} random divisions",
        )
    )


def alone(ours: Ours, window: Scored) -> bytes:
    """Counts, sums and comparison of one process that saw everything."""
    return told(ours, window, [np.arange(window.size)], np.random.default_rng(0))


def merged(ours: Ours, window: Scored, rng: np.random.Generator) -> bytes:
    """The same of replicas: each row goes to one of them, in blocks that come in any order."""
    order = rng.permutation(window.size)
    replica = rng.integers(REPLICAS, size=window.size)
    return told(ours, window, [order[replica == one] for one in range(REPLICAS)], rng)


def told(
    ours: Ours, window: Scored, shares: Sequence[np.ndarray], rng: np.random.Generator
) -> bytes:
    """Blocks of at most BLOCK rows a replica, added in random order, then compared."""
    bins = ours.bins(window)
    blocks = [
        Block(
            model="m",
            version=1,
            profile="p",
            machine=f"machine-{replica}",
            number=number,
            begun_at=float(number),
            ended_at=float(number + 1),
            samples=len(rows),
            counts=ours.profile.counts(bins[rows]).astype("<i4").tobytes(),
            sums={},
        )
        for replica, share in enumerate(shares)
        for number, rows in enumerate(np.split(share, range(BLOCK, len(share), BLOCK)))
        if len(rows)
    ]
    found = Window(ours.profile.sizes)
    for place in rng.permutation(len(blocks)):
        found.add(blocks[place])
    counted = found.newest(window.size)
    assert counted is not None
    comparison = profile.compare(ours.profile, counted.counts, counted.samples)
    return counted.counts.tobytes() + msgspec.json.encode(comparison)
