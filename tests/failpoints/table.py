"""Which operation reaches which failpoint."""

from tests.failpoints.around import (
    change_a_tenant,
    connect,
    create_a_network,
    create_a_tenant,
    create_a_volume,
    disconnect,
    remove_a_network,
    remove_a_tenant,
    remove_a_volume,
    restore_a_volume,
)
from tests.failpoints.common import Operation
from tests.failpoints.containers import (
    change,
    create,
    create_a_copy,
    create_in_a_pool,
    end,
    fill_a_volume,
    rename,
    rm,
    run,
    start,
    start_with_another_range,
    start_with_snapshots,
    stop,
)
from tests.failpoints.services import come_up, end_by_a_monitor, start_by_a_monitor
from tests.failpoints.transfers import give_more_transfer, use_up_a_transfer
from tests.failpoints.travel import import_an_image, import_an_instance, remove_an_image
from tests.failpoints.written import clone, restore, restore_a_copy, snapshot, snapshot_of_a_running_one

OPERATIONS: dict[Operation, tuple[str, ...]] = {
    create: ("create:claimed", "create:range", "create:storage", "create:noted", "create:volumes", "create:addresses",
             "create:files", "create:recorded"),
    create_in_a_pool: ("create:admitted",),
    create_a_copy: ("create:filled",),
    start: ("start:ports", "start:monitor", "start:volumes", "start:cgroup", "start:trees", "start:limits", "start:born",
            "start:network", "start:ready", "start:noted", "start:released", "start:over"),
    run: ("create:recorded",),
    start_with_snapshots: ("start:settled",),
    start_with_another_range: ("start:range",),
    fill_a_volume: ("volume:filling", "volume:filled"),
    stop: ("stop:noted", "stop:asked", "stop:killed"),
    end: ("end:heard", "end:told", "end:network", "end:limits", "end:cgroup", "end:over"),
    rm: ("rm:storage", "rm:renamed", "rm:network", "rm:range", "rm:forgotten", "rm:volumes", "rm:erased"),
    rename: ("rename:neighbours", "rename:recorded"),
    change: ("set:noted", "set:applied", "set:recorded"),
    snapshot: ("snapshot:intent", "snapshot:moved", "snapshot:frozen", "snapshot:recorded"),
    snapshot_of_a_running_one: ("snapshot:begun", "snapshot:still", "snapshot:copied"),
    restore: ("restore:intent", "restore:cleared", "restore:over"),
    restore_a_copy: ("restore:filled",),
    clone: ("clone:frozen", "clone:made"),
    import_an_image: ("image:staged", "image:layer", "image:blobs", "image:named"),
    remove_an_image: ("image-rm:unnamed", "image-rm:retired"),
    import_an_instance: ("import:loaded", "import:made", "import:tagged"),
    create_a_volume: ("volume:begun", "volume:prepared", "volume:named"),
    remove_a_volume: ("volume:retired",),
    restore_a_volume: ("volume:restored",),
    create_a_network: ("network:recorded",),
    remove_a_network: ("network:down", "network:unnamed"),
    connect: ("connect:linked", "connect:reserved", "connect:recorded"),
    disconnect: ("disconnect:reserved", "disconnect:unlinked", "disconnect:recorded"),
    create_a_tenant: ("tenant:pool", "tenant:recorded"),
    change_a_tenant: ("set:noted", "set:applied", "set:recorded"),
    use_up_a_transfer: ("transfer:noted", "transfer:acted"),
    give_more_transfer: ("transfer:undone",),
    remove_a_tenant: ("tenant:unnamed", "tenant:lowered", "tenant:erased"),
    come_up: ("recover:read", "recover:adopted", "recover:networks", "recover:ended", "recover:cgroups", "recover:over"),
    start_by_a_monitor: ("monitor:born", "monitor:prepared", "monitor:released"),
    end_by_a_monitor: ("monitor:reaped", "monitor:recorded"),
}  # fmt: skip
EVERY_RECORD = "record:written"
OF_A_RUN = ("create:claimed", "create:addresses", "create:files", "start:ports", "start:cgroup", "start:trees",
            "start:born", "create:recorded", "start:network", "start:noted", "start:released", "start:over")  # fmt: skip
POINTS = [(point, operation) for operation, points in OPERATIONS.items() for point in points]

MONITORS = (start_by_a_monitor, end_by_a_monitor)  # die in a monitor, which has to come up with the failpoint
PREPARED_APART = (start_with_snapshots, come_up)  # come to their failpoints while they prepare, too
