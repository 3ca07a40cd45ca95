/* The tests' payload: one static program with a verb for each thing to observe. Verbs run one after the other:
 *
 *     payload VERB [ARGUMENT] [VERB [ARGUMENT]]...
 *
 *     ids            uid, gid and groups            caps           the five capability sets and no_new_privs
 *     ns             the namespaces' identities     cwd, env, args what it was started with
 *     fds            open descriptors, a line each  echo           copy stdin to stdout until its end
 *     out TEXT       TEXT to stdout                 err TEXT       TEXT to stderr
 *     open PATH      open for reading, say how it went             write PATH     the same for writing
 *     allocate N     touch N MiB and keep them      fork N         start N sleeping children, say how many it got
 *     huge N         touch N huge pages of 2 MiB and keep them
 *     flood N        N KiB of 'x' without newline   spin N         use the processor for N seconds
 *     signal N       send itself signal N           ignore N       ignore signal N
 *     sleep N        sleep N seconds (0: for ever)  exit N         end with N
 *     clock          the monotonic clock, in ns     keyring        its session keyring
 *     udp-echo PORT  answer datagrams of both families for ever
 *     udp-send FROM,HOST,PORT    send "datagram" to HOST (IPv4), from address FROM
 *     serve NAME     listen on the abstract unix socket NAME, and go on
 *     reach NAME     connect to it, say how it went
 *     notify TEXT    send TEXT, and standard input as a descriptor, to $NOTIFY_SOCKET
 *     frame DEVICE,HEX           send an Ethernet frame through a packet socket
 *     daemon         go on in a new session, the first process ends
 *     take KIND      take files, inotify, epoll, eventfd, timers, signals, locked or pty until refused, and keep them
 *     hold KIND,N    keep N MiB as pipes, unix (sockets that nobody reads), udp or locked (memory)
 *     many N         make N files in ./many         deep N         make N directories, one in the other, in ./deep
 *     calls          try the system calls that no container may make, with arguments that an allowed one does nothing with
 *     families       try every socket family        sti            push a character into the terminal on stdin
 *     mount TYPE:DIR mount a fresh file system      bind FROM:TO   bind mount, `rbind` with all below, `move` a mount
 *     umount DIR     detach what is mounted there   pivot          pivot_root back and forth, then ".." as far as it goes
 *     stall DIR      mount a FUSE file system over DIR that never answers a look-up, and go on; `silent:DIR`: that answers nothing
 *     chroot DIR     make DIR the root of what follows
 *     hunt N         until N processes have come and gone: get into every process that is seen; tell of each that is not
 *                    yet confined
 *
 * A refusal is printed as "VERB: errno NAME" and is not the end; an unknown verb ends with 64.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void refused(const char *verb) {
    printf("%s: %s\n", verb, strerrorname_np(errno));
}

static void show_status(const char *const *names) {
    char line[1024];
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) {
        refused("status");
        return;
    }
    while (fgets(line, sizeof line, file))
        for (const char *const *name = names; *name; name++)
            if (!strncmp(line, *name, strlen(*name)))
                fputs(line, stdout);
    fclose(file);
}

static void show_links(const char *directory) {
    DIR *open_directory = opendir(directory);
    struct dirent *entry;
    if (!open_directory) {
        refused(directory);
        return;
    }
    while ((entry = readdir(open_directory))) {
        char path[512], target[512], own[16];
        ssize_t length;
        snprintf(own, sizeof own, "%d", dirfd(open_directory));
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, own))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = 0;
        printf("%s %s\n", entry->d_name, target);
    }
    closedir(open_directory);
}

static void try_open(const char *verb, const char *path, int flags) {
    int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        refused(verb);
        return;
    }
    printf("%s: ok\n", verb);
    close(fd);
}

static void allocate(long mebibytes) {
    long done = 0;
    for (; done < mebibytes; done++) {
        char *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) {
            refused("allocate");
            break;
        }
        memset(block, 0x5a, 1 << 20);
    }
    printf("allocated %ld\n", done);
}

static void touch_huge_pages(long count) {
    size_t page = 2 << 20;
    char *block = mmap(NULL, count * page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
    if (block == MAP_FAILED) {
        refused("huge");
        return;
    }
    for (long i = 0; i < count; i++)
        block[i * page] = 1; /* SIGBUS where the cgroup has no room */
    printf("huge: %ld\n", count);
}

