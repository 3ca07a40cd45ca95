"""The life of one container; knows no daemon."""
