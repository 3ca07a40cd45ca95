"""The root file system that a container writes to: the upper layer over its image's layers."""

import os


def prepare(container_dir: str) -> None:
    """Make `rootfs/upper` (what the container's root looks like, 0755) and `rootfs/work` in a container's directory.

    The modes hold whatever the umask is. `work` is overlayfs's own.
    """
    for name, mode in (("rootfs", 0o700), ("rootfs/upper", 0o755), ("rootfs/work", 0o700)):
        directory = f"{container_dir}/{name}"
        os.mkdir(directory, mode)
        os.chmod(directory, mode)