static void fork_children(long wanted) {
    long done = 0;
    for (; done < wanted; done++) {
        pid_t pid = fork();
        if (pid < 0) {
            refused("fork");
            break;
        }
        if (pid == 0)
            for (;;)
                pause();
    }
    printf("forked %ld\n", done);
}

static void flood(long kibibytes) {
    static char block[1024];
    memset(block, 'x', sizeof block);
    for (; kibibytes > 0; kibibytes--)
        fwrite(block, 1, sizeof block, stdout);
}

static void echo(void) {
    char block[4096];
    ssize_t length;
    while ((length = read(0, block, sizeof block)) > 0)
        if (write(1, block, length) < 0)
            break;
}

static void udp_echo(int port) {
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_port = htons(port)}, peer;
    char block[1500];
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0)
        refused("udp-echo");
    for (;;) {
        socklen_t size = sizeof peer;
        ssize_t length = recvfrom(fd, block, sizeof block, 0, (struct sockaddr *)&peer, &size);
        if (length < 0 || sendto(fd, block, length, 0, (struct sockaddr *)&peer, size) < 0)
            refused("udp-echo");
    }
}

static void udp_send(const char *argument) {
    struct sockaddr_in own = {.sin_family = AF_INET}, peer = {.sin_family = AF_INET};
    char from[32], host[32];
    int port, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sscanf(argument, "%31[^,],%31[^,],%d", from, host, &port) != 3 || !inet_aton(from, &own.sin_addr) ||
        !inet_aton(host, &peer.sin_addr)) {
        puts("udp-send: FROM,HOST,PORT");
        return;
    }
    peer.sin_port = htons(port);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0 ||
        sendto(fd, "datagram", 8, 0, (struct sockaddr *)&peer, sizeof peer) < 0)
        refused("udp-send");
    else
        puts("udp-send: ok");
    close(fd);
}

static int abstract_socket(const char *name, int (*use)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return use(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)) < 0 ? -1 : fd;
}

static void serve(const char *name) {
    int fd = abstract_socket(name, bind);
    if (fd < 0 || listen(fd, 8) < 0)
        refused("serve");
}

static void reach(const char *name) {
    if (abstract_socket(name, connect) < 0)
        refused("reach");
    else
        puts("reach: ok");
}

static void notify(char *text) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) {
        puts("notify: nowhere");
        return;
    }
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), passed = 0;
    char control[CMSG_SPACE(sizeof passed)] = {0};
    struct iovec part = {text, strlen(text)};
    struct msghdr message = {&address, sizeof address, &part, 1, control, sizeof control, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof passed);
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
    if (sendmsg(fd, &message, 0) < 0)
        refused("notify");
    else
        puts("notify: ok");
    close(fd);
}

static void frame(const char *argument) {
    unsigned char bytes[1500];
    char device[IF_NAMESIZE];
    size_t length = 0;
    const char *hex = strchr(argument, ',');
    if (!hex || sscanf(argument, "%15[^,]", device) != 1) {
        puts("frame: DEVICE,HEX");
        return;
    }
    while (length < sizeof bytes && sscanf(hex + 1 + 2 * length, "%2hhx", &bytes[length]) == 1)
        length++;
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, bytes, length, 0, (struct sockaddr *)&to, sizeof to) < 0)
        refused("frame");
    else
        puts("frame: ok");
    close(fd);
}

static void show_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
}

static void show_keyring(void) {
    char described[512];
    if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, described, sizeof described) < 0)
        refused("keyring");
    else
        puts(described);
}

static void spin(long seconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + seconds;
    while (now.tv_sec < end)
        clock_gettime(CLOCK_MONOTONIC, &now);
}

static void many(long count) {
    char name[32];
    if (mkdir("many", 0755) || chdir("many"))
        refused("many");
    for (long i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%ld", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0) {
            refused("many");
            return;
        }
        close(fd);
    }
}

static void deep(long count) {
    char name[32];
    if (mkdir("deep", 0755) || chdir("deep"))
        refused("deep");
    for (long i = 0; i < count; i++) {
        snprintf(name, sizeof name, "d%ld", i);
        if (mkdir(name, 0755) || chdir(name)) {
            refused("deep");
            return;
        }
    }
}

