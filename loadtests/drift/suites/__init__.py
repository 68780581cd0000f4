"""What traffic can turn into: pictures, series and texts, changed. Pure: it must not know models, detectors or windows."""
