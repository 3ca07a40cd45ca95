"""One module per resource; each sets a cap, reads it back and measures."""
