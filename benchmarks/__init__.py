"""Measurements against peers. `python -m benchmarks.NAME` from the checkout; ratios within one run are what counts."""
