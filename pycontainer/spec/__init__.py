"""What was asked: pure data, read from options, YAML or Python, with every problem reported at once."""
