"""The connections that are handed over, and the links at which the program hangs that does it."""

import itertools
import os

from pycontainer.linux import bpf
from pycontainer.net.fastpath import program
from pycontainer.net.fastpath.program import Flow

MOST = 512  # each is looked at every other second


class Flows:
    """A map, a program, and what holds that at links; the kernel lets go of all of it when its descriptors are closed."""

    def __init__(self) -> None:
        """OSError where the kernel takes no such program, or holds none at links (TCX, before Linux 6.6)."""
        self._map = bpf.HashMap("pyc_flows", program.KEY_BYTES, program.VALUE_BYTES, 2 * MOST)
        try:
            self._program_fd = program.load(self._map.fd)
        except BaseException:
            self._map.close()
            raise
        self._serials = itertools.count(1)
        self._hooks: dict[int, int] = {}  # link -> descriptor of what holds the program there

    def close(self) -> None:
        self.unhook_all()
        os.close(self._program_fd)
        self._map.close()

    def hook(self, index: int) -> None:
        """Hang the program at a link, if it does not yet: some 15 ms. OSError if there is no such link."""
        if index not in self._hooks:
            self._hooks[index] = bpf.attach_to_link(index, self._program_fd)

    def unhook(self, index: int) -> None:
        os.close(self._hooks.pop(index))

    def unhook_all(self) -> None:
        for index in [*self._hooks]:
            self.unhook(index)

    def is_beside_others(self, index: int, *, is_egress: bool = False) -> bool:
        """Tell whether a link has a program that is not the fast path's, of this world or another."""
        return not all(map(_is_fast_path, bpf.attached_to_link(index, is_egress=is_egress)))

    def hooked(self) -> set[int]:
        return {*self._hooks}

    def put(self, flow: Flow) -> None:
        try:
            for key, value in flow.entries(next(self._serials) & 0xFFFFFFFF):
                self._map.put(key, value)
        except BaseException:
            self.take_out(flow)
            raise

    def take_out(self, flow: Flow) -> None:
        for key, _ in flow.entries():
            self._map.remove(key)

    def bytes_of(self, flow: Flow) -> int | None:
        """Return how many bytes were handed over; None if one direction has ended."""
        values = [self._map.get(key) for key, _ in flow.entries()]
        return None if None in values else sum(program.bytes_in(value) for value in values if value is not None)


def _is_fast_path(program_id: int) -> bool:
    try:
        program_fd = bpf.open_program(program_id)
    except FileNotFoundError:  # it is gone by now
        return True
    try:
        return bpf.program_info(program_fd).name == program.NAME
    finally:
        os.close(program_fd)
