#!/bin/sh
# Set up what the tests need and run them all: linters, types, unit tests, fuzzing for a minute, integration tests as root,
# those of OCI runtimes by command line, and those of integration again that are marked for a stock kernel, in a virtual machine.
#
#     tests/run.sh [PYTEST ARGUMENTS...]      e.g. tests/run.sh -k network --must-run=cgroup_v1
#
# Naming files or directories of tests runs only those. The exit code is that of the first part that fails.
set -eu
cd "$(dirname "$0")/.."
examples/setup.sh --dev

echo "==> ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
echo "==> mypy"
.venv/bin/mypy --strict --explicit-package-bases pycontainer tests

what="tests/unit tests/fuzz tests/integration tests/conformance tests/engines tests/vm"
for argument in "$@"; do
    if [ -e "${argument%%::*}" ]; then what=""; fi
done
echo "==> pytest"
export PYCONTAINER_TEST_WHOLE_HOST=1 # leaks anywhere on the machine fail a test
# shellcheck disable=SC2086
exec .venv/bin/python -m pytest $what "$@"
