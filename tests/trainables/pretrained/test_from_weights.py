"""Every fine-tuning recipe, from a file of weights to a trained network: initial, frozen and trained weights."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from search_spaces import recipes, space_of
from search_spaces.shared.fine_tuning import FineTuning
from trainables.data import load_train
from trainables.pretrained.fine_tuning import FineTuned, head_names
from trainables.pretrained.weights import find_weights, zoo_of
from trainables.storage.pretrained_files import write_weights
from trainables.training.protocol import train_of

NETWORKS = {"timm_finetune": "test_resnet", "torchvision_finetune": "resnet18", "yolo_cls": "yolo11n-cls"}
STEP = 1e-5
"""The smallest learning rate of a backbone, which hardly changes its weights."""


def test_every_fine_tuning_recipe_is_here() -> None:
    assert {recipe for recipe in recipes() if issubclass(space_of(recipe), FineTuning)} == set(NETWORKS)


@pytest.fixture(scope="module", params=NETWORKS)
def pretrained(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor]]:
    """A recipe and weights of its network for ImageNet's classes, unlike any random initialization."""
    recipe: str = request.param
    torch.manual_seed(99)
    state = zoo_of(recipe).untrained(NETWORKS[recipe]).state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif tensor.ndim == 1:  # norms begin with zeros and ones
            tensor += torch.empty_like(tensor).uniform_(0.05, 0.15)
    return recipe, state


def save(state: Mapping[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        torch.save(dict(state), file)
    return file


@pytest.mark.parametrize(
    ("strategy", "suffix"),
    [
        ({"strategy": "freeze"}, ".safetensors"),
        ({"strategy": "partial", "last_stages": 1, "partial_lr": 1e-3}, ".pth"),
        ({"strategy": "full", "full_lr": STEP}, ".safetensors"),
    ],
    ids=["freeze", "partial", "full"],
)
def test_a_network_begins_with_the_weights_of_a_file_and_keeps_what_is_frozen(
    pretrained: tuple[str, dict[str, Tensor]],
    strategy: dict[str, object],
    suffix: str,
    few_folder: Path,
    tmp_path: Path,
) -> None:
    recipe, theirs = pretrained
    model, zoo = NETWORKS[recipe], zoo_of(recipe)
    found = find_weights(zoo, model, given=save(theirs, tmp_path / f"given{suffix}"), cache=tmp_path / "cache")
    folder = tmp_path / "experiment"
    shutil.copytree(few_folder, folder)
    write_weights(folder, {f"{recipe}.{model}": found})
    fields = {"model": model, "pretrained": "yes", "resolution": 32, "batch_size": 16, "lr": 1e-2}
    space = space_of(recipe).parse(fields | {"schedule": "constant"} | strategy)
    torch.manual_seed(0)
    epoch = next(train_of(recipe)(space, load_train(folder, torch.device("cpu")), epochs=1))

    assert isinstance(epoch.model, FineTuned)
    ours, head = epoch.model.network.state_dict(), head_names(partial(zoo.untrained, model))
    assert ours.keys() == theirs.keys()
    assert {ours[name].shape[0] for name in head} == {10}
    assert {theirs[name].shape[0] for name in head} == {1000}
    same = {name for name in ours.keys() - head if torch.equal(ours[name], theirs[name])}
    named = dict(epoch.model.network.named_parameters())
    backbone, trained = named.keys() - head, {name for name in named if named[name].requires_grad}
    assert head <= trained
    if strategy["strategy"] == "freeze":
        assert trained == head
        assert same == ours.keys() - head, "not even the statistics of a batch norm"
    elif strategy["strategy"] == "partial":
        assert same & backbone == backbone - trained
        assert 0 < len(trained - head) < len(backbone)
    else:
        assert trained == named.keys()
        assert not same & backbone
        for name in backbone:
            assert (ours[name] - theirs[name]).abs().max() < 10 * STEP, name
