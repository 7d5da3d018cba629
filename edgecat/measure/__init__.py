"""What a model is worth on this machine: accuracy, latency, memory."""
