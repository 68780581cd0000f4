"""The Open Inference Protocol over gRPC: the same predictor as /v2, on a port of its own. Imported only where `grpc_port` is set."""
