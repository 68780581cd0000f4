"""What can keep a server from being measured: the run writes the reason down and goes on."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MOST = 240


class NotMeasured(Exception):
    """The sentence stands in the results, without what only this machine knows."""

    def __init__(self, reason: str) -> None:
        super().__init__(cleaned(reason))


def cleaned(text: str) -> str:
    """`text` on one line and not too long, without addresses and without where this machine keeps its files."""
    text = re.sub(r"https?://\S+", "(address)", " ".join(text.split()))
    text = text.replace(str(ROOT), ".")
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", text)
    return text if len(text) <= MOST else f"{text[:MOST]} ..."
