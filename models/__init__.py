"""A model before and at rest: data, training, export, bundles, the registry. Knows no web."""

import os

# ONNX Runtime's wheels tell Microsoft what they run, unless this is set before the first of them is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
