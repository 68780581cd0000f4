"""What Triton's dashboards find, from our own counts."""

from service.metrics import EngineMetrics
from service.snapshots import Snapshot, exposition, snapshot
from service.tallies import FrontEndMetrics
from service.triton_metrics import aliases


def page() -> Snapshot:
    """Two answered requests, some that failed, one batch of three rows, one request waiting."""
    front, engine = FrontEndMetrics(), EngineMetrics("m", 1)
    tally = front.of("m", 1, "v2")
    outcomes = ("ok", "ok", "QueueFull", "Unavailable", "cancelled", "EngineError", "InputError")
    for outcome in outcomes:
        tally.begin()
        tally.end(outcome)
    tally.time(0.001, 0.010)
    tally.time(0.003, 0.030)
    for wait in (0.002, 0.004):
        engine.queue.observe(wait)
    engine.compute.observe(0.02)
    engine.rows.inc(3)
    engine.queue_requests.set(1)
    return [*snapshot(front.registry), *snapshot(engine.registry)]


def shown(line: str) -> bool:
    return line in exposition(aliases(page())).decode().splitlines()


def test_requests_are_told_apart_by_what_became_of_them():
    assert shown('nv_inference_request_success{model="m",version="1"} 2.0')
    name = "nv_inference_request_failure"
    for reason, count in {"REJECTED": 2, "CANCELED": 1, "BACKEND": 1, "OTHER": 1}.items():
        assert shown(f'{name}{{model="m",reason="{reason}",version="1"}} {count}.0')


def test_rows_and_batches_are_counts_and_executions():
    assert shown('nv_inference_count{model="m",version="1"} 3.0')
    assert shown('nv_inference_exec_count{model="m",version="1"} 1.0')
    assert shown('nv_inference_pending_request_count{model="m",version="1"} 1.0')


def test_stages_are_microseconds_and_add_up_to_the_request():
    stages = {"queue": 6000, "compute_input": 4000, "compute_infer": 30000, "compute_output": 0}
    for stage, microseconds in {**stages, "request": sum(stages.values())}.items():
        name = f"nv_inference_{stage}_duration_us"
        assert shown(f'{name}{{model="m",version="1"}} {float(microseconds)}')


def test_what_is_not_known_is_not_shown():
    names = {family.name for family in aliases(page())}
    assert not any(name.startswith(("nv_cache", "nv_gpu")) for name in names)
    assert exposition(aliases([])).decode().count("\nnv_") == 0