static long take_one(const char *kind) {
    static timer_t timer;
    static struct sigevent none = {.sigev_notify = SIGEV_NONE};
    void *page;
    if (!strcmp(kind, "files"))
        return open("/", O_PATH);
    if (!strcmp(kind, "inotify"))
        return inotify_init1(IN_CLOEXEC);
    if (!strcmp(kind, "epoll"))
        return epoll_create1(EPOLL_CLOEXEC);
    if (!strcmp(kind, "eventfd"))
        return eventfd(0, EFD_CLOEXEC);
    if (!strcmp(kind, "timers"))
        return timer_create(CLOCK_MONOTONIC, &none, &timer);
    if (!strcmp(kind, "signals"))
        return sigqueue(getpid(), SIGRTMAX, (union sigval){0});
    if (!strcmp(kind, "pty"))
        return open("/dev/ptmx", O_RDWR | O_NOCTTY);
    if (!strcmp(kind, "locked")) { /* a quarter of a MiB at a time */
        page = mmap(NULL, 1 << 18, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return page == MAP_FAILED ? -1 : mlock(page, 1 << 18);
    }
    errno = EINVAL;
    return -1;
}

static void take(const char *kind) {
    sigset_t queued;
    long count = 0;
    sigemptyset(&queued);
    sigaddset(&queued, SIGRTMAX);
    sigprocmask(SIG_BLOCK, &queued, NULL);
    while (count < 100000 && take_one(kind) >= 0)
        count++;
    printf("%s: %ld %s\n", kind, count, count < 100000 ? strerrorname_np(errno) : "unbounded");
}

/* Write until nothing more fits; return the bytes. */
static long fill(int fd) {
    static char block[65536];
    long sum = 0;
    ssize_t length;
    while ((length = write(fd, block, sizeof block)) > 0)
        sum += length;
    return sum;
}

/* Take some more of a kind and keep it; return the bytes, 0 when refused. */
static long hold_some(const char *kind) {
    static struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t size = sizeof own;
    int pair[2];
    if (!strcmp(kind, "pipes"))
        return pipe2(pair, O_NONBLOCK) ? 0 : fill(pair[1]);
    if (!strcmp(kind, "unix"))
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) ? 0 : fill(pair[0]);
    if (!strcmp(kind, "locked")) {
        void *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return block == MAP_FAILED || mlock(block, 1 << 20) ? 0 : 1 << 20;
    }
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!strcmp(kind, "udp")) {
        int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        static char datagram[60000];
        long sum = 0, before = -1;
        own.sin_port = 0;
        if (bind(to, (struct sockaddr *)&own, sizeof own) || getsockname(to, (struct sockaddr *)&own, &size) ||
            connect(from, (struct sockaddr *)&own, sizeof own))
            return 0;
        for (int i = 0; i < 16 && sum != before; i++) { /* what finds no room is dropped */
            before = sum;
            sum += send(from, datagram, sizeof datagram, 0) > 0 ? (long)sizeof datagram : 0;
        }
        return sum > 180000 ? 180000 : sum; /* about what fits */
    }
    errno = EINVAL;
    return 0;
}

