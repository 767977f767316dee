"""The fields of every network's space: optimization, and augmentation of the training images."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces.space.domains import Choice, Float, Int
from search_spaces.space.shape import DataShape
from search_spaces.space.space import FIXED, Limits, Searched, Space, When

BALANCED_ENOUGH = 1.5
"""Ratio of the largest class to the smallest below which balancing classes is not searched."""


@dataclass(frozen=True, kw_only=True)
class Training(Space):
    """The optimizer, schedule, batches and augmentation of a network trained from scratch.

    Only fields that help most networks are searched, as every further field takes trials from the others. The rest keep
    their defaults until a person names them. Some of those fields:

    Attributes:
        decayed: the parameters that weight decay applies to: weights, or all, as in PyTorch's optimizers, including
            norms and biases.
        clip_norm: the largest gradient norm, taken over all weights; 0 for no limit.
        ema: a moving average of the weights, which is then evaluated and saved.
        ema_decay: its decay per step.
        label_smoothing: the part of each target that is spread over the classes.
        normalize: by mean and standard deviation of the train split, by those of ImageNet, or by 0.5 and 0.5.
        window: the side the network sees divided by the image's side: a random window in training, else the center.
        hue: the largest rotation of the colors, in turns of the color circle.
        policy: TrivialAugment or RandAugment.
        magnitude: of RandAugment, out of 30.
        erasing: the probability that a box of an image becomes gray.
        mix: mixup or CutMix.
        mixup_alpha: mixup draws shares from Beta(alpha, alpha).
    """

    optimizer: Annotated[str, Choice(("adamw", "sgd", "adam")), Searched(Choice(("adamw", "sgd")))] = "adamw"
    lr: Annotated[float, Float(1e-4, 1e-1, log=True)] = 2e-3
    momentum: Annotated[float, Float(0.0, 0.99), Searched(Float(0.5, 0.99)), When("optimizer", Choice(("sgd",)))] = 0.9
    weight_decay: Annotated[float, Float(0.0, 1e-1), Searched(Float(1e-6, 1e-1, log=True))] = 1e-2
    batch_size: Annotated[int, Choice((8, 16, 32, 64, 128, 256)), Searched(Choice((32, 64, 128, 256)))] = 64
    schedule: Annotated[str, Choice(("cosine", "constant", "plateau"))] = "cosine"
    warmup: Annotated[float, Float(0.0, 0.3), When("schedule", Choice(("cosine",)))] = 0.1
    plateau_factor: Annotated[float, Float(0.1, 0.7), When("schedule", Choice(("plateau",)))] = 0.5
    plateau_patience: Annotated[int, Int(1, 5), When("schedule", Choice(("plateau",)))] = 2
    decayed: Annotated[str, Choice(("weights", "all")), FIXED] = "weights"
    clip_norm: Annotated[float, Float(0.0, 10.0), FIXED] = 0.0
    ema: Annotated[str, Choice(("none", "weights")), FIXED] = "none"
    ema_decay: Annotated[float, Float(0.9, 0.9999), When("ema", Choice(("weights",)))] = 0.99
    label_smoothing: Annotated[float, Float(0.0, 0.2), FIXED] = 0.0
    class_weights: Annotated[str, Choice(("none", "balanced"))] = "none"
    sampling: Annotated[str, Choice(("shuffled", "balanced"))] = "shuffled"
    normalize: Annotated[str, Choice(("measured", "imagenet", "half")), FIXED] = "measured"
    window: Annotated[float, Float(0.8, 1.0), FIXED] = 1.0
    flip: Annotated[str, Choice(("none", "horizontal"))] = "none"
    rotation: Annotated[float, Float(0.0, 15.0)] = 5.0
    crop: Annotated[float, Float(0.0, 0.25)] = 0.05
    jitter: Annotated[float, Float(0.0, 0.4)] = 0.0
    hue: Annotated[float, Float(0.0, 0.2), FIXED] = 0.0
    policy: Annotated[str, Choice(("none", "trivial", "rand")), FIXED] = "none"
    magnitude: Annotated[int, Int(1, 29), When("policy", Choice(("rand",)))] = 9
    erasing: Annotated[float, Float(0.0, 0.5), FIXED] = 0.0
    mix: Annotated[str, Choice(("none", "mixup", "cutmix")), FIXED] = "none"
    mixup_alpha: Annotated[float, Float(0.1, 1.0), When("mix", Choice(("mixup",)))] = 0.2

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit batches to the train split, and search class balancing only if classes are imbalanced.

        Gray images have no hue. Flips are not searched if they would change an image's class.
        """
        limits: dict[str, float | Choice | tuple[str, ...]] = {"batch_size": shape.samples}
        if shape.imbalance < BALANCED_ENOUGH:
            limits |= {"class_weights": ("none",), "sampling": ("shuffled",)}
        if shape.channels == 1:
            limits["hue"] = 0.0
        if not shape.mirrors:
            limits["flip"] = ("none",)
        return limits
