#!/bin/sh
# Inside the machine. `boot` is its first process. It makes what a system has and runs the command; or it hands over to
# systemd, which makes that itself and calls `run`. After a reboot the disk is there before that: units that lie in
# /disk/units then are enabled ones.
. /run/vm/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

boot() {
    mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
    mount -t mqueue mqueue /dev/mqueue
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    mount -t securityfs securityfs /sys/kernel/security
    mount -t bpf bpf /sys/fs/bpf 2>/dev/null
    for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
        [ -e "/dev/${link%%:*}" ] || ln -s "${link#*:}" "/dev/${link%%:*}"
    done
}

# As little of systemd as a host has at least: nothing that is enabled on this system is started.
systemd() {
    units=/run/systemd/system
    mkdir -p $units
    for unit in systemd-firstboot.service systemd-journal-flush.service; do ln -s /dev/null $units/$unit; done
    cat >$units/vm.target <<-EOF
	[Unit]
	Requires=basic.target vm.service
	After=basic.target
	Wants=$(for unit in /disk/units/*.service; do [ -e "$unit" ] && printf '%s ' "${unit##*/}"; done)
	AllowIsolate=yes
	EOF
    cat >$units/vm.service <<-EOF
	[Unit]
	After=basic.target
	[Service]
	Type=oneshot
	TimeoutStartSec=infinity
	ExecStart=/bin/sh /run/vm/guest.sh run
	EOF
    [ -d /disk/units ] && cp /disk/units/* $units
    exec /lib/systemd/systemd --unit=vm.target
}

# A file system that overlayfs can use, at every place where tests and containers write. Not a copy of .venv, which is
# only read: for each file that this kernel remembers of the share, the host holds a descriptor, and may have 20000 of them.
disk() {
    mkfs.ext4 -q -E lazy_itable_init=1 /dev/vda
    mkdir /disk && mount /dev/vda /disk
    mkdir -m 1777 /disk/tmp && mkdir /disk/lib /disk/checkout /disk/cache /disk/venv
    tar -c --exclude=./.git --exclude=./.venv --exclude='./.*_cache' -C "$PROJECT" -f /disk/tar . &&
        tar -x -C /disk/checkout -f /disk/tar && rm /disk/tar || exit 125 # no part of the tests instead of all
    mkdir /disk/checkout/.venv
    places
}

# The disk's directories in the places of the root's.
places() {
    for module in loop fuse tun xfs ifb sch_htb cls_bpf cls_u32 act_mirred sch_ingress; do modprobe $module 2>/dev/null; done
    mount --bind "$PROJECT/.venv" /disk/venv
    mount --bind /disk/tmp /var/tmp
    mkdir -p /var/lib/pycontainer && mount --bind /disk/lib /var/lib/pycontainer
    mkdir -p "$PROJECT" && mount --bind /disk/checkout "$PROJECT"
    mount --bind /disk/venv "$PROJECT/.venv"
}

run() {
    for port in /sys/class/virtio-ports/*; do
        [ -e "/dev/${port##*/}" ] || mknod "/dev/${port##*/}" c $(tr : ' ' <"$port/dev")
        case $(cat "$port/name") in vm.output) output=/dev/${port##*/} ;; vm.status) status=/dev/${port##*/} ;; esac
    done
    mkfifo /run/vm/output # a plain pipe, because a port can be opened only once
    cat /run/vm/output >"$output" &
    reader=$!
    (
        hostname vm
        ip link set lo up
        mountpoint -q /disk || disk
        cd "$PROJECT" || exit 125
        exec setsid sh -c "$COMMAND"
    ) >/run/vm/output 2>&1 </dev/null &
    wait $!
    code=$?
    (sleep 2 && kill $reader) 2>/dev/null & # what the command left running must not hold the machine
    wait $reader
    echo $code >"$status"
    sync
    exec busybox poweroff -f
}

if [ "$1" = boot ]; then
    if blkid /dev/vda >/dev/null; then # a reboot
        mkdir -p /disk && mount /dev/vda /disk && places
    fi
    [ -n "$SYSTEMD" ] && systemd
    boot
fi
run
