"""How much memory the container may have in huge pages, for each size of them."""

from pycontainer.cgroup.base import Cgroup, parse_keyed
from pycontainer.controllers.protocol import Host, Instance, Lacking, Reading, huge_page_bytes, parse_limit
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from pycontainer.units import format_bytes

_LIMIT = {1: "limit_in_bytes", 2: "max"}  # version -> end of the file's name
_HELD = {1: "usage_in_bytes", 2: "current"}
_NEARLY_ALL_V1 = 1 << 62  # v1 knows no "max": its largest limit is what a counter can hold


class HugetlbController:
    """hugetlb.SIZE.max on v2, hugetlb.SIZE.limit_in_bytes on v1. The unit is bytes, of all sizes together."""

    name, unit = "hugetlb", "bytes"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if not spec.hugetlb:
            return []
        if "hugetlb" not in host.layout.controllers:
            return [Lacking("hugetlb: this host has no hugetlb controller")]
        present = ", ".join(map(format_bytes, sorted(host.huge_page_bytes))) or "none"
        return [
            Lacking(f"hugetlb: there are no huge pages of {format_bytes(page_bytes)} here; there are {present}")
            for page_bytes, _ in spec.hugetlb
            if page_bytes not in host.huge_page_bytes
        ] + [
            f"hugetlb: {format_bytes(limit_bytes)} is no multiple of the page size {format_bytes(page_bytes)}"
            for page_bytes, limit_bytes in spec.hugetlb
            if limit_bytes % page_bytes
        ]

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        for page_bytes, limit_bytes in spec.hugetlb:
            held = int(instance.cgroup.read("hugetlb", _file(instance.cgroup, page_bytes, _HELD)))
            if held > limit_bytes:
                return f"hugetlb: {format_bytes(held)} in pages of {format_bytes(page_bytes)} are there already"
        return ""

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        cgroup = instance.cgroup
        wishes = dict(spec.hugetlb)
        if wishes and not cgroup.has("hugetlb"):
            raise Unsupported(
                "cannot hold hugetlb: this host has no hugetlb controller", hint="leave it out", feature="hugetlb"
            )
        if cgroup.has("hugetlb") and (wishes or not instance.is_new):
            for page_bytes in {*wishes, *_limits(cgroup)} & huge_page_bytes():
                value = str(wishes.get(page_bytes, "max" if cgroup.version == 2 else "-1"))
                cgroup.write("hugetlb", _file(cgroup, page_bytes, _LIMIT), value)
            if (limits := _limits(cgroup)) != wishes:
                raise Unsupported(
                    f"cannot set hugetlb to {wishes}: the kernel holds {limits} bytes",
                    hint="ask for multiples of the page size, or leave the limit out",
                    feature="hugetlb",
                    difference=f"hugetlb is {limits} bytes, not {wishes}",
                )
        return []

    def read(self, instance: Instance) -> Reading | None:
        cgroup = instance.cgroup
        if not cgroup.has("hugetlb"):
            return None
        limits = _limits(cgroup)
        held = sum(int(cgroup.read("hugetlb", _file(cgroup, size, _HELD))) for size in limits)
        failed = sum(_failures(cgroup, size) for size in limits)
        return Reading(held, None, sum(limits.values()) if limits else None, failed)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _file(cgroup: Cgroup, page_bytes: int, ending: dict[int, str]) -> str:
    """Return the file for one page size, spelled as the kernel does: 2MB, 1GB, 64KB."""
    shift, unit = next((shift, unit) for shift, unit in ((30, "GB"), (20, "MB"), (10, "KB")) if page_bytes >> shift)
    return f"hugetlb.{page_bytes >> shift}{unit}.{ending[cgroup.version]}"


def _limits(cgroup: Cgroup) -> dict[int, int]:
    """Return page size -> limit, of those sizes that have one."""
    found = {}
    for page_bytes in huge_page_bytes():
        limit = parse_limit(cgroup.read("hugetlb", _file(cgroup, page_bytes, _LIMIT)))
        if limit is not None and limit < _NEARLY_ALL_V1:
            found[page_bytes] = limit
    return found


def _failures(cgroup: Cgroup, page_bytes: int) -> int:
    if cgroup.version == 1:
        return int(cgroup.read("hugetlb", _file(cgroup, page_bytes, {1: "failcnt"})))
    return parse_keyed(cgroup.read("hugetlb", _file(cgroup, page_bytes, {2: "events"})))["max"]
