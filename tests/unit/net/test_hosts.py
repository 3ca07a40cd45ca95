"""Hosts files keep their inode and show who is there; resolv.conf holds what an instance can reach."""

import os
from pathlib import Path

import pytest

from pycontainer.net.hosts import HEAD, Hosts, Lines, resolv_conf

LINES = Lines("10.0.0.2", "fd00::2", "web", "web")


def text(path: str) -> list[str]:
    """Return the lines below the head that are not blank."""
    with open(path) as file:
        content = file.read()
    assert content.startswith(HEAD.decode())
    return [line for line in content[len(HEAD) :].split("\n") if line.strip()]


def member(number: int) -> Lines:
    return Lines(f"10.0.0.{number}", "", f"name-{number}", "")


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(str(tmp_path))


def test_join_and_leave(hosts: Hosts) -> None:
    path = hosts.path("a", ["net"])
    hosts.join("net", "a", LINES)
    hosts.join("net", "b", Lines("10.0.0.3", "", "db", "db.example"))
    assert text(path) == ["10.0.0.2\tweb", "fd00::2\tweb", "10.0.0.3\tdb db.example"]
    hosts.leave("net", "a")
    hosts.leave("net", "a")
    assert text(path) == ["10.0.0.3\tdb db.example"]


def test_file_made_later_shows_who_is_there_already(hosts: Hosts) -> None:
    hosts.join("net", "a", LINES)
    assert text(hosts.path("b", ["net"])) == ["10.0.0.2\tweb", "fd00::2\tweb"]


def test_joining_again_replaces(hosts: Hosts) -> None:
    path = hosts.path("a", ["net"])
    hosts.join("net", "a", LINES)
    hosts.join("net", "a", LINES._replace(name="new", hostname="new"))
    assert text(path) == ["10.0.0.2\tnew", "fd00::2\tnew"]


def test_inode_stays_whatever_happens(hosts: Hosts) -> None:
    path = hosts.path("a", ["net"])
    inode = os.stat(path).st_ino
    for number in range(250):
        hosts.join("net", f"m{number}", member(number))
    for number in range(249):
        hosts.leave("net", f"m{number}")
        names = [f"10.0.0.{other}\tname-{other}" for other in range(number + 1, 250)]
        assert text(path) == names
    assert os.stat(path).st_ino == inode
    assert os.stat(path).st_size < 2500  # it was compacted on the way


def test_readers_never_meet_half_a_line_over_a_blank(hosts: Hosts) -> None:
    path = hosts.path("a", ["net"])
    hosts.join("net", "a", LINES)
    hosts.join("net", "b", member(9))
    size = os.stat(path).st_size
    hosts.leave("net", "a")
    assert os.stat(path).st_size == size


def test_file_for_two_networks_shows_both(hosts: Hosts) -> None:
    both, one, other = hosts.path("a", ["x", "y"]), hosts.path("b", ["x"]), hosts.path("c", ["y"])
    hosts.join("x", "b", member(1))
    hosts.join("y", "c", member(2))
    assert text(both) == ["10.0.0.1\tname-1", "10.0.0.2\tname-2"]
    assert text(one) == ["10.0.0.1\tname-1"]
    assert text(other) == ["10.0.0.2\tname-2"]


def test_own_lines_make_an_own_file_that_follows_the_network_too(hosts: Hosts) -> None:
    path = hosts.path("a", ["net"], [("db", "192.0.2.9")])
    assert path != hosts.path("b", ["net"])
    hosts.join("net", "b", member(1))
    assert text(path) == ["192.0.2.9\tdb", "10.0.0.1\tname-1"]
    hosts.forget_container("a")
    assert not os.path.exists(path)
    hosts.join("net", "c", member(2))


def test_own_file_follows_a_change_of_networks_in_place(hosts: Hosts) -> None:
    path = hosts.path("a", ["x"], [("db", "192.0.2.9")])
    inode = os.stat(path).st_ino
    hosts.join("x", "b", member(1))
    hosts.join("y", "c", member(2))
    assert hosts.path("a", ["x", "y"], [("db", "192.0.2.9")]) == path
    assert text(path) == ["192.0.2.9\tdb", "10.0.0.1\tname-1", "10.0.0.2\tname-2"]
    assert hosts.path("a", ["y"], [("db", "192.0.2.8")]) == path
    assert text(path) == ["192.0.2.8\tdb", "10.0.0.2\tname-2"]
    assert os.stat(path).st_ino == inode


def test_forgotten_network_takes_its_files(hosts: Hosts, tmp_path: Path) -> None:
    for networks in (["x"], ["x", "y"], ["y"], ["xx"]):
        hosts.path("a", networks)
    hosts.forget_network("x")
    assert sorted(os.listdir(tmp_path)) == ["xx.hosts", "y.hosts"]


def test_stale_file_is_rewritten_in_place(tmp_path: Path) -> None:
    old = tmp_path / "net.hosts"
    old.write_text("old\n" * 1000)
    inode = old.stat().st_ino
    assert text(Hosts(str(tmp_path)).path("a", ["net"])) == []
    assert (old.stat().st_ino, old.stat().st_size) == (inode, len(HEAD))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:2\n",
         "nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:2\n"),
        ("# text\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"),
        ("nameserver ::1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n", "nameserver 2001:db8::1\n"),
        ("nameserver\nnameserver x\nsearch .\n", ""),
    ],
)  # fmt: skip
def test_host_resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, expected: str) -> None:
    monkeypatch.setattr("pycontainer.net.hosts.SYSTEMD_RESOLVED", str(tmp_path / "none"))
    (tmp_path / "resolv.conf").write_text(host)
    assert resolv_conf([], [], str(tmp_path / "resolv.conf")).decode() == expected


def test_servers_behind_systemd_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycontainer.net.hosts.SYSTEMD_RESOLVED", str(tmp_path / "upstream"))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0\nsearch a.example\n")
    (tmp_path / "upstream").write_text("nameserver 192.0.2.7\n")
    found = resolv_conf([], [], str(tmp_path / "resolv.conf")).decode()
    assert found == "nameserver 192.0.2.7\nsearch a.example\noptions edns0\n"


def test_given_servers_and_domains_win(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\nsearch a.example\noptions ndots:2\n")
    found = resolv_conf(["192.0.2.9"], ["b.example"], str(tmp_path / "resolv.conf")).decode()
    assert found == "nameserver 192.0.2.9\nsearch b.example\n"


def test_lines_of_the_hosts_file_that_do_not_print_are_passed_over(tmp_path: Path) -> None:
    """API-06: what stands in it goes into the files of every container."""
    file = tmp_path / "resolv.conf"
    file.write_bytes(
        b"nameserver\t9.9.9.9 # near\nnameserver 1.1.1.1\x1b[2J\nsearch a\0b\nsearch \xc2\xa0x\noptions\x0bndots:9\n"
        b"domain example.org\nnameserver \xd9\xa1.1.1.1\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n"
    )
    assert resolv_conf((), (), str(file)) == b"nameserver 9.9.9.9\nsearch example.org\n"
