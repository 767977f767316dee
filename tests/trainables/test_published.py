"""Published settings, reached by fields: the networks have the published numbers of parameters."""

from search_spaces import DataShape, Space, space_of
from search_spaces.shared.training import Training
from trainables.training.protocol import build_of

COLOUR = DataShape(samples=50_000, channels=3, height=64, width=64, classes=10)
CIFAR = DataShape(samples=50_000, channels=3, height=32, width=32, classes=10)
GREY = DataShape(samples=60_000, channels=1, height=28, width=28, classes=10)


def settings(recipe: str, shape: DataShape, **fields: object) -> Space:
    """A configuration as `--set` reads it, every field of which these data allow."""
    space = space_of(recipe).parse(fields)
    clamped = space_of(recipe).clamped(shape, space.domains())
    assert all(getattr(space, name) in clamped[name] for name in fields)
    return space


def parameters(recipe: str, space: Space, shape: DataShape) -> int:
    return sum(p.numel() for p in build_of(recipe)(space, shape).parameters())


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    return kernel * kernel * inputs * outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def test_the_residual_network_of_two_blocks_a_stage() -> None:
    space = settings(
        "residual_cnn", COLOUR, stem="7x7", width=128, stages=3, blocks=2, grid=4, hidden=1024, dropout=0.5,
        head_dropout=0.3,
    )  # fmt: skip
    stem = conv(3, 128, 7) + 2 * 128
    first = 2 * (2 * conv(128, 128) + 4 * 128)
    second = conv(128, 256) + conv(256, 256) + conv(128, 256, 1) + 6 * 256 + 2 * conv(256, 256) + 4 * 256
    third = conv(256, 512) + conv(512, 512) + conv(256, 512, 1) + 6 * 512 + 2 * conv(512, 512) + 4 * 512
    head = linear(512 * 4 * 4, 1024) + linear(1024, 10)
    assert parameters("residual_cnn", space, COLOUR) == stem + first + second + third + head


def test_the_network_of_three_blocks() -> None:
    space = settings(
        "block_cnn", GREY, stages=3, channels_1=32, channels_2=64, channels_3=128, norm="none", hidden_1=256
    )
    convs = conv(1, 32) + 32 + conv(32, 64) + 64 + conv(64, 128) + 128
    assert parameters("block_cnn", space, GREY) == convs + linear(128 * 3 * 3, 256) + linear(256, 10)


def test_the_network_of_two_convolutions_a_block() -> None:
    space = settings(
        "block_cnn", CIFAR, stages=3, convs=2, first_1=32, channels_1=64, first_2=128, channels_2=128, first_3=256,
        channels_3=256, norm="none", layers=2, hidden_1=1024, hidden_2=512,
    )  # fmt: skip
    pairs = ((3, 32), (32, 64), (64, 128), (128, 128), (128, 256), (256, 256))
    convs = sum(conv(inputs, outputs) + outputs for inputs, outputs in pairs)
    head = linear(256 * 4 * 4, 1024) + linear(1024, 512) + linear(512, 10)
    assert parameters("block_cnn", space, CIFAR) == convs + head


def test_the_small_vision_transformer() -> None:
    space = settings(
        "small_vit", COLOUR, patch=16, width=128, depth=6, heads=8, mlp_ratio=4, token="class", dropout=0.1
    )
    tokens = 3 * 16 * 16 * 128 + 128 + 128 + (4 * 4 + 1) * 128
    attention = linear(128, 3 * 128) + linear(128, 128)
    block = 2 * 2 * 128 + attention + linear(128, 512) + linear(512, 128)
    assert parameters("small_vit", space, COLOUR) == tokens + 6 * block + 2 * 128 + linear(128, 10)


def test_patches_divide_the_image_where_any_does_and_there_are_few() -> None:
    def patches(side: int) -> tuple[object, ...]:
        shape = DataShape(samples=100, channels=3, height=side, width=side, classes=2)
        return space_of("small_vit").clamped(shape)["patch"].options  # type: ignore[union-attr]

    assert patches(28) == (2, 4, 7, 14)
    assert patches(224) == (14, 16, 28, 32)
    assert patches(31) == (2, 4, 7, 8, 14)  # none divides it: the rest is cut off
    assert patches(5) == (2,)
    assert patches(1024) == (32,)


def test_the_perceptron_with_and_without_batch_norm() -> None:
    fields = {"depth": 2, "width": 128, "optimizer": "sgd", "lr": 1e-3, "momentum": 0, "weight_decay": 0,
              "batch_size": 128, "normalize": "half", "dropout": 0.5}  # fmt: skip
    plain = settings("mlp", GREY, norm="none", **fields)
    assert parameters("mlp", plain, GREY) == linear(784, 128) + linear(128, 128) + linear(128, 10)
    normed = settings("mlp", GREY, norm="batch", **fields)  # its shift is the bias
    assert parameters("mlp", normed, GREY) == 784 * 128 + 256 + 128 * 128 + 256 + linear(128, 10)


def test_no_published_field_is_searched_for_free() -> None:
    """Fields that are searched only on request leave the default search as small as before."""
    new = {"clip_norm", "ema", "label_smoothing", "normalize", "window", "hue", "policy", "erasing", "mix"}
    searched = Training.searched()
    assert all(len(searched[name].options) == 1 for name in new)  # type: ignore[union-attr]
