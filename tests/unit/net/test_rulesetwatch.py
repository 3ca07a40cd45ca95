"""What is read out of the kernel's messages about nftables."""

import struct

from pycontainer.net.rulesetwatch import RulesetWatch

OWN, OTHER = 100, 200
NEWTABLE, DELTABLE, NEWRULE, DELSETELEM, NEWGEN = 0, 2, 6, 14, 15


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, *attributes: bytes) -> bytes:
    body = struct.pack("!BBH", 1, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body


def about(kind: int, table: str) -> bytes:
    return message(kind, attribute(2, b"other first"), attribute(1, table.encode() + b"\0"))


def commit(pid: int, name: str = "nft") -> bytes:
    return message(
        NEWGEN,
        attribute(1, struct.pack("!I", 7)),
        attribute(2, struct.pack("!I", pid)),
        attribute(3, name.encode() + b"\0"),
    )


def watch() -> RulesetWatch:
    made = RulesetWatch.__new__(RulesetWatch)
    made._others_changed = False
    made._table, made._writers, made._is_touched, made._generation = b"ours\0", {OWN}, False, 0
    return made


def test_transaction_of_another_process_on_our_table() -> None:
    assert watch()._take(about(DELTABLE, "ours") + commit(OTHER, "firewalld")) == "firewalld"


def test_transaction_of_ours() -> None:
    made = watch()
    assert made._take(about(NEWRULE, "ours") + commit(OWN)) == ""
    assert not made.others_changed()
    assert made._generation == 7


def test_tables_of_others() -> None:
    made = watch()
    assert made._take(about(NEWTABLE, "ours-too") + about(DELSETELEM, "our") + commit(OTHER)) == ""
    assert made.others_changed()
    assert not made.others_changed()


def test_transaction_in_several_datagrams() -> None:
    made = watch()
    assert made._take(about(DELSETELEM, "ours")) == ""
    assert made._take(about(DELSETELEM, "other")) == ""
    assert made._take(commit(OTHER)) == "nft"
    assert made._take(commit(OTHER)) == ""


def test_one_of_ours_after_one_of_theirs() -> None:
    data = about(DELTABLE, "ours") + commit(OTHER, "ufw") + about(NEWTABLE, "ours") + commit(OWN, "python")
    assert watch()._take(data) == "ufw"


def test_message_that_is_cut_off_or_of_another_subsystem() -> None:
    made = watch()
    other = struct.pack("=IHHII", 20, 1 << 8 | NEWGEN, 0, 0, 0) + bytes(4)
    assert made._take(other + about(DELTABLE, "ours")[:30]) == ""
    assert made._take(struct.pack("=IHHII", 0, 10 << 8, 0, 0, 0)) == ""
