"""Which system calls a container may make: an allow-list by purpose. What is not named here is refused with EPERM, what is
newer than this list does not exist (ENOSYS), so that a C library falls back to what it used before.

Never allowed, in either profile: bpf, perf_event_open, io_uring_*, userfaultfd, the keyring, kexec, kernel modules, quotactl,
swap, open_by_handle_at, setting clocks, port I/O, acct, fanotify, syslog: what reaches the host, or has been the way out of
containers more often than it was needed inside. A capability does not open them: root of a user namespace has them all.

Names as in the kernel's syscall tables; one that an architecture lacks is left out there.
"""

_FILES = """
access chdir chmod chown chroot close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr file_getattr file_setattr flistxattr
flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr listxattrat llistxattr
lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2
pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename
renameat renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range syncfs
tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev
"""
_WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit pipe pipe2 poll ppoll pselect6 select signalfd signalfd4
timerfd_create timerfd_gettime timerfd_settime
"""
_MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise
process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get
ioprio_set kcmp kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
pause pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
set_thread_area set_tid_address setpgid setpriority setrlimit setsid sigaltstack tgkill tkill uname vfork wait4 waitid
"""
_IDENTITY = """
getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid setresgid setresuid
setreuid setuid
"""
_TIME = """
adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer sysinfo
time timer_create timer_delete timer_getoverrun timer_gettime timer_settime times
"""
_TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt getrandom listen mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd recvfrom recvmmsg recvmsg semctl semget semop semtimedop
sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketpair
"""
_SYSTEM = "listmount mount pivot_root reboot setdomainname sethostname setns statmount umount2 vhangup"
_ABSENT = "clone3 fsconfig fsmount fsopen fspick mount_setattr move_mount open_tree open_tree_attr"
COMMON = frozenset(" ".join((_FILES, _WAITING, _MEMORY, _PROCESSES, _IDENTITY, _TIME, _TALKING)).split())
# An instance with an init of its own mounts for its services, names its host and may end itself. All of these act inside
# of its namespaces. The newer mount interface stays closed: mount(8) and systemd fall back to the old one.
SYSTEM = frozenset(_SYSTEM.split())
# Refused as if the kernel did not have them, because callers know what to do then. The flags of clone3 lie in memory,
# where no filter can look: without it everybody takes clone.
ABSENT = frozenset(_ABSENT.split())

# Calls that libseccomp of Debian 12 has no name for; from 424 on the numbers are the same on all architectures.
NUMBERS = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
NEWEST_NUMBER = max(NUMBERS.values())  # what is above was not yet thought about
