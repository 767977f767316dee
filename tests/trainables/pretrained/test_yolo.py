"""The dropout before the last layer, which only the YOLO recipe has."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.yolo_cls import YOLOClassification
from trainables import yolo_cls
from trainables.pretrained.fine_tuning import FineTuned

SHAPE = DataShape(samples=9, channels=3, height=32, width=32, classes=5)
IMAGES = torch.arange(16 * 3 * 32 * 32).remainder(251).reshape(16, 3, 32, 32).to(torch.uint8)


def network(dropout: float, *, frozen: bool) -> FineTuned:
    torch.manual_seed(0)
    model = yolo_cls.build(YOLOClassification.parse({"resolution": 32, "head_dropout": dropout}), SHAPE)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not frozen or "linear" in name
    return model


def into_the_last_layer(model: FineTuned) -> Tensor:
    """Return the input of the last linear layer."""
    (last,) = (layer for layer in model.network.modules() if isinstance(layer, nn.Linear))
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda layer, given: seen.append(given[0].clone()))
    with torch.no_grad():
        model(IMAGES)
    handle.remove()
    (given,) = seen
    return given


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dropout", [0.3, 0.5])
def test_dropout_is_before_the_last_layer_in_training_and_not_in_evaluation(dropout: float, *, frozen: bool) -> None:
    model, without = network(dropout, frozen=frozen), network(0.0, frozen=frozen)
    assert torch.equal(into_the_last_layer(model.eval()), into_the_last_layer(without.eval()))
    given, whole = into_the_last_layer(model.train()), into_the_last_layer(without.train())
    assert (whole != 0).all(), "or what follows shows nothing"
    assert (given == 0).float().mean().item() == pytest.approx(dropout, abs=0.02)  # 20,480 values
    torch.testing.assert_close(given * (1 - dropout), torch.where(given == 0, 0, whole))
    assert not torch.equal(given == 0, into_the_last_layer(model) == 0), "drawn anew"
