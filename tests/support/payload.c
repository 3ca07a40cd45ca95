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
 *     udp-echo PORT  answer datagrams of both families for ever
 *     udp-send FROM,HOST,PORT    send "datagram" to HOST (IPv4), from address FROM
 *     serve NAME     listen on the abstract unix socket NAME, and go on
 *     reach NAME     connect to it, say how it went
 *     daemon         go on in a new session, the first process ends
 *
 * A refusal is printed as "VERB: errno NAME" and is not the end; an unknown verb ends with 64.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static void spin(long seconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + seconds;
    while (now.tv_sec < end)
        clock_gettime(CLOCK_MONOTONIC, &now);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        const char *verb = argv[i];
        const char *argument = i + 1 < argc ? argv[i + 1] : "";
        long number = atol(argument);
        fflush(stdout);
        if (!strcmp(verb, "ids"))
            show_status((const char *const[]){"Uid:", "Gid:", "Groups:", NULL});
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
