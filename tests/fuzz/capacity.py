"""The policy of promises (spec/capacity.py)."""

from pycontainer.errors import InvalidInput
from pycontainer.spec.capacity import ADMISSIONS, BY_KEY, read_policy
from tests.fuzz.inputs import check_message

SEEDS = (
    b"admission: refuse\nratios: {memory: 1.25, cpus: 400%, disk: 1}\nphysical:\n  net_in: 1gbit\n  memory: 8G\n",
    b"admission: off\n",
    b"admision: warn\nratios: {memroy: 0, cpus: -1, pids: 1e3}\nphysical: {disk: 5GB, net_out: 10}\n",
    b"ratios: [memory]\nphysical: 5\n",
    b"[a]\n",
    b"? {a: b}\n: c\n",
)
MAX_BYTES = 1000


def try_one(data: bytes) -> None:
    try:
        policy = read_policy(data, source="capacity.yaml")
    except InvalidInput as error:
        check_message(error)
        assert all(line.startswith(("capacity.yaml:", "and ")) for line in error.message.split("\n")), error.message
        return
    assert policy.admission in ADMISSIONS
    assert set(policy.ratios) | set(policy.physical) <= set(BY_KEY)
    assert all(1 <= ratio <= 1_000_000 for ratio in policy.ratios.values())
    assert all(amount > 0 for amount in policy.physical.values())
