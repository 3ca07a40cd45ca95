#!/bin/sh
# Measure pycontainer and every peer that is installed, on the same work in turns, and write docs/performance.md.
#
#     tests/benchmarks/run.sh [--quick] [--only MEASURE,...] [--out DIRECTORY]
#
# --quick takes two minutes and small numbers: it shows that the benchmarks work. The exit code is 1 if one of them breaks;
# a time never fails. Needs root. Peers: `examples/setup.sh --dev` installs them.
set -eu
cd "$(dirname "$0")/../.."
exec .venv/bin/python -m tests.benchmarks.bench "$@"
