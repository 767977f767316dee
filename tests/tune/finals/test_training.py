from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.datasets import load_digits

from trainables.data import DataSpec, Split, has_test, prepare
from trainables.data.thumbnails import MAX_SIDE, thumbnails
from trainables.training.metrics import confusion_matrix
from tune.experiment.trial_context import TrialContext
from tune.experiment.trial_ranking import choose
from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Final, Finalist, load_finalists
from tune.finals.intervals import bootstrap, wilson
from tune.finals.test_samples import SAMPLES_OF_EACH_KIND
from tune.finals.training import FinalJob, train_final
from tune.settings.objective import Objective
from tune.settings.settings import Settings


def record(number: int, epochs: int, value: float, *, recipe: str = "mlp", state: str = "pruned") -> TrialRecord:
    return TrialRecord(
        number=number, recipe=recipe, config={"lr": number}, seed=0, params={}, distributions={}, state=state,  # type: ignore[arg-type]
        epochs=[{"epoch": e + 1} for e in range(epochs)], values={e + 1: value for e in range(epochs)},
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.15, 0.0])
def test_where_there_is_no_test_split_val_stands_for_it(tmp_path: Path, cache: Path, share: float) -> None:
    prepared = prepare(DataSpec(source="digits", split=(0.85 - share, 0.15, share), limit=100), cache=cache)
    prepared.write(tmp_path)
    settings = TrialContext(
        folders={"whole": str(tmp_path)},
        experiment=str(tmp_path),
        device="cpu",
        threads=1,
        max_epochs=1,
        objective=Objective.of("accuracy"),
    )
    train_final(settings, FinalJob(recipe="knn", config={"neighbors": 1}, trial=0, seed=0, folder="finals/knn-0-0"))
    final = Final.load(tmp_path / "finals" / "knn-0-0")
    assert has_test(tmp_path) == (share > 0)
    assert (final.test == final.val) == (share == 0)


def test_a_training_on_train_and_val_stops_where_it_is_told_to_and_is_chosen_by_the_one_on_train(
    digits_folder: Path, tmp_path: Path
) -> None:
    settings = TrialContext(
        folders={"whole": str(digits_folder)},
        experiment=str(tmp_path),
        device="cpu",
        threads=1,
        max_epochs=4,
        objective=Objective.of("accuracy"),
    )
    name = "mlp-00000-0"
    job = FinalJob(
        recipe="mlp", config={"schedule": "constant"}, trial=0, seed=0, folder=f"finals/{name}", until=2,
    )  # fmt: skip
    train_final(settings, job)
    asked = Settings(recipes=("mlp",), final_train="train+val")
    assert load_finalists(tmp_path, [0], asked) == []
    train_final(settings, replace(job, folder=f"refits/{name}", train_on="train+val", keep="last"))
    (before,) = load_finalists(tmp_path, [0], Settings(recipes=("mlp",)))
    (after,) = load_finalists(tmp_path, [0], asked)
    assert len(after.first.curves) == after.first.epoch == 2
    assert (after.first.train_on, before.first.train_on) == ("train+val", "train")
    assert after.val == before.val
    assert (after.first.on_val.predictions == before.first.on_val.predictions).all()
    assert (after.first.log_probabilities != before.first.log_probabilities).any(), "it saw other images"
    assert after.on_train_alone == before
    assert before.on_train_alone is None
    on_val = Final.load(tmp_path / "refits" / name)
    assert on_val.val == {}, "it was trained on val, so that figures there say nothing"


