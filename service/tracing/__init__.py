"""OpenTelemetry traces: spans of requests and batches, made and exported by front ends alone. Imported only where tracing is on."""
