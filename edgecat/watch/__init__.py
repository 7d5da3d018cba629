"""Report what appears in front of a camera or in a folder, and when it is gone."""
