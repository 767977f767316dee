"""Fine-tuning: what is trained, what stays, and at which rate; on timm's networks for tests, without a hub."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from search_spaces import InputError, space_of
from search_spaces.timm_finetune import TimmFineTuning
from trainables import timm_finetune, torchvision_finetune, yolo_cls
from trainables.data import TrainData
from trainables.pretrained.fine_tuning import (
    FineTuned,
    begin_head,
    count_stages,
    head_names,
    outlined,
    stages,
    trained_stages,
)
from trainables.training.protocol import Epoch

NETWORK = "test_resnet"


def space(**fields: object) -> TimmFineTuning:
    common = {"model": NETWORK, "pretrained": "no", "resolution": 32, "rotation": 0, "crop": 0, "lr": 1e-2}
    return TimmFineTuning.parse(common | fields)


def epochs_of(configuration: TimmFineTuning, data: TrainData, epochs: int = 1) -> Iterator[tuple[Epoch, set[str]]]:
    """Return each epoch with the names of the parameters and buffers that it changed."""
    training = timm_finetune.train(configuration, data, epochs=epochs)
    torch.manual_seed(0)
    before = timm_finetune.build(configuration, data.shape).network.state_dict()
    torch.manual_seed(0)  # a generator builds when it is first asked
    message = None
    for _ in range(epochs):
        epoch = next(training) if message is None else training.send(message)
        assert isinstance(epoch.model, FineTuned)
        now = {name: tensor.clone() for name, tensor in epoch.model.network.state_dict().items()}
        yield epoch, {name for name in now if not torch.equal(now[name], before[name])}
        before, message = now, {"accuracy": 0.5, "loss": 1.0}


def stage_names(prefixes: tuple[str, ...], names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(prefixes)}


def test_freezing_changes_the_head_alone(few: TrainData) -> None:
    ((_, changed),) = epochs_of(space(strategy="freeze"), few)
    assert changed == {"fc.weight", "fc.bias"}, "not even the statistics of a batch norm"


@pytest.mark.parametrize(
    ("library", "model"),
    [
        (timm, "tf_efficientnet_lite0"),
        (timm, "resnet18"),
        (torchvision, "efficientnet_b0"),
        (torchvision, "squeezenet1_0"),
    ],
)
def test_a_new_head_gives_small_logits_whatever_the_number_of_classes(library: object, model: str) -> None:
    """EfficientNets began with logits in the tens, which a frozen network's head takes all its epochs to unlearn."""

    def network_of(classes: int) -> nn.Module:
        return (
            timm.create_model(model, num_classes=classes)
            if library is timm
            else torchvision.models.get_model(model, num_classes=classes)
        )

    network = network_of(4)
    names = head_names(network_of)
    begin_head(network, names)
    weight = next(tensor for name, tensor in network.named_parameters() if name in names and tensor.ndim > 1)
    assert 0 < weight.abs().max() <= weight[0].numel() ** -0.5


def test_partial_changes_the_last_stages_and_their_statistics(few: TrainData) -> None:
    ((_, changed),) = epochs_of(space(strategy="partial", last_stages=2, partial_lr=1e-3), few)
    assert stage_names(("layer3", "layer4", "fc"), changed) == changed
    assert {name.split(".")[0] for name in changed} == {"layer3", "layer4", "fc"}
    assert any(name.endswith("running_mean") for name in changed)


def test_the_last_block_of_an_efficientnet_is_trained_with_what_follows_it(few: TrainData) -> None:
    configuration = space(model="efficientnet_b0", strategy="partial", last_stages=1, partial_lr=1e-3)
    ((_, changed),) = epochs_of(configuration, few)
    assert stage_names(("blocks.6.", "conv_head.", "bn2.", "classifier."), changed) == changed
    assert {"blocks.6.0.conv_dw.weight", "conv_head.weight", "bn2.running_mean"} <= changed


def test_full_changes_everything(few: TrainData) -> None:
    ((_, changed),) = epochs_of(space(strategy="full", full_lr=1e-3), few)
    assert {name.split(".")[0] for name in changed} == {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}


def test_linear_probing_comes_before_fine_tuning(few: TrainData) -> None:
    found = [changed for _, changed in epochs_of(space(strategy="lpft", head_epochs=0.5, lpft_lr=1e-3), few, epochs=4)]
    assert found[0] == found[1] == {"fc.weight", "fc.bias"}
    assert any(name.startswith("conv1") for name in found[2])
    assert any(name.startswith("conv1") for name in found[3])


