"""Quantisation to int8: ranges of activations, corrected biases, and the noise of each layer."""
