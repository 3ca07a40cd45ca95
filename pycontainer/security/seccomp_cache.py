"""Compiled filters in files that are named by what they were made of, for other processes. The directory is our own."""

from __future__ import annotations

import os

from pycontainer.linux.files import read_bounded, write_atomically

MAX_KEPT = 64  # files; at most 2 MiB
_MAX_BYTES = 1 << 16


def find(cache_dir: str, content: str) -> bytes:
    """Return what was made of `content`; empty if nothing is there."""
    try:
        return read_bounded(_path(cache_dir, content), _MAX_BYTES)
    except FileNotFoundError:
        return b""


def keep(cache_dir: str, content: str, made: bytes) -> None:
    """Keep what was made, and remove the oldest beyond MAX_KEPT: each profile makes one, and the directory is in memory."""
    os.makedirs(cache_dir, mode=0o700, exist_ok=True)
    write_atomically(_path(cache_dir, content), made, sync=False)
    with os.scandir(cache_dir) as entries:
        files = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in files[:-MAX_KEPT]:
        os.unlink(path)


def _path(cache_dir: str, content: str) -> str:
    try:
        from _blake2 import blake2b  # `hashlib` takes 2 ms: it loads OpenSSL
    except ImportError:
        from hashlib import blake2b
    return f"{cache_dir}/{blake2b(content.encode(errors='surrogatepass'), digest_size=32).hexdigest()}.bpf"
