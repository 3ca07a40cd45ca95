"""Files of plans (hosting/plans.py), and the plans that come of them."""

import tempfile

from pycontainer.errors import InvalidInput
from pycontainer.hosting.plans import Plans, check_limits
from tests.fuzz.inputs import check_message

SEEDS = (
    b"inherits: small\ndescription: x\nlimits:\n  memory: 300M\n  ulimits: {nofile: 4096}\n",
    b"plans:\n  a: {inherits: b}\n  b: {limits: {disk: unlimited, pids: 5, ulimits: [core=0]}}\n",
    b"plans: {a: {inherits: b}, b: {inherits: a}, small: {inherits: small}}\n",
    b"limits: {memory: 1M, memory_high: 2M, memroy: 1, image: x, cpus:}\n",
    b"limits: [a]\ninherits: 5\nmemory: 1G\n5: x\n",
    b"plans: 5\nx: &a [*a]\n",
)
MAX_BYTES = 1000


def try_one(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/own.yaml", "wb") as file:
            file.write(data)
        try:
            plans = Plans.load(directory)
        except InvalidInput as error:
            check_message(error)
            assert all(line.startswith((f"{directory}/own.yaml", "and ")) for line in error.message.split("\n"))
            return
    for name in plans.names():
        assert check_limits(plans.limits(name)) == []
        assert set(plans.pool(name)) <= set(plans.limits(name)) == set(plans.origins(name))
