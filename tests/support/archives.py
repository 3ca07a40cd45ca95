"""Archives that an attacker would write, entry by entry, and exact pictures of what they left. IMG-01."""

import dataclasses
import os
import stat
import tarfile
from pathlib import Path

REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
CANARY = "untouched"


@dataclasses.dataclass(frozen=True)
class E:
    """One entry of a crafted archive."""

    name: str
    kind: bytes = REG
    target: str = ""
    data: bytes = b"evil"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    pax: dict[str, str] = dataclasses.field(default_factory=dict)


def archive(*entries: E) -> bytes:
    """Build a tar archive without any of tarfile's clean-ups of names."""
    out = b""
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.type, info.linkname, info.mode, info.uid, info.gid = (
            entry.kind,
            entry.target,
            entry.mode,
            entry.uid,
            entry.gid,
        )
        info.pax_headers = dict(entry.pax)
        data = entry.data if entry.kind == REG else b""
        info.size = len(data)
        out += info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)
    return out + bytes(1024)


def picture(directory: Path) -> list[tuple[object, ...]]:
    """Describe a tree exactly."""
    lines: list[tuple[object, ...]] = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        details = path.lstat()
        content: object = None
        if stat.S_ISLNK(details.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(details.st_mode):
            content = path.read_bytes()
        lines.append(
            (
                str(path.relative_to(directory)),
                details.st_mode,
                details.st_uid,
                details.st_gid,
                0 if stat.S_ISDIR(details.st_mode) and path == directory else details.st_mtime_ns,
                details.st_nlink,
                content,
                {
                    name: os.getxattr(path, name, follow_symlinks=False)
                    for name in os.listxattr(path, follow_symlinks=False)
                },
            )
        )
    return lines


# `%` stands for the directory outside. A text: what the InvalidInput must say. A dict: the files there must be.
BREAK_OUTS: dict[str, tuple[list[E], str | dict[str, bytes]]] = {
    "up and out": ([E("../outside/canary")], "'../outside/canary': '..' would leave"),
    "up in the middle": ([E("a", DIR), E("a/../../outside/canary")], "'..' would leave"),
    "up at the end": ([E("a/..", DIR, mode=0o777)], "'..' would leave"),
    "only up": ([E("..", DIR, mode=0o777)], "'..' would leave"),
    "absolute up": ([E("/../outside/canary")], "'..' would leave"),
    "absolute name": ([E("%/canary")], {"%/canary": b"evil"}),
    "slashes in front": ([E("///%/canary")], {"%/canary": b"evil"}),
    "through an absolute link": ([E("l", SYM, "%"), E("l/canary")], "'l/canary': it lies beyond a link"),
    "through a relative link": ([E("l", SYM, "../outside"), E("l/canary")], "'l/canary': it lies beyond a link"),
    "through a long relative link": (
        [E("l", SYM, "../../../../../../../../%"), E("l/canary")],
        "'l/canary': it lies beyond a link",
    ),
    "through a chain": (
        [E("a", SYM, "b"), E("b", SYM, "c"), E("c", SYM, "%"), E("a/canary")],
        "'a/canary': it lies beyond a link",
    ),
    "through nested links": (
        [E("d", DIR), E("d/up", SYM, ".."), E("d/up2", SYM, "up/.."), E("d/up2/outside/canary")],
        {"outside/canary": b"evil"},
    ),
    "through a link to the root": ([E("l", SYM, "/"), E("l/x")], {"x": b"evil"}),
    "through a link that loops": ([E("l", SYM, "l"), E("l/x")], "'l/x': it lies beyond a loop"),
    "over a link to a file": ([E("f", SYM, "%/canary"), E("f")], {"f": b"evil"}),
    "directory over a link": ([E("l", SYM, "%"), E("l", DIR, mode=0o777), E("l/x")], {"l/x": b"evil"}),
    "directory with a slash over a link": ([E("l", SYM, "%"), E("l/", DIR, mode=0o777)], {}),
    "link named like the root": ([E("/.", SYM, "%"), E("canary")], "would replace the root"),
    "link named dot": ([E(".", SYM, "%"), E("canary")], "would replace the root"),
    "link named ./.": ([E("./.", SYM, "%"), E("canary")], "would replace the root"),
    "file named like the root": ([E("./")], "would replace the root"),
    "link in place of an empty parent": ([E("d", DIR), E("d", SYM, "%"), E("d/canary")], "'d/canary': it lies beyond"),
    "link in place of a full parent": (
        [E("d", DIR), E("d/x"), E("d", SYM, "%"), E("d/canary")],
        "'d': a directory with files is in its place",
    ),
    "parent replaced behind our back": (
        [E("d", DIR, mode=0o777), E("e", DIR), E("d", SYM, "%"), E("e/x")],
        {"e/x": b"evil"},
    ),
    "file as a parent": ([E("f"), E("f/x")], "'f/x': something above it is no directory"),
    "hard link to outside": ([E("h", LNK, "%/canary")], "'h' is a hard link to"),
    "hard link up and out": ([E("h", LNK, "../outside/canary")], "'h': '..' would leave"),
    "hard link through a link": (
        [E("l", SYM, "../outside"), E("h", LNK, "l/canary")],
        "'h' is a hard link to 'l/canary'",
    ),
    "over a hard link to a link": ([E("l", SYM, "%/canary"), E("h", LNK, "l"), E("h")], {"h": b"evil"}),
    "through a hard link to a link": (
        [E("l", SYM, "../outside"), E("h", LNK, "l"), E("h/canary")],
        "'h/canary': it lies beyond a link",
    ),
    "hard link through a hard link to a link": (
        [E("l", SYM, "../outside"), E("h", LNK, "l"), E("g", LNK, "h/canary")],
        "'g' is a hard link to 'h/canary'",
    ),
    "hard link to a directory": ([E("d", DIR), E("h", LNK, "d")], "'h' is a hard link to 'd'"),
    "hard link to a later entry": ([E("h", LNK, "f"), E("f")], "'h' is a hard link to 'f'"),
    "hard link to the root": ([E("h", LNK, "/")], "'h' is a hard link to '/'"),
    "hard link to nothing": ([E("h", LNK, "")], "'h' is a hard link to ''"),
    "hard link to itself": ([E("f"), E("f", LNK, "f")], {"f": b"evil"}),
    "hard link twice": ([E("f"), E("h", LNK, "f"), E("h", LNK, "./f")], {"f": b"evil", "h": b"evil"}),
    "hard link through a link inside": (
        [E("d", DIR), E("d/f"), E("l", SYM, "d"), E("h", LNK, "l/f")],
        {"h": b"evil", "d/f": b"evil"},
    ),
    "NUL in a name": ([E("x", pax={"path": "a\0b"})], "NUL"),
    "NUL in a target": ([E("x", SYM, "y", pax={"linkpath": "a\0b"})], "NUL"),
    "no target": ([E("x", SYM, "")], "'x': the link's target is empty"),
    "long component": ([E("x" * 256)], "a component is longer than 255 bytes"),
    "long path": ([E("x/" * 2100 + "y")], "the name is too long"),
    "deep path": ([E("x/" * 300 + "y")], "deeper than 256"),
    "pax path up and out": ([E("x", pax={"path": "../outside/canary"})], "'..' would leave"),
    "uid beyond the range": ([E("x", uid=65536)], "'x' belongs to 65536:0"),
    "gid of nobody": ([E("x", gid=2**32 - 1)], "'x' belongs to 0:4294967295"),
    "negative uid": ([E("x", pax={"uid": "-1"})], "'x' belongs to -1:0"),
    "no time": ([E("x", pax={"mtime": "nan"})], "'x': 'nan' is no time"),
    "endless time": ([E("x", pax={"mtime": "9" * 40})], "is no time"),
    "negative size": ([E("x", pax={"size": "-512"})], "archive"),
    "same name in other forms": ([E("f", data=b"1"), E("./f", data=b"2"), E("/f//", DIR)], {}),
    "last of the same name wins": ([E("f", data=b"1"), E(".//f", data=b"2")], {"f": b"2"}),
    "names that differ by case": ([E("f", data=b"1"), E("F", data=b"2")], {"f": b"1", "F": b"2"}),
    "names that differ by unicode form": (
        [E("caf\u00e9", data=b"1"), E("cafe\u0301", data=b"2")],
        {"caf\u00e9": b"1", "cafe\u0301": b"2"},
    ),
    "file, directory, link, file of one name": (
        [E("f", data=b"1"), E("f", DIR), E("f", SYM, "%/canary"), E("f", data=b"2")],
        {"f": b"2"},
    ),
    "directory, link, directory of one name": (
        [E("d/", DIR), E("d", SYM, "%"), E("d//", DIR), E("./d/x")],
        {"d/x": b"evil"},
    ),
    "hard link deeper than its target": ([E("f"), E("a/b/c/h", LNK, "f")], {"a/b/c/h": b"evil"}),
    "hard link through a link to the root": ([E("l", SYM, "/"), E("f"), E("h", LNK, "l/f")], {"h": b"evil"}),
    "write through a hard link": ([E("f", data=b"1"), E("h", LNK, "f"), E("h", data=b"2")], {"f": b"1", "h": b"2"}),
    "link to procfs": ([E("l", SYM, "/proc/self/root"), E("l/x")], "'l/x': it lies beyond a link"),
    "entry beneath a dropped device": ([E("dev/null", tarfile.CHRTYPE), E("dev/null/x")], {"dev/null/x": b"evil"}),
    "multi-volume": ([E("x", b"M")], "unknown type"),
}


def break_out(case: str, outside: Path) -> tuple[bytes, str | dict[str, bytes]]:
    """Return the archive of a case that aims at the directory `outside`, and what must come of it."""
    entries, expected = BREAK_OUTS[case]
    aimed = [
        dataclasses.replace(e, name=e.name.replace("%", str(outside)), target=e.target.replace("%", str(outside)))
        for e in entries
    ]
    if isinstance(expected, str):
        return archive(*aimed), expected
    return archive(*aimed), {name.replace("%", str(outside)).lstrip("/"): data for name, data in expected.items()}
