/* Moves the clocks of one process: the C library's functions that read them add offsets from a file that the test
 * writes. It holds two numbers of nanoseconds: what is added to the wall clock alone, and what is added to all clocks.
 * The system's own clocks stay as they are, and so do its timers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offsets;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("HOOKWEIR_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, 2 * sizeof *offsets, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) offsets = mapped;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int result = (int)syscall(SYS_clock_gettime, id, at);
    if (result != 0 || !offsets) return result;
    int64_t by = 0;
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        by = offsets[0] + offsets[1];
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
        by = offsets[1];
        break;
    default:
        return 0;
    }
    int64_t nanos = at->tv_nsec + by % 1000000000;
    at->tv_sec += by / 1000000000 + (nanos >= 1000000000) - (nanos < 0);
    at->tv_nsec = nanos - (nanos >= 1000000000) * 1000000000 + (nanos < 0) * 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
