"""From a version's directory to a session that is measured and warm. It must not know sockets, or who waits for it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models import bundle, triton, warmup
from models.errors import BundleError, EvergreenError
from models.triton import TritonConfig
from service.engine import bare, calibration, failures, memory, providers
from service.engine.calibration import Calibration
from service.engine.config import Config, Options
from service.engine.latency import Bucket
from service.engine.lifeline import Lifeline, Said
from service.engine.serving import LEFT
from service.engine.session import Session
from service.errors import EngineError


def load(config: Config, threads: ThreadPoolExecutor) -> tuple[Session, Calibration]:
    """The session, measured and warm."""
    options, directory = config.options, Path(config.directory)
    started = time.monotonic()
    signed_by = vouched(directory, options.trusted_keys)
    loading = bare.load if bundle.is_bare(directory) else Session.load
    session = loading(directory, options)
    calibrated = measured(session, config, threads) if session.batched else alone(session)
    session.warm_up(calibrated.caps)
    if options.triton is not None:
        run_samples(session, options.triton, directory)
    session.report["batching"] = calibrated.report()
    session.report |= signed_by
    session.report["load_seconds"] = round(time.monotonic() - started, 3)
    return session, calibrated


def vouched(directory: Path, trusted: tuple[str, ...]) -> dict[str, str]:
    """What the report says of who vouches for a version. BundleError where somebody has to and nobody does: nothing of it is opened then."""
    if not trusted:
        return {}
    from models import signing  # only where somebody wants it

    return {"signed_by": Path(signing.verify_apart(directory, trusted)).name}


def run_samples(session: Session, config: TritonConfig, directory: Path) -> None:
    """Run the requests that a Triton configuration warms its model with. BundleError where one is not answered."""
    for sample in config.warmup:
        tensors = warmup.rows(sample, session.counts_rows, directory.parent)
        try:
            for _ in range(max(1, sample.count)):
                session.check(tensors)
                session.run([tensors])
        except EngineError as error:
            raise BundleError(f"warm-up '{sample.name}' failed: {error}") from error
    if not bundle.is_bare(directory) and (config.inputs or config.outputs):
        told = f"input and output of {triton.FILE} are not used: the manifest says what the version takes and gives"
        session.report.setdefault("notes", []).append(told)


def measured(session: Session, config: Config, threads: ThreadPoolExecutor) -> Calibration:
    """How batches scale here."""
    options = config.options
    buckets = session.buckets()
    # The version that it replaces may have taken other lengths or shapes.
    fits = {Bucket(one.length, one.shapes) for one in config.inherited} == set(buckets)

    def timed(bucket: Bucket, rows: int) -> float:
        # As the engine will run it: requests of a row each, joined, in a run thread.
        requests = [session.example(bucket, 1)] * rows
        begun = time.perf_counter()
        threads.submit(session.run, requests).result()
        return time.perf_counter() - begun

    return calibration.calibrate(
        buckets,
        timed,
        fixed=options.max_batch_rows,
        inherited=config.inherited if fits else (),
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
    memory.step_forward()

    def leave(reason: str) -> None:
        lifeline.say(Said(reason=reason))
        os._exit(LEFT)

    if provider == "cpu":
        memory.limit(most)
    else:
        memory.watch(most, leave)


def leaves_threads(options: Options) -> bool:
    """Whether what loads starts threads that serve afterwards: ONNX Runtime's own, or a device's."""
    provider, _ = providers.choose(options.provider, options.strict)
    return provider != "cpu" or options.threads > 1
