"""Pretrained weights, found or refused before a search begins."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from search_spaces import DataShape, InputError, Int, space_of
from trainables.pretrained.fine_tuning import count_stages
from trainables.pretrained.weights import zoo_of
from trainables.storage.pretrained_files import Weights
from tune.experiment import pretrained_weights as pretrained
from tune.experiment.input_variants import InputVariant, main_input_variant
from tune.experiment.pretrained_weights import pretrained_weights
from tune.settings.settings import Settings, make


def input_variants(settings: Settings) -> dict[InputVariant, Any]:
    return {
        main_input_variant(settings): SimpleNamespace(
            shape=DataShape(samples=9, channels=3, height=32, width=32, classes=2)
        )
    }


def weights_of(settings: Settings) -> dict[str, Weights]:
    return pretrained_weights(settings, None, input_variants(settings), Console(quiet=True))


@pytest.mark.parametrize(
    ("values", "way"),
    [
        (
            {"recipes": "plain_cnn,knn"},
            "plain_cnn, knn) begins with pretrained weights; leave it out, or search a recipe",
        ),
        pytest.param(
            {"recipes": "yolo_cls"}, "leave it out, or say --set yolo_cls.pretrained=yes", marks=pytest.mark.slow
        ),
        pytest.param(
            {"recipes": "timm_finetune", "set": {"timm_finetune.pretrained": "no"}},
            "say --set timm_finetune.pretrained=yes",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_weights_that_nothing_would_begin_with_are_refused(tmp_path: Path, values: dict[str, Any], way: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--weights {tmp_path}: nothing that is trained")) as error:
        weights_of(make({**values, "weights": str(tmp_path)}))
    assert way in str(error.value)


@pytest.mark.slow
def test_more_stages_than_a_known_network_has_are_refused_before_anything_begins() -> None:
    fields = {"timm_finetune.last_stages": "9", "timm_finetune.model": "resnet50", "timm_finetune.pretrained": "no"}
    message = (
        "timm_finetune.last_stages=9: resnet50 has 5 stages; train at most these: --set timm_finetune.last_stages=1..5"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        weights_of(make({"recipes": "timm_finetune", "set": fields}))


@pytest.mark.slow
def test_more_stages_than_a_network_has_are_refused_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are pretended, as hardly a network has fewer than can be asked for."""
    monkeypatch.setattr(pretrained, "count_stages", lambda network_of: count_stages(network_of) - 2)
    fields = {"timm_finetune.model": "resnet50|pit_ti_224", "timm_finetune.pretrained": "no"}
    message = "timm_finetune.last_stages=4: pit_ti_224 has 2 stages; train at most these: --set timm_finetune.last_"
    with pytest.raises(InputError, match=re.escape(message)):
        weights_of(make({"recipes": "timm_finetune", "set": fields}))
    for allowed in ({"last_stages": "1..2"}, {"last_stages": "2"}, {"strategy": "full|freeze"}):
        named = {f"timm_finetune.{field}": text for field, text in allowed.items()}
        assert weights_of(make({"recipes": "timm_finetune", "set": {**fields, **named}})) == {}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["timm_finetune", "torchvision_finetune", "yolo_cls"])
def test_the_networks_that_are_searched_by_default_have_the_stages_that_are(recipe: str) -> None:
    stages = space_of(recipe).searched()["last_stages"]
    assert isinstance(stages, Int)
    for name in pretrained._known(space_of(recipe)):
        assert count_stages(partial(zoo_of(recipe).untrained, name)) >= stages.high


@pytest.mark.slow
def test_a_network_with_a_typo_is_refused_before_anything_begins() -> None:
    fields = {"torchvision_finetune.model": "resnet5", "torchvision_finetune.pretrained": "no"}
    with pytest.raises(InputError, match="did you mean resnet50"):
        weights_of(make({"recipes": "torchvision_finetune", "set": fields}))
