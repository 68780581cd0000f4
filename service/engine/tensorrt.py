"""What TensorRT is told: the shapes to build for, and a place of its own for the engines it has built. It must not import ONNX Runtime.

An engine takes minutes to build, holds for one model on one kind of GPU with one version of the libraries, and is executable code:
so it is built at load, under a key of all of these, in a directory that nobody else can write to.
"""

import ctypes
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from service.engine.latency import Bucket
from service.engine.layout import Layout
from service.errors import SettingsError

COMPUTE_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h."""


def profiles(layout: Layout, buckets: Sequence[Bucket], most_rows: int) -> dict[str, str] | None:
    """The shortest, usual and longest shape of every input; None where the manifest does not bound them.

    Outside of them TensorRT would build again in the middle of a request.
    """
    usual = buckets[len(buckets) // 2]
    chosen = {
        "trt_profile_min_shapes": (buckets[0], 1),
        "trt_profile_opt_shapes": (usual, max(1, most_rows // 4)),
        "trt_profile_max_shapes": (buckets[-1], most_rows),
    }
    told: dict[str, str] = {}
    for option, (bucket, rows) in chosen.items():
        shapes = layout.input_shapes(bucket, rows)
        if None in shapes.values():
            return None
        told[option] = ",".join(
            f"{name}:{'x'.join(map(str, shape or ()))}" for name, shape in shapes.items()
        )
    return told


def precision(name: str) -> dict[str, str]:
    """What the engine may compute in: what the variant's file holds."""
    return {
        "trt_fp16_enable": str(int(name == "fp16")),
        "trt_int8_enable": str(int(name == "int8")),
    }


def cache(engines: Path) -> dict[str, str]:
    """Keep engines, and the timings that building them took, in the directory `engines`."""
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
    }


def key(facts: dict[str, str]) -> str:
    """What an engine is kept under."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def private(root: Path, name: str) -> Path:
    """The directory `name` below `root`, for this user alone. SettingsError where somebody else could have put an engine there."""
    folder = root / name
    for path in (root, folder):
        path.mkdir(mode=0o700, parents=path == root, exist_ok=True)
        state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise SettingsError(
                f"{path} must be a directory that only this user can enter (mode 700): TensorRT runs what lies in it"
            )
    return folder


def machine() -> dict[str, str]:
    """The GPU and TensorRT's version, asked of their libraries."""
    driver, device = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    found = []
    for attribute in COMPUTE_CAPABILITY:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        found.append(str(value.value))
    version = ctypes.CDLL("libnvinfer.so.10").getInferLibVersion()
    return {"gpu": name.value.decode(), "capability": ".".join(found), "tensorrt": str(version)}
