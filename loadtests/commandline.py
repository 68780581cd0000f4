"""The load test's options of Locust's command line. It must not know what becomes of them."""

import functools
from pathlib import Path
from typing import Any

from locust import events

from loadtests import shapes, shifting

REPOSITORY = Path(__file__).parent.parent / "models" / "repository"


def add_options(parser: Any) -> None:
    """Those of the load test, in a group of their own."""
    add = parser.add_argument_group("Evergreen").add_argument
    add("--shape", choices=sorted(shapes.SHAPES), default="steady", help="How many users when.")
    add("--api", choices=("v1", "v2", "both"), default="v1", help="v1: people; v2: tensors.")
    add("--spike-factor", type=float, default=5.0, help="The burst's users, in times of --users.")
    add("--ramp-from", type=int, default=6, help="The users of a ramp's first step.")
    add("--max-requests", type=int, default=10_000_000, help="End the run after so many.")
    add("--p50-ms", type=float, help="Fail when a model's median latency is above this.")
    add("--p99-ms", type=float, help="Fail when a model's p99 is above this; ends a ramp.")
    add("--min-rps", type=float, help="Fail when fewer requests a second are answered.")
    add("--max-failure-share", type=float, default=0.0, help="Fail when more than this failed.")
    add(
        "--max-shed-share",
        type=float,
        help="Fail when more than this was refused with 503 and Retry-After. Default: 0, in a ramp or spike 1.",
    )
    add(
        "--shift",
        type=shifting.parse,
        metavar="KIND[:AMOUNT][@PERCENT%]",
        help="Replay the real test sets, and change them part-way: noise:0.2, dim:0.4, people, tweets, amazon, nyt; @50%% without a time.",
    )
    add("--report", type=Path, help="Write report.html and summary.json below this folder.")
    add(
        "--repository",
        type=Path,
        default=REPOSITORY,
        env_var="EVERGREEN_REPOSITORY",
        help="Where the samples are taken from: <model>/<version>/.",
    )


@functools.cache
def register() -> None:
    """Have Locust's parser take them. Asked for twice, by a program and by the locustfile that it loads, it is done once."""
    events.init_command_line_parser.add_listener(add_options)
