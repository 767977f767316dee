"""Random augmentation of training images: in batches on the device, with a separate draw for each image."""

from collections.abc import Callable

import torch
from kornia import augmentation as K
from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.shared.training import Training
from trainables.training.augmentation_policies import policy_of

Augment = Callable[[Tensor], Tensor]


def augmentation(space: Training, shape: DataShape) -> Augment:
    """Return the augmentation of a configuration: uint8 (N, C, H, W) to float of the same shape, in 0..255.

    Rotation is in degrees. Crop is the largest shift of the window out of the image, as a fraction of the side. Jitter
    is the relative change of brightness, contrast and, for color images, saturation. Hue is in turns of the color
    circle. Erasing is the probability that a box becomes gray (Zhong et al., 2020).
    """
    steps: list[nn.Module] = []
    if space.flip == "horizontal":
        steps.append(K.RandomHorizontalFlip(p=0.5))
    if space.policy != "none":
        steps.append(policy_of(space, shape.channels))
    if space.rotation or space.crop:
        shift = (space.crop, space.crop) if space.crop else None
        steps.append(K.RandomAffine(degrees=space.rotation, translate=shift, p=1.0))
    if space.jitter:
        saturation = space.jitter if shape.channels == 3 else 0.0
        steps.append(_jitter(space.jitter, saturation))
    if space.hue and shape.channels == 3:
        steps.append(K.RandomHue((-space.hue, space.hue), p=1.0))
    if space.erasing:
        steps.append(K.RandomErasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.5, p=space.erasing))
    if not steps:
        return Tensor.float
    chain = nn.Sequential(*steps)

    @torch.no_grad()  # the operations of a policy have their own parameters
    def augment(images: Tensor) -> Tensor:
        return chain(images.float() / 255).clamp(0, 1) * 255  # type: ignore[no-any-return]

    return augment


def _jitter(strength: float, saturation: float) -> nn.Module:
    around_one = (1 - strength, 1 + strength)
    steps = [K.RandomBrightness(around_one, p=1.0), K.RandomContrast(around_one, p=1.0)]
    if saturation:
        steps.append(K.RandomSaturation((1 - saturation, 1 + saturation), p=1.0))
    return nn.Sequential(*steps)
