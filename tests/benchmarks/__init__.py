"""Measurements to be run by hand: they compare, and assert nothing."""
