"""The parent of every container: births, exits, output. Never decides."""
