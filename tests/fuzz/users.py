"""/etc/passwd and /etc/group of a container (runtime/users.py): an input is both files with an empty line between."""

import os

from pycontainer.runtime.users import resolve
from tests.fuzz.inputs import directory, parsed, write

SEEDS = (
    b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n\nroot:x:0:\nssl:x:50:root,web\nweb:x:34:\n",
    b"bad:x:99999999:1::/:/\nshort:x:5\nweb:x:\xc2\xb2:-1::relative:\n\nweb:x:0x10:web\nroot::65536:root",
    b"0:x:7:7::/a\0b:\nweb:x:1:99999999999999999999::/:\n\n:::\n",
    b"root:x:\x1b[2J:0::/:\n\nssl:x:\x1b[2J:\n",
)
MAX_BYTES = 2000

_USERS = ("", "root", "web", "33", "web:ssl", "0:web", "1000:1001")


def try_one(data: bytes) -> None:
    passwd, _, group = data.partition(b"\n\n")
    write("root/etc/passwd", passwd)
    write("root/etc/group", group)
    root_fd = os.open(f"{directory()}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        for user in _USERS:
            found = parsed(lambda wanted: resolve(root_fd, str(wanted)), user)
            if found is None:
                continue
            for number in (found.uid, found.gid, *found.groups):  # type: ignore[attr-defined]
                assert 0 <= number <= 65535
            home = found.home  # type: ignore[attr-defined]
            assert home.startswith("/") and "\0" not in home and "\n" not in home
    finally:
        os.close(root_fd)
