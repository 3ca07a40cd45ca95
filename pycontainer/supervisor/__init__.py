"""The one process per world that decides."""
