"""The control group hierarchies, v1, v2 and hybrid."""
