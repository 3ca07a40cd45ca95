"""D-Bus messages, byte for byte, and a conversation with a bus that is one thread of ours."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.oci.dbus import Bus, DBusError, complete_types, decode, encode, session_bus

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4


def test_a_call_byte_for_byte() -> None:
    """Laid out by hand, after the specification (Message Format)."""
    message = encode(CALL, 1, {1: "/a", 2: "b.c", 3: "Hello", 6: "d.e"}, "", ())
    assert message.hex(" ", 8).split() == [
        "6c01000100000000",  # little endian, call, no flags, version 1, no body
        "010000003c000000",  # serial 1, 60 bytes of fields
        "01016f0002000000",  # path, of type o: 2 bytes
        "2f61000000000000",  # /a and padding
        "0201730003000000",  # interface, of type s: 3 bytes
        "622e630000000000",
        "0301730005000000",  # member
        "48656c6c6f000000",
        "0601730003000000",  # destination
        "642e650000000000",
    ]


def test_a_body_byte_for_byte() -> None:
    message = encode(CALL, 2, {}, "sba(sv)", ("u", True, [("Slice", ("s", "x")), ("PIDs", ("au", [7, 8]))]))
    at = len(message) - 68
    assert message[at:].hex(" ") == (
        "01 00 00 00 75 00 00 00 "  # u, padding
        "01 00 00 00 "  # true
        "34 00 00 00 "  # 52 bytes of array
        "05 00 00 00 53 6c 69 63 65 00 "  # Slice
        "01 73 00 00 00 00 "  # signature s, padding
        "01 00 00 00 78 00 00 00 "  # x, padding to 8
        "04 00 00 00 50 49 44 73 00 "  # PIDs
        "02 61 75 00 00 00 00 "  # signature au, padding
        "08 00 00 00 07 00 00 00 08 00 00 00"
    )


values = st.fixed_dictionaries(
    {
        "y": st.integers(0, 255),
        "b": st.booleans(),
        "n": st.integers(-(1 << 15), (1 << 15) - 1),
        "q": st.integers(0, (1 << 16) - 1),
        "i": st.integers(-(1 << 31), (1 << 31) - 1),
        "u": st.integers(0, (1 << 32) - 1),
        "x": st.integers(-(1 << 63), (1 << 63) - 1),
        "t": st.integers(0, (1 << 64) - 1),
        "s": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "ay": st.lists(st.integers(0, 255)),
        "a(sx)": st.lists(st.tuples(st.text("ab"), st.integers(-5, 5))),
        "a{su}": st.lists(st.tuples(st.text("ab"), st.integers(0, 5))),
    }
)


@given(values, st.permutations(list("ybnqiuxts") + ["ay", "a(sx)", "a{su}"]))
def test_what_is_written_is_read(given_values: dict[str, Any], order: list[str]) -> None:
    message = decode(encode(SIGNAL, 3, {3: "M"}, "".join(order), tuple(given_values[each] for each in order)))
    assert (message.kind, message.fields) == (SIGNAL, {3: "M", 8: "".join(order)})
    assert message.body == [given_values[each] for each in order]


def test_variants_lose_their_type_when_read() -> None:
    assert decode(encode(SIGNAL, 1, {}, "a(sv)", ([("a", ("u", 5)), ("b", ("as", ["x"]))],))).body == [
        [("a", 5), ("b", ["x"])]
    ]


def test_the_other_byte_order() -> None:
    assert decode(
        bytes.fromhex("42040001 00000004 00000001 00000007 08016700 01750000 0000002a".replace(" ", ""))
    ).body == [42]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("", []),
        ("s", ["s"]),
        ("ssa(sv)a(sa(sv))", ["s", "s", "a(sv)", "a(sa(sv))"]),
        ("a{sv}uay", ["a{sv}", "u", "ay"]),
    ],
)
def test_signatures(signature: str, expected: list[str]) -> None:
    assert complete_types(signature) == expected


@pytest.mark.parametrize("signature", ["a", "(", "(s", "z", "a(s", "s)", "a" * 100 + "s", "(" * 50 + "s" + ")" * 50])
def test_what_is_no_signature(signature: str) -> None:
    with pytest.raises(ValueError, match="is no signature"):
        complete_types(signature)


@given(st.binary(max_size=200), st.integers(0, 150))
def test_a_malformed_message_is_a_value_error(noise: bytes, at: int) -> None:
    whole = encode(SIGNAL, 1, {1: "/p", 3: "M"}, "sa(sv)u", ("text", [("a", ("u", 5)), ("b", ("as", ["x"]))], 7))
    for message in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        try:
            decode(message)
        except ValueError:
            pass


def test_no_text_with_a_nul() -> None:
    with pytest.raises(ValueError, match="holds a NUL"):
        encode(CALL, 1, {}, "s", ("a\0b",))


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/5/bus"}, "/run/user/5/bus"),
        ({"DBUS_SESSION_BUS_ADDRESS": "tcp:host=x;unix:guid=1,path=/a%20b"}, "/a b"),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:abstract=/tmp/x,guid=1"}, "\0/tmp/x"),
        ({"DBUS_SESSION_BUS_ADDRESS": "tcp:host=x"}, ""),
        ({"XDG_RUNTIME_DIR": "/nowhere"}, ""),
        ({}, ""),
    ],
)
def test_where_the_bus_of_a_user_is(environment: dict[str, str], address: str) -> None:
    assert session_bus(environment) == address


def test_the_bus_of_a_user_in_its_usual_place(tmp_path: Path) -> None:
    (tmp_path / "bus").touch()
    assert session_bus({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"{tmp_path}/bus"


class Server:
    """Lets one client in, answers Hello, and then does as it is told."""

    def __init__(self, address: str, greeting: bytes, talk: Callable[["Server"], None]) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(1)
        self._greeting, self._talk = greeting, talk
        self.heard = b""
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as self.connection:
            while b"BEGIN\r\n" not in self.heard:
                self.heard += self.connection.recv(4096)
            self.connection.sendall(self._greeting)
            if self._greeting.endswith(b"OK 0123\r\n"):
                self.connection.recv(4096)  # Hello
                self.connection.sendall(encode(RETURN, 1, {5: 1}, "s", (":1.5",)))
                self._talk(self)

    def send(self, *messages: bytes) -> None:
        self.connection.sendall(b"".join(messages))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(talk: Callable[[Server], None], greeting: bytes = b"DATA\r\nOK 0123\r\n") -> Server:
        servers.append(Server(f"{tmp_path}/bus", greeting, talk))
        return servers[-1]

    yield start
    for server in servers:
        server.thread.join(timeout=10)
        assert not server.thread.is_alive()


def test_a_call_finds_its_answer_between_signals(serve: Callable[..., Server], tmp_path: Path) -> None:
    def talk(server: Server) -> None:
        server.connection.recv(4096)
        gone = encode(SIGNAL, 8, {3: "JobRemoved"}, "uoss", (7, "/job/7", "a.scope", "done"))
        server.send(encode(SIGNAL, 7, {3: "Other"}, "", ()), gone, encode(RETURN, 9, {5: 2}, "o", ("/job/7",)))

    server = serve(talk)
    bus = Bus(f"{tmp_path}/bus")
    try:
        assert bus.call("a.b", "/", "a.b", "Start", "s", "x") == ["/job/7"]
        assert bus.signal("JobRemoved") == [7, "/job/7", "a.scope", "done"]
    finally:
        bus.close()
    assert server.heard.startswith(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")


def test_an_error_is_one(serve: Callable[..., Server], tmp_path: Path) -> None:
    def talk(server: Server) -> None:
        server.connection.recv(4096)
        server.send(encode(ERROR, 9, {4: "x.NoSuchUnit", 5: 2}, "s", ("Unit a.scope not loaded.",)))

    serve(talk)
    bus = Bus(f"{tmp_path}/bus")
    try:
        with pytest.raises(DBusError, match=r"Unit a\.scope not loaded\.") as caught:
            bus.call("a.b", "/", "a.b", "Stop")
        assert caught.value.name == "x.NoSuchUnit"
    finally:
        bus.close()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "the bus closed the connection"),
        (b"l" + bytes([2, 0, 1]) + b"\xff" * 12, "the bus sends a message of"),
        (encode(RETURN, 9, {5: 2}, "s", ("x",))[:-1], "the bus closed the connection"),
    ],
)
def test_a_bus_that_breaks_off(serve: Callable[..., Server], tmp_path: Path, sent: bytes, message: str) -> None:
    serve(lambda server: server.send(server.connection.recv(4096) and sent))
    bus = Bus(f"{tmp_path}/bus")
    try:
        with pytest.raises(OSError, match=message):
            bus.call("a.b", "/", "a.b", "Stop")
    finally:
        bus.close()


def test_a_bus_that_is_silent(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda server: server.connection.recv(4096) and server.connection.recv(4096))
    bus = Bus(f"{tmp_path}/bus", timeout_seconds=0.2)
    try:
        with pytest.raises(TimeoutError):
            bus.call("a.b", "/", "a.b", "Stop")
    finally:
        bus.close()


def test_a_bus_that_does_not_let_us_in(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda _: None, greeting=b"REJECTED ANONYMOUS\r\n")
    with pytest.raises(OSError, match="the bus does not let us in: REJECTED ANONYMOUS"):
        Bus(f"{tmp_path}/bus")
