"""The parts of a run: each measures one thing and judges it."""
