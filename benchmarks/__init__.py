"""Measurements, each as a ratio; `python -m benchmarks` runs those that need nothing else."""
