"""Training: class folders become a run folder with a checkpoint that describes itself."""
