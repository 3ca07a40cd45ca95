"""The root file system of the tests: busybox, and the payload that shows what a container sees."""

import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))


def build_payload(target: str) -> None:
    """Compile payload.c into the static program `target`."""
    subprocess.run(
        ["gcc", "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", target, f"{HERE}/payload.c"], check=True
    )


def build_rootfs(directory: str) -> str:
    """Make a busybox root file system with /bin/payload in `directory`, which must not exist, and return its path."""
    subprocess.run([f"{CHECKOUT}/rootfs-tools/busybox", directory], check=True, stdin=subprocess.DEVNULL)
    build_payload(f"{directory}/bin/payload")
    return directory


def copy_rootfs(source: str, target: str) -> str:
    """Copy a root file system with links and modes as they are."""
    shutil.copytree(source, target, symlinks=True)
    return target
