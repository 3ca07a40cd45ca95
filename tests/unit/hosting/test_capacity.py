"""What the host may promise, asked before it is promised."""

from pycontainer.client.types import Capacity, Promise
from pycontainer.hosting.capacity import excess
from pycontainer.spec.capacity import RESOURCES, amounts
from pycontainer.spec.parse import parse_spec

G = 1 << 30
ONE = amounts(parse_spec({"image": "a", "memory": "1G", "cpus": 0.5}))


def host(admission: str) -> Capacity:
    rows: list[Promise] = [
        {
            "resource": resource.key,
            "unit": resource.unit,
            "physical": 8 * G if resource.key == "memory" else None,
            "promised": 5 * G if resource.key == "memory" else 0,
            "uncapped": 0,
            "used": None,
            "ratio": 1.1 if resource.key in ("memory", "net_in") else None,
        }
        for resource in RESOURCES
    ]
    return {"admission": admission, "problem": "", "containers": 1, "tenants": 0, "uncounted": 0, "resources": rows}


def test_many_together() -> None:
    assert excess(host("refuse"), [ONE] * 3) == []
    assert excess(host("warn"), [ONE] * 4) == [
        "memory: 9GiB would be promised of 8GiB, and 1.1 times that is the most (5GiB are promised already)"
    ]
    assert excess(host("off"), [ONE] * 4) == []


def test_what_goes_makes_room() -> None:
    assert excess(host("refuse"), [ONE] * 5, [ONE] * 2) == []
    assert excess(host("refuse"), [ONE] * 7, [ONE] * 3) != []


def test_what_has_no_cap() -> None:
    nothing = amounts(parse_spec({"image": "a"}))
    assert excess(host("refuse"), [nothing]) == ["memory: no cap, so it could take all of the 8GiB there are"]
    assert excess(host("refuse"), [nothing], [nothing]) == []
