"""The plain spec that the socket carries and the record that is kept of it (spec/parse.py)."""

import json

from pycontainer.errors import InvalidInput
from pycontainer.spec.asked import check_as_asked
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import check_spec, from_plain, parse_changes, parse_pool, to_plain
from tests.fuzz.inputs import check_message, encoded, parsed, value_of

SEEDS = encoded(
    (
        {"image": "a", "memory": "200M", "cpus": 0.5, "ports": {"8080": 80}, "env": ["A=1"], "command": ["x", 5]},
        {"rootfs": "/r", "volumes": ["/a:/b"], "mounts": [{"type": "tmpfs", "target": "/t"}], "ulimits": {"nofile": 9}},
        {"memory": "unlimited", "pids": 5, "net_out": "10mbit", "io_read": "1M/s"},
        {"image": "a", "networks": ["host"], "restart": "on-failure:3", "security_opt": ["no-new-privileges"]},
        {"name": "web", "ports": [{"host_port": 1, "container_port": 2}], "restart": {"name": "no", "max_retries": 0}},
        to_plain(ContainerSpec(name="x", image="y", command=("a",), env=(("A", "1"),))),
        {"memory": "1G", "max_containers": 5, "transfer": "1T", "transfer_action": "slow:1mbit"},
        {"image": "a", "memroy": 1, "env": {"A": None, "B=C": 2}, "tty": "yes"},
    )
)
MAX_BYTES = 3000


def try_one(data: bytes) -> None:
    value = value_of(data)
    spec, problems = check_spec(value)
    if not problems:
        assert from_plain(json.loads(json.dumps(to_plain(spec)))) == spec
        assert check_as_asked(spec) == spec
    for problem in problems[:50]:
        check_message(InvalidInput(problem.text(), hint=problem.hint))
    record = parsed(from_plain, value)
    if isinstance(record, ContainerSpec):
        assert from_plain(to_plain(record)) == record
        parsed(check_as_asked, record)  # type: ignore[arg-type]
    if isinstance(value, dict):
        for parse in (parse_changes, parse_pool):
            parsed(parse, value)  # type: ignore[arg-type]
