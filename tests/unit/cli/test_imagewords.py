"""Changes of an image's config as a Dockerfile has them."""

import pytest

from pycontainer.cli.imagewords import config_of
from pycontainer.errors import InvalidInput


def test_instructions() -> None:
    changes = [
        'CMD ["a", "b c"]', "entrypoint run it", "ENV A=1 B='x y'", "env C=3", "EXPOSE 80 53/udp", 'VOLUME ["/a", "/b"]',
        "LABEL x=1", "USER www", "WORKDIR /srv", "STOPSIGNAL QUIT", "USER root",
    ]  # fmt: skip
    assert config_of(changes) == {
        "cmd": ["a", "b c"], "entrypoint": ["/bin/sh", "-c", "run it"], "env": ["A=1", "B=x y", "C=3"],
        "exposed_ports": ["80", "53/udp"], "volumes": ["/a", "/b"], "labels": {"x": "1"}, "user": "root",
        "workdir": "/srv", "stop_signal": "QUIT",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["RUN x", "CMD", "", "CMD [1]", "CMD [", "ENV A", "LABEL 'x", "ENV =1"])
def test_what_is_no_instruction(change: str) -> None:
    with pytest.raises(InvalidInput):
        config_of([change])
