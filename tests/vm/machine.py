"""One machine, thrown away after one command, which may reboot it.

QEMU emulates the processor: there need not be a /dev/kvm.
"""

import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.features import MACHINE_OF_OURS, QEMU, VIRTIOFSD
from tests.vm import initramfs
from tests.vm.kernel import Kernel

_HERE = Path(__file__).parent
_PROJECT = _HERE.parents[1]
# Several threads crash the guest: its kernel patches code that another of them runs.
_ACCELERATOR = "tcg,thread=single,tb-size=512"
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_KERNEL_LINE = (
    "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic random.trust_cpu=on mitigations=off psi=1 rdinit=/init "
    f"systemd.show_status=0 {MACHINE_OF_OURS}"
)

MARKER = "pycontainer-vm"  # in the command line of all that makes a machine
MACHINE_FAILED, TIMED_OUT = 125, 124


def run(
    kernel: Kernel,
    command: str,
    *,
    timeout_seconds: float,
    systemd: bool = False,
    reboots: int = 0,
    memory: str = "2G",
    disk: str = "4G",
) -> tuple[int, str]:
    """Run a shell command in the checkout, inside; return its exit status and what it wrote to both streams.

    `systemd`: as a service, with systemd as the first process; else there is nothing but the command. When the machine
    reboots, at most `reboots` times, it keeps its disk, and the command runs again (guest.sh).
    TIMED_OUT when the time is over, MACHINE_FAILED when the machine ended without a word; its console comes with that.
    """
    settings = f"PROJECT={shlex.quote(str(_PROJECT))}\nCOMMAND={shlex.quote(command)}\n"
    settings += f"SYSTEMD={'yes' if systemd else ''}\n"
    with tempfile.TemporaryDirectory(prefix=f"{MARKER}.") as name:
        directory = Path(name)
        archive = initramfs.build(kernel, (_HERE / "guest.sh").read_text(), settings)
        (directory / "initramfs").write_bytes(archive)
        subprocess.run(["truncate", "-s", disk, str(directory / "disk")], check=True)
        deadline = time.monotonic() + timeout_seconds
        for _ in range(reboots + 1):
            late = not _until_it_ends(kernel, directory, memory, deadline)
            status = _text(directory / "status").strip()
            if late or status:
                break
        output = _text(directory / "output")
        if status.isdigit():
            return int(status), output
        return TIMED_OUT if late else MACHINE_FAILED, output + _text(directory / "console")[-4000:]


def _until_it_ends(kernel: Kernel, directory: Path, memory: str, deadline: float) -> bool:
    """Let the machine run until it powers off or reboots, which ends QEMU as well; False when the time is over first."""
    (directory / "share").unlink(missing_ok=True)
    share = subprocess.Popen(
        [*_ENDS_WITH_US, VIRTIOFSD, f"--socket-path={directory}/share", "-o", "source=/", "-o", "cache=always",
         "-o", "xattr,sandbox=chroot", "--thread-pool-size=0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(directory / "share", share)
        machine = subprocess.Popen(_qemu_line(kernel, directory, memory), stdin=subprocess.DEVNULL)
        try:
            machine.wait(max(deadline - time.monotonic(), 0))
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            machine.kill()
            machine.wait()
    finally:
        share.kill()
        share.wait()


def _qemu_line(kernel: Kernel, directory: Path, memory: str) -> list[str]:
    line = [
        *_ENDS_WITH_US, QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35,memory-backend=mem", "-cpu", "max", "-accel", _ACCELERATOR, "-smp", "2", "-m", memory,
        "-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
        "-kernel", str(kernel.image), "-initrd", f"{directory}/initramfs", "-append", _KERNEL_LINE,
        "-serial", f"file:{directory}/console", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=share,path={directory}/share", "-device", "vhost-user-fs-pci,chardev=share,tag=root",
        "-drive", f"file={directory}/disk,if=none,format=raw,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
    ]  # fmt: skip
    for port in ("output", "status"):
        line += ["-chardev", f"file,id={port},path={directory}/{port},append=on"]  # also after a reboot
        line += ["-device", f"virtserialport,chardev={port},name=vm.{port}"]
    return line


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{VIRTIOFSD} does not come up")
        time.sleep(0.02)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
