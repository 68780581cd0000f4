"""Both ends of the engine's socket: what runs a model, and what asks it to."""
