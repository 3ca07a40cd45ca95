"""One target for each parser of text that a user, a tenant, an image or a damaged disk wrote.

    tests/fuzz/PARSER.py     SEEDS       what the corpus begins with: one input for each form, so that few steps lead deep
                             MAX_BYTES   of an input: a little more than the parser's own limit, or what is still fast
                             try_one     feeds the parser; AssertionError and every error that is not the parser's own
                                         is a finding

    python -m tests.fuzz PARSER [OPTIONS]     __main__.py: atheris, libFuzzer for Python, for as long as one likes
    pytest tests/fuzz                         every target for some seconds (with atheris, which has no wheel everywhere)
    pytest tests/unit/test_fuzz_targets.py    every target with its seeds and with what hypothesis makes of them

A finding becomes a unit test of the parser with the smallest input that shows it.
"""
