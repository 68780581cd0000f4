"""The engine process: loads one model version, measures and warms it, then serves it. It must not know HTTP or other versions.

Started by the supervisor as `python -m service.engine.worker CONFIG`. It ends by itself when the supervisor is gone.
"""

import gc
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import uvloop

from models import bundle
from models.errors import EvergreenError
from service.engine import bare, calibration, failures, memory, providers
from service.engine.calibration import Calibration
from service.engine.config import Config, Options
from service.engine.latency import Bucket
from service.engine.lifeline import Lifeline, Said
from service.engine.serving import LEFT, Engine
from service.engine.session import Session
from service.errors import EngineError

SWITCH_SECONDS = 0.0005


def load(config: Config, threads: ThreadPoolExecutor) -> tuple[Session, Calibration]:
    """The session, measured and warm."""
    options, directory = config.options, Path(config.directory)
    started = time.monotonic()
    loading = bare.load if bundle.is_bare(directory) else Session.load
    session = loading(directory, options)
    calibrated = measured(session, config, threads) if session.batched else alone(session)
    session.warm_up(calibrated.caps)
    session.report["batching"] = calibrated.report()
    session.report["load_seconds"] = round(time.monotonic() - started, 3)
    return session, calibrated


def measured(session: Session, config: Config, threads: ThreadPoolExecutor) -> Calibration:
    """How batches scale here."""
    options = config.options

    def timed(bucket: Bucket, rows: int) -> float:
        # As the engine will run it: requests of a row each, joined, in a run thread.
        requests = [session.example(bucket, 1)] * rows
        begun = time.perf_counter()
        threads.submit(session.run, requests).result()
        return time.perf_counter() - begun

    return calibration.calibrate(
        session.buckets(),
        timed,
        fixed=options.max_batch_rows,
        inherited=config.inherited,
        kept=Path(options.curves) / f"{kept_as(session)}.json" if options.curves else None,
    )


def alone(session: Session) -> Calibration:
    """Nothing to measure: one request at a time, whatever the settings say."""
    return Calibration("alone", dict.fromkeys(session.buckets(), 1))


def kept_as(session: Session) -> str:
    """The name under which this version's batch times are kept."""
    device = session.report["device"]
    runtime = {name: device[name] for name in ("provider", "threads")}
    return calibration.key(session.file.sha256, runtime)


def most_memory(options: Options) -> int:
    """Bytes that this process may take."""
    return memory.derived() if options.memory_mb is None else options.memory_mb << 20


def why(error: Exception, options: Options) -> str:
    """A failed load in a sentence."""
    if failures.lacks_memory(error):
        most = most_memory(options) >> 20
        return f"the model does not fit into the {most:,} MB that an engine may take (engine_memory_mb)"
    return str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"


def bound(config: Config, lifeline: Lifeline) -> None:
    """From now on this process takes no more memory than it may: by the kernel's limit on the CPU, by a watch beside a GPU."""
    options = config.options
    most = most_memory(options)
    provider, _ = providers.choose(options.provider, options.strict)

    def leave(reason: str) -> None:
        lifeline.say(Said(reason=reason))
        os._exit(LEFT)

    if provider == "cpu":
        memory.limit(most)
    else:
        memory.watch(most, leave)


def main() -> int:
    """Load, then serve. Exit code 1 when the version cannot be loaded; the reason is on the lifeline."""
    config = msgspec.json.decode(sys.argv[1], type=Config)
    lifeline = Lifeline(config.lifeline)
    instances = max(config.options.instances, config.options.gpu.instances)
    threads = ThreadPoolExecutor(instances, thread_name_prefix="run")
    try:
        if clash := providers.clashing_wheels():
            raise EngineError(clash)
        bound(config, lifeline)
        session, calibrated = load(config, threads)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a bundle, its reason must be heard
        lifeline.say(Said("failed", why(error, config.options)))
        return 1

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
