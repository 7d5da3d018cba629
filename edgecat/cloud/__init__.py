"""Google Cloud Vision, as the baseline to compare with."""
