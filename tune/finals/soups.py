"""Weight soups: the mean of the weights of finals of one network that began with the same pretrained weights.

A soup costs no more than one model, and is often better than any of its members (Wortsman et al. 2022, "Model soups").
The uniform soup takes all. The greedy soup begins with the best final on val, and keeps each next one that does not
make it worse on val.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces import space_of
from search_spaces.shared.fine_tuning import FineTuning
from trainables.data import Split
from trainables.training.evaluation import EVALUATION_BATCH, evaluate
from trainables.training.iterate import release
from trainables.training.protocol import build_of
from tune.experiment.folder import FINAL
from tune.experiment.trial_context import TrialContext
from tune.finals.final_file import SoupKind, SoupRecord
from tune.finals.finalists import Final, Finalist, Tested
from tune.finals.testing import halved, run_test, write_tested
from tune.finals.training import carry_out, data_of
from tune.settings.settings import Settings
from tune.tuning.search_context import SearchContext

SAME = ("pretrained", "input_variant", "resolution", "normalize", "window")
"""Fields in which networks must agree for their weights to mean the same, besides the fields of a recipe's own."""


@dataclass(frozen=True, kw_only=True)
class Soup(SoupRecord, Tested):
    """A soup that was tested."""


def pool_of(finalists: Sequence[Finalist], settings: Settings) -> list[Final]:
    """Return the recipe's finals that can be averaged with its best one, best on val first; empty if there are none."""
    objective = settings.objective
    finals = [final for finalist in finalists for final in finalist.finals]
    ranked = sorted(finals, key=lambda final: objective.cost(final.val[objective.metric]))
    if not ranked or ranked[0].config.get("pretrained") != "yes":
        return []
    space = space_of(ranked[0].recipe)
    shared = {field.name for field in fields(FineTuning)} - {*SAME}
    of_network = [name for name in space.domains() if name not in shared]
    pool = [f for f in ranked if all(f.config.get(name) == ranked[0].config.get(name) for name in of_network)]
    return pool if len(pool) > 1 else []


def load_soups(folder: Path, pool: Sequence[Final]) -> list[Soup]:
    """Load the soups that were made of exactly these finals."""
    names = [final.chosen_in.name for final in pool]
    places = [folder / _name(final, kind) for final in pool[:1] for kind in get_args(SoupKind)]
    soups = [Soup.load(place) for place in places if (place / FINAL).exists()]
    return [soup for soup in soups if soup.pool == names and soup.train_on == pool[0].train_on]


def run_soups(search: SearchContext, pools: Sequence[Sequence[Final]], label: str) -> list[str]:
    """Make and test the missing soups of each pool, as `run_finals` does for finals."""
    settings, jobs = search.trial_context, {}
    for pool in pools:
        made = {soup.kind for soup in load_soups(settings.place.folder, pool)}
        for kind in get_args(SoupKind):
            name = _name(pool[0], kind)
            if kind not in made:  # or of other finals
                shutil.rmtree(settings.place.folder / name, ignore_errors=True)
                settings.place.remove(name, first=FINAL)
            jobs[name] = partial(make_soup, settings, kind, pool, name)
    return carry_out(search, jobs, label)


def make_soup(settings: TrialContext, kind: SoupKind, pool: Sequence[Final], name: str) -> None:
    """Choose members from `pool`, the best on val first, average and test them once, and write to the folder `name`.

    For finals that were trained on train and val, the same trainings on train alone decide which members are chosen.
    """
    settings.prepare_process()
    for folder in (each for final in pool for each in (final.chosen_in, final.folder)):
        settings.place.pull_one(f"{folder.parent.name}/{folder.name}", last=FINAL)
    began = time.perf_counter()
    best = pool[0]
    space = space_of(best.recipe).of(best.config)
    data, shown = data_of(settings, space, "train")
    classes = len(data.classes)
    model = build_of(best.recipe)(space, data.shape).to(data.device)
    objective = settings.objective
    members, cost = list(pool if kind == "uniform" else pool[:1]), objective.cost(best.val[objective.metric])
    for final in pool[len(members) :]:
        average(model, [member.chosen_in for member in (*members, final)], data.train)
        found = objective.cost(evaluate(model, data.val, classes).metrics[objective.metric])
        if found <= cost:
            members, cost = [*members, final], found
    average(model, [member.chosen_in for member in members], data.train)
    val = halved(evaluate(model, data.val, classes))
    if best.train_on != "train":
        both, _ = data_of(settings, space, best.train_on)
        average(model, [member.folder for member in members], both.train)
    result = run_test(settings, model, data, shown, val)
    record = SoupRecord(
        recipe=best.recipe,
        config=best.config,
        train_on=best.train_on,
        val=val.metrics,
        test=result.test.metrics,
        seconds=result.ended - began,
        classes=classes,
        model=best.model,  # the same network
        mixed=best.mixed,
        examples=result.examples,
        kind=kind,
        pool=[final.chosen_in.name for final in pool],
        members=[member.chosen_in.name for member in members],
    )
    write_tested(settings, name, record, model, result)
    release(data.device)


def average(model: nn.Module, folders: Sequence[Path], train: Split) -> None:
    """Give `model` the mean of the weights in `folders`, and batch-norm statistics that fit it.

    Norms whose statistics are equal in all models were frozen, and keep them. The others are recomputed on `train`.
    """
    states = [load_file(folder / "model.safetensors") for folder in folders]
    model.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    moved = {name for name, first in states[0].items() if not all(torch.equal(first, s[name]) for s in states[1:])}
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    renew_statistics(model, [norm for name, norm in norms.items() if f"{name}.running_mean" in moved], train)


@torch.no_grad()
def renew_statistics(model: nn.Module, norms: Sequence[_BatchNorm], train: Split) -> None:
    """Set the running statistics of `norms` to their means over the train split; all else is as in evaluation."""
    if not norms:
        return
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average, in which each batch counts alike
        norm.train()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))  # a store is sorted by class
    for batch in torch.split(order, EVALUATION_BATCH):
        if len(batch) == EVALUATION_BATCH or len(order) < EVALUATION_BATCH:
            model(train.batch(batch)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    return torch.stack(list(tensors)).mean(0) if first.is_floating_point() else first


def _name(final: Final, kind: SoupKind) -> str:
    return f"soups/{final.recipe}-{kind}"
