"""The messages of the control socket, and how they travel.

One stream socket. A frame is 4 bytes of big-endian length and as many bytes of UTF-8 JSON; descriptors ride on
the frame's first byte (SCM_RIGHTS). The client speaks first, any number of requests one after the other:

    client                                        supervisor
    {"verb": "stop", "args": {...}}        ──▶                           and "trace": true for where the time goes
                                           ◀──    {"event": {...}}      none or many, for verbs that stream
                                           ◀──    {"result": ...}       or {"error": {class, message, hint, ...}}

The reply to a request with "trace": true has {"trace": {spans: [[process, step, begin, end]], lost, token}} beside it: what
was done for it in the supervisor and below, in nanoseconds of CLOCK_MONOTONIC, see supervisor/tracing.py.

Closing the socket cancels a request that only waits or streams. Each row of VERBS: what `args` holds, what comes back.
`container` is always a name, an id, or an unambiguous id prefix. See docs/api.md for the shapes of the results.
"""

import json
import os
import socket
import struct

VERBS: dict[str, str] = {
    "ping": "{} -> {version, pid, monitor_pid}",
    "create": "{spec} -> ContainerInfo",
    "start": "{container, attach: bool, rows, columns} -> ContainerInfo; with attach fd 0 of the frame is the socket",
    "run": "{spec, attach: bool, rows, columns} -> ContainerInfo: create and start as one, nothing remains if that fails;"
    " with attach fd 0 of the frame is the socket -> event {started: ContainerInfo}, then {exit_code} as of wait",
    "stop": "{container, timeout_seconds?} -> ContainerInfo",
    "restart": "{container, timeout_seconds?} -> ContainerInfo",
    "kill": "{container, signal} -> {}",
    "rm": "{container, force: bool, volumes: bool} -> {}",
    "list": "{all: bool, filters: {key: [value]}} -> [ContainerInfo]",
    "inspect": "{container} -> full record",
    "wait": "{container} -> {exit_code}",
    "rename": "{container, name} -> ContainerInfo",
    "exec": "{container, command, env, user, workdir, tty, privileged, rows, columns, detach?}, fds: [stdin, stdout, stderr]"
    " unless tty -> event {started: {pid}} (with tty its frame carries the pty master), then {exit_code}",
    "attach": "{container} -> {} and fd 0 is the attach socket",
    "logs": "{container, open: bool} -> {paths: [oldest..newest], running: bool}; the client reads the files. With open,"
    " for who may not: an event for each file that is there, newest first, whose frame carries it open",
    "set": "{container, spec: what changes, transient: bool, force: bool} -> ContainerInfo",
    "limits": "{containers: [..], tenants: [..], recent: bool} -> [Limit]; without names, of all that run",
    "stats": "{containers: [..]} -> [Stats]",
    "usage": "{tenant?, month?} -> Usage; the sums of a month, which is 2026-11 or left out for the present one",
    "metrics": "{} -> event {containers: [row]} ..., then {containers: [row], cgroup_version, tenants, supervisor}; what the"
    " metrics process cannot ask the kernel itself",
    "trace": "{token} -> {spans, lost}; how the runs ended that the traced request of that token began, or had end",
    "top": "{container} -> [{pid, ns_pid, user, cpu_seconds, rss_bytes, command}]",
    "pause": "{container} -> ContainerInfo",
    "unpause": "{container} -> ContainerInfo",
    "cp_from": "{container, path}, fds: [tar_out] -> {left_out: [what and why]}",
    "cp_to": "{container, path}, fds: [tar_in] -> {left_out: [what and why]}",
    "snapshot_create": "{container, name} -> SnapshotInfo; an empty name: the next free one",
    "snapshot_list": "{container} -> [SnapshotInfo], oldest first",
    "snapshot_restore": "{container, snapshot, force: bool} -> SnapshotInfo",
    "snapshot_rm": "{container, snapshots: [..]} -> {}",
    "clone": "{container, name, snapshot, ports: [..]} -> ContainerInfo; without snapshot, as it is now",
    "diff": "{container} -> [{kind: A|C|D, path}]",
    "mount": "{container} -> {path}",
    "umount": "{container} -> {}",
    "commit": "{container, image, config, author, message} -> event {progress} ..., then {image: ImageInfo, left_out}",
    "export": "{container}, fds: [archive] -> event {progress} ..., then {left_out: [what and why]}",
    "instance_import": "{source, name, ports: [..], tenant, trusted: bool}, fds: as image_load -> event {progress} ..., then"
    " ContainerInfo",
    "events": "{after?, since?, until?, filters: {type|container|tenant: [..]}, follow: bool} -> event {type: listening,"
    " cursor}, event {seq, time, type, boot, actor, cause, id?, name?, ...} ..., then {cursor}; after: the last seq that was"
    " seen; since, until: seconds since the epoch",
    "why": "{container, seconds?} -> Why; also of a container that is removed; seconds lie between two looks at the kernel",
    "image_list": "{} -> [ImageInfo]",
    "image_inspect": "{image} -> ImageDetails",
    "image_import": "{source, name, config, platform, format}, fds: as image_load -> event {step, bytes, total_bytes?}"
    " ..., then ImageInfo; format: squashfs, erofs or empty",
    "image_load": "{source, name, platform}, fds: [a file that is only called source] or none -> event {step, bytes,"
    " total_bytes?} ..., then [ImageInfo]",
    "image_tag": "{image, name} -> ImageInfo",
    "image_save": "{images: [..], format, links: bool}, fds: [archive or directory] -> event {step, bytes} ..., then"
    " {images: [name or id]}; with links the directory's blobs are the store's files",
    "image_rm": "{image} -> {}",
    "image_prune": "{all: bool} -> [ImageInfo], those that went",
    "network_create": "{name, driver, subnet, subnet6, fast_path: bool} -> NetworkInfo",
    "network_set": "{network, fast_path: bool} -> NetworkInfo",
    "network_list": "{} -> [NetworkInfo]",
    "network_inspect": "{network} -> NetworkInfo with containers",
    "network_rm": "{network} -> {}",
    "network_connect": "{network, container, ip, ip6} -> {}",
    "network_disconnect": "{network, container} -> {}",
    "volume_create": "{name, size, inodes, labels} -> VolumeInfo; without a name it is anonymous",
    "volume_list": "{} -> [VolumeInfo]",
    "volume_inspect": "{volume} -> VolumeInfo",
    "volume_set": "{volume, size, inodes} -> VolumeInfo",
    "volume_rm": "{volume, force: bool} -> {}",
    "volume_prune": "{all: bool} -> {removed: [name], freed_bytes}",
    "volume_backup": "{volume, pause: bool}, fds: [tar_out] -> {left_out: [what and why], warnings: [..]}",
    "volume_restore": "{volume, size, inodes}, fds: [archive] -> VolumeInfo",
    "system_df": "{} -> {summary: [row], images: [..], containers: [..], volumes: [VolumeInfo]}",
    "system_prune": "{all: bool, volumes: bool} -> {containers, images, volumes, leftovers: [text], freed_bytes}",
    "doctor": "{deep: bool, fix: bool, storage: bool} -> {findings: [Finding], repaired_at_start: [text]}",
    "tenant_create": "{name, spec: limits} -> TenantInfo",
    "tenant_list": "{} -> [TenantInfo]",
    "tenant_inspect": "{tenant} -> TenantInfo",
    "tenant_set": "{tenant, spec: what changes, transient: bool, force: bool} -> TenantInfo",
    "tenant_rm": "{tenant} -> {}",
    "boot": "{parallel} -> event {id, name, error?, hint?} ..., then {was_done, started, failed}; once in each boot",
    "stop_all": "{timeout_seconds} -> event {id, name, exit_code | error} ..., then {stopped, left: [name]}",
    "info": "{} -> host and counts",
    "capacity": "{seconds?} -> Capacity: there is, promised, used, of each resource; seconds lie between two looks",
    "reload": "{} -> {version, pid}; supervisor and monitor become the code that is installed, containers go on",
    "shutdown": "{} -> {}; ends the supervisor, containers go on",
}

