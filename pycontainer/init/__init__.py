"""The two halves of a start, as plans, and their executors."""
