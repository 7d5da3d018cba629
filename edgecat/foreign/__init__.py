"""Models that edgecat did not make."""
