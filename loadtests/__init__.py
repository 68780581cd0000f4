"""Load on a running service, as its users make it."""
