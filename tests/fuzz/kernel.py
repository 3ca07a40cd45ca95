"""Tables of the kernel that hold what others chose: mountinfo, its log, lists of CPUs, files of key and number.

The kernel writes them, so a line of another form is passed over or is one ValueError; what is tried is that no name, of a
mount point, a cgroup or a command, is taken for more than a name.
"""

from pycontainer.cgroup.base import parse_keyed
from pycontainer.cgroup.detect import cgroup_mounts
from pycontainer.controllers.protocol import parse_cpu_list, parse_limit
from pycontainer.net.hosts import resolv_conf
from pycontainer.supervisor.oomwatch import KillReader
from tests.fuzz.inputs import text_of, write

SEEDS = (
    b"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    b"39 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2  rw\n33 1 0:1 / /odd\\040place\x0c rw - fuse.x s rw\n",
    b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/p/t,"
    b"task_memcg=/p/t/0123456789ab,task=x,pid=1,uid=0,pid=14867,uid=268828672\n"
    b"Memory cgroup out of memory: Killed process 14867 (x) total-vm:3292kB, anon-rss:1024kB, file-rss:1584kB, "
    b"shmem-rss:8kB, UID:0\n",
    b"0-3,7,9-10",
    b"usage_usec 5\nuser_usec 3\nnr_periods 0\n",
    b"9223372036854771712",
    b"max",
    b"nameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\nsearch a b\noptions ndots:2\n",
)
MAX_BYTES = 1000


def try_one(data: bytes) -> None:
    text = text_of(data)
    v1, v2 = cgroup_mounts(text, "/sys/fs/cgroup")
    for point, _shown in (*v1.values(), *([v2] if v2 else [])):
        assert point == "/sys/fs/cgroup" or point.startswith("/sys/fs/cgroup/")
    reader = KillReader()
    for line in text.split("\n"):
        kill = reader.feed(line)
        assert kill is None or (kill.pid >= 0 and kill.rss_bytes >= 0 and "," not in kill.cgroup)
    for parse in (parse_cpu_list, parse_limit, parse_keyed):
        try:
            parse(text)
        except ValueError:
            pass
    for line in resolv_conf((), (), write("resolv.conf", data)).decode().split("\n")[:-1]:
        assert line.split(" ")[0] in ("nameserver", "search", "options") and line.isprintable()
