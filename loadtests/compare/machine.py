"""What machine this is, as far as a reader needs it to judge figures: no names, no folders."""

import os
import platform
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, str | int | float]:
    """Processor, cores that may be used, memory, kernel, Python."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    try:
        cpuinfo = CPUINFO.read_text()
    except OSError:
        cpuinfo = ""
    return {
        "processor": processor(cpuinfo),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "memory": f"{pages * size / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"Python {platform.python_version()}",
    }


def cores_in_use(seconds: float = 1.0) -> float:
    """How many cores' worth of time everybody takes together, looked at for `seconds`: the load average remembers minutes."""
    share: float = psutil.cpu_percent(interval=seconds) / 100
    return share * (os.cpu_count() or 1)


def processor(cpuinfo: str) -> str:
    """The model's name, and whether it multiplies int8 in hardware: that decides what int8 brings."""
    fields = [line.partition(":") for line in cpuinfo.splitlines()]
    found = {name.strip(): value.strip() for name, _, value in fields}
    name = found.get("model name", platform.machine())
    vnni = any(flag.endswith("vnni") for flag in found.get("flags", "").split())
    return f"{name} with VNNI" if vnni else name
