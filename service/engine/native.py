"""ONNX Runtime's sessions: with which options they are built on each provider, and whether they really run there.

It must not know variants, requests or batches.
"""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from models.errors import BundleError
from service.engine import failures, providers
from service.engine.config import Options

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
_OPSET = re.compile(
    r"Opset (\d+) is under development.*official support for domain (\S+) is till opset (\d+)", re.S
)
UNCAPTURABLE = frozenset(
    (
        *("If", "Loop", "Scan"),  # which nodes run depends on values
        *(
            "LSTM",
            "GRU",
            "RNN",
        ),  # cuDNN reads the lengths on the host: a replay would keep those of the capture
        *("NonZero", "Unique", "Compress", "NonMaxSuppression"),  # shapes depend on values
        "GatherND",  # its kernel copies to the host
    )
)


def build(
    path: Path,
    provider: str,
    options: Options,
    tensorrt: Mapping[str, str] | None = None,
    graphs: bool = False,
) -> ort.InferenceSession:
    """A session that reports where its nodes run.

    Raises BundleError when the file is no model, Misplaced when it cannot be, or is not, on the device.
    """
    # What matters is in the report; the C++ lines repeat it without a model's name.
    ort.set_default_logger_severity(4)
    try:
        # Without enable_fallback=0 a failed run would rebuild the session on the CPU, unseen.
        session = ort.InferenceSession(
            str(path),
            session_options(options),
            providers=provider_list(provider, options, tensorrt or {}, graphs),
            enable_fallback=0,
        )
    except Exception as error:
        reason = f"{path.name} cannot be loaded: {why(str(error))}"
        raise (BundleError if provider == "cpu" else providers.Misplaced)(reason) from error
    if provider != "cpu" and not providers.operators(session, provider):
        raise providers.Misplaced(f"ONNX Runtime put no node of {path.name} on {provider}")
    return session


def why(text: str) -> str:
    """What ONNX Runtime says of a file, in a sentence."""
    if (found := _OPSET.search(text)) is None:
        return failures.first_line(text)
    opset, domain, most = found.groups()
    return f"it is written for opset {opset} of {domain}, ONNX Runtime {ort.__version__} knows them up to {most}"


def domains() -> frozenset[str]:
    """The domains of the operators that this build knows; "" is ONNX's own."""
    return frozenset(schema.domain for schema in get_all_operator_schema())


def rounds(provider: str, options: Options) -> bool:
    """Whether float32 products keep only ten bits of the mantissa."""
    return provider != "cpu" and options.gpu.tf32


def run_for(
    session: ort.InferenceSession, inputs: Mapping[str, np.ndarray], seconds: float
) -> dict[str, np.ndarray]:
    """All outputs of one run that is stopped after so many seconds. ONNX Runtime's exceptions; TimeoutError when it was stopped."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", "-1")

    def stop() -> None:
        options.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        arrays = session.run(None, inputs, options)
    except Exception as error:
        if options.terminate:
            raise TimeoutError(f"a run took longer than {seconds:.3g} s") from error
        raise
    finally:
        timer.cancel()
    return {one.name: array for one, array in zip(session.get_outputs(), arrays, strict=True)}


def session_options(options: Options) -> ort.SessionOptions:
    """What holds on every provider."""
    session = ort.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    session.log_severity_level = 4  # a failed run is answered and counted; stderr is for JSON
    # Spinning buys 2 ms at best and burns a core while requests trickle.
    session.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    session.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return session


def provider_list(
    provider: str, options: Options, tensorrt: Mapping[str, str], graphs: bool
) -> list[Any]:
    """The providers argument of a session. The CPU stays in the list: shape computations belong there."""
    if provider == "cpu":
        return [CPU]
    on_cuda = [(CUDA, cuda_options(options, graphs)), CPU]
    return [(TENSORRT, dict(tensorrt)), *on_cuda] if provider == "tensorrt" else on_cuda


def cuda_options(options: Options, graphs: bool) -> dict[str, str]:
    """The CUDA provider's options."""
    chosen = {
        # EXHAUSTIVE, the default, searches anew at every new shape: seconds instead of milliseconds.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        # Shapes are bucketed, so that what was freed fits again; powers of two would reserve twice as much.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": str(int(options.gpu.tf32)),
        "enable_cuda_graph": str(int(graphs)),
    }
    if options.gpu.memory_mb is not None:
        chosen["gpu_mem_limit"] = str(options.gpu.memory_mb << 20)
    return chosen


def why_no_graphs(session: ort.InferenceSession, options: Options) -> str | None:
    """Why runs of this CUDA session cannot be captured and replayed, or None.

    ONNX Runtime itself refuses at creation what needs copies between CPU and device; this finds what it would replay wrongly.
    """
    if not options.gpu.graphs:
        return "switched off"
    if options.gpu.instances > 1:
        return "a capture fails while another instance runs"
    if found := UNCAPTURABLE & providers.operators(session, "cuda").keys():
        return f"the graph has {', '.join(sorted(found))}"
    if stray := providers.strays(session):
        return stray
    if reads := [one.name for one in session.get_inputs() if device_of(session, one.name) == "cpu"]:
        return f"the CPU reads {', '.join(reads)}"
    return None


def device_of(session: ort.InferenceSession, name: str) -> str:
    """Where the graph reads the input `name`: "cuda" or "cpu". CUDA's pinned memory is the CPU's."""
    infos = zip(session.get_inputs(), session.get_input_memory_infos(), strict=True)
    found = {value.name: info.name for value, info in infos}
    return "cuda" if found[name].lower() == "cuda" else "cpu"
