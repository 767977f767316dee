"""Free memory of a device, so that data are kept there only if there is enough room."""

from pathlib import Path

import torch


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on a device; in main memory, within the container's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    if device.type != "cpu":
        return 0  # unknown, so data are streamed
    return min(_available(), _below_limit())


def _available() -> int:
    """Return the bytes of main memory that the machine can still give, counting caches as free."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    kilobytes = dict(line.split(":") for line in lines)["MemAvailable"].split()[0]
    return int(kilobytes) * 1024


def _below_limit(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes left below the limit of this process's container (cgroup v2); huge if there is none."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return 2**63
    return 2**63 if limit == "max" else max(0, int(limit) - used)
