"""The file system that files of ours lie on, and what it can be for containers.

                                 upper layer    mapped ids    what becomes of a container there
ext4, xfs, btrfs, tmpfs          yes            yes           an overlay of its image's layers
some of FUSE, CephFS             no             yes           a copy of the image's files
overlayfs (a container's own)    no             no            a copy, in a disk image: that is an ext4 or xfs again
"""

import os
import tempfile

from pycontainer.linux.files import filesystem_type
from pycontainer.linux.mounts import clone_tree, mount_setattr, new_overlay
from pycontainer.linux.namespaces import user_namespace

_KNOWN = (0xEF53, 0x58465342, 0x9123683E)  # ext4, xfs, btrfs: both, and not tried out
_TRIAL_BASE, _TRIAL_COUNT = 0x7FFF0000, 65536  # nobody's


def can_be_upper(directory: str) -> bool:
    """Say whether overlayfs takes what lies in `directory` for an upper layer."""
    if filesystem_type(directory) in _KNOWN:
        return True
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=directory) as place:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{place}/{name}")
        try:
            os.close(new_overlay([f"{place}/lower"], upper=f"{place}/upper", work=f"{place}/work"))
        except OSError:
            return False
    return True


def can_map_ids(directory: str) -> bool:
    """Say whether mounts of what lies in `directory` can have mapped ids; forks once for a file system that is not known."""
    if filesystem_type(directory) in _KNOWN:
        return True
    device = os.stat(directory).st_dev
    if device not in _tried:
        _tried[device] = _maps_ids(directory)
    return _tried[device]


_tried: dict[int, bool] = {}  # by the device of the file system


def _maps_ids(directory: str) -> bool:
    tree_fd = clone_tree(directory)
    try:
        with user_namespace(_TRIAL_BASE, _TRIAL_COUNT) as userns_fd:
            mount_setattr(tree_fd, userns_fd=userns_fd)
    except OSError:
        return False
    finally:
        os.close(tree_fd)
    return True
