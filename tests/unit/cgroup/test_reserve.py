import pytest

from pycontainer.cgroup.reserve import memory_for_containers

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("total_bytes", "kept_bytes"),
    [
        (512 * MIB, 128 * MIB),  # a quarter
        (2 * GIB, 256 * MIB),  # the least
        (24 * GIB, 1536 * MIB),  # a sixteenth
        (512 * GIB, 4 * GIB),  # the most
    ],
)
def test_what_stays_for_the_host(total_bytes: int, kept_bytes: int) -> None:
    assert memory_for_containers(total_bytes) == total_bytes - kept_bytes


def test_the_cap_is_whole_mebibytes() -> None:
    assert memory_for_containers(3 * GIB + 4096) % MIB == 0
