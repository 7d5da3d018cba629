"""What was measured, as a page that people read."""
