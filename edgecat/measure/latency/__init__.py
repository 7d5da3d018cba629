"""Latency of model files on this machine: cold, warm and by stage.

What is compared is measured by turns, in slices of about 20 ms, so that a disturbance of the
machine meets all alike. No run is dropped: outliers are counted, and the maximum is kept.
"""
