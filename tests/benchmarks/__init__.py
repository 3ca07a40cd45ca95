"""Measurements: they compare, and assert nothing. `run.sh` is all that has peers; what has none is run by hand."""