# The attach socket (SOCK_SEQPACKET) carries packets of at most ATTACH_PACKET_BYTES, the first byte telling what follows:
ATTACH_STDOUT, ATTACH_STDERR, ATTACH_END = 1, 2, 0  # towards the client; END: all output has been sent
ATTACH_STDIN, ATTACH_STDIN_END, ATTACH_RESIZE = 3, 4, 5  # towards the container; RESIZE: struct "HH" rows, columns
ATTACH_PACKET_BYTES = 32768

MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_FRAME_FDS = 4
_HEADER = struct.Struct(">I")


def send_frame(sock: socket.socket, message: object, fds: list[int] | None = None) -> None:
    """Send one frame on a blocking socket; the caller keeps its descriptors."""
    body = json.dumps(message, separators=(",", ":")).encode()
    data = _HEADER.pack(len(body)) + body
    if fds:
        sent = socket.send_fds(sock, [data], fds)
        data = data[sent:]
    if data:  # to send nothing fails, too, once the other end is closed, which has read everything then
        sock.sendall(data)


def receive_frame(sock: socket.socket) -> tuple[object, list[int]] | None:
    """Receive one frame from a blocking socket, with the descriptors it carried (now the caller's); None at end of file."""
    header, fds, flags, _ = socket.recv_fds(sock, _HEADER.size, MAX_FRAME_FDS)
    if not header:
        return None
    try:
        if flags & socket.MSG_CTRUNC:
            raise ConnectionError("no room for the descriptors of a frame")
        header += _receive_exactly(sock, _HEADER.size - len(header))
        (length,) = _HEADER.unpack(header)
        if length > MAX_FRAME_BYTES:
            raise ConnectionError(f"frame of {length} bytes, more than {MAX_FRAME_BYTES}")
        return json.loads(_receive_exactly(sock, length)), fds
    except (ValueError, RecursionError) as error:
        _close(fds)
        raise ConnectionError(f"a frame that is no JSON: {error}") from None
    except BaseException:
        _close(fds)
        raise


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionError("connection closed in the middle of a frame")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
