"""Id maps of a user namespace or a mount. user_namespaces(7), runtime-spec config-linux.md, User namespace mappings."""

from pycontainer.oci.fields import UINT32_MAX, Fields, wrong

_MOST = 340  # UID_GID_MAP_MAX_EXTENTS of the kernel


class IdMap:
    """`count` ids from `inside` on are those from `outside` on, seen from the runtime."""

    __slots__ = ("count", "inside", "outside")

    def __init__(self, inside: int, outside: int, count: int) -> None:
        self.inside = inside
        self.outside = outside
        self.count = count


def read_id_maps(fields: Fields, key: str) -> list[IdMap]:
    """Return the map at `key`, empty when missing; no two of its ranges share an id, on either side."""
    found: list[IdMap] = []
    for entry in fields.objects(key):
        made = IdMap(*(entry.integer(name, 0, UINT32_MAX) for name in ("containerID", "hostID", "size")))
        if made.count == 0:
            wrong(entry.at("size"), "0 ids are no range")
        for name, first in (("containerID", made.inside), ("hostID", made.outside)):
            if first + made.count > UINT32_MAX:
                wrong(entry.at("size"), f"{made.count} ids from {name} {first} on go beyond {UINT32_MAX - 1}")
        for index, other in enumerate(found):
            if _overlap(made.inside, made.count, other.inside, other.count):
                wrong(entry.at("containerID"), f"overlaps {key}[{index}]")
            if _overlap(made.outside, made.count, other.outside, other.count):
                wrong(entry.at("hostID"), f"overlaps {key}[{index}]")
        found.append(made)
        if len(found) > _MOST:
            wrong(fields.at(key), f"more than {_MOST} ranges, which is what the kernel takes")
    return found


def is_mapped(number: int, maps: list[IdMap]) -> bool:
    """Tell whether an id inside has a counterpart outside."""
    return any(one.inside <= number < one.inside + one.count for one in maps)


def _overlap(first: int, count: int, other: int, other_count: int) -> bool:
    return first < other + other_count and other < first + count
