"""Pretrained weights: found, checked and kept, without a hub and without code in files."""

import pickle
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision import models

from search_spaces import DataShape, InputError
from search_spaces.timm_finetune import TimmFineTuning
from search_spaces.yolo_cls import YOLOClassification
from trainables import timm_finetune, torchvision_finetune, yolo_cls
from trainables.pretrained.fine_tuning import head_names, load_pretrained
from trainables.pretrained.lite_weights import installed_file, package_of
from trainables.pretrained.weights import WEIGHT_SUFFIXES, find_weights, read_weights
from trainables.storage.pretrained_files import Weights, weights_of_experiment, write_weights

NETWORK = "test_resnet"
PALACE = 698


class Zoo:
    """timm with a hub of its own."""

    recipe, library = "timm_finetune", "timm"
    untrained = staticmethod(timm_finetune.untrained)

    def __init__(self) -> None:
        self.asked = 0

    def published(self, model: str) -> tuple[nn.Module, str]:
        self.asked += 1
        return timm.create_model(model), "a hub"


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(NETWORK)
    return network


def test_published_weights_are_fetched_once_and_kept_as_safetensors(tmp_path: Path) -> None:
    zoo = Zoo()
    first = find_weights(zoo, NETWORK, given=None, cache=tmp_path)
    assert find_weights(zoo, NETWORK, given=None, cache=tmp_path) == first
    assert zoo.asked == 1
    assert first.source == "a hub"
    assert set(load_file(first.file)) == set(timm.create_model(NETWORK).state_dict())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_of_ones_own_is_taken(tmp_path: Path, network: nn.Module, name: str, *, wrapped: bool) -> None:
    state = {f"module.{key}" if wrapped else key: tensor for key, tensor in network.state_dict().items()}
    file = tmp_path / name
    if name.endswith("safetensors"):
        state = dict(network.state_dict())
        save_file(state, file)
    else:
        torch.save({"state_dict": state} if wrapped else state, file)
    found = find_weights(Zoo(), NETWORK, given=file, cache=tmp_path / "cache")
    assert found.source == str(file)
    torch.testing.assert_close(load_file(found.file), dict(network.state_dict()))


def test_in_a_folder_files_are_named_like_their_networks(tmp_path: Path, network: nn.Module) -> None:
    save_file(dict(network.state_dict()), tmp_path / f"{NETWORK}.safetensors")
    (tmp_path / "notes.txt").touch()
    zoo = Zoo()
    assert find_weights(zoo, NETWORK, given=tmp_path, cache=tmp_path / "c").source.endswith(f"{NETWORK}.safetensors")
    with pytest.raises(InputError) as error:
        find_weights(zoo, "test_vit", given=tmp_path, cache=tmp_path / "c")
    assert zoo.asked == 0, "what a person gives is not filled up in silence"
    assert str(error.value) == (
        f"--weights {tmp_path}: has no file for test_vit; looked for test_vit.safetensors, test_vit.pth, test_vit.pt, "
        f"test_vit.bin; the folder has notes.txt, {NETWORK}.safetensors; name one so, or search without --weights"
    )


def test_another_head_is_no_hindrance(tmp_path: Path) -> None:
    save_file(dict(timm.create_model(NETWORK, num_classes=7).state_dict()), tmp_path / "w.safetensors")
    found = find_weights(Zoo(), NETWORK, given=tmp_path / "w.safetensors", cache=tmp_path / "c")
    assert load_file(found.file)["fc.weight"].shape[0] == 7


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    save_file(dict(timm.create_model("test_vit").state_dict()), tmp_path / "w.safetensors")
    theirs, ours = (list(timm.create_model(name).state_dict()) for name in ("test_vit", NETWORK))
    missing = [name for name in ours if name not in theirs and not name.startswith("fc.")]
    unknown = sorted(name for name in theirs if name not in ours)  # as safetensors has them
    with pytest.raises(InputError) as error:
        find_weights(Zoo(), NETWORK, given=tmp_path / "w.safetensors", cache=tmp_path / "c")
    assert str(error.value) == (
        f"--weights {tmp_path / 'w.safetensors'}: are of another network: "
        f"{len(missing)} missing: {', '.join(missing[:5])}, ...; {len(unknown)} unknown: {', '.join(unknown[:5])}, ..."
    )