static void hold(const char *argument) {
    char kind[16];
    long wanted, held = 0, got = 1;
    struct rlimit files;
    if (sscanf(argument, "%15[^,],%ld", kind, &wanted) != 2) {
        puts("hold: KIND,N");
        return;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    while (held < wanted << 20 && (got = hold_some(kind)) > 0)
        held += got;
    if (got <= 0)
        refused("hold");
    printf("held %ld\n", held >> 20);
}

static void try_call(const char *name, long number, long a, long b, long c, long d, long e) {
    errno = 0;
    long result = syscall(number, a, b, c, d, e, 0L);
    printf("%s: %s\n", name, result == -1 ? strerrorname_np(errno) : "ok");
}

static void try_calls(void) {
    static const char nothing[64];
    static uint64_t clone_args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long at = (long)nothing;
    int status;
#define TRY(name, a, b, c, d, e) try_call(#name, SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
    TRY(bpf, -1, 0, 0, 0, 0);
    TRY(perf_event_open, 0, 0, -1, -1, 0);
    TRY(keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0);
    TRY(add_key, 0, 0, 0, 0, 0);
    TRY(request_key, 0, 0, 0, 0, 0);
    TRY(userfaultfd, -1, 0, 0, 0, 0);
    TRY(io_uring_setup, 0, 0, 0, 0, 0);
    TRY(io_uring_enter, -1, 0, 0, 0, 0);
    TRY(io_uring_register, -1, 0, 0, 0, 0);
    TRY(kexec_load, 0, 0, 0, -1, 0);
    TRY(init_module, 0, 0, at, 0, 0);
    TRY(finit_module, -1, at, 0, 0, 0);
    TRY(delete_module, at, 0, 0, 0, 0);
    TRY(open_by_handle_at, -1, 0, 0, 0, 0);
    TRY(quotactl, -1, 0, 0, 0, 0);
    TRY(swapon, at, 0, 0, 0, 0);
    TRY(swapoff, at, 0, 0, 0, 0);
    TRY(acct, at, 0, 0, 0, 0);
    TRY(reboot, 0, 0, 0, 0, 0);
    TRY(settimeofday, at, -1, 0, 0, 0);
    TRY(clock_settime, -1, at, 0, 0, 0);
    TRY(clock_adjtime, -1, 0, 0, 0, 0);
    TRY(adjtimex, 0, 0, 0, 0, 0);
    TRY(unshare, CLONE_NEWUSER, 0, 0, 0, 0);
    TRY(clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0); /* EINVAL where it may */
    TRY(clone3, clone_args, sizeof clone_args, 0, 0, 0);
    TRY(fsopen, 0, -1, 0, 0, 0);
    TRY(mount_setattr, -1, at, 0, 0, 0);
    TRY(setns, -1, CLONE_NEWUSER, 0, 0, 0);
    TRY(personality, ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC, 0, 0, 0, 0);
    TRY(lookup_dcookie, 0, 0, 0, 0, 0);
    TRY(syslog, -1, 0, 0, 0, 0);
    TRY(vhangup, 0, 0, 0, 0, 0);
    try_call("newer than all", 1000, 0, 0, 0, 0, 0);
    TRY(ptrace, PTRACE_PEEKUSER, 1, 0, 0, 0);
    fflush(stdout);
#ifdef __x86_64__
    pid_t pid = fork(); /* calls of other ABIs end the process */
    if (pid == 0) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
        _exit(result > 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    printf("i386: %s\n", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : WEXITSTATUS(status) ? "refused" : "ok");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        errno = 0;
        _exit(syscall(0x40000000L + SYS_getpid) > 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    printf("x32: %s\n", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : WEXITSTATUS(status) ? "refused" : "ok");
#else
    (void)status;
#endif
}

static void try_families(void) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    for (int family = 0; family <= 46; family++) {
        const char *best = "";
        for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
            int fd = socket(family, types[i], 0);
            if (fd >= 0) {
                close(fd);
                best = "ok";
                break;
            }
            best = strerrorname_np(errno);
        }
        printf("%d: %s\n", family, best);
    }
}

/* Answer one request of FUSE, but no look-up; linux/fuse.h. */
static void answer(int fd, const struct fuse_in_header *in) {
    struct {
        struct fuse_out_header head;
        union {
            struct fuse_init_out init;
            struct fuse_attr_out attr;
            struct fuse_statfs_out statfs;
        } body;
    } reply = {.head = {.unique = in->unique}};
    size_t size = 0;
    if (in->opcode == FUSE_LOOKUP)
        return;
    if (in->opcode == FUSE_INIT) {
        reply.body.init = (struct fuse_init_out){
            .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_background = 16};
        size = sizeof reply.body.init;
    } else if (in->opcode == FUSE_GETATTR) {
        reply.body.attr = (struct fuse_attr_out){.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2}};
        size = sizeof reply.body.attr;
    } else if (in->opcode == FUSE_STATFS) {
        reply.body.statfs = (struct fuse_statfs_out){.st = {.bsize = 4096, .namelen = 255}};
        size = sizeof reply.body.statfs;
    } else
        reply.head.error = -ENOSYS;
    reply.head.len = sizeof reply.head + size;
    if (write(fd, &reply, reply.head.len) < 0 && errno != ENOENT)
        _exit(1);
}

