"""What an image says of its containers (store/imageconfig.py)."""

import json

from pycontainer.store.imageconfig import check_config
from tests.fuzz.inputs import encoded, parsed, value_of

SEEDS = encoded(
    (
        {
            "entrypoint": ["/x"],
            "cmd": ["a"],
            "env": ["A=1"],
            "user": "web",
            "labels": {"a": "b"},
            "stop_signal": "TERM",
        },
        {"exposed_ports": ["80/tcp"], "volumes": ["/data"], "workdir": "/srv", "labels": None},
        {"hooks": []},
        {"env": ["=x"]},
        {"cmd": ["\ud800", "a\0b"]},
    )
)
MAX_BYTES = 2000


def try_one(data: bytes) -> None:
    config = parsed(check_config, value_of(data))  # type: ignore[arg-type]
    if isinstance(config, dict):
        assert check_config(config) == config
        json.dumps(config, ensure_ascii=False).encode()
        for value in config.values():
            assert "\0" not in "".join([*value, *value.values()] if isinstance(value, dict) else value)
