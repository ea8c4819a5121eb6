/* Faults of the disk and of the clock under the real program: a library for LD_PRELOAD, steered through a page of memory
 * that it shares with the test (TOLLGATE_FAULTS names the file; tests/support/faults.rs has the same numbers).
 *
 * It counts the calls on the store's files and on the spool's, and lets the n-th fail, or ends the process there. A power
 * cut is played honestly: everything that was written and not synced is taken back before the process ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { STORE = 1, SPOOL = 2 };
enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16 };
enum { FAIL = 1, SHORT = 2, KILL_BEFORE = 3, KILL_AFTER = 4, POWER_CUT = 5 };

struct control {
    volatile int64_t files, calls, nth, for_ever, action, error;
    volatile int64_t seen, hit;
    volatile int64_t wall_millis;
};

static struct control *control;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static int (*real_open64)(const char *, int, ...);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread64)(int, void *, size_t, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate64)(int, off64_t);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    real_open = dlsym(RTLD_NEXT, "open");
    real_open64 = dlsym(RTLD_NEXT, "open64");
    real_read = dlsym(RTLD_NEXT, "read");
    real_pread64 = dlsym(RTLD_NEXT, "pread64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate64 = dlsym(RTLD_NEXT, "ftruncate64");
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *name = getenv("TOLLGATE_FAULTS");
    int fd = name ? real_open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    control = page == MAP_FAILED ? NULL : page;
    close(fd);
}

static int kind_of_path(const char *path)
{
    if (strstr(path, "tollgate.db"))
        return STORE;
    return strstr(path, "/spool/") ? SPOOL : 0;
}

static int kind_of_fd(int fd)
{
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return kind_of_path(path);
}

/* What was written since the last sync, newest first; kept only when a power cut is to come. */
struct undo {
    struct undo *older;
    int fd;
    dev_t device;
    ino_t inode;
    off64_t size, at;
    size_t length;
    char octets[];
};
static struct undo *undos;

static void remember(int fd, off64_t at, size_t length)
{
    struct stat64 status;
    if (control->action != POWER_CUT || fstat64(fd, &status) < 0)
        return;
    if (at >= status.st_size)
        length = 0;
    else if ((off64_t)(at + length) > status.st_size)
        length = status.st_size - at;
    struct undo *undo = malloc(sizeof *undo + length);
    *undo = (struct undo){undos, fcntl(fd, F_DUPFD_CLOEXEC, 500), status.st_dev, status.st_ino, status.st_size, at, length};
    if (length > 0 && real_pread64(undo->fd, undo->octets, length, at) != (ssize_t)length)
        abort();
    undos = undo;
}

static void forget(int fd)
{
    struct stat64 status;
    if (fstat64(fd, &status) < 0)
        return;
    for (struct undo **place = &undos; *place;) {
        struct undo *undo = *place;
        if (undo->device == status.st_dev && undo->inode == status.st_ino) {
            *place = undo->older;
            close(undo->fd);
            free(undo);
        } else
            place = &undo->older;
    }
}

static void cut_power(void)
{
    for (struct undo *undo = undos; undo; undo = undo->older) {
        if (undo->length > 0 && real_pwrite64(undo->fd, undo->octets, undo->length, undo->at) < 0)
            abort();
        if (real_ftruncate64(undo->fd, undo->size) < 0)
            abort();
    }
    kill(getpid(), SIGKILL);
}

/* The action for this call: 0 if it is to go on as usual. */
static int64_t fault(int call, int kind)
{
    if (!control || !(control->files & kind) || !(control->calls & call))
        return 0;
    int64_t number = __sync_add_and_fetch(&control->seen, 1);
    if (control->nth == 0 || number < control->nth || (number > control->nth && !control->for_ever))
        return 0;
    __sync_add_and_fetch(&control->hit, 1);
    if (control->action == POWER_CUT)
        cut_power();
    if (control->action == KILL_BEFORE)
        kill(getpid(), SIGKILL);
    errno = control->error;
    return control->action;
}

static void end_after(int64_t action)
{
    if (action == KILL_AFTER)
        kill(getpid(), SIGKILL);
}