static void stall(const char *argument) {
    int silent = !strncmp(argument, "silent:", 7);
    const char *directory = silent ? argument + 7 : argument;
    int fd = open("/dev/fuse", O_RDWR);
    char options[100];
    snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fd);
    if (fd < 0 || mount("stall", directory, "fuse", MS_NOSUID | MS_NODEV, options)) {
        refused("stall");
        return;
    }
    fflush(stdout);
    if (!fork()) {
        static char request[1 << 18] __attribute__((aligned(8)));
        while (!silent && read(fd, request, sizeof request) > 0)
            answer(fd, (const struct fuse_in_header *)request);
        for (;;)
            pause();
    }
    close(fd);
    printf("stall: ok\n");
}

static void try_mount(const char *verb, const char *argument) {
    char from[256], to[256];
    if (sscanf(argument, "%255[^:]:%255s", from, to) != 2) {
        printf("%s: FROM:TO\n", verb);
        return;
    }
    mkdir(to, 0755);
    int result = !strcmp(verb, "bind")    ? mount(from, to, NULL, MS_BIND, NULL)
                 : !strcmp(verb, "rbind") ? mount(from, to, NULL, MS_BIND | MS_REC, NULL)
                 : !strcmp(verb, "move")  ? mount(from, to, NULL, MS_MOVE, NULL)
                                          : mount("none", to, from, 0, NULL);
    printf("%s %s: %s\n", verb, argument, result ? strerrorname_np(errno) : "ok");
}

static void pivot(void) {
    struct stat first, here;
    int root = open("/", O_PATH | O_DIRECTORY);
    mkdir("/tmp/low", 0755);
    printf("chroot: %s\n", chroot("/tmp/low") ? strerrorname_np(errno) : "ok");
    if (fchdir(root))
        refused("fchdir");
    for (int i = 0; i < 64; i++)
        if (chdir(".."))
            refused("chdir");
    printf("chroot back: %s\n", chroot(".") ? strerrorname_np(errno) : "ok");
    fstat(root, &first);
    stat("/", &here);
    printf("root: %s\n", first.st_dev == here.st_dev && first.st_ino == here.st_ino ? "own" : "OTHER");
    printf("pivot_root: %s\n", syscall(SYS_pivot_root, ".", ".") ? strerrorname_np(errno) : "ok");
    for (int i = 0; i < 64; i++)
        if (chdir(".."))
            break;
    stat(".", &here);
    printf("after: %s\n", first.st_dev == here.st_dev && first.st_ino == here.st_ino ? "own" : "OTHER");
}

/* Seccomp mode of a process, -1 when it is gone. */
static int confinement(const char *pid) {
    char path[64], line[256];
    int mode = -1;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file))
        sscanf(line, "Seccomp: %d", &mode);
    fclose(file);
    return mode;
}

static int get_into(pid_t pid) {
    char word[8];
    char path[64];
    struct iovec own = {word, sizeof word}, other = {(void *)0x10000000, sizeof word}; /* where our program lies */
    if (process_vm_readv(pid, &own, 1, &other, 1, 0) > 0)
        return 1;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, NULL, __WALL);
        return 2;
    }
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        int fd = syscall(SYS_pidfd_getfd, pidfd, 3, 0);
        close(pidfd);
        if (fd >= 0) {
            close(fd);
            return 3;
        }
    }
    for (const char *const *name = (const char *const[]){"exe", "fd/3", "root", "mem", NULL}; *name; name++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, *name);
        int fd = open(path, !strcmp(*name, "mem") ? O_RDWR : O_RDONLY | O_NONBLOCK);
        if (fd >= 0) {
            close(fd);
            return 4;
        }
    }
    return 0;
}

