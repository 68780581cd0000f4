"""What people see of a training run: the learning curve, the confusion matrix, the model card."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no display where models are trained

from matplotlib import pyplot

from models import bundle, evaluation, profile
from models.recipes import Recipe
from models.training import Fitted

ClassRow = tuple[str, evaluation.ClassScore]
"""A class's label and its figures."""

TITLES = {
    "accuracy": "held-out split",
    "accuracy_mixed_lengths": "the same, windows of 2-6 s",
    "accuracy_unseen_people": "people never trained on",
    "accuracy_vader": "second test set (VADER film snippets)",
}


def learning_curve(fit: Fitted, path: Path) -> None:
    """Loss and accuracy of training and validation beside each other, the kept epoch marked."""
    epochs = np.arange(1, len(fit.history) + 1)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, what, scale in ((axes[0], "loss", 1), (axes[1], "accuracy", 100)):
        for part in ("train", "validation"):
            axis.plot(
                epochs,
                [scale * getattr(epoch, f"{part}_{what}") for epoch in fit.history],
                label=part,
            )
        axis.axvline(fit.best + 1, color="grey", linestyle=":", label="kept")
        axis.set(xlabel="epoch", ylabel=what + (" (%)" if scale == 100 else ""))
        axis.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def confusion_matrix(counts: np.ndarray, labels: tuple[str, ...], path: Path) -> None:
    """Rows are labels, columns are answers, each cell a share of its row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.62 * len(labels)
    figure, axis = pyplot.subplots(figsize=(size, size), layout="constrained")
    axis.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="answer", ylabel="label")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axis.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


REFERENCE = "## Reference for drift"
LIMITS = "## Limits"


def card(
    recipe: Recipe,
    manifest: bundle.Manifest,
    fit: Fitted,
    figures: list[ClassRow],
    calibration: float,
) -> str:
    """The model card, as Markdown."""
    training = manifest.training
    assert training is not None  # noqa: S101 - a card is written at the end of one
    return "\n".join(
        [
            f"# {manifest.name}, version {manifest.version}",
            "",
            manifest.description,
            "",
            f"- **Data**: {recipe.data}",
            f"- **Licences**: {recipe.licence}",
            f"- **Trained** on {training.device} in {training.duration_s:.0f} s, seed {training.seed}, {training.created_at}",
            f"- **Hyper-parameters**: {', '.join(f'{k} {v}' for k, v in training.parameters.items())}",
            "",
            "## How good it is",
            "",
            *accuracy_table(manifest.metrics),
            "",
            f"Expected calibration error on the held-out split: {calibration:.3f}. {evaluation.verdict(fit.history, fit.best)}",
            "",
            "![learning curve](training.png)",
            "",
            "## By class, held-out split",
            "",
            "| class | precision | recall | F1 | rows |",
            "|---|---|---|---|---|",
            *(
                f"| {label} | {f.precision:.1%} | {f.recall:.1%} | {f.f1:.1%} | {f.support} |"
                for label, f in figures
            ),
            "",
            "![confusion matrix](confusion.png)",
            "",
            "## Variants",
            "",
            "| variant | size | accuracy | largest distance of a probability from fp32 | a row depends on its batch mates | shipped |",
            "|---|---|---|---|---|---|",
            *map(variant_row, manifest.variants),
            "",
            LIMITS,
            "",
            recipe.limits,
            "It knows only these classes and answers one of them whatever it is given; its probabilities mean little on data unlike the above.",
            "",
        ]
    )


def with_reference(card: str, reference: profile.Profile) -> str:
    """The card with a section on the profile, in the place of an older one, before the limits."""
    before, limits, after = card.partition(LIMITS)
    kept = before.partition(REFERENCE)[0]
    largest = reference.sizes[-1]
    told = [
        f"`profile.json` holds what {len(reference.signals)} signals of inputs and answers look like on {reference.rows:,} rows: {reference.source}.",
        f"Traffic is compared with it in windows of {reference.sizes[0]} to {largest:,} requests.",
    ]
    return f"{kept}{REFERENCE}\n\n{' '.join(told)}\n\n{limits}{after}"


def accuracy_table(metrics: Mapping[str, bundle.Metric]) -> list[str]:
    """Every accuracy with its interval and n."""
    rows = [
        f"| {TITLES.get(name, name)} | {m.value:.2%} | {m.low:.2%} to {m.high:.2%} | {m.n:,} |"
        for name, m in metrics.items()
    ]
    return ["| rows | accuracy | 95 % interval | n |", "|---|---|---|---|", *rows]


def variant_row(variant: bundle.Variant) -> str:
    """One line of the variants' table."""
    name = f"{variant.name} ({variant.quantization})" if variant.quantization else variant.name
    return (
        f"| {name} | {variant.bytes / 1e6:.1f} MB | {variant.accuracy:.2%} | {variant.parity:.1e} | "
        f"{'no' if variant.independent else 'yes'} | {'no' if variant.absent else 'yes'} |"
    )
