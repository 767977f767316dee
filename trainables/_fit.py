"""The training loop that networks share: one generator of epochs."""

from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces._training import Training
from trainables._augment import augmentation
from trainables._data import TrainData
from trainables._optim import Parts, Schedule, optimizer_of
from trainables._preprocess import Preprocess
from trainables._protocol import Epoch, Metrics, State


def fit(
    model: nn.Module,
    space: Training,
    data: TrainData,
    *,
    epochs: int,
    state: State | None = None,
    parts: Parts | None = None,
    begin: Callable[[int], None] = lambda epoch: None,
) -> Generator[Epoch, Metrics, None]:
    """Train `model` by cross-entropy for `epochs` epochs in all.

    `parts` are parameters with a learning rate each (default: all, with that of `space`); `begin` is called before
    each epoch, to freeze some of them or let them go.
    With `state` it continues as if it had not been stopped: weights, optimiser, schedule and random numbers.
    """
    model.to(data.device)
    optimizer = optimizer_of(parts or [(model.parameters(), space.lr)], space)
    full, rest = divmod(len(data.train), space.batch_size)
    steps = max(1, full + (rest > 1))  # as `order` makes them
    schedule = Schedule(optimizer, space, steps * epochs)
    augment = augmentation(space, data.shape)
    weights = class_weights(data) if space.class_weights == "balanced" else None
    trained = 0
    if state is None:
        for layer in model.modules():
            if isinstance(layer, Preprocess):
                layer.measure(data.train)
    else:
        trained = state["epoch"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load(state["schedule"])
        schedule.epoch(state["val"])
        _set_rng(state["rng"], data.device)

    for epoch in range(trained + 1, epochs + 1):
        begin(epoch)
        model.train()
        loss_sum, correct = torch.zeros((), device=data.device), torch.zeros((), device=data.device)
        for indices in order(data, space):
            images, labels = data.train.batch(indices)
            logits = model(augment(images))
            loss = F.cross_entropy(logits, labels, weight=weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            loss_sum += loss.detach() * len(labels)
            correct += (logits.argmax(1) == labels).sum()

        def snapshot(val: Metrics, epoch: int = epoch) -> State:
            return {
                "epoch": epoch,
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state(),
                "val": val,
                "rng": _rng(data.device),
            }

        val = yield Epoch(
            model=model,
            last=epoch == epochs,
            train_loss=loss_sum.item() / len(data.train),
            train_accuracy=correct.item() / len(data.train),
            lr=optimizer.param_groups[0]["lr"],
            state=snapshot,
        )
        schedule.epoch(val)


def order(data: TrainData, space: Training) -> Iterator[Tensor]:
    """Indices of the train split in batches: shuffled, or drawn so that classes are equally frequent."""
    labels = data.train.labels.cpu()
    if space.sampling == "balanced":
        chances = class_weights(data).cpu()[labels]
        indices = torch.multinomial(chances, len(labels), replacement=True)
    else:
        indices = torch.randperm(len(labels))
    batches = torch.split(indices, space.batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm has no statistics of a single image
        batches = (*batches[:-2], torch.cat(batches[-2:]))
    return iter(batches)


def class_weights(data: TrainData) -> Tensor:
    """A weight for each class, inverse to its frequency in train; their mean over the images is 1."""
    counts = torch.bincount(data.train.labels, minlength=len(data.classes)).clamp_min(1)
    return len(data.train) / (len(data.classes) * counts.float())


def _rng(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_rng(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)
