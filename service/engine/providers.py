"""Which execution provider can really run here, found by asking the libraries, not ONNX Runtime.

`onnxruntime-gpu` lists CUDA wherever it is installed and silently builds a CPU session when CUDA cannot be loaded; so the
libraries are opened first, and what runs is counted node by node afterwards. It must not know models or requests.
"""

import ctypes
import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime as ort

from service.engine.config import Provider
from service.errors import SettingsError

CUDA_LIBRARIES = (
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libcufft.so.12",
    "libcudnn.so.9",
)
CUDA_OPTIONS: dict[str, str] = {
    # EXHAUSTIVE, the default, searches anew at every new shape: seconds instead of milliseconds.
    "cudnn_conv_algo_search": "HEURISTIC",
    "do_copy_in_default_stream": "1",
}
_NAMES = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class DeviceReport(msgspec.Struct, frozen=True):
    """What was asked for and what runs. `nodes` counts the graph's nodes per provider; `reason` says why not the other."""

    requested: str
    provider: str
    nodes: dict[str, int]
    threads: int
    reason: str | None = None


def choose(requested: Provider, strict: bool) -> tuple[str, str | None]:
    """(provider to use, why it is not CUDA). Raises SettingsError in strict mode when CUDA was asked for and cannot be."""
    if requested == "cpu":
        return "cpu", None
    reason = why_no_cuda()
    if reason is None:
        return "cuda", None
    if requested == "cuda" and strict:
        raise SettingsError(f"provider 'cuda' was asked for, but {reason}")
    return "cpu", reason


def why_no_cuda() -> str | None:
    """The first thing that CUDA lacks on this machine, or None when a device answers."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"there is no NVIDIA driver: {error}"
    count = ctypes.c_int(0)
    if (status := driver.cuInit(0)) or (status := driver.cuDeviceGetCount(ctypes.byref(count))):
        return f"the NVIDIA driver answers with error {status}"
    if count.value == 0:
        return "the NVIDIA driver sees no device"
    ort.preload_dlls()  # from the nvidia-* wheels, where they are installed
    for library in CUDA_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return f"a CUDA library cannot be loaded: {error}"
    return None


def provider_list(provider: str) -> list[Any]:
    """The providers argument of a session. The CPU stays in the list: shape computations belong there."""
    if provider == "cuda":
        return [(_NAMES["cuda"], CUDA_OPTIONS), _NAMES["cpu"]]
    return [_NAMES["cpu"]]


def count_nodes(session: ort.InferenceSession) -> dict[str, int]:
    """Nodes per provider, by its short name. The session must record assignments (`session.build`)."""
    counts: Counter[str] = Counter()
    for assignment in session.get_provider_graph_assignment_info():
        name = assignment.ep_name.removesuffix("ExecutionProvider").lower()
        counts[name] += len(assignment.get_nodes())
    return dict(counts)


def clashing_wheels() -> str | None:
    """Why `import onnxruntime` cannot be trusted: both wheels unpack into one folder and overwrite each other."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return None
    return f"{' and '.join(found)} are both installed and overwrite each other: uninstall both, then install one again"


def has_vnni() -> bool:
    """Whether this processor multiplies int8 without the intermediate saturation of older ones."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