#define WRAP(call, result, action, failed, real)                    \
    do {                                                            \
        pthread_mutex_lock(&lock);                                  \
        int64_t action = fault(call, kind);                         \
        if (action == FAIL || (action == SHORT && (call) != WRITE)) \
            result = failed;                                        \
        else {                                                      \
            real;                                                   \
            end_after(action);                                      \
        }                                                           \
        int reason = errno;                                         \
        pthread_mutex_unlock(&lock);                                \
        errno = reason;                                             \
    } while (0)

/* What names the machine's boot, so that a test can reboot it. */
static const char *boot_of(const char *path)
{
    const char *other = getenv("TOLLGATE_BOOT_ID");
    return other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? other : path;
}

static int open_by(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    int kind = control ? kind_of_path(path) : 0, fd;
    if (!kind)
        return real(boot_of(path), flags, mode);
    WRAP(OPEN, fd, action, -1, fd = real(path, flags, mode));
    return fd;
}

#define OPENS(name)                                                             \
    int name(const char *path, int flags, ...)                                  \
    {                                                                           \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                           \
        return open_by(real_##name, path, flags, mode);                         \
    }
OPENS(open)
OPENS(open64)

ssize_t read(int fd, void *to, size_t length)
{
    int kind = control ? kind_of_fd(fd) : 0;
    ssize_t done;
    if (!kind)
        return real_read(fd, to, length);
    WRAP(READ, done, action, -1, done = real_read(fd, to, length));
    return done;
}

ssize_t pread64(int fd, void *to, size_t length, off64_t at)
{
    int kind = control ? kind_of_fd(fd) : 0;
    ssize_t done;
    if (!kind)
        return real_pread64(fd, to, length, at);
    WRAP(READ, done, action, -1, done = real_pread64(fd, to, length, at));
    return done;
}

ssize_t write(int fd, const void *from, size_t length)
{
    int kind = control ? kind_of_fd(fd) : 0;
    ssize_t done;
    if (!kind)
        return real_write(fd, from, length);
    WRAP(WRITE, done, action, -1, {
        size_t some = action == SHORT ? length / 2 : length;
        remember(fd, lseek64(fd, 0, SEEK_CUR), some);
        done = real_write(fd, from, some);
    });
    return done;
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at)
{
    int kind = control ? kind_of_fd(fd) : 0;
    ssize_t done;
    if (!kind)
        return real_pwrite64(fd, from, length, at);
    WRAP(WRITE, done, action, -1, {
        size_t some = action == SHORT ? length / 2 : length;
        remember(fd, at, some);
        done = real_pwrite64(fd, from, some, at);
    });
    return done;
}

static int sync_by(int (*real)(int), int fd)
{
    int kind = control ? kind_of_fd(fd) : 0, done;
    if (!kind)
        return real(fd);
    WRAP(SYNC, done, action, -1, {
        done = real(fd);
        forget(fd);
    });
    return done;
}

int fsync(int fd) { return sync_by(real_fsync, fd); }
int fdatasync(int fd) { return sync_by(real_fdatasync, fd); }

int ftruncate64(int fd, off64_t length)
{
    int kind = control ? kind_of_fd(fd) : 0, done;
    if (!kind)
        return real_ftruncate64(fd, length);
    WRAP(TRUNCATE, done, action, -1, {
        remember(fd, length, 1 << 30);
        done = real_ftruncate64(fd, length);
    });
    return done;
}

/* The wall clock, as somebody set it. The other clocks are not stepped on a real machine either. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    int done = real_clock_gettime(clock, time);
    if (done == 0 && clock == CLOCK_REALTIME && control) {
        int64_t millis = control->wall_millis;
        time->tv_sec += millis / 1000;
        time->tv_nsec += millis % 1000 * 1000000;
        if (time->tv_nsec < 0)
            time->tv_sec--, time->tv_nsec += 1000000000;
        if (time->tv_nsec >= 1000000000)
            time->tv_sec++, time->tv_nsec -= 1000000000;
    }
    return done;
}
