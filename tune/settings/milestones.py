"""The epochs at which early stopping compares trials."""


def milestones(grace_period: int, reduction_factor: int, max_epochs: int) -> list[int]:
    """Return the epochs at which trials are compared: grace_period x reduction_factor^k, below `max_epochs`."""
    epochs = []
    epoch = grace_period
    while epoch < max_epochs:
        epochs.append(epoch)
        epoch *= reduction_factor
    return epochs
