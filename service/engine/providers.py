"""Which execution provider can really run here, found by asking the libraries, not ONNX Runtime.

`onnxruntime-gpu` lists CUDA wherever it is installed and silently builds a CPU session when CUDA cannot be loaded; so the
libraries are opened first, and what runs is counted node by node afterwards. It must not know models or requests.
"""

import ctypes
import importlib.metadata
import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import onnxruntime as ort

from service.errors import SettingsError
from service.settings import Provider

T = TypeVar("T")

CUDA_LIBRARIES = (
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libcufft.so.12",
    "libcudnn.so.9",
)
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
LESS = {"tensorrt": "cuda", "cuda": "cpu"}
"""What is taken where a provider cannot be."""
_SHAPES = """
    Shape Size Constant ConstantOfShape Range Gather GatherND Slice Concat Split Squeeze Unsqueeze Reshape Expand Tile Identity
    Cast Transpose Add Sub Mul Div Mod Neg Abs Floor Ceil Min Max Pow Sqrt ReduceProd ScatterND Where
    Equal Less LessOrEqual Greater GreaterOrEqual And Or Not
"""
SHAPE_OPERATORS = frozenset(_SHAPES.split())
"""What graphs work out shapes with. ONNX Runtime puts such nodes on the CPU on purpose: shapes are needed there."""


class Misplaced(Exception):
    """ONNX Runtime did not put the model on the provider that it was told."""


def choose(requested: Provider, strict: bool) -> tuple[str, str | None]:
    """(provider to use, why it is not what could be hoped for). Raises SettingsError in strict mode when it is not what was asked for."""
    if requested == "cpu":
        return "cpu", None
    reason = why_no_cuda()
    if requested == "tensorrt" and reason is None:
        if (reason := why_no_tensorrt()) is None:
            return "tensorrt", None
        found = "cuda"
    else:
        found = "cuda" if reason is None else "cpu"
    if strict and requested not in ("auto", found):
        raise SettingsError(f"provider '{requested}' was asked for, but {reason}")
    return found, reason


def on_best(requested: Provider, strict: bool, load: Callable[[str, str | None], T]) -> T:
    """What `load` makes on the best provider that really runs it; it is told the provider, and why that is not what could be hoped for.

    Raises SettingsError in strict mode when it is not what was asked for.
    """
    provider, reason = choose(requested, strict)
    while True:
        try:
            return load(provider, reason)
        except Misplaced as error:
            if strict and requested != "auto":
                raise SettingsError(f"provider '{requested}' was asked for, but {error}") from error
            provider, reason = LESS[provider], str(error)


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
    return why_not_loaded(CUDA_LIBRARIES, "a CUDA library")


def why_no_tensorrt() -> str | None:
    """What TensorRT lacks beside CUDA, or None. Its wheel's libraries are loaded here: `preload_dlls` does not know them."""
    package = importlib.util.find_spec("tensorrt_libs")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        for library in TENSORRT_LIBRARIES:
            if (path := Path(folder) / library).is_file():
                why_not_loaded((str(path),), "")
    return why_not_loaded(TENSORRT_LIBRARIES, "a TensorRT library")


def why_not_loaded(libraries: tuple[str, ...], kind: str) -> str | None:
    """The first of `libraries` that cannot be loaded, in words."""
    for library in libraries:
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return f"{kind} cannot be loaded: {error}"
    return None


def count_nodes(session: ort.InferenceSession) -> dict[str, int]:
    """Nodes per provider, by its short name. The session must record assignments (`native.build`)."""
    counts: Counter[str] = Counter()
    for provider, _ in assigned(session):
        counts[provider] += 1
    return dict(counts)


def operators(session: ort.InferenceSession, provider: str) -> Counter[str]:
    """The kinds of nodes that run on `provider`, counted."""
    return Counter(operator for where, operator in assigned(session) if where == provider)


def assigned(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """(provider's short name, operator) of every node."""
    return [
        (subgraph.ep_name.removesuffix("ExecutionProvider").lower(), node.op_type)
        for subgraph in session.get_provider_graph_assignment_info()
        for node in subgraph.get_nodes()
    ]


def strays(session: ort.InferenceSession) -> str | None:
    """Which nodes compute on the CPU beside a device, in words; None where nothing but shapes is worked out there."""
    found = {o: n for o, n in operators(session, "cpu").items() if o not in SHAPE_OPERATORS}
    if not found:
        return None
    kinds = ", ".join(f"{count} {operator}" for operator, count in sorted(found.items()))
    return f"{sum(found.values())} nodes that compute run on the CPU: {kinds}"


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
