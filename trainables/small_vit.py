"""A small vision transformer with pre-norm blocks and learned positions (Dosovitskiy et al., 2021)."""

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import DataShape
from search_spaces.small_vit import SmallViT
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State, fit, preprocess_of


class Attention(nn.Module):
    """Multi-head self-attention by torch's fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map float (N, tokens, width) to the same shape."""
        split = self.project(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(split[0], split[1], split[2])
        return self.merge(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training, zeros a part `rate` of the images and scales up the rest."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tokens: Tensor) -> Tensor:
        """Map float (N, tokens, width) to the same shape."""
        if not self.training or self.rate == 0:
            return tokens
        kept = torch.rand(len(tokens), 1, 1, device=tokens.device) >= self.rate
        return tokens * kept / (1 - self.rate)


class Block(nn.Module):
    """Attention and an MLP, each applied to normalized tokens and added to its input."""

    def __init__(self, space: SmallViT, drop_path: float) -> None:
        super().__init__()
        hidden = space.width * space.mlp_ratio
        self.attend = nn.Sequential(
            nn.LayerNorm(space.width),
            Attention(space.width, space.heads),
            nn.Dropout(space.dropout),
            DropPath(drop_path),
        )
        self.think = nn.Sequential(
            nn.LayerNorm(space.width),
            nn.Linear(space.width, hidden),
            nn.GELU(),
            nn.Dropout(space.dropout),
            nn.Linear(hidden, space.width),
            nn.Dropout(space.dropout),
            DropPath(drop_path),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map float (N, tokens, width) to the same shape."""
        tokens = tokens + self.attend(tokens)
        return tokens + self.think(tokens)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Image tokens: a linear map of each patch, plus positions, with a class token in front if the head reads it."""

    def __init__(self, space: SmallViT, shape: DataShape) -> None:
        super().__init__()
        self.patches = nn.Conv2d(shape.channels, space.width, space.patch, stride=space.patch)
        count = (shape.height // space.patch) * (shape.width // space.patch)
        self.front = nn.Parameter(torch.zeros(1, 1, space.width)) if space.token == "class" else None
        self.positions = nn.Parameter(torch.empty(1, count + (space.token == "class"), space.width))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, C, H, W) to (N, tokens, width)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if self.front is not None:
            tokens = torch.cat([self.front.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + self.positions  # type: ignore[no-any-return]


class Readout(nn.Module):
    """The readout of the class token, which is the first, or of the mean of all tokens."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def forward(self, tokens: Tensor) -> Tensor:
        """Map float (N, tokens, width) to (N, width)."""
        return tokens[:, 0] if self.token == "class" else tokens.mean(1)


def build(space: SmallViT, shape: DataShape) -> nn.Module:
    """Build tokens, blocks, a last norm and a linear head; pixels outside whole patches are cut off."""
    first = preprocess_of(space, shape, multiple=space.patch)
    rates = torch.linspace(0, space.drop_path, space.depth).tolist() if space.depth > 1 else [space.drop_path]
    return nn.Sequential(
        first,
        Tokens(space, first.output),
        nn.Dropout(space.dropout),
        *(Block(space, rate) for rate in rates),
        nn.LayerNorm(space.width),
        Readout(space.token),
        nn.Linear(space.width, shape.classes),
    )


def train(
    space: SmallViT, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Train with the shared loop."""
    yield from fit(build(space, data.shape), space, data, epochs=epochs, state=state)
