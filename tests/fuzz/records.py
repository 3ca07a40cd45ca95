"""Records on disk in any state of damage: of a container, its run, its end and its snapshots, of a tenant, an image, a
network, addresses; and what an archive says of its instance.

An input is a letter that says which, and what the file holds.
"""

import contextlib
import dataclasses
import json
import os

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.net.addresses import Network, Records
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, load
from pycontainer.runtime.instance import LABEL, checked, read_description
from pycontainer.runtime.tenant import Tenant, load_tenants
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import to_plain
from pycontainer.store import refs
from tests.fuzz.inputs import check_message, directory, encoded, write
from tests.support.netrecords import NETWORK, RESERVATION

_ID = "0123456789ab"
_CONTAINER = {
    "version": 1,
    "id": _ID,
    "created": 1764000000.5,
    "base": 0x10000000,
    "spec": to_plain(ContainerSpec(name="web", image="a")),
    "warnings": ["w"],
    "addresses": {"default": {"ip": "10.0.0.5", "ip6": ""}},
    "driver": "overlay",
    "lowers": ["0123456789abcdef"],
    "clearing": False,
    "image": {"name": "a", "id": "x", "layers": ["/l"], "config": {"cmd": ["sh"]}},
}
_RUN = {
    "id": _ID,
    "pid": 5,
    "start_ticks": 77,
    "started": 1764000000.5,
    "restart_count": 0,
    "stopping": False,
    "restarting": False,
}
_EXIT = {"wait_status": 256, "finished": 1764000000.5, "uptime": 7.5, "dropped_output_bytes": 0}
_TENANT = {"version": 1, "name": "acme", "created": 5.0, "spec": {"memory_bytes": 5}, "warnings": []}
_IMAGE = {"name": "a", "id": "sha256:" + "0" * 64, "created": 5, "size_bytes": 9, "layers": ["0" * 64], "config": {}}

_SNAPSHOT = {"version": 1, "name": "snap0", "created": 5.0, "layers": ["0123456789abcdef"]}
_INSTANCE = {"version": 1, "spec": to_plain(ContainerSpec(name="web"))}

_RECORDS = (
    ("n", NETWORK),
    ("a", RESERVATION),
    ("c", _CONTAINER),
    ("r", _RUN),
    ("e", _EXIT),
    ("s", _SNAPSHOT),
    ("t", _TENANT),
    ("i", _IMAGE),
    ("d", _INSTANCE),
)
SEEDS = tuple(letter.encode() + seed for letter, record in _RECORDS for seed in encoded((record,))) + (
    b'e{"wait_status": 1e999, "finished": NaN, "dropped_output_bytes": 0}',
    b"c" + b"[" * 50,
    b"r",
)
MAX_BYTES = 3000


def _tenant(paths: HostPaths) -> Tenant:
    whole, damaged = load_tenants(paths)
    assert len(whole) + len(damaged) == 1
    for error in damaged.values():
        raise error
    return whole[0]


def try_one(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    paths = HostPaths(f"{directory()}/world")
    home, run = paths.container_dir(_ID), paths.runtime_state(_ID)
    files = {
        b"c": f"{home}/spec.json",
        b"r": run,
        b"e": f"{home}/exit.json",
        b"s": f"{home}/snapshots/snap0.json",
        b"t": f"{paths.tenants_dir}/acme.json",
    }
    if kind == b"i":
        with contextlib.suppress(ValueError, InvalidInput):
            refs._parse(content, "a")
        return
    if kind in (b"n", b"a"):
        write(f"nets/{'net' if kind == b'n' else f'addresses/{_ID}'}.json", content)
        records = Records(f"{directory()}/nets")
        loaded = records.load_networks() if kind == b"n" else records.load_reservations()
        assert len(loaded.whole) + len(loaded.damaged) == 1
        for damage in loaded.damaged.values():
            check_message(damage)
            assert damage.hint
        for whole in loaded.whole:  # it can be used, and written again
            if isinstance(whole, Network):
                records.save_network(whole)
            else:
                records.save_reservation(whole)
        records.remains("net")
        return
    if kind == b"d":
        try:
            spec = read_description({LABEL: content.decode(errors="surrogateescape")})
            checked(dataclasses.replace(spec, image="a"), is_trusted=False, has_volume=lambda _name: False)
        except InvalidInput as error:
            check_message(error)
        return
    if kind not in files:
        return
    for letter, record in (("c", _CONTAINER), ("r", _RUN), ("e", _EXIT), ("s", _SNAPSHOT), ("t", _TENANT)):
        path = files[letter.encode()]
        written = content if letter.encode() == kind else json.dumps(record).encode()
        if kind == b"t" or letter != "t":
            write(os.path.relpath(path, directory()), written)
    try:
        found: Container | Tenant = load(paths, _ID) if kind != b"t" else _tenant(paths)
    except PycontainerError as error:
        check_message(error)
        assert error.hint
        return
    found.save()
    if isinstance(found, Container):
        assert found.id == _ID and 0x10000000 <= found.base < 1 << 31 and 0 <= found.pid <= 1 << 22
        assert found.exit_code is not None and 0 <= found.exit_code <= 255 and found.finished is not None
        again = load(paths, _ID)
        assert (again.spec, again.warnings, again.addresses) == (found.spec, found.warnings, found.addresses)