def test_a_final_keeps_its_surest_mistakes_and_a_sample_with_their_names(digits_folder: Path, tmp_path: Path) -> None:
    settings = TrialContext(
        folders={"whole": str(digits_folder)},
        experiment=str(tmp_path),
        device="cpu",
        threads=1,
        max_epochs=2,
        objective=Objective.of("accuracy"),
    )
    train_final(settings, FinalJob(recipe="mlp", config={}, trial=0, seed=0, folder="finals/mlp-0-0"))
    final = Final.load(tmp_path / "finals" / "mlp-0-0")
    mistakes, sample = ([each for each in final.examples if each.kind == kind] for kind in ("mistake", "sample"))
    assert len(sample) == SAMPLES_OF_EACH_KIND
    assert len(mistakes) == min(SAMPLES_OF_EACH_KIND, int((final.predictions != final.labels).sum())) > 0
    assert all(each.label != each.prediction for each in mistakes)
    assert [each.probability for each in mistakes] == sorted((each.probability for each in mistakes), reverse=True)
    wrong = final.log_probabilities[final.predictions != final.labels]
    assert mistakes[0].probability == pytest.approx(np.exp(wrong.max().astype(np.float64)), abs=1e-3)
    data = load_digits()
    for each, image in zip(final.examples, final.thumbnails, strict=True):
        number = int(each.name.rpartition("/")[2])
        assert data.target[number] == each.label
        assert (image[0] == (data.images[number] * 255 / 16).round()).all()


def test_large_images_are_kept_small() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 200, 200), dtype=np.uint8)
    split = Split(images, np.zeros(3, np.int64), np.arange(3), torch.device("cpu"))
    small = thumbnails(split, np.array([2, 0]))
    assert (small.shape, small.dtype) == ((2, 3, MAX_SIDE, MAX_SIDE), np.uint8)
    assert small[0].mean() == pytest.approx(images[2].mean(), abs=1)


def test_finalists_are_the_best_of_what_reached_the_highest_rung_and_then_of_the_next() -> None:
    records = [
        record(0, 3, 0.99),  # lucky, but stopped at the first rung
        record(1, 30, 0.90, state="complete"),
        record(2, 30, 0.95, state="complete"),
        record(3, 30, 0.97, state="failed"),
        record(4, 9, 0.80, recipe="plain_cnn"),  # no trial of it was completed
        record(5, 3, 0.85, recipe="plain_cnn"),
        record(6, 5, 0.70, recipe="knn", state="running"),
        record(7, 30, 0.60, recipe="knn", state="complete"),
    ]
    assert [r.number for r in choose(records, [3, 9], 1, maximize=True)] == [2, 4, 6]
    assert [r.number for r in choose(records, [3, 9], 2, maximize=True)] == [2, 1, 4, 5, 6, 7]
    assert [r.number for r in choose(records, [3, 9], 3, maximize=True)] == [2, 1, 0, 4, 5, 6, 7]


def test_no_two_finalists_have_one_configuration() -> None:
    records = [record(n, 30, v, state="complete") for n, v in enumerate((0.9, 0.8, 0.7))]
    records[1].config = records[0].config
    assert [r.number for r in choose(records, [3], 2, maximize=True)] == [0, 2]


def test_of_equals_the_earlier_trial_is_chosen_and_loss_is_minimised() -> None:
    records = [record(n, 30, v, state="complete") for n, v in enumerate((0.5, 0.2, 0.2, 0.9))]
    assert [r.number for r in choose(records, [3], 2, maximize=False)] == [1, 2]
    assert [r.number for r in choose(records, [3], 1, maximize=True)] == [3]


def test_without_an_epoch_there_is_no_finalist() -> None:
    assert choose([record(0, 0, 0.0)], [3], 1, maximize=True) == []


def final(seed: int, val: float, folder: Path = Path()) -> Final:
    metrics = {"accuracy": val}
    return Final(
        recipe="mlp", config={}, trial=0, seed=seed, epoch=1, val=metrics, test=metrics, seconds=1.0,
        classes=2, folder=folder,
    )  # fmt: skip


def test_the_median_is_by_validation() -> None:
    finals = [final(0, 0.9), final(1, 0.7), final(2, 0.8)]
    assert Finalist(finals=finals).median("accuracy").seed == 2
    assert Finalist(finals=finals[:2]).median("accuracy").seed == 1
    assert Finalist(finals=finals).val["accuracy"] == pytest.approx(0.8)


