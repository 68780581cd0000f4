"""`python -m loadtests`: Locust with this load test. Its `--help` knows the load test's options, too: they are there before it is parsed."""

import sys
from pathlib import Path

from locust.main import main

from loadtests import commandline

LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def run() -> None:
    """Locust's own program, on the one locustfile."""
    commandline.register()
    sys.argv[1:1] = ["-f", str(LOCUSTFILE)]
    main()


if __name__ == "__main__":
    run()