def test_up_to_five_differences_are_all_named(tmp_path: Path, network: nn.Module) -> None:
    state = dict(network.state_dict())
    del state["bn1.weight"], state["bn1.bias"]
    save_file({**state, "conv1.0.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "w.safetensors")
    message = "another network: 2 missing: bn1.weight, bn1.bias; 1 of another shape: conv1.0.weight$"
    with pytest.raises(InputError, match=message):
        find_weights(Zoo(), NETWORK, given=tmp_path / "w.safetensors", cache=tmp_path / "c")


def test_weights_of_a_deeper_network_of_the_family_are_refused(tmp_path: Path) -> None:
    """The weights contain all of the network's tensors and further layers; only a further head would be harmless."""
    state = dict(timm.create_model("resnet18").state_dict())
    save_file({**state, "aux.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    find_weights(Zoo(), "resnet18", given=tmp_path / "w.safetensors", cache=tmp_path / "c")
    save_file(dict(timm.create_model("resnet34").state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"are of another network: \d+ unknown: layer1.2"):
        find_weights(Zoo(), "resnet18", given=tmp_path / "w.safetensors", cache=tmp_path / "c")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code was run')",))


def test_what_needs_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": Malicious()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(InputError, match=r"needs pickle, which can run any code, or is damaged; convert it"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_and_missing_files_are_refused(tmp_path: Path, network: nn.Module, name: str) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_weights(tmp_path / name)
    if name.endswith("safetensors"):
        save_file(dict(network.state_dict()), tmp_path / name)
    else:
        torch.save(network.state_dict(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"--weights .*(cannot be read|is damaged)"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"some words\n", b"0", b"\x80\x02.", b"\xff" * 100, b"PK\x03\x04", b"{}"])
@pytest.mark.parametrize("suffix", WEIGHT_SUFFIXES)
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=r"^--weights .*(cannot be read \(\w+|needs pickle)") as error:
        read_weights(tmp_path / f"w{suffix}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {0: torch.zeros(1)}, {"state_dict": 3}])
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(tmp_path / "w.pth")


def test_a_checkpoint_of_ultralytics_becomes_weights_by_the_command_in_its_refusal(tmp_path: Path) -> None:
    """A network of its own, from the definition that it ships, with other classes than ours."""
    checkpoint, model = tmp_path / "my photos.pt", "yolo11n-cls"
    code = f"from ultralytics import YOLO; YOLO('{model}.yaml').save({str(checkpoint)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    with pytest.raises(InputError, match="needs pickle") as error:
        find_weights(yolo_cls, model, given=checkpoint, cache=tmp_path / "c")
    _, way, command = str(error.value).partition("write it as safetensors: python ")
    assert way
    subprocess.run([sys.executable, *shlex.split(command)], check=True, capture_output=True, cwd=tmp_path)
    found = find_weights(yolo_cls, model, given=tmp_path / "my photos.safetensors", cache=tmp_path / "c")

    shape = DataShape(samples=1, channels=3, height=64, width=64, classes=4)
    space = YOLOClassification.parse({"resolution": 64, "pretrained": "yes"})
    torch.manual_seed(0)
    network = yolo_cls.build(space, shape).network
    head = head_names(partial(yolo_cls.untrained, model))
    assert head == {"model.10.linear.weight", "model.10.linear.bias"}
    load_pretrained(network, head, load_file(found.file))
    theirs, ours = load_file(tmp_path / "my photos.safetensors"), network.state_dict()
    assert theirs.keys() == ours.keys()
    assert {name for name in ours if not torch.equal(theirs[name], ours[name])} == head


def test_the_weights_of_ultralytics_that_are_published_are_refused_with_the_same_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sys.argv\[2\]\)\" yolo11n-cls.pt yolo11n-cls.safetensors; or train without"):
        find_weights(yolo_cls, "yolo11n-cls", given=None, cache=tmp_path)


def test_without_a_hub_the_ways_out_are_named(tmp_path: Path) -> None:
    class Nowhere(Zoo):
        def published(self, model: str) -> tuple[nn.Module, str]:
            raise OSError("no route to host\nsecond line")

    with pytest.raises(InputError, match="no route to host") as error:
        find_weights(Nowhere(), NETWORK, given=None, cache=tmp_path)
    assert "give --weights FILE or FOLDER, or train without them on purpose" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_lies_in_a_librarys_cache_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.get_model_weights("resnet18").DEFAULT.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save({"x": Touch(tmp_path / "ran")}, file)
    with pytest.raises(InputError, match="of resnet18 in torchvision's cache need pickle, which can run any code"):
        find_weights(torchvision_finetune, "resnet18", given=None, cache=tmp_path / "kept")
    assert not (tmp_path / "ran").exists()
    torch.save(models.resnet18().state_dict(), file)
    assert find_weights(torchvision_finetune, "resnet18", given=None, cache=tmp_path / "kept").digest


def in_torchs_cache(home: Path, state: dict[str, torch.Tensor]) -> None:
    """Put a file where `torch.hub` caches it."""
    name = models.get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    (home / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(state, home / "hub" / "checkpoints" / name)


def in_the_hubs_cache(home: Path, state: dict[str, torch.Tensor]) -> None:
    """Put a file where huggingface_hub caches it: a commit's files are links to blobs."""
    folder = home / f"models--{timm.get_pretrained_cfg(NETWORK).hf_hub_id.replace('/', '--')}"
    commit = "c0ffee" * 6 + "c0ff"
    for part in ("blobs", f"snapshots/{commit}", "refs"):
        (folder / part).mkdir(parents=True)
    (folder / "refs/main").write_text(commit)
    save_file(state, folder / "blobs/0123")
    (folder / f"snapshots/{commit}/model.safetensors").symlink_to("../../blobs/0123")


@pytest.mark.parametrize(
    ("zoo", "model", "lay_out", "source"),
    [
        (torchvision_finetune, "resnet18", in_torchs_cache, "ResNet18_Weights.IMAGENET1K_V1, https://"),
        (timm_finetune, NETWORK, in_the_hubs_cache, f"timm/{NETWORK}."),
    ],
    ids=["torch", "hugging-face"],
)
def test_weights_in_a_librarys_cache_are_found_without_a_network(
    zoo: Any, model: str, lay_out: Callable[..., None], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object, **__: object) -> NoReturn:
        raise OSError("no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, nowhere)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home"))  # read from HF_HOME at the import
    with pytest.raises(InputError, match=f"weights of {model} are not on this machine and cannot be had"):
        find_weights(zoo, model, given=None, cache=tmp_path / "kept")
    torch.manual_seed(7)
    state = dict(zoo.untrained(model).state_dict())
    lay_out(tmp_path / "home", state)
    found = find_weights(zoo, model, given=None, cache=tmp_path / "kept")
    assert source in found.source
    torch.testing.assert_close(load_file(found.file), state, rtol=0, atol=0)


class Touch:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_an_experiment_notes_its_weights(tmp_path: Path) -> None:
    assert weights_of_experiment(tmp_path) == {}
    noted = {"timm_finetune.resnet50": Weights(file="/x", source="a hub", digest="0" * 64)}
    write_weights(tmp_path, noted)
    assert weights_of_experiment(tmp_path) == noted


@pytest.mark.skipif(installed_file("tf_efficientnet_lite0") is None, reason="extra offline-weights is not installed")
def test_a_real_photo_gets_its_imagenet_label(tmp_path: Path) -> None:
    """The weights that a package ships fit timm's network: names, padding, preparation of images."""
    model = "tf_efficientnet_lite0"
    found = find_weights(timm_finetune, model, given=None, cache=tmp_path)
    assert found.source == f"package {package_of(model)}"
    network = timm.create_model(model).eval()
    network.load_state_dict(load_file(found.file))
    shape = DataShape(samples=1, channels=3, height=427, width=427, classes=1000)
    classifier = timm_finetune.build(TimmFineTuning.parse({"model": model, "resolution": 224}), shape).eval()
    classifier.network = network
    photo = torch.from_numpy(np.ascontiguousarray(load_sample_image("china.jpg").transpose(2, 0, 1)))
    with torch.inference_mode():
        best = classifier(photo[None, :, :, 106:533]).softmax(1)[0].topk(1)
    assert best.indices.item() == PALACE, "the photo is of a pavilion of the Summer Palace in Beijing"
    assert best.values.item() > 0.2
