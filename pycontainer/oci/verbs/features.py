"""`features`: what this runtime can do, as JSON. Source: OCI runtime-spec features.md, features-linux.md.

It is about the runtime, not the host: what a kernel lacks is told when it is asked for. The lists of words are those that
the readers of a configuration go by.
"""

from __future__ import annotations

import pycontainer
from pycontainer.linux.capabilities import NAMES
from pycontainer.oci import output, text
from pycontainer.oci.config import HOOKS
from pycontainer.oci.config_mounts import known_options
from pycontainer.oci.state import OCI_VERSION
from pycontainer.security import seccomp_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

OCI_VERSION_MIN = "1.0.0"
# what libseccomp can filter for beside the machine itself
ARCHITECTURES = (
    "AARCH64", "ARM", "LOONGARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PARISC",
    "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390", "S390X", "X32", "X86", "X86_64",
)  # fmt: skip
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")


def run(options: Options) -> None:
    """Print them, indented."""
    output.write(text.dumps(features(), indent=4) + "\n")


def features() -> dict[str, object]:
    """Return the document."""
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": known_options(),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": list(NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp_json._ACTIONS),
                "operators": sorted(seccomp_json._OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in ARCHITECTURES],
                "knownFlags": sorted(seccomp_json._FLAGS),
                "supportedFlags": sorted(seccomp_json._FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"io.pycontainer.version": pycontainer.__version__},
    }
