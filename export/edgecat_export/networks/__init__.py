"""Networks: how they are built, loaded and folded."""
