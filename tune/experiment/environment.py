"""The environment that a search runs in: machine, versions of packages, threads."""

import platform
from importlib.metadata import version
from typing import Any

from tune.version import __version__

PACKAGES = (
    "torch", "torchvision", "timm", "kornia", "numpy", "scipy", "scikit-learn", "pillow", "ray", "optuna",
)  # fmt: skip
"""The packages of others that figures depend on."""


def environment(device: str, threads: int) -> dict[str, Any]:
    """Return what figures depend on besides settings and data: machine, versions, threads.

    On a cluster, these are the head's. The cluster's GPUs have no name if the head has none.
    """
    import torch
    from joblib import cpu_count

    from trainables.inference.cost import device_name

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": device_name(torch.device("cpu")),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": cpu_count(),
        "device": device_name(torch.device("cuda")) if device == "cuda" and torch.cuda.is_available() else device,
        "threads": threads,
        "packages": {**{name: version(name) for name in PACKAGES}, "toprung": __version__},
    }
