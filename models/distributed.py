"""One training run in several processes, as `torchrun` starts them, on one machine or more. It must not know what is trained.

Every process draws the same batches and takes its rows of each; gradients are averaged over all rows. So the steps are those of one
process, but for rounding, dropout and what a network keeps of a batch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Inputs = dict[str, np.ndarray]


def launched() -> bool:
    """Whether torchrun has started this process."""
    return distributed.is_torchelastic_launched()


def leads() -> bool:
    """Whether this process is the one that writes and reports."""
    return not launched() or os.environ["RANK"] == "0"


def rank() -> int:
    """This process's number: 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun has started; nothing happens without it."""
    if not launched():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def together(network: nn.Module) -> nn.Module:
    """What training runs in the network's place: all processes begin with the same weights, and their gradients are averaged."""
    if size() == 1:
        return network
    if torch.cuda.is_available():  # on the CPU batch norms see the rows of their own process alone
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call] # torch's own
        return DistributedDataParallel(network, [torch.cuda.current_device()])
    return DistributedDataParallel(network)


def part(inputs: Inputs, labels: np.ndarray) -> tuple[tuple[Inputs, np.ndarray], float]:
    """This process's rows, and their weight: the mean over processes of mean losses times these weights is the mean over all rows."""
    if size() == 1:
        return (inputs, labels), 1.0
    rows = np.arange(rank(), len(labels), size())
    weight = len(rows) * size() / len(labels)
    if not len(rows):
        rows = np.zeros(1, dtype=np.int64)  # it has to take part in the step
    return ({name: array[rows] for name, array in inputs.items()}, labels[rows]), weight


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if size() > 1:
        distributed.all_reduce(values)
    return values


def agreed(value: Any) -> Any:
    """What the first process says, in all of them: rounding must not send them different ways."""
    told = [value]
    if size() > 1:
        distributed.broadcast_object_list(told)
    return told[0]
