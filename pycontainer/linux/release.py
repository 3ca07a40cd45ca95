"""Which release of the kernel this is: for what it cannot be asked or tried."""

import os
import re


def kernel_version(release: str = "") -> tuple[int, int]:
    """Return (6, 12) for "6.12.117+deb12-amd64"; without `release` for the kernel that runs. ValueError for what is none."""
    release = release or os.uname().release
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None:
        raise ValueError(f"not a kernel release: {release!r}")
    return int(match[1]), int(match[2])
