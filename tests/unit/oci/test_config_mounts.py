"""oci/config_mounts.py: option words, sources, id maps of mounts."""

import pytest

from pycontainer.linux import mountflags as ms
from pycontainer.linux import mounts as system_calls
from pycontainer.oci.config import Mount
from pycontainer.oci.config_mounts import FLAGS, OTHERS, PROPAGATION, RECURSIVE, inside_path, known_options
from tests.unit.oci.conftest import Parse, Refused

# config.md, Linux mount options: all of the table; and rnodev, which it forgets and every runtime has
SPECIFIED = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec noiversion
nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec
rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap
ridmap rnodev
"""
ID_MAP = [{"containerID": 0, "hostID": 1000, "size": 1}]
BIND = {"destination": "/a", "source": "/b", "options": ["bind"]}


def mount(parse: Parse, *options: str, **fields: object) -> Mount:
    (made,) = parse({"mounts": [{"destination": "/a", "type": "tmpfs", "options": list(options), **fields}]}).mounts
    return made


def test_every_option_of_the_specification_is_known() -> None:
    assert known_options() == sorted(SPECIFIED.split())
    assert len(known_options()) == len(FLAGS) + len(PROPAGATION) + len(RECURSIVE) + len(OTHERS)


@pytest.mark.parametrize("word", FLAGS)
def test_flags(parse: Parse, word: str) -> None:
    fields = {"source": "/b"} if word.endswith("bind") else {}
    found = mount(parse, word, "size=1m" if not fields else "", **fields)
    assert (found.flags, found.cleared) == FLAGS[word]
    assert found.data == ("" if fields else "size=1m") and not found.propagation
    assert found.recursive_set == found.recursive_cleared == 0
    assert found.is_bind == (word in ("bind", "rbind")) and found.is_recursive == (word == "rbind")


def test_opposites_undo_each_other() -> None:
    """Each word that clears a bit has one that sets it."""
    settable = 0
    for bits, _ in FLAGS.values():
        settable |= bits
    assert all(settable & cleared == cleared for _, cleared in FLAGS.values())


@pytest.mark.parametrize(
    ("options", "flags", "cleared"),
    [
        (("ro", "rw"), 0, ms.MS_RDONLY),
        (("rw", "ro"), ms.MS_RDONLY, 0),
        (("nosuid", "suid", "nodev"), ms.MS_NODEV, ms.MS_NOSUID),
        (("defaults", "ro"), ms.MS_RDONLY, 0),
        (("ro", "defaults"), ms.MS_RDONLY, 0),
        (("noexec", "noexec"), ms.MS_NOEXEC, 0),
    ],
)
def test_the_last_word_wins(parse: Parse, options: tuple[str, ...], flags: int, cleared: int) -> None:
    found = mount(parse, *options)
    assert (found.flags, found.cleared) == (flags, cleared)


def test_propagation_keeps_its_order(parse: Parse) -> None:
    found = mount(parse, "rslave", "ro", "shared", "runbindable", "rprivate")
    assert found.propagation == [
        ms.MS_SLAVE | ms.MS_REC,
        ms.MS_SHARED,
        ms.MS_UNBINDABLE | ms.MS_REC,
        ms.MS_PRIVATE | ms.MS_REC,
    ]
    assert found.flags == ms.MS_RDONLY and not found.is_recursive


@pytest.mark.parametrize(
    ("options", "to_set", "to_clear"),
    [
        (("rro",), 1, 0),
        (("rro", "rrw"), 0, 1),
        (("rrw", "rro"), 1, 0),
        (("rnosuid", "rnodev", "rnoexec"), 2 | 4 | 8, 0),
        (("rsuid", "rdev", "rexec"), 0, 2 | 4 | 8),
        (("rnodiratime", "rnosymfollow"), 0x80 | 0x200000, 0),
        (("rdiratime", "rsymfollow"), 0, 0x80 | 0x200000),
        (("rnoatime",), 0x10, 0x70),
        (("rstrictatime",), 0x20, 0x70),
        (("rnoatime", "rstrictatime"), 0x20, 0x70),
        (("rstrictatime", "rnoatime"), 0x10, 0x70),
        (("rnoatime", "ratime"), 0, 0x70),
        (("rrelatime",), 0, 0x70),
        (("rnostrictatime",), 0, 0x70),
        (("rnorelatime",), 0, 0),
    ],
)
def test_recursive_attributes(parse: Parse, options: tuple[str, ...], to_set: int, to_clear: int) -> None:
    """Access times are one field of three values: mount_setattr(2) wants all its bits cleared when one is set."""
    found = mount(parse, *options)
    assert (found.recursive_set, found.recursive_cleared, found.flags) == (to_set, to_clear, 0)


@pytest.mark.parametrize("word", RECURSIVE)
def test_what_is_set_of_access_times_is_cleared_first(word: str) -> None:
    bits, cleared = RECURSIVE[word]
    assert cleared & ms.MOUNT_ATTR__ATIME in (0, ms.MOUNT_ATTR__ATIME)
    assert not bits & ms.MOUNT_ATTR__ATIME or cleared == ms.MOUNT_ATTR__ATIME


def test_what_is_unknown_is_the_filesystems(parse: Parse) -> None:
    found = mount(parse, "mode=755", "nosuid", "", "size=64k", "lowerdir=/a,upperdir=/b")
    assert found.data == "mode=755,size=64k,lowerdir=/a,upperdir=/b" and found.flags == ms.MS_NOSUID


def test_a_tmpfs_that_copies_up(parse: Parse) -> None:
    found = mount(parse, "tmpcopyup", "mode=700")
    assert found.copies_up and found.data == "mode=700" and not mount(parse).copies_up


@pytest.mark.parametrize(
    ("source", "expected"), [("/srv/x", "/srv/x"), ("data", "BUNDLE/data"), ("../data", "BUNDLE/../data")]
)
def test_a_relative_source_is_in_the_bundle(parse: Parse, bundle: str, source: str, expected: str) -> None:
    """config.md, source."""
    found = mount(parse, "rbind", type="none", source=source)
    assert found.source == expected.replace("BUNDLE", bundle) and found.type == "bind"
    assert mount(parse, type="proc", source="proc").source == "proc"


def test_the_type_alone_makes_a_bind_mount(parse: Parse) -> None:
    found = mount(parse, "ro", type="bind", source="/b")
    assert found.is_bind and not found.is_recursive and found.flags == ms.MS_BIND | ms.MS_RDONLY


def test_a_remount_has_no_type(parse: Parse) -> None:
    (found,) = parse({"mounts": [{"destination": "/a", "options": ["remount", "ro"]}]}).mounts
    assert (found.type, found.flags) == ("", ms.MS_REMOUNT | ms.MS_RDONLY)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("/a", "/a"), ("a/b", "/a/b"), ("//a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../../a", "/a"), ("../a", "/a")],
)
def test_destinations(parse: Parse, given: str, expected: str) -> None:
    """config.md, destination: a relative one is relative to "/"."""
    assert mount(parse, destination=given).destination == inside_path(given) == expected


def test_what_a_filesystem_would_be_told_is_ignored_for_a_bind_mount(parse: Parse) -> None:
    """As with peers: it is there already, with what it was told. A word that may be meant to confine is refused, below."""
    (found,) = parse({"mounts": [{**BIND, "options": ["bind", "ro", "mode=755", "size=1m"]}]}).mounts
    assert found.data == "" and found.flags == ms.MS_BIND | ms.MS_RDONLY


def test_id_mapped_mounts(parse: Parse) -> None:
    user = {
        "linux.namespaces": [{"type": "user"}, {"type": "mount"}],
        "linux.uidMappings": ID_MAP,
        "linux.gidMappings": ID_MAP,
    }
    mapped = {**BIND, "uidMappings": ID_MAP, "gidMappings": ID_MAP}
    (found,) = parse({"mounts": [{**mapped, "options": ["rbind", "ridmap"]}]}).mounts
    assert found.idmap == "ridmap" and found.uid_mappings[0].outside == found.gid_mappings[0].outside == 1000
    (found,) = parse({"mounts": [mapped]}).mounts
    assert found.idmap == "idmap" and found.data == ""
    (found,) = parse({**user, "mounts": [{**BIND, "options": ["bind", "idmap"]}]}).mounts
    assert found.idmap == "idmap" and found.uid_mappings == found.gid_mappings == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "proc"}, "destination: missing"),
        ({"destination": "", "type": "proc"}, "destination: empty"),
        ({"destination": "/", "type": "proc"}, "destination: '/' is the root, which `root` describes"),
        ({"destination": "/a/..", "type": "proc"}, "destination: '/a/..' is the root, which `root` describes"),
        ({"destination": None}, "destination: null is not a string"),
        ({"destination": "/a\0", "type": "proc"}, "destination: '/a\\x00' contains a NUL byte"),
        ({"destination": "/a"}, "type: missing: only bind mounts have none"),
        ({"destination": "/a", "type": None}, "type: null is not a string"),
        ({"destination": "/a", "type": "proc", "source": 1}, "source: 1 is not a string"),
        ({"destination": "/a", "type": "proc", "options": "ro"}, "options: 'ro' is not a list"),
        ({"destination": "/a", "type": "proc", "options": ["ro", 1]}, "options[1]: 1 is not a string"),
        ({"destination": "/a", "type": "proc", "options": ["a\0"]}, "options[0]: 'a\\x00' contains a NUL byte"),
        ({"destination": "/a", "options": ["bind"]}, "source: missing: a bind mount has one"),
        ({**BIND, "options": ["bind", "ro", "noexce"]}, "options[2]: a bind mount has no option 'noexce'"),
        ({**BIND, "options": ["bind", "ro=recursive"]}, "options[1]: a bind mount has no option 'ro=recursive'"),
        (
            {**BIND, "options": ["bind", "idmap=uids=0-1-1"]},
            "options[1]: a bind mount has no option 'idmap=uids=0-1-1'",
        ),
        ({**BIND, "options": ["bind", "tmpcopyup"]}, "options: tmpcopyup is for a tmpfs alone"),
        ({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}, "options: tmpcopyup is for a tmpfs alone"),
        ({"destination": "/a", "type": "tmpfs", "options": ["idmap"]}, "options: idmap is for bind mounts alone"),
        (
            {**BIND, "options": ["rbind", "ridmap"]},
            "uidMappings: missing: ridmap needs mappings, or a user namespace that has some",
        ),
        ({**BIND, "uidMappings": ID_MAP}, "gidMappings: missing: it belongs to uidMappings"),
        ({**BIND, "gidMappings": ID_MAP}, "uidMappings: missing: it belongs to gidMappings"),
        ({**BIND, "uidMappings": ID_MAP * 2}, "uidMappings[1].containerID: overlaps uidMappings[0]"),
    ],
)
def test_what_is_refused(refused: Refused, entry: dict[str, object], message: str) -> None:
    assert refused({"mounts": [{"destination": "/proc", "type": "proc"}, entry]}) == f"mounts[1].{message}"


def test_flags_are_those_of_the_system_calls() -> None:
    shared = [name for name in dir(ms) if name.startswith(("MS_", "MOUNT_ATTR_")) and hasattr(system_calls, name)]
    assert len(shared) > 10 and all(getattr(ms, name) == getattr(system_calls, name) for name in shared)
