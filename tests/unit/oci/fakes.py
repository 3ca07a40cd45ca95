"""Cgroups made of a dict, which can refuse what is written as a kernel does."""

import errno
import os

from pycontainer.oci.cgroups import V1_HIERARCHIES, V2_CONTROLLERS, PlainV1, PlainV2


class Files:
    """What a kernel offers, and what it refuses."""

    def __init__(self, files: dict[str, str], refused: dict[tuple[str, str], int]) -> None:
        self.files = files
        self.refused = refused  # (file, value) -> errno; a value of * is for all
        self.written: list[str] = []

    def read(self, controller: str, name: str) -> str:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.files[name]

    def write(self, controller: str, name: str, value: str) -> None:
        self.read(controller, name)
        if code := self.refused.get((name, value), self.refused.get((name, "*"), 0)):
            raise OSError(code, os.strerror(code), name)
        self.files[name] = value
        self.written.append(f"{name}={value}")


class FakeV1(Files, PlainV1):
    def __init__(self, files: dict[str, str], refused: dict[tuple[str, str], int] | None = None) -> None:
        PlainV1.__init__(self, "c1", dict.fromkeys(V1_HIERARCHIES, "/x"))
        Files.__init__(self, files, refused or {})


class FakeV2(Files, PlainV2):
    def __init__(self, files: dict[str, str], refused: dict[tuple[str, str], int] | None = None) -> None:
        PlainV2.__init__(self, "c1", dict.fromkeys(V2_CONTROLLERS, "/x"))
        Files.__init__(self, files, refused or {})