def test_one_model_gets_wilsons_interval_and_several_the_bootstraps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    finals = []
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        np.save(folder / "labels.npy", labels)
        said = np.where(rng.random(200) < 0.9, labels, 1 - labels)
        np.save(folder / "predictions.npy", said)
        np.save(folder / "losses.npy", np.linspace(0.1, 0.3, 200))
        np.save(folder / "log_probabilities.npy", np.log(np.where(np.eye(2)[said] == 1, 0.9, 0.1)).astype(np.float16))
        finals.append(final(seed, 0.9, folder))
    right = int((finals[0].predictions == labels).sum())
    assert Finalist(finals=finals[:1]).test()["accuracy"] == wilson(right, 200)
    several = Finalist(finals=finals).test()["accuracy"]
    assert several.mean == pytest.approx(np.mean([(f.predictions == labels).mean() for f in finals]))
    assert several.low < several.mean < several.high


def test_wilsons_interval_is_the_textbooks() -> None:
    interval = wilson(81, 263)  # Newcombe 1998, table I
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=1e-4)
    assert wilson(20, 20).high == pytest.approx(1.0)
    assert wilson(0, 20).low == pytest.approx(0.0)


def test_the_bootstrap_agrees_with_the_normal_interval_for_accuracy() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 2000)
    predictions = np.where(rng.random(2000) < 0.8, labels, (labels + 1) % 5)
    accuracy = bootstrap(labels, predictions[None], 5)["accuracy"]
    half = 1.96 * np.sqrt(accuracy.mean * (1 - accuracy.mean) / 2000)
    assert accuracy.high - accuracy.low == pytest.approx(2 * half, rel=0.1)
    assert set(bootstrap(labels, predictions[None], 5)) == {
        "accuracy", "macro_precision", "macro_recall", "macro_f1",
        "weighted_precision", "weighted_recall", "weighted_f1",
    }  # fmt: skip


def test_the_bootstrap_is_that_of_images_drawn_one_by_one() -> None:
    """The models differ no more than the images explain."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 150)
    predictions = np.where(rng.random((2, 150)) < 0.2, rng.integers(0, 3, (2, 150)), labels)
    drawn = []
    for _ in range(1000):
        images = rng.integers(150, size=150)
        drawn.append(np.mean([f1(labels[images], model) for model in predictions[:, images]]))
    found = bootstrap(labels, predictions, 3)["macro_f1"]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.mean == pytest.approx(np.mean([f1(labels, model) for model in predictions]))


def f1(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    matrix = confusion_matrix(labels, predictions, 3)
    return float(np.mean(2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))))


def test_models_without_an_error_are_not_certain() -> None:
    labels = np.arange(100) % 4
    found = bootstrap(labels, np.stack([labels, labels]), 4)
    assert found["accuracy"] == found["macro_f1"] == wilson(100, 100)
    assert found["accuracy"].low < 0.97


def test_seeds_that_disagree_widen_the_interval_as_the_analysis_of_variance_says() -> None:
    """The variance of the mean in a two-way layout is (MS images + MS seeds - MS error) / (images x seeds)."""
    seeds, n, rng = 4, 2000, np.random.default_rng(3)
    difficulty = rng.random(n)
    predictions = (rng.random((seeds, n)) > 0.5 * difficulty + np.array([[0.3], [0.34], [0.38], [0.42]])).astype(int)
    right = 1.0 - predictions
    rows, columns = right.mean(1, keepdims=True), right.mean(0, keepdims=True)
    ms_seeds = n * float(rows.var(ddof=1))
    ms_images = seeds * float(columns.var(ddof=1))
    ms_error = float(((right - rows - columns + right.mean()) ** 2).sum()) / (n - 1) / (seeds - 1)
    variance = (ms_images + ms_seeds - ms_error) / (n * seeds)
    freedom = variance**2 / ((ms_seeds / n / seeds) ** 2 / (seeds - 1))
    found = bootstrap(np.zeros(n, np.int64), predictions, 2)["accuracy"]
    assert found.high - found.low == pytest.approx(2 * t.ppf(0.975, freedom) * np.sqrt(variance), rel=0.05)
    assert found.high - found.low > 1.5 * (wilson(round(found.mean * n), n).high - wilson(round(found.mean * n), n).low)


def test_no_end_lies_outside_of_what_a_metric_can_be() -> None:
    labels = np.zeros(400, dtype=np.int64)
    apart = np.stack([np.repeat([0, 1], [right, 400 - right]) for right in (200, 380, 400)])
    assert all(0 <= end.low <= end.high <= 1 for end in bootstrap(labels, apart, 2).values())
