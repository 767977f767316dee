"""The rows of every preset, run on stand-ins: Fashion-MNIST in the form of each experiment's own data, scaled down.

    python benchmarks/presets.py [--only yolo_dropout] [--search] [--out FOLDER]

It shows that each row runs by its one command on data of its form. It does not reproduce the published figures: the
images are different, fewer and smaller, and without a network there are no pretrained weights (`pretrained=no`).
Prints the command of each preset and a table with all figures of its rows, as in docs/presets.md; with --search also a
line with the result of a few trials around the rows.
"""

import argparse
import gzip
import json
import pickle
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]

TRIALS = 6
"""Trials of a search around the rows: the default of each recipe, the rows, and random draws."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion-mnist", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--only", choices=STAND_INS, action="append")
    parser.add_argument("--search", action="store_true", help=f"{TRIALS} trials around the rows, too")
    parser.add_argument("--out", type=Path, help="keep data and experiments here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="toprung-presets-") as scratch:
        out = arguments.out or Path(scratch)
        images, labels = read(arguments.fashion_mnist)
        for preset in arguments.only or STAND_INS:
            run(preset, images, labels, out, search=arguments.search)


def run(preset: str, images: Images, labels: Images, out: Path, *, search: bool) -> None:
    """Write the stand-in, run the rows, and search around them if asked to; print what came out."""
    write, flags = STAND_INS[preset]
    folder = out / "data" / preset
    if not folder.exists():
        write(folder, images, labels)
    source = {"cifar10_classic": f"cifar10:{folder}", "product_masks": f"parquet:{folder}/*.parquet"}
    data = source.get(preset, str(folder))
    extent = ["--trials", str(TRIALS), "--final-seeds", "1"] if search else ["--rows-only"]
    command = ["toprung", "search", "--preset", preset, *extent, "--data", data, *shlex.split(flags)]
    shown = shlex.join(command).replace(str(folder), "DIR")
    print(f"\n### `{preset}`\n\n    {shown}\n", flush=True)
    places = ["--out", str(out / "results"), "--name", preset, "--cache", str(out / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "tune.cli", *command[1:], *places], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"{preset}: exit code {done.returncode}")
    summary = json.loads((out / "results" / preset / "report.json").read_text())
    if summary["failures"]:
        raise SystemExit(f"{preset}: {'; '.join(summary['failures'])}")
    print("\n".join(table(summary["preset"]["rows"].values())))
    if search:
        print(f"\n{found(summary)}")


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows of a preset, as `report.json` has them, in Markdown: a line for each figure."""
    lines = [
        "| row | split | metric | published | measured | seconds | not as published |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        beside = [f"{row['seconds']:.0f}", "; ".join(row["changes"])]
        title = row["title"]
        for figure in row["figures"]:
            published, measured = _number(figure["published"]), _number(figure["measured"])
            if figure["low"] is not None:
                measured += f" ({figure['low']:.3f}-{figure['high']:.3f})"
            cells = [title, figure["split"], figure["metric"], published, measured, *beside]
            lines.append(f"| {' | '.join(cells)} |")
            title, beside = "", ["", ""]
    return lines


def found(summary: Mapping[str, Any]) -> str:
    """Format the result of a search around the rows as one line."""
    trials = sum((Counter(entry["trials"]) for entry in summary["recipes"].values()), Counter())
    states = ", ".join(f"{count} {state}" for state, count in trials.items() if count)
    best, accuracy = summary["winner"], summary["recipes"][summary["winner"]]["test"]["accuracy"]
    return (
        f"Searched around them: {trials.total()} trials ({states}); the best is {best}, with {summary['tested_on']} "
        f"accuracy {_number(accuracy['mean'])} ({accuracy['low']:.3f}-{accuracy['high']:.3f})."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def read(folder: Path) -> tuple[Images, Images]:
    """The test images of Fashion-MNIST, uint8 (10000, 28, 28), and labels (10000,)."""
    files = {part: gzip.decompress((folder / f"t10k-{part}-ubyte.gz").read_bytes()) for part in PARTS}
    arrays = [np.frombuffer(files[part], np.uint8, offset=offset) for part, offset in PARTS.items()]
    return arrays[0].reshape(-1, 28, 28), arrays[1]


PARTS = {"images-idx3": 16, "labels-idx1": 8}


def write_batches(folder: Path, images: Images, labels: Images) -> None:
    """Six batches of 1,000 images in colour, 32 x 32 pixels, as CIFAR-10 is published."""
    folder.mkdir(parents=True)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    colour = np.stack([padded, padded // 2, 255 - padded], axis=1)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(1000 * number, 1000 * (number + 1))
        batch = {"data": colour[part].reshape(1000, -1), "labels": labels[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {"label_names": [f"class {i}" for i in range(10)], "num_cases_per_batch": 1000, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def write_folder(*splits: tuple[str, int]) -> Callable[[Path, Images, Images], None]:
    """An image folder of five classes, with so many PNG files a class in each split."""

    def write(folder: Path, images: Images, labels: Images) -> None:
        for label in range(5):
            rows = iter(np.flatnonzero(labels == label))
            for split, count in splits:
                (folder / split / f"class-{label}").mkdir(parents=True)
                for row, _ in zip(rows, range(count), strict=False):
                    Image.fromarray(images[row]).convert("RGB").save(folder / split / f"class-{label}" / f"{row}.png")

    return write


def write_shards(folder: Path, images: Images, labels: Images) -> None:
    """Two Parquet shards by the hub's own library: images somewhere on a ground of noise, with their masks and boxes.

    All columns of the published ones; the class of the last label occurs in train alone.
    """
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    columns = {
        "image": ImageFeature(),
        "mask": ImageFeature(),
        "category": Value("string"),
        "bbox": List(Value("float32"), length=4),
        **{name: Value("string") for name in ("image_id", "product_id", "scene_id")},
    }
    for split, rows in (("train", np.arange(400)), ("validation", np.arange(400, 567))):
        data: dict[str, list[object]] = {name: [] for name in columns}
        for row in rows[labels[rows] < 9] if split == "validation" else rows:
            ground, mask = rng.integers(0, 256, (56, 56), np.uint8), np.zeros((56, 56), np.uint8)
            x, y = rng.integers(0, 28, 2).tolist()
            ground[y : y + 28, x : x + 28] = images[row]
            mask[y : y + 28, x : x + 28] = 255
            data["image"].append(Image.fromarray(ground).convert("RGB"))
            data["mask"].append(Image.fromarray(mask))
            data["category"].append(f"Class {labels[row]}")
            data["bbox"].append([x, y, 28, 28])
            for name in ("image_id", "product_id", "scene_id"):
                data[name].append(f"{name} {row}")
        Dataset.from_dict(data, features=Features(columns)).to_parquet(folder / f"{split}-00000-of-00001.parquet")


STAND_INS: dict[str, tuple[Callable[[Path, Images, Images], None], str]] = {
    "cifar10_classic": (write_batches, "--max-epochs 40"),
    "flowers_cnn": (
        write_folder(("", 120)),
        "--split rest,150,0 --image-size 64 --max-epochs 3 "
        "--set torchvision_finetune.pretrained=no --set torchvision_finetune.resolution=64",
    ),
    "product_masks": (
        write_shards,
        "--image-size 32 --set torchvision_finetune.pretrained=no --set torchvision_finetune.resolution=32",
    ),
    "dog_breeds": (
        write_folder(("train", 60), ("val", 20), ("test", 40)),
        "--image-size 32 --max-epochs 3 --set timm_finetune.pretrained=no --set timm_finetune.resolution=64",
    ),
    "yolo_dropout": (
        write_folder(("train", 60), ("val", 20), ("test", 40)),
        "--image-size 32 --max-epochs 4 --set yolo_cls.resolution=64",
    ),
}
"""The stand-in data of each preset, and the flags that scale it down."""


if __name__ == "__main__":
    main()
