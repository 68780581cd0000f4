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

from models.errors import EvergreenError
from service.engine import calibration, providers
from service.engine.calibration import Calibration
from service.engine.config import Config
from service.engine.latency import Bucket
from service.engine.lifeline import Lifeline, Said
from service.engine.serving import Engine
from service.engine.session import Session
from service.errors import EngineError

SWITCH_SECONDS = 0.0005


def load(config: Config, threads: ThreadPoolExecutor) -> tuple[Session, Calibration]:
    """The session, measured and warm."""
    options = config.options
    started = time.monotonic()
    session = Session.load(Path(config.directory), options)

    def timed(bucket: Bucket, rows: int) -> float:
        # As the engine will run it: requests of a row each, joined, in a run thread.
        requests = [session.example(bucket, 1)] * rows
        begun = time.perf_counter()
        threads.submit(session.run, requests).result()
        return time.perf_counter() - begun

    calibrated = calibration.calibrate(
        session.buckets(),
        timed,
        fixed=options.max_batch_rows,
        inherited=config.inherited,
        kept=Path(options.curves) / f"{kept_as(session)}.json" if options.curves else None,
    )
    session.warm_up(calibrated.caps)
    session.report["batching"] = calibrated.report()
    session.report["load_seconds"] = round(time.monotonic() - started, 3)
    return session, calibrated


def kept_as(session: Session) -> str:
    """The name under which this version's batch times are kept."""
    manifest, device = session.manifest, session.report["device"]
    file = manifest.variant(session.report["variant"]).file
    runtime = {name: device[name] for name in ("provider", "threads")}
    return calibration.key(manifest.files[file], runtime)


def main() -> int:
    """Load, then serve. Exit code 1 when the version cannot be loaded; the reason is on the lifeline."""
    config = msgspec.json.decode(sys.argv[1], type=Config)
    lifeline = Lifeline(config.lifeline)
    instances = max(config.options.instances, config.options.gpu.instances)
    threads = ThreadPoolExecutor(instances, thread_name_prefix="run")
    try:
        if clash := providers.clashing_wheels():
            raise EngineError(clash)
        session, calibrated = load(config, threads)
    except EvergreenError as error:
        lifeline.say(Said("failed", str(error)))
        return 1
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a bundle, its reason must be heard
        lifeline.say(Said("failed", f"{type(error).__name__}: {error}"))
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
