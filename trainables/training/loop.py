"""The training loop that networks share: one generator of epochs."""

from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.shared.training import Training
from trainables.data import TrainData
from trainables.training.augmentation import augmentation
from trainables.training.ema import Average
from trainables.training.metrics import Metrics
from trainables.training.mixing import mix
from trainables.training.optimizers import Parts, Schedule, optimizer_of
from trainables.training.preprocess import Preprocess
from trainables.training.protocol import Epoch, State


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

    `parts` are groups of parameters, each with its learning rate (default: all, with that of `space`). `begin` is
    called before each epoch, to freeze or unfreeze some of them. With `state`, training continues as if it had not been
    stopped: weights, optimizer, schedule and random numbers. With a moving average of the weights, the yielded model is
    the average, and the model in training goes into the state.
    """
    model.to(data.device)
    if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        model.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(parts or [(model.parameters(), space.lr)], space)
    full, rest = divmod(len(data.train), space.batch_size)
    steps = max(1, full + (rest > 1))  # the number of batches from `order`
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
        model.load_state_dict(state.get("training", state["model"]))
        optimizer.load_state_dict(state["optimizer"])
        schedule.load(state["schedule"])
        schedule.epoch(state["val"])
        _set_rng(state["rng"], data.device)
    average = Average(model, space.ema_decay) if space.ema == "weights" else None
    if average and state is not None:
        average.model.load_state_dict(state["model"])
        average.updates = state["updates"]

    for epoch in range(trained + 1, epochs + 1):
        begin(epoch)
        model.train()
        loss_sum, correct = torch.zeros((), device=data.device), torch.zeros((), device=data.device)
        for indices in order(data, space):
            images, labels = data.train.batch(indices)
            inputs, targets = augment(images), labels
            if space.mix != "none":
                inputs, targets = mix(inputs, labels, space, len(data.classes))
            with lower_precision(data.device):
                logits = model(inputs).float()
            loss = cross_entropy(logits, targets, weights, space.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if space.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), space.clip_norm)
            optimizer.step()
            schedule.step()
            if average:
                average.update(model)
            loss_sum += loss.detach() * len(labels)
            correct += (logits.argmax(1) == (targets if targets.ndim == 1 else targets.argmax(1))).sum()

        def snapshot(val: Metrics, epoch: int = epoch) -> State:
            return {
                "epoch": epoch,
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state(),
                "val": val,
                "rng": _rng(data.device),
                **({"training": model.state_dict(), "updates": average.updates} if average else {}),
            }

        val = yield Epoch(
            model=average.model if average else model,
            last=epoch == epochs,
            train_loss=loss_sum.item() / len(data.train),
            train_accuracy=correct.item() / len(data.train),
            lr=optimizer.param_groups[0]["lr"],
            state=snapshot,
        )
        schedule.epoch(val)


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """Return the mean cross-entropy in nats, with label smoothing by the part `smoothing` (Szegedy et al., 2016).

    The smoothed part of each target is spread over the classes.

    Args:
        logits: float (N, classes).
        targets: int64 (N,), or float (N, classes) for mixed labels.
        weights: float (classes,) or None; the mean is weighted by the targets' weights.
        smoothing: 0..1.
    """
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    # torch divides the loss of soft targets by the number of images, but that of labels by their weights; here both are
    # divided by their weights
    total = len(targets) if weights is None else (targets @ weights).sum()
    return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing, reduction="sum") / total


def gains_by_bfloat16(device: torch.device) -> bool:
    """Return True if networks on this device train in bfloat16: on a GPU that computes in it natively.

    A CPU gains little from it, and its results would depend on whether it has the instructions.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def lower_precision(device: torch.device) -> torch.autocast:
    """Return a context for training in bfloat16 if that helps, else in float32; evaluation is always in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=gains_by_bfloat16(device))


def order(data: TrainData, space: Training) -> Iterator[Tensor]:
    """Yield the indices of the train split in batches: shuffled, or drawn so that classes are equally frequent."""
    labels = data.train.labels.cpu()
    if space.sampling == "balanced":
        chances = class_weights(data).cpu()[labels]
        indices = torch.multinomial(chances, len(labels), replacement=True)
    else:
        indices = torch.randperm(len(labels))
    batches = torch.split(indices, space.batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm cannot compute statistics of a single image
        batches = (*batches[:-2], torch.cat(batches[-2:]))
    return iter(batches)


def class_weights(data: TrainData) -> Tensor:
    """Return a weight for each class, inverse to its frequency in train; the mean over the images is 1."""
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
