"""Weight soups: their ingredients and results; the test split decides nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.tune.reporting.stories import Story
from trainables import timm_finetune
from trainables.data import DataSpec, Split, load_train, prepare
from trainables.pretrained.weights import find_weights
from trainables.storage.pretrained_files import write_weights
from trainables.training.evaluation import evaluate
from tune.experiment.trial_context import TrialContext
from tune.finals.finalists import Final, Finalist
from tune.finals.soups import Soup, average, load_soups, make_soup, pool_of
from tune.finals.training import FinalJob, train_final
from tune.settings.objective import Objective
from tune.settings.settings import Settings

NETWORK = "test_resnet"
CONFIG = {
    "model": NETWORK, "pretrained": "yes", "resolution": 32, "batch_size": 16, "lr": 1e-3, "strategy": "full",
    "full_lr": 1e-3, "schedule": "constant",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> TrialContext:
    """Three seeds of a network that began with the same weights, each trained on train and on train and val."""
    folder = tmp_path_factory.mktemp("soups")
    prepare(DataSpec(source="digits", limit=120), cache=cache).write(folder)
    torch.manual_seed(5)
    file = folder / "weights.safetensors"
    save_file(timm_finetune.untrained(NETWORK).state_dict(), file)
    weights = find_weights(timm_finetune, NETWORK, given=file, cache=folder)
    write_weights(folder, {f"timm_finetune.{NETWORK}": weights})
    settings = TrialContext(
        folders={"whole": str(folder)},
        experiment=str(folder),
        device="cpu",
        threads=1,
        max_epochs=2,
        objective=Objective.of("accuracy"),
    )
    for seed in range(3):
        name = f"timm_finetune-00000-{seed}"
        job = FinalJob(recipe="timm_finetune", config=CONFIG, trial=0, seed=seed, folder=f"finals/{name}")
        train_final(settings, job)
        train_final(settings, replace(job, folder=f"refits/{name}", train_on="train+val", keep="last", until=1))
    return settings


def finals(settings: TrialContext, folder: str = "finals") -> list[Final]:
    """The best on val first."""
    found = [Final.load(place) for place in (settings.place.folder / folder).iterdir()]
    return sorted(found, key=lambda final: (-final.val.get("accuracy", 0.0), final.seed))


def test_the_uniform_soup_has_the_mean_of_all_weights_and_is_tested(trained: TrialContext) -> None:
    pool = finals(trained)
    make_soup(trained, "uniform", pool, "soups/timm_finetune-uniform")
    (soup,) = load_soups(trained.place.folder, pool)
    assert (soup.kind, soup.members) == ("uniform", soup.pool)
    ours = load_file(soup.folder / "model.safetensors")
    theirs = [load_file(final.folder / "model.safetensors") for final in pool]
    named = dict(timm_finetune.build(timm_finetune.TimmFineTuning.parse(CONFIG), shape(trained)).named_parameters())
    for name in named:
        assert ours[name] == pytest.approx(np.mean([state[name].numpy() for state in theirs], axis=0), abs=1e-6), name
    assert soup.test["accuracy"] == pytest.approx((soup.predictions == soup.labels).mean())
    labels, predictions = soup.on_val.labels, soup.on_val.predictions
    assert soup.val["accuracy"] == pytest.approx((predictions == labels).mean())
    assert load_soups(trained.place.folder, pool[:2]) == [], "it was made of others"


def shape(settings: TrialContext):  # type: ignore[no-untyped-def]
    return load_train(Path(settings.folders["whole"]), torch.device("cpu")).shape


def test_the_greedy_soup_leaves_out_what_spoils_it_on_val(trained: TrialContext, tmp_path: Path) -> None:
    best, second, third = finals(trained)
    spoiled = tmp_path / "spoiled"
    shutil.copytree(third.folder, spoiled)
    state = load_file(spoiled / "model.safetensors")
    torch.manual_seed(0)
    save_file({name: torch.randn_like(t) if t.is_floating_point() else t for name, t in state.items()},
              spoiled / "model.safetensors")  # fmt: skip
    pool = [best, second, replace(third, folder=spoiled)]
    make_soup(trained, "greedy", pool, "soups/timm_finetune-greedy")
    (soup,) = [soup for soup in load_soups(trained.place.folder, pool) if soup.kind == "greedy"]
    assert best.folder.name in soup.members
    assert "spoiled" not in soup.members
    assert soup.val["accuracy"] >= best.val["accuracy"]


def test_members_are_chosen_on_train_alone_also_where_val_was_trained_on(trained: TrialContext) -> None:
    pool = [
        replace(refit, val=final.val, val_of=final.folder)
        for final in finals(trained)
        for refit in finals(trained, "refits")
        if refit.seed == final.seed
    ]
    make_soup(trained, "greedy", pool, "soups/timm_finetune-greedy")
    (soup,) = [soup for soup in load_soups(trained.place.folder, pool) if soup.kind == "greedy"]
    assert soup.train_on == "train+val"
    assert soup.val["accuracy"] >= pool[0].val["accuracy"], "of the soup of trainings on train"
    members = [final for final in pool if final.chosen_in.name in soup.members]
    head = "network.fc.weight"
    weights = [load_file(final.folder / "model.safetensors")[head].numpy() for final in members]
    assert load_file(soup.folder / "model.safetensors")[head] == pytest.approx(np.mean(weights, axis=0), abs=1e-6)
    assert soup not in load_soups(trained.place.folder, finals(trained)), "which are of trainings on train alone"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.moved = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.drop(self.moved(2 * images.float())) + self.frozen(images.float())


def test_statistics_of_batch_norms_are_those_of_train_and_frozen_ones_stay(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 4, 4), dtype=np.uint8)
    images[:50] //= 4  # as a store is sorted by class, its beginning is not like its end
    split = Split(images, np.zeros(100, np.int64), np.arange(100), torch.device("cpu"))
    folders = []
    for number in range(2):
        model = Small()
        model.frozen.running_mean.fill_(7)  # type: ignore[union-attr]
        model.moved.running_mean.fill_(number)  # type: ignore[union-attr]
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        save_file(model.state_dict(), folders[-1] / "model.safetensors")
    soup = Small()
    average(soup, folders, split)
    assert float(soup.frozen.running_mean) == 7  # type: ignore[arg-type]
    pixels = 2 * images.astype(float)
    assert float(soup.moved.running_mean) == pytest.approx(pixels.mean(), rel=1e-5)  # type: ignore[arg-type]
    assert float(soup.moved.running_var) == pytest.approx(pixels.var(ddof=1), rel=1e-5)  # type: ignore[arg-type]
    assert soup.moved.momentum == 0.1
    assert not soup.training


def test_a_soup_of_one_is_that_one(trained: TrialContext) -> None:
    best = finals(trained)[0]
    data = load_train(Path(trained.folders["whole"]), torch.device("cpu"))
    model = timm_finetune.build(timm_finetune.TimmFineTuning.parse(CONFIG), data.shape)
    average(model, [best.folder], data.train)
    assert (evaluate(model, data.val, 10).predictions == best.on_val.predictions).all()


def test_only_finals_of_the_same_network_and_beginning_are_mixed(tmp_path: Path) -> None:
    story = Story.begin(tmp_path, recipes=("timm_finetune",), final_top=3)
    records = [story.trial("timm_finetune", [0.9]) for _ in range(3)]
    like = {**CONFIG, "rotation": 3.0}
    for record, config, val in zip(
        records, (CONFIG, like, {**CONFIG, "resolution": 64}), (0.8, 0.9, 0.85), strict=True
    ):
        for seed in range(2):
            story.final(record, seed=seed, val=val + seed / 100, right=30, config=config)
    finalists = story.finalists(*records)
    settings = story.experiment.settings
    pool = pool_of(finalists, settings)
    assert [(final.trial, final.seed) for final in pool] == [(1, 1), (1, 0), (0, 1), (0, 0)]
    assert pool_of([], settings) == []
    alone = [Finalist(finals=finalists[0].finals[:1])]
    assert pool_of(alone, settings) == []
    random = [replace(final, config={**final.config, "pretrained": "no"}) for final in finalists[0].finals]
    assert pool_of([Finalist(finals=random)], settings) == []
    least = pool_of(finalists, Settings(metric="loss"))
    assert least[0].val["loss"] == min(final.val["loss"] for final in least)


def test_what_a_soup_was_made_of_is_kept_with_it(trained: TrialContext) -> None:
    pool = finals(trained)
    make_soup(trained, "uniform", pool, "soups/timm_finetune-uniform")
    kept = json.loads((trained.place.folder / "soups/timm_finetune-uniform/final.json").read_text())
    assert kept["pool"] == [final.folder.name for final in pool]
    assert isinstance(Soup.load(trained.place.folder / "soups/timm_finetune-uniform"), Soup)
