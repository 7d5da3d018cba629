"""Adoption: a Keras model of someone else becomes a checkpoint that edgecat exports."""
