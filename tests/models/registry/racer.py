"""A process that calls a registry when it is told to: JSON lines in, JSON lines out.

{"call": "promote", "arguments": [...], "options": {...}, "until": true} -> {"value": ...} or {"conflict": "..."}; with `until` it tries
again until there is no conflict. What `publish` takes first is a path.
"""

import json
import sys
from pathlib import Path

import msgspec

from models.errors import Conflict
from models.registry import Registry


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    overlay, cache = sys.argv[1], Path(sys.argv[2])
    registry = Registry([], overlay, cache)
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        if order["call"] == "publish":
            order["arguments"] = [Path(order["arguments"][0])]
        while True:
            try:
                value = getattr(registry, order["call"])(*order["arguments"], **order["options"])
                answer = {"value": msgspec.to_builtins(value, enc_hook=str)}
            except Conflict as error:
                if order.get("until"):
                    continue
                answer = {"conflict": str(error)}
            break
        say(json.dumps(answer))


if __name__ == "__main__":
    main()
