"""The front door for callers that speak the OCI runtime command line; this version does not have it."""

import sys


def main() -> None:
    """Say so, and fail."""
    sys.stderr.write("pycontainer-oci: the OCI runtime command line is not available in this version\n")
    sys.exit(1)
