"""What padding buckets are worth where lengths are mixed, measured in process: `python -m loadtests.lengths`."""
