"""Writes serving.json and models.json, which Grafana imports, beside this file:

python -m deploy.grafana
"""

from pathlib import Path

from deploy.grafana.boards import BOARDS, encoded

FOLDER = Path(__file__).parent


def main() -> None:
    """The program."""
    for name in BOARDS:
        (FOLDER / f"{name}.json").write_text(encoded(name))


if __name__ == "__main__":
    main()
