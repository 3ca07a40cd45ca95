"""Proof that caps hold on this very host: real load in two containers at once, and what it got measured.

limits.py    the cases: which cap, which load, what was asked, what came of it
stage.py     containers made of the host's own Python, so that no image is needed
load.py      runs inside: tries to take more than it may, and tells what it got
"""
