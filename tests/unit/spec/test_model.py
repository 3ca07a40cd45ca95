"""What the model says of itself."""

import pytest

from pycontainer.spec.model import ContainerSpec, RestartPolicy


@pytest.mark.parametrize(
    ("onboot", "restart", "wanted"),
    [
        ("", "no", "no"),
        ("", "on-failure", "no"),
        ("", "unless-stopped", "last"),
        ("", "always", "yes"),
        ("no", "always", "no"),
        ("last", "no", "last"),
        ("yes", "unless-stopped", "yes"),
    ],
)
def test_the_wish_for_the_boot_follows_the_restart_policy_unless_said(onboot: str, restart: str, wanted: str) -> None:
    assert ContainerSpec(onboot=onboot, restart=RestartPolicy(restart)).starts_at_boot == wanted
