"""Profiles turned into kernel inputs: id ranges, capabilities, masks."""
