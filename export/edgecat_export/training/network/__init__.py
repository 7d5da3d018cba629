"""The network that a run trains: its base, its head, and what keeps it near ImageNet."""
