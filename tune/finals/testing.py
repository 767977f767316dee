"""The test of a trained model, once, and the folder that keeps its result.

This is the only module that evaluates on the test split.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainables.data import Split, TrainData, has_test, load_test, names_of
from trainables.data.thumbnails import thumbnails
from trainables.storage.synced_folder import patiently
from trainables.training.checkpoints import weights_of
from trainables.training.evaluation import evaluate
from trainables.training.metrics import Evaluation
from tune.experiment.folder import FINAL
from tune.experiment.trial_context import TrialContext
from tune.finals.final_file import TestedRecord
from tune.finals.test_samples import Example, chosen, examples

MAX_LOG_MAGNITUDE = 60000.0
"""The largest magnitude of a log-probability that is kept, as float16 holds no more than 65,504."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The result of a test.

    Attributes:
        val, test: the evaluations on the two splits, `halved`.
        examples, thumbnails: a few images of the test split.
        ended: the end of the test, by `time.perf_counter`.
    """

    val: Evaluation
    test: Evaluation
    examples: list[Example]
    thumbnails: NDArray[np.uint8]
    ended: float


def run_test(settings: TrialContext, model: nn.Module, data: TrainData, shown: str, val: Evaluation) -> TestResult:
    """Test a model once.

    Args:
        settings: the trial context.
        model: with its weights, on its device.
        data: as returned by `data_of`.
        shown: the folder of the data that it is evaluated on.
        val: the evaluation on val, `halved`; without a test split, it is also that of test.
    """
    tested_on, split, test = data.val, "val", val
    if has_test(Path(shown)):
        split = "test"
        tested_on = settings.place.believe(partial(_test_split, shown, settings.device))
        test = halved(evaluate(model, tested_on, len(data.classes)))
    ended = time.perf_counter()
    positions = chosen(test)
    together = np.concatenate(list(positions.values()))
    return TestResult(
        val=val,
        test=test,
        examples=examples(test, positions, names_of(Path(shown), split, together)),
        thumbnails=thumbnails(tested_on, together),
        ended=ended,
    )


def write_tested(
    settings: TrialContext, folder: str, record: TestedRecord, model: nn.Module, result: TestResult
) -> None:
    """Write a tested model to a folder of the experiment, which appears only when complete."""
    arrays: dict[str, NDArray[Any]] = {
        "labels": result.test.labels,
        "predictions": result.test.predictions,
        "losses": result.test.losses,
        "log_probabilities": result.test.log_probabilities,
        "val": np.stack([result.val.labels, result.val.predictions]),
        "val_losses": result.val.losses,
        "val_log_probabilities": result.val.log_probabilities,
        "thumbnails": result.thumbnails,
    }
    patiently(partial(_write, settings.place.folder / folder, record, weights_of(model), arrays))
    settings.place.push(folder, last=FINAL)


def halved(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation as it is kept, so that all figures are of what is kept: with log-probabilities as float16.

    Probabilities near 1 stay as exact as before, others to three digits.
    """
    return replace(
        evaluation, log_probabilities=evaluation.log_probabilities.clip(-MAX_LOG_MAGNITUDE, 0).astype(np.float16)
    )


def _write(place: Path, record: TestedRecord, weights: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    draft = place.with_name(f".{place.name}.draft")
    for left in (draft, place):  # leftovers of a try that died
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / "model.safetensors").write_bytes(weights)
    (draft / FINAL).write_text(record.dump())
    for name, array in arrays.items():
        np.save(draft / f"{name}.npy", array)
    draft.rename(place)


@cache
def _test_split(folder: str, device: str) -> Split:
    return load_test(Path(folder), torch.device(device))
