"""HTTP: one controller per noun. What a request means is decided below, in the predictor."""
