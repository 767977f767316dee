import pytest
import torch

from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.training.iterate import run
from trainables.training.mixing import cutmix, mix, mixup


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_say_how_much_of_which_image_is_there(kind: str, digits: TrainData) -> None:
    """Images that are all of their label's value: the mean pixel of a mixed one is the mean label of its targets."""
    torch.manual_seed(0)
    labels = digits.train.labels[:64]
    images = labels.float()[:, None, None, None].expand(64, 1, 8, 8)
    mixed, targets = mix(images, labels, MLP(mix=kind, mixup_alpha=1.0), classes=10)
    assert targets.shape == (64, 10)
    torch.testing.assert_close(targets.sum(1), torch.ones(64))
    torch.testing.assert_close(targets @ torch.arange(10.0), mixed.mean((1, 2, 3)))
    assert ((targets > 0).sum(1) <= 2).all()
    assert len(targets.max(1).values.unique()) > 10  # a share of its own for each image


def test_a_small_alpha_mixes_little_and_one_evenly() -> None:
    torch.manual_seed(0)
    images, others = torch.zeros(4000, 1, 1, 1), torch.ones(4000, 1, 1, 1)
    for alpha, variance in ((0.2, 1 / (4 * 1.4)), (1.0, 1 / 12)):  # Beta(a, a) has variance 1 / (4 (2a + 1))
        mixed, share = mixup(images, others, alpha)
        torch.testing.assert_close(mixed[:, 0, 0, 0], 1 - share)
        assert share.var().item() == pytest.approx(variance, rel=0.1)


def test_a_box_of_the_other_image_is_pasted() -> None:
    torch.manual_seed(0)
    mixed, share = cutmix(torch.zeros(200, 1, 16, 12), torch.ones(200, 1, 16, 12))
    for image, own in zip(mixed[:, 0], share, strict=True):
        assert 1 - image.mean() == pytest.approx(own.item(), abs=1e-6)
        rows, columns = image.any(1).sum(), image.any(0).sum()
        assert rows * columns == image.sum()  # all of a rectangle
    assert 0.4 < share.mean() < 0.8


@pytest.mark.slow
def test_train_accuracy_counts_the_label_of_larger_weight(digits: TrainData) -> None:
    space = MLP(mix="mixup", mixup_alpha=0.1, rotation=0.0, crop=0.0, dropout=0.0)
    *_, last = run("mlp", space, digits, epochs=8, seed=0)
    assert last.figures["train_accuracy"] > 0.8
