"""Loop devices: a file as a block device. loop(4), kernel include/uapi/linux/loop.h."""

import errno
import fcntl
import os
import struct

_CONTROL = "/dev/loop-control"
_CLEAR = 0x4C01  # LOOP_CLR_FD
_GET_FREE, _CONFIGURE, _SET_CAPACITY, _GET_STATUS64 = 0x4C82, 0x4C0A, 0x4C07, 0x4C05
_AUTOCLEAR, _DIRECT_IO = 4, 16
_CONFIG = struct.Struct("=II")  # descriptor, block size; loop_info64 and 64 reserved bytes follow
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
_BLOCK_BYTES = 4096
_ATTEMPTS = 50


def attach(image_fd: int) -> int:
    """Return a descriptor of a loop device over an open file; the device goes when nobody has it open or mounted.

    I/O goes past the page cache, so that nothing is cached twice, and is charged to whoever caused it. A file that is open
    for reading alone makes a read-only device.
    """
    access = fcntl.fcntl(image_fd, fcntl.F_GETFL) & os.O_ACCMODE
    for _ in range(_ATTEMPTS):  # another process may take the free one before us
        control_fd = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control_fd, _GET_FREE)
        finally:
            os.close(control_fd)
        device_fd = os.open(f"/dev/loop{number}", access | os.O_CLOEXEC)
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, b"", b"", b"", 0, 0)
        try:
            fcntl.ioctl(device_fd, _CONFIGURE, _CONFIG.pack(image_fd, _BLOCK_BYTES) + info + bytes(64))
        except OSError as error:
            os.close(device_fd)
            if error.errno != errno.EBUSY:
                raise
        else:
            return device_fd
    raise OSError(errno.EBUSY, "all loop devices are taken", _CONTROL)


def find(image_fd: int) -> int:
    """Return a descriptor of the loop device over a file that has one, -1 if it has none; both are read-only, or neither."""
    wanted = os.fstat(image_fd)
    access = fcntl.fcntl(image_fd, fcntl.F_GETFL) & os.O_ACCMODE
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop") or not os.path.exists(f"/sys/block/{name}/loop"):
            continue
        try:
            device_fd = os.open(f"/dev/{name}", access | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):  # gone; a read-only one, where another is looked for
            continue
        try:
            data = fcntl.ioctl(device_fd, _GET_STATUS64, bytes(_INFO.size))
        except OSError:  # it was freed meanwhile
            data = bytes(_INFO.size)
        device, inode = _INFO.unpack(data)[:2]
        if (device, inode) == (_encoded(wanted.st_dev), wanted.st_ino):
            return device_fd
        os.close(device_fd)
    return -1


def images() -> list[tuple[str, str]]:
    """Return (loop0, path of its file) of all devices in use; the path of a file that is gone ends with " (deleted)"."""
    found = []
    for name in sorted(os.listdir("/sys/block")):
        if name.startswith("loop"):
            try:
                with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file:
                    found.append((name, file.read().rstrip("\n")))
            except OSError:  # it has none
                continue
    return found


def detach(device: str) -> None:
    """Let go of a device's file, at once or when its last user ends."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _CLEAR)
    except OSError as error:
        if error.errno != errno.ENXIO:  # it has none any more
            raise
    finally:
        os.close(fd)


def update_size(device_fd: int) -> None:
    """Let the device have the size that its file has now."""
    fcntl.ioctl(device_fd, _SET_CAPACITY)


def _encoded(device: int) -> int:
    """Return a device number as the kernel writes it here. huge_encode_dev, include/linux/kdev_t.h."""
    return os.minor(device) & 0xFF | os.major(device) << 8 | (os.minor(device) & ~0xFF) << 12
