/* Stands between the server and libc (LD_PRELOAD), and on order makes calls on files of the data directory fail or come to
 * nothing; and writes down what was called, when, and what came of it.
 *
 * FAULTS_CONTROL names the file with the order, which is shared memory with the test: shim.rs has the same struct.
 * FAULTS_TRACE, if set, names the file that is written to, one line a call:
 *     call begin_ns end_ns result struck path marks…
 * where marks are what stands between "mark:" and ";" in the bytes written, and COMMIT for an answer of that name.
 *
 * What the server asks the kernel for without libc (fallocate, through rustix) passes by. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PREAD = 1, PWRITE = 2, FDATASYNC = 4, FSYNC = 8, RENAME = 16 };
enum { FAIL = 0, DROP = 1 };

struct order {
    uint32_t armed;
    uint32_t calls;       /* which, of the above */
    uint32_t effect;      /* FAIL with EIO, or DROP: success without the call */
    uint32_t skip;        /* so many that match go through first */
    uint32_t times;       /* and so many are struck */
    uint32_t per_million; /* of those whose turn it is */
    uint32_t random;      /* the state of the dice */
    uint32_t matched;     /* counted here */
    uint32_t struck;
    char within[64];      /* stands in the path */
    char thread[16];      /* the name of the thread that calls; empty: any */
};

static struct order *order;
static char root[4096];
static int trace = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_rename)(const char *, const char *);
static ssize_t (*real_send)(int, const void *, size_t, int);

/* Before any other constructor may write a file. */
__attribute__((constructor(101))) static void begin(void) {
    real_pread = dlsym(RTLD_NEXT, "pread64");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_send = dlsym(RTLD_NEXT, "send");
    const char *control = getenv("FAULTS_CONTROL"), *data = getenv("FAULTS_DATA"), *to = getenv("FAULTS_TRACE");
    int fd = control ? open(control, O_RDWR) : -1;
    void *shared = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED || !data) {
        fprintf(stderr, "the shim has no order\n");
        _exit(70);
    }
    close(fd);
    order = shared;
    snprintf(root, sizeof root, "%s", data);
    if (to && (trace = open(to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) _exit(70);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The path of an open file; empty where it has none. */
static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

static int is_ours(const char *path) { return strncmp(path, root, strlen(root)) == 0; }

/* Whether this call is to be struck. */
static int strikes(uint32_t call, const char *path) {
    if (!__atomic_load_n(&order->armed, __ATOMIC_ACQUIRE) || !(order->calls & call) || !is_ours(path)) return 0;
    if (!strstr(path + strlen(root), order->within)) return 0;
    if (order->thread[0]) {
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof name);
        if (strncmp(name, order->thread, sizeof name) != 0) return 0;
    }
    pthread_mutex_lock(&turn);
    int strike = 0;
    if (order->matched++ >= order->skip && order->struck < order->times) {
        order->random = order->random * 1664525u + 1013904223u;
        strike = (uint64_t)order->random * 1000000u >> 32 < order->per_million;
        order->struck += strike;
    }
    pthread_mutex_unlock(&turn);
    return strike;
}

/* Adds the marks in the bytes to a line. */
static size_t add_marks(char *line, size_t used, size_t size, const char *bytes, size_t length) {
    const char *at = bytes, *end = bytes + length;
    while ((at = memmem(at, end - at, "mark:", 5))) {
        const char *stop = memchr(at, ';', end - at);
        if (!stop) break;
        if (stop - at < 40 && used + 48 < size) {
            used += snprintf(line + used, size - used, " %.*s", (int)(stop - at - 5), at + 5);
        }
        at = stop;
    }
    return used;
}

static void note(const char *call, uint64_t begun, long result, int struck, const char *path, const void *bytes,
                 size_t length, int is_answer) {
    if (trace < 0) return;
    int error = errno;
    size_t size = 65536, used;
    char *line = malloc(size);
    if (!line) _exit(70);
    used = snprintf(line, size, "%s %llu %llu %ld %d %s", call, (unsigned long long)begun, (unsigned long long)now(),
                    result, struck, path);
    if (bytes) used = add_marks(line, used, size, bytes, length);
    if (is_answer && memmem(bytes, length, "COMMIT", 7)) used += snprintf(line + used, size - used, " COMMIT");
    line[used++] = '\n';
    if (write(trace, line, used) != (ssize_t)used) _exit(70);
    free(line);
    errno = error;
}

/* Of a struck call: what it gives. */
static long struck_result(long success) {
    if (order->effect == DROP) return success;
    errno = EIO;
    return -1;
}

ssize_t pread64(int fd, void *to, size_t count, off_t offset) {
    char path[4096];
    if (!__atomic_load_n(&order->armed, __ATOMIC_ACQUIRE)) return real_pread(fd, to, count, offset);
    path_of(fd, path, sizeof path);
    return strikes(PREAD, path) ? struck_result((long)count) : real_pread(fd, to, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
    char path[4096];
    path_of(fd, path, sizeof path);
    uint64_t begun = now();
    int struck = strikes(PWRITE, path);
    ssize_t result = struck ? struck_result((long)count) : real_pwrite(fd, bytes, count, offset);
    if (is_ours(path)) note("pwrite", begun, result, struck, path, bytes, count, 0);
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    char path[4096];
    path_of(fd, path, sizeof path);
    int struck = strikes(PWRITE, path);
    /* Not used today: were it, a trace without it would be no proof. */
    if (trace >= 0 && is_ours(path)) _exit(70);
    return struck ? struck_result(0) : real_pwritev(fd, parts, count, offset);
}

static int sync_file(const char *call, uint32_t kind, int (*real)(int), int fd) {
    char path[4096];
    path_of(fd, path, sizeof path);
    uint64_t begun = now();
    int struck = strikes(kind, path);
    int result = struck ? (int)struck_result(0) : real(fd);
    if (is_ours(path)) note(call, begun, result, struck, path, NULL, 0, 0);
    return result;
}

int fdatasync(int fd) { return sync_file("fdatasync", FDATASYNC, real_fdatasync, fd); }

int fsync(int fd) { return sync_file("fsync", FSYNC, real_fsync, fd); }

int rename(const char *from, const char *to) {
    uint64_t begun = now();
    int struck = strikes(RENAME, from);
    int result = struck ? (int)struck_result(0) : real_rename(from, to);
    if (is_ours(from)) note("rename", begun, result, struck, from, NULL, 0, 0);
    return result;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    if (trace >= 0) {
        char path[4096];
        path_of(fd, path, sizeof path);
        /* Before it is done: what the client has may have been read already when the call returns. */
        note("send", now(), 0, 0, path, bytes, count, 1);
    }
    return real_send(fd, bytes, count, flags);
}
