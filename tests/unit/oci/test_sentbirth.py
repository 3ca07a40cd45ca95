"""What is told when the helper that enters namespaces for us cannot."""

import errno
import os

import pytest

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWNET, CLONE_NEWUTS
from pycontainer.oci import sentbirth


def test_a_namespace_of_another_kind() -> None:
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartFailed, match="join: invalid argument") as caught:
        sentbirth.bear([(fd, CLONE_NEWNET)], lambda: 1)
    assert caught.value.errno == errno.EINVAL
    assert len(os.listdir("/proc/self/fd")) == before - 1


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are entered by root")
def test_a_clone_that_fails() -> None:
    def clone() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    with pytest.raises(StartFailed, match="clone: resource temporarily unavailable"):
        sentbirth.bear([(os.open("/proc/self/ns/uts", os.O_RDONLY), CLONE_NEWUTS)], clone)


def test_a_helper_that_dies_without_a_word() -> None:
    def clone() -> int:
        os._exit(1)

    with pytest.raises(StartFailed, match="join: no child processes"):
        sentbirth.bear([], clone)
