"""Stock Debian kernels with pure cgroup v2, booted under emulation, so that what modern hosts have is tested on any machine.

    python -m tests.vm [--kernel 6.12|6.1] [--systemd] -- COMMAND...

The machine's root is this system's, read-only over virtiofs, below a layer in memory. An ext4 disk
carries a copy of the checkout without .venv, /var/tmp and /var/lib/pycontainer: neither overlayfs's upper layers nor id
ranges work on a share. What the command writes comes out here, and its exit status is ours.

    reboot.py      runs inside: the machine is rebooted, and has its power cut, with containers on it
    kernel.py      fetches a kernel package once and keeps it
    initramfs.py   the first steps: modules, share, root          guest.sh   the rest: /proc, cgroup2, disk, the command
    machine.py     QEMU, without KVM: twenty times slower than the host
"""
