"""The host side of edgecat: train, convert, quantise and verify. Never needed on the device."""