def test_head_and_backbone_have_their_own_rates(few: TrainData) -> None:
    configuration = space(strategy="partial", partial_lr=2e-4, schedule="constant")
    ((epoch, _),) = epochs_of(configuration, few)
    groups = epoch.state({"accuracy": 0.0})["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == [1e-2, 1e-2, 2e-4, 2e-4]
    assert epoch.lr == 1e-2


def test_more_stages_than_there_are_is_refused(few: TrainData) -> None:
    with pytest.raises(InputError, match="last_stages=4: the network has 3 stages; give at most 3"):
        trained_stages(space(strategy="partial", last_stages=4), 3)


TIMM, TORCHVISION, YOLO = timm_finetune, torchvision_finetune, yolo_cls


@pytest.mark.parametrize(
    ("library", "model", "count", "last"),
    [
        (TIMM, "resnet50", 5, "layer4"),
        (TIMM, "efficientnet_b0", 8, "blocks.6 conv_head bn2"),
        (TIMM, "tf_efficientnet_lite0", 8, "blocks.6 conv_head bn2"),
        (TIMM, "mobilenetv3_small_100", 6, "blocks.4 blocks.5 conv_head"),  # blocks.5 is one convolution
        (TIMM, "vit_tiny_patch16_224", 13, "blocks.11 norm"),
        (TIMM, "convnext_tiny", 5, "stages.3 head.norm"),
        (TIMM, "pit_ti_224", 4, "transformers.2 norm"),
        (TIMM, "tresnet_m", 5, "body.layer4"),
        (TIMM, "densenet121", 8, "features.denseblock4 features.norm5"),
        (TORCHVISION, "resnet18", 5, "layer4"),
        (TORCHVISION, "resnet50", 5, "layer4"),
        (TORCHVISION, "vit_b_16", 13, "encoder.layers.encoder_layer_11 encoder.ln"),
        (TORCHVISION, "efficientnet_b0", 8, "features.7 features.8"),
        (TORCHVISION, "mobilenet_v2", 18, "features.17 features.18"),
        (TORCHVISION, "mobilenet_v3_small", 12, "features.11 features.12 classifier.0"),
        (TORCHVISION, "convnext_tiny", 8, "features.7 classifier.0"),
        (TORCHVISION, "swin_t", 8, "features.7 norm"),
        (TORCHVISION, "regnet_y_400mf", 5, "trunk_output.block4"),
        (TORCHVISION, "shufflenet_v2_x0_5", 4, "stage4 conv5"),
        (TORCHVISION, "vgg11", 8, "features.18 classifier.0 classifier.3"),
        (YOLO, "yolo11n-cls", 10, "model.9 model.10.conv"),
    ],
)
def test_the_last_stage_of_a_network_reaches_to_its_head(library: Any, model: str, count: int, last: str) -> None:
    def network_of(classes: int) -> nn.Module:
        network: nn.Module = library.untrained(model, classes)
        return network

    network, head = outlined(network_of, 5), head_names(network_of)
    check_stages(network, head, count)
    assert count_stages(network_of) == count
    trained = {id(parameter) for parameter in stages(network, head)[-1]}
    assert {name for name, parameter in network.named_parameters() if id(parameter) in trained} == {
        name
        for name, _ in network.named_parameters()
        if name.startswith(tuple(f"{prefix}." for prefix in last.split())) and name not in head
    }


@pytest.mark.parametrize("library", [TIMM, TORCHVISION])
def test_the_last_two_stages_of_a_resnet_are_its_last_two_layers(library: Any) -> None:
    def network_of(classes: int) -> nn.Module:
        network: nn.Module = library.untrained("resnet50", classes)
        return network

    network = outlined(network_of, 5)
    trained = {id(parameter) for stage in stages(network, head_names(network_of))[-2:] for parameter in stage}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in trained}
    assert names == {name for name, _ in network.named_parameters() if name.startswith(("layer3.", "layer4."))}


def check_stages(network: nn.Module, head: frozenset[str], count: int) -> None:
    found = stages(network, head)
    assert len(found) == count
    heads = [parameter for name, parameter in network.named_parameters() if name in head]
    everything = [parameter for stage in found for parameter in stage] + heads
    assert len(everything) == len({id(p) for p in everything}) == len(list(network.parameters()))
    assert sum(head_part.ndim == 2 for head_part in heads) == 1


@pytest.mark.parametrize(
    ("library", "model", "parameters"),
    [
        (torchvision_finetune, "resnet18", 11_689_512),
        (torchvision_finetune, "resnet50", 25_557_032),
        (torchvision_finetune, "vit_b_16", 86_567_656),
        (timm_finetune, "resnet50", 25_557_032),
        (timm_finetune, "efficientnet_b0", 5_288_548),
    ],
)
def test_networks_have_the_published_number_of_parameters(library: object, model: str, parameters: int) -> None:
    with torch.device("meta"):
        network = library.untrained(model)  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_grey_images_of_any_size_are_prepared_as_the_network_expects(few: TrainData) -> None:
    model = timm_finetune.build(space(resolution=64), few.shape)
    black, white = (torch.full((1, 1, 8, 8), value, dtype=torch.uint8) for value in (0, 255))
    for image, value in ((black, 0.0), (white, 1.0)):
        prepared = model.standardize(image)
        assert prepared.shape == (1, 3, 64, 64)
        expected = (value - model.standardize.mean) / model.standardize.std
        torch.testing.assert_close(prepared, expected.expand_as(prepared), atol=1e-5, rtol=0)


def test_a_name_with_a_typo_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"timm_finetune.model=resnet5: .* did you mean resnet50"):
        timm_finetune.untrained("resnet5")
    with pytest.raises(InputError, match=r"torchvision_finetune.model=vit_b16: .* did you mean vit_b_16"):
        torchvision_finetune.untrained("vit_b16")


def test_any_network_of_the_library_may_be_named() -> None:
    assert space_of("timm_finetune").parse({"model": "vit_tiny_patch16_224"}) == replace(
        TimmFineTuning(), model="vit_tiny_patch16_224"
    )


def test_a_recipe_leaves_the_functions_of_other_libraries_alone() -> None:
    """ultralytics replaces some, with others that ask for packages when an image is broken."""
    code = (
        "import torch, PIL.Image as image\n"
        "before = image.open, torch.save, torch.load\n"
        "import trainables.yolo_cls\n"
        "assert before == (image.open, torch.save, torch.load)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
