"""A program for torchrun: train the cloud of points, leave the weights. `python trained.py FILE`"""

import sys
from pathlib import Path

import msgspec
import test_training
import torch
from safetensors.torch import save_file
from torch import nn

from models import distributed, training
from models.recipes import Splits

HYPER = msgspec.structs.replace(test_training.HYPER, epochs=4, dropout=0.0)


class Plane(nn.Module):
    """Without a batch norm: that sees the rows of its own process alone."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.classify = nn.Linear(2, 8), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = torch.relu(self.norm(self.hidden(points)))
        return self.classify(embedding), embedding


def main(path: Path) -> None:
    torch.set_num_threads(1)
    training.able_bf16 = lambda device: False  # its rounding would hide a wrong average
    # The last batch of 41 rows is one row: a process has none.
    splits = Splits(test_training.Points(41, 1), test_training.Points(24, 2), {}, "0" * 64)
    with distributed.joined():
        fit = training.fit(Plane, splits, HYPER, 7, path.parent / "run")
    if distributed.leads():
        save_file(fit.network.state_dict(), path)
        figures = [list(epoch[:-1]) for epoch in fit.history]
        path.with_suffix(".json").write_bytes(msgspec.json.encode(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
