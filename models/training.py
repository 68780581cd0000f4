"""The fit loop that every recipe shares: AdamW, warm-up and cosine, a moving average, early stopping, resuming.

It must not know which model it trains. Randomness is drawn afresh for each epoch from (seed, epoch), so an interrupted and
resumed run takes the same steps as an uninterrupted one without any generator's state being kept. Several processes
(models.distributed) take the steps of one.
"""

import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models import distributed
from models.evaluation import Epoch
from models.recipes import Batch, Examples, Hyper, Splits

CHECKPOINT = "checkpoint.pt"
EVALUATION_ROWS = 256


PER_PROCESS = 1_000_000_007
"""What the seeds of two processes differ by: dropout is to differ between them."""


class Progress(Protocol):
    """Told how many of at most `total` steps are done, and at the end of an epoch the validation accuracy."""

    def __call__(
        self, done: float, total: float, *, loss: float, accuracy: float | None = None
    ) -> None: ...


class Fitted(msgspec.Struct):
    """What came out: the network with its best weights, the curves, which epoch was kept, seconds, device."""

    network: nn.Module
    history: list[Epoch]
    best: int
    seconds: float
    device: str


class Fit:
    """One run: everything that changes from step to step, and how it is saved."""

    def __init__(self, network: nn.Module, hyper: Hyper, steps_per_epoch: int, seed: int) -> None:
        self.hyper, self.seed = hyper, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Channels last is what convolutions are fastest in, on both kinds of device; other weights are left as they are.
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trained = distributed.together(self.network)
        self.optimizer = torch.optim.AdamW(
            groups(self.network, hyper.weight_decay), lr=hyper.learning_rate
        )
        self.average = {
            name: value.detach().clone() for name, value in self.network.state_dict().items()
        }
        self.best_weights = {name: value.clone() for name, value in self.average.items()}
        self.total = steps_per_epoch * hyper.epochs
        self.step, self.best, self.seconds = 0, 0, 0.0
        self.history: list[Epoch] = []

    @property
    def finished(self) -> bool:
        """All epochs done, or no better validation loss for `patience` of them."""
        done = len(self.history)
        return done >= self.hyper.epochs or done - self.best > self.hyper.patience

    def epoch(self, splits: Splits, progress: Progress | None = None) -> Epoch:
        """Go once over the training rows, then judge the averaged weights on the validation rows."""
        number, began = len(self.history), time.perf_counter()
        torch.manual_seed(self.seed * 100_003 + number + PER_PROCESS * distributed.rank())
        rng = np.random.default_rng([self.seed, number])
        self.network.train()
        if self.hyper.norms == "keep":
            keep_statistics(self.network)
        seen, loss_sum, hits, rate = 0, 0.0, 0, 0.0
        total = math.ceil(len(splits.train) / self.hyper.batch_size)
        with tqdm(
            splits.train.batches(self.hyper.batch_size, rng),
            f"epoch {number + 1}/{self.hyper.epochs}",
            total,
            disable=not distributed.leads(),
        ) as bar:
            for batch in bar:
                rate = self.rate()
                loss, correct = self.advance(batch, rate)
                rows = len(batch[1])
                seen, loss_sum, hits = seen + rows, loss_sum + loss * rows, hits + correct
                if progress:
                    progress(self.step, self.total, loss=loss_sum / seen)
                bar.set_postfix(
                    loss=f"{loss_sum / seen:.3f}",
                    accuracy=f"{hits / seen:.3f}",
                    lr=f"{rate:.1e}",
                    refresh=False,
                )
        validation_loss, validation_accuracy = distributed.agreed(self.validate(splits.validation))
        seconds = time.perf_counter() - began
        return Epoch(
            loss_sum / seen, hits / seen, validation_loss, validation_accuracy, rate, seconds
        )

    def rate(self) -> float:
        """The learning rate at this step: up in a straight line, down as a cosine."""
        warm = max(1, round(self.hyper.warmup * self.total))
        if self.step < warm:
            return self.hyper.learning_rate * (self.step + 1) / warm
        progress = min(1.0, (self.step - warm) / max(1, self.total - warm))
        return self.hyper.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def advance(self, batch: Batch, rate: float) -> tuple[float, int]:
        """One step of the optimizer; (mean loss, correct answers)."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows, weight = distributed.part(*batch)
        inputs, labels = self.move(rows)
        with mixed_precision(self.device):
            logits, _ = self.trained(**inputs)
        loss = weight * functional.cross_entropy(
            logits.float(), labels, label_smoothing=self.hyper.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        nn.utils.clip_grad_norm_(self.network.parameters(), self.hyper.clip)
        self.optimizer.step()
        self.step += 1
        self.follow()
        correct = (logits.argmax(1) == labels).sum() * bool(weight)
        told = distributed.summed(torch.stack([loss.detach(), correct]))
        return told[0].item() / distributed.size(), int(told[1])

    @torch.no_grad()
    def follow(self) -> None:
        """Let the average come a little closer to the weights; faster in the beginning, when it knows nothing yet."""
        decay = min(self.hyper.ema, (1 + self.step) / (10 + self.step)) if self.hyper.ema else 0.0
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def validate(self, examples: Examples) -> tuple[float, float]:
        """(loss, accuracy) of the averaged weights, without smoothing."""
        current = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        logits, labels = answers(self.network, examples, self.device)
        self.network.load_state_dict(current)
        return functional.cross_entropy(logits, labels).item(), (
            logits.argmax(1) == labels
        ).float().mean().item()

    def record(self, epoch: Epoch) -> None:
        """Keep the epoch's figures, and its weights when they are the best so far, or when the last are wanted."""
        self.history.append(epoch)
        self.seconds += epoch.seconds
        best = epoch.validation_loss <= min(e.validation_loss for e in self.history)
        if best or self.hyper.keep == "last":
            self.best = len(self.history) - 1
            self.best_weights = {name: value.clone() for name, value in self.average.items()}

    def move(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """A batch as tensors on the device."""
        return tensors(batch[0], self.device), torch.from_numpy(batch[1]).to(self.device)

    def save(self, path: Path) -> None:
        """Put the run's state down, whole or not at all."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        torch.save(self.state(), temporary)
        temporary.replace(path)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "seed": self.seed,
            "hyper": msgspec.json.encode(self.hyper).decode(),
            "network": self.network.state_dict(),
            "average": self.average,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "history": [list(epoch) for epoch in self.history],
            "counters": [self.step, self.best, self.seconds],
        }

    def restore(self, path: Path) -> bool:
        """Continue from `path` if it is there and belongs to the same run: the same seed and hyper-parameters."""
        here = path.is_file() and distributed.leads()
        state = torch.load(path, map_location="cpu", weights_only=True) if here else None
        if (state := distributed.agreed(state)) is None:
            return False
        if (state["seed"], state["hyper"]) != (self.seed, msgspec.json.encode(self.hyper).decode()):
            return False
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for kept in ("average", "best_weights"):
            setattr(self, kept, {n: v.to(self.device) for n, v in state[kept].items()})
        self.history = [Epoch(*epoch) for epoch in state["history"]]
        self.step, self.best, self.seconds = state["counters"]
        return True


def fit(  # noqa: PLR0913 - two of them are switches
    build: Callable[[], nn.Module],
    splits: Splits,
    hyper: Hyper,
    seed: int,
    folder: Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Train what `build` makes. With `folder`, a checkpoint is left there after each epoch; `resume` continues from it."""
    torch.manual_seed(seed)
    run = Fit(build(), hyper, math.ceil(len(splits.train) / hyper.batch_size), seed)
    checkpoint = folder / CHECKPOINT if folder else None
    if checkpoint and resume and run.restore(checkpoint):
        tqdm.write(f"resumed after epoch {len(run.history)}")
    while not run.finished:
        run.record(epoch := run.epoch(splits, progress))
        if progress:
            progress(run.step, run.total, loss=epoch.train_loss, accuracy=epoch.validation_accuracy)
        if not distributed.leads():
            continue
        tqdm.write(
            f"epoch {len(run.history)}: loss {epoch.train_loss:.4f}, accuracy {epoch.train_accuracy:.4f}, validation loss "
            f"{epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.4f}, {epoch.seconds:.1f} s"
        )
        if checkpoint:
            run.save(checkpoint)
    run.network.load_state_dict(run.best_weights)
    return Fitted(
        run.network.cpu().eval(), run.history, run.best, run.seconds, device_name(run.device)
    )


def keep_statistics(network: nn.Module) -> None:
    """Let batch norms normalise as in serving: a few rows of new traffic say nothing of all rows to come."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed; biases and norms are not, for pulling them to zero helps nothing."""
    weights = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the hardware multiplies it; weights, losses and statistics stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=able_bf16(device))


def device_name(device: torch.device) -> str:
    """The device in words."""
    kind = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{kind}, bfloat16 mixed precision" if able_bf16(device) else kind


def able_bf16(device: torch.device) -> bool:
    """Whether training on `device` runs in mixed precision."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def tensors(inputs: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Named arrays as tensors on the device."""
    return {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}


@torch.no_grad()
def answers(network: nn.Module, examples: Examples, device: torch.device) -> tuple[Tensor, Tensor]:
    """(logits [rows, classes], labels [rows]) of all examples, in float32, with dropout off."""
    network.eval()
    logits, labels = [], []
    for inputs, truth in examples.batches(EVALUATION_ROWS):
        logits.append(network(**tensors(inputs, device))[0])
        labels.append(torch.from_numpy(truth).to(device))
    return torch.cat(logits), torch.cat(labels)
