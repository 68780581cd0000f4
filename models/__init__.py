"""A model before and at rest: data, training, export, bundles, the registry. Knows no web."""