static void hunt(long wanted) {
    static char seen[65536];
    long entered = 0, unconfined = 0, met = 0;
    while (met < wanted) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(proc))) {
            long pid = atol(entry->d_name);
            if (pid <= 1 || pid == getpid())
                continue;
            if (!seen[pid & 65535]) {
                seen[pid & 65535] = 1;
                met++;
            }
            int before = confinement(entry->d_name), way = get_into(pid);
            entered += way > 0;
            if (way == 2) {
                int now = confinement(entry->d_name);
                ptrace(PTRACE_DETACH, pid, 0, 0);
                if (now == 0)
                    printf("traced %ld before it was confined\n", pid);
            } else if (way && before == 0 && confinement(entry->d_name) == 0)
                printf("got into %ld before it was confined: way %d\n", pid, way);
            unconfined += before == 0;
        }
        closedir(proc);
    }
    printf("hunted %ld, met %s before it was confined, entered %s\n", met, unconfined ? "some" : "none", entered ? "some" : "none");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        const char *verb = argv[i];
        const char *argument = i + 1 < argc ? argv[i + 1] : "";
        long number = atol(argument);
        fflush(stdout);
        if (!strcmp(verb, "clock"))
            show_clock();
        else if (!strcmp(verb, "ids"))
            show_status((const char *const[]){"Uid:", "Gid:", "Groups:", NULL});
        else if (!strcmp(verb, "keyring"))
            show_keyring();
        else if (!strcmp(verb, "caps"))
            show_status((const char *const[]){"Cap", "NoNewPrivs:", "Seccomp:", NULL});
        else if (!strcmp(verb, "ns"))
            show_links("/proc/self/ns");
        else if (!strcmp(verb, "fds"))
            show_links("/proc/self/fd");
        else if (!strcmp(verb, "cwd")) {
            char path[4096];
            puts(getcwd(path, sizeof path) ? path : strerrorname_np(errno));
        } else if (!strcmp(verb, "env"))
            for (char **entry = environ; *entry; entry++)
                puts(*entry);
        else if (!strcmp(verb, "args"))
            for (int j = 0; j < argc; j++)
                printf("%d %s\n", j, argv[j]);
        else if (!strcmp(verb, "echo"))
            echo();
        else if (!strcmp(verb, "calls"))
            try_calls();
        else if (!strcmp(verb, "families"))
            try_families();
        else if (!strcmp(verb, "pivot"))
            pivot();
        else if (!strcmp(verb, "sti"))
            printf("sti: %s\n", ioctl(0, TIOCSTI, "x") ? strerrorname_np(errno) : "ok");
        else if (!strcmp(verb, "daemon")) {
            if (fork() > 0)
                _exit(0);
            setsid();
        } else {
            i++; /* the verbs from here on take an argument */
            if (!strcmp(verb, "out"))
                puts(argument);
            else if (!strcmp(verb, "err"))
                fprintf(stderr, "%s\n", argument);
            else if (!strcmp(verb, "open"))
                try_open(argument, argument, O_RDONLY);
            else if (!strcmp(verb, "write"))
                try_open(argument, argument, O_WRONLY);
            else if (!strcmp(verb, "take"))
                take(argument);
            else if (!strcmp(verb, "hold"))
                hold(argument);
            else if (!strcmp(verb, "many"))
                many(number);
            else if (!strcmp(verb, "deep"))
                deep(number);
            else if (!strcmp(verb, "hunt"))
                hunt(number);
            else if (!strcmp(verb, "mount") || !strcmp(verb, "bind") || !strcmp(verb, "rbind") || !strcmp(verb, "move"))
                try_mount(verb, argument);
            else if (!strcmp(verb, "chroot")) {
                if (chroot(argument) || chdir("/"))
                    refused(verb);
            } else if (!strcmp(verb, "stall"))
                stall(argument);
            else if (!strcmp(verb, "umount"))
                printf("umount %s: %s\n", argument, umount2(argument, MNT_DETACH) ? strerrorname_np(errno) : "ok");
            else if (!strcmp(verb, "allocate"))
                allocate(number);
            else if (!strcmp(verb, "huge"))
                touch_huge_pages(atol(argument));
            else if (!strcmp(verb, "fork"))
                fork_children(number);
            else if (!strcmp(verb, "flood"))
                flood(number);
            else if (!strcmp(verb, "spin"))
                spin(number);
            else if (!strcmp(verb, "udp-echo"))
                udp_echo(number);
            else if (!strcmp(verb, "udp-send"))
                udp_send(argument);
            else if (!strcmp(verb, "serve"))
                serve(argument);
            else if (!strcmp(verb, "reach"))
                reach(argument);
            else if (!strcmp(verb, "notify"))
                notify(argv[i]);
            else if (!strcmp(verb, "frame"))
                frame(argument);
            else if (!strcmp(verb, "signal"))
                raise(number);
            else if (!strcmp(verb, "ignore"))
                signal(number, SIG_IGN);
            else if (!strcmp(verb, "sleep"))
                do
                    sleep(number ? number : 1000);
                while (!number);
            else if (!strcmp(verb, "exit")) {
                fflush(stdout);
                _exit(number);
            } else {
                fprintf(stderr, "payload: unknown verb '%s'\n", verb);
                return 64;
            }
        }
    }
    return 0;
}
