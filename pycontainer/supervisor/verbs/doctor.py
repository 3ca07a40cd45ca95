"""doctor: what is not as it should be, on disk (storagecheck.py) and in the kernel (hostcheck.py), and its repair."""

import asyncio
import os
from collections.abc import Awaitable, Callable

from pycontainer.errors import PycontainerError
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.finding import Finding, repair
from pycontainer.supervisor.hostcheck import findings as host_findings
from pycontainer.supervisor.hostcheck import mend
from pycontainer.supervisor.storagecheck import content_findings, deep_findings, findings
from pycontainer.supervisor.volumes import count
from pycontainer.supervisor.world import World

_COUNT_SECONDS = 30.0
_Repair = Callable[[World, Finding], Awaitable[bool]]


async def doctor(world: World, call: Call) -> object:
    """Look, with `deep` also at the content of blobs, with `storage` at the disk alone; with `fix` repair what can be.

    Says what of it was done.
    """
    in_kernel = [] if call.flag("storage") else await host_findings(world)
    found = findings(world) + await content_findings(world)
    if call.flag("deep"):
        found += await asyncio.to_thread(lambda: [*deep_findings(world)])
    sizes = await count([finding.sized for finding in found if os.path.isdir(finding.sized)], _COUNT_SECONDS)
    found = in_kernel + found
    told = [_told(finding, sizes) for finding in found]
    if call.flag("fix"):
        for position, (finding, report) in enumerate(zip(found, told, strict=True)):
            await _repair(world, finding, report, mend if position < len(in_kernel) else repair)
    return {"findings": told, "repaired_at_start": world.repaired}


def _told(finding: Finding, sizes: dict[str, tuple[int, int, bool]]) -> dict[str, object]:
    size_bytes: int | None = None
    if finding.sized in sizes:
        size_bytes = sizes[finding.sized][0]
    elif finding.sized:
        try:
            size_bytes = os.lstat(finding.sized).st_blocks * 512  # stat(2)
        except OSError:
            size_bytes = None
    return {
        "kind": finding.kind,
        "where": finding.where,
        "what": finding.what,
        "remedy": finding.remedy,
        "size_bytes": size_bytes,
        "repairable": finding.repair is not None,
        "repaired": False,
        "error": "",
    }


async def _repair(world: World, finding: Finding, report: dict[str, object], put_right: _Repair) -> None:
    """Do it; what is gone by now, because another repair took it along, is as it should be."""
    if finding.repair is None:
        return
    try:
        await put_right(world, finding)
        report["repaired"] = True
    except FileNotFoundError:
        report["repaired"] = True
    except (OSError, PycontainerError) as error:
        report["error"] = str(error)
