"""The engine process: loads one model version, measures and warms it, then serves it. It must not know HTTP or other versions.

Started by the supervisor as `python -m service.engine.worker CONFIG [gently]`. It ends by itself when the supervisor is gone.
Little is imported here: beside engines that answer, even ONNX Runtime's import has to wait its turn.
"""

import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from service.engine import priority
from service.engine.config import GENTLY, Config
from service.engine.lifeline import Lifeline, Said

SWITCH_SECONDS = 0.0005


def loaded(config: Config, lifeline: Lifeline, gently: bool) -> Any:
    """(session, calibration). Raises whatever is wrong with the version."""

    def run(work: Callable[[], Any], **how: bool) -> Any:
        return priority.lowered(work, **how) if gently else work()

    loading = run(imported)

    def load() -> Any:
        # Threads of its own: those that serve must not inherit its priority.
        with ThreadPoolExecutor(most_runs(config), thread_name_prefix="load") as threads:
            return loading.load(config, threads)

    loading.bound(config, lifeline)
    return run(load, leaves_threads=loading.leaves_threads(config.options))


def imported() -> Any:
    """What loads, and with it ONNX Runtime. EngineError where its packages contradict each other."""
    from service.engine import loading, providers
    from service.errors import EngineError

    if clash := providers.clashing_wheels():
        raise EngineError(clash)
    return loading


def most_runs(config: Config) -> int:
    """How many batches may run at a time, wherever they run."""
    return max(config.options.instances, config.options.gpu.instances)


def why(error: Exception, config: Config) -> str:
    """A failed load in a sentence."""
    from service.engine import loading

    return loading.why(error, config.options)


def main() -> int:
    """Load, then serve. Exit code 1 when the version cannot be loaded; the reason is on the lifeline."""
    config = msgspec.json.decode(sys.argv[1], type=Config)
    lifeline = Lifeline(config.lifeline)
    try:
        session, calibrated = loaded(config, lifeline, GENTLY in sys.argv[2:])
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a bundle, its reason must be heard
        lifeline.say(Said("failed", why(error, config)))
        return 1
    import uvloop

    from service.engine.serving import Engine

    threads = ThreadPoolExecutor(most_runs(config), thread_name_prefix="run")

    async def serve() -> int:
        return await Engine(session, config, calibrated, threads, lifeline).serve()

    # A run thread that comes back from ONNX Runtime should not wait long for the loop to let go of the interpreter.
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    code = uvloop.run(serve())
    # ONNX Runtime's threads need no farewell, and a slow one must not hold up the swap.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
