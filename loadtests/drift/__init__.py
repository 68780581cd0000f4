"""How well drift is told, with rivals in the same harness: `make drift-benchmark`."""
