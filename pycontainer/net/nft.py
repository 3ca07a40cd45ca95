"""Commands of nft, run by libnftables in this process. libnftables(3)."""

import ctypes
import errno
import os

from pycontainer.errors import Unsupported
from pycontainer.linux.descriptors import close_all_on_exec

_HINT = "install it: apt-get install libnftables1"


def load() -> ctypes.CDLL:
    """Return the library; Unsupported if this host has none."""
    try:
        return ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise Unsupported("cannot load libnftables.so.1", hint=_HINT, feature="libnftables") from error


class Nft:
    """A context of libnftables; its netlink socket stays in the network namespace in which it was made."""

    def __init__(self) -> None:
        library = load()
        library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
        library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [ctypes.c_void_p], None
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_output_set_flags.restype = None
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_run_cmd_from_buffer.restype = ctypes.c_int
        for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
            getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_int
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_char_p
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError(errno.ENOMEM, f"nft_ctx_new: {os.strerror(errno.ENOMEM)}")
        close_all_on_exec()  # its socket would be every monitor's, and that of the program that we reload
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str, *, flags: int = 0) -> str:
        """Run the commands as one transaction and return what they print; OSError(EIO) with nft's first complaint."""
        self._library.nft_ctx_output_set_flags(self._context, flags)
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()) == 0:
            return (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode()
        text = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace").strip()
        raise OSError(errno.EIO, f"nftables: {text.splitlines()[0] if text else 'no reason given'}")

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)
