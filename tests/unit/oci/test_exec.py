"""Who is executed in a container, by the command line."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci.exec import _id, _ids


@pytest.mark.parametrize(
    "user",
    ["-1", "4294967295", "4294967296", "18446744073709551616", "1:4294967296", "1:", ":1", "", " 1", "1_0", "\u0661"],
)
def test_ids_that_are_none(user: str) -> None:
    """The class of CVE-2024-40635: the kernel would take 2^32 for root, and 2^32-1 for whom we are, which is root."""
    with pytest.raises(InvalidInput, match="is not the number of a user or group"):
        _ids(user)


def test_ids() -> None:
    assert _ids("0") == (0, 0) and _ids("1000:4294967294") == (1000, 4294967294)
    with pytest.raises(InvalidInput, match="--additional-gids"):
        _id("--additional-gids", str(1 << 32))
