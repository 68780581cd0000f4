"""When a model is trained again, what it learns from, and whether what comes out may answer. It must not know HTTP."""
