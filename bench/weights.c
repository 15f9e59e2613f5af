/* weights.c: how fast the weights of a file come to a device, beside what disk and memory give. For
 * each file the best of several rounds, as a row of a Markdown table:
 *
 *   disk    the file past the page cache, 16 MiB at a time, on all processors
 *   memory  its bytes copied from the page cache to new memory, on one processor and on all
 *   weights from the path to weights in place, without a session: with nothing of the file in the
 *           page cache, and with all of it
 *
 *     weights DEVICE ROUNDS FILE... */
#define _GNU_SOURCE /* O_DIRECT, mincore, madvise */
#include "runtime/base/checked.h"
#include "runtime/base/clock.h"
#include "runtime/base/threads.h"
#include "runtime/pumice.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 16 << 20 };

/* A file that all threads read or copy, every n-th piece each. */
typedef struct work {
    int fd;
    size_t bytes, n_thread;
    char *buffers;    /* PIECE_BYTES a thread */
    const char *from; /* the file mapped, */
    char *to;         /* and as much memory */
    atomic_bool failed;
} work;

typedef struct rates {
    double disk, one, all, cold, warm; /* bytes a second */
} rates;

static int fail(const char *path, const char *what) {
    fprintf(stderr, "weights: %s: %s\n", path, what);
    return 1;
}

static void read_pieces(void *user, size_t thread) {
    work *w = user;
    char *buffer = w->buffers + thread * PIECE_BYTES;
    for (size_t at = thread * PIECE_BYTES; at < w->bytes; at += w->n_thread * PIECE_BYTES)
        if (pread(w->fd, buffer, PIECE_BYTES, (off_t)at) <= 0)
            w->failed = true;
}

static void copy_pieces(void *user, size_t thread) {
    const work *w = user;
    for (size_t at = thread * PIECE_BYTES; at < w->bytes; at += w->n_thread * PIECE_BYTES)
        memcpy((char *)w->to + at, w->from + at, pm__least_u64(PIECE_BYTES, w->bytes - at));
}

/* Bytes a second of a job that each of n threads does once. */
static double rate_of(work *w, size_t n_thread, void (*job)(void *user, size_t thread)) {
    w->n_thread = n_thread;
    const double begun = pm__clock_seconds();
    pm__parallel(n_thread, (int)n_thread, job, w);
    return (double)w->bytes / (pm__clock_seconds() - begun);
}

static void keep(double *best, double rate) {
    *best = rate > *best ? rate : *best;
}

/* The page cache holds nothing of the file afterwards; false if it does. */
static bool forget(const char *path, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n_page = (bytes + page - 1) / page;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    unsigned char *there = malloc(n_page);
    size_t n_there = n_page;
    if (map != MAP_FAILED && there != NULL && mincore(map, bytes, there) == 0)
        for (size_t i = n_there = 0; i < n_page; i++)
            n_there += there[i] & 1;
    if (map != MAP_FAILED)
        munmap(map, bytes);
    free(there);
    return n_there <= n_page / 100;
}

/* As much memory as a load takes, its pages of the page cache too, has been written just before: a
 * virtual machine gives what is free back to its host, from where it comes slowly. */
static void awake_memory(const work *w) {
    const size_t n = 2 * w->bytes;
    void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    madvise(memory, n, MADV_HUGEPAGE);
    memset(memory, 1, n);
    munmap(memory, n);
}

static bool measure_disk(const char *path, work *w, double *best) {
    w->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (w->fd < 0)
        return false;
    keep(best, rate_of(w, (size_t)pm__thread_count(), read_pieces));
    close(w->fd);
    return !w->failed;
}

/* To new memory, in large pages: what is never written is never there. */
static bool copy_to_new(work *w, size_t n_thread, double *best) {
    w->to = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->to == MAP_FAILED)
        return false;
    awake_memory(w);
    madvise(w->to, w->bytes, MADV_HUGEPAGE);
    keep(best, rate_of(w, n_thread, copy_pieces));
    munmap(w->to, w->bytes);
    return true;
}

static bool measure_memory(const char *path, work *w, rates *best) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    void *from = mmap(NULL, w->bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (from == MAP_FAILED)
        return false;
    w->from = from;
    const bool ok =
        copy_to_new(w, 1, &best->one) && copy_to_new(w, (size_t)pm__thread_count(), &best->all);
    munmap(from, w->bytes);
    return ok;
}

static bool measure_weights(pm_device *device, const char *path, const work *w, double *best) {
    const pm_model_desc desc = {.path = path};
    pm_model *model = NULL;
    awake_memory(w);
    const double begun = pm__clock_seconds();
    const pm_status status = pm_model_open(device, &desc, &model);
    keep(best, (double)w->bytes / (pm__clock_seconds() - begun));
    pm_model_close(model);
    return status == PM_OK;
}

static int measure_rounds(pm_device *device, unsigned n_round, const char *path, work *w) {
    rates best = {0};
    for (unsigned i = 0; i < n_round; i++) {
        if (!forget(path, w->bytes))
            return fail(path, "something keeps it in the page cache");
        if (!measure_disk(path, w, &best.disk))
            return fail(path, "cannot be read past the page cache");
        if (!measure_weights(device, path, w, &best.cold))
            return fail(path, pm_last_error());
        if (!measure_memory(path, w, &best))
            return fail(path, "cannot be copied");
        if (!measure_weights(device, path, w, &best.warm))
            return fail(path, pm_last_error());
    }
    const char *name = strrchr(path, '/');
    printf("| %s | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f | %.2f |\n",
           name != NULL ? name + 1 : path, pm_device_get_info(device)->name,
           1e-6 * (double)w->bytes, 1e-6 * best.disk, 1e-6 * best.one, 1e-6 * best.all,
           1e-6 * best.cold, 1e-6 * best.warm,
           best.cold / (best.disk < best.all ? best.disk : best.all), best.warm / best.all);
    return 0;
}

static int measure_file(pm_device *device, unsigned n_round, const char *path) {
    struct stat info;
    void *buffers = NULL;
    if (stat(path, &info) != 0 || info.st_size == 0)
        return fail(path, "cannot be read, or is empty");
    if (posix_memalign(&buffers, 4096, (size_t)pm__thread_count() * PIECE_BYTES) != 0)
        return fail(path, "no memory");
    memset(buffers, 1, (size_t)pm__thread_count() * PIECE_BYTES);
    work w = {.bytes = (size_t)info.st_size, .buffers = buffers};
    const int code = measure_rounds(device, n_round, path, &w);
    free(buffers);
    return code;
}

int main(int argc, char **argv) {
    if (argc < 4 || atoi(argv[2]) < 1) {
        fputs("usage: weights DEVICE ROUNDS FILE...\n", stderr);
        return 2;
    }
    const pm_device_desc desc = {.name = argv[1]};
    pm_device *device = NULL;
    if (pm_device_open(&desc, &device) != PM_OK)
        return fail(argv[1], pm_last_error());
    int failed = 0;
    for (int i = 3; i < argc; i++)
        failed |= measure_file(device, (unsigned)atoi(argv[2]), argv[i]);
    pm_device_close(device);
    return failed;
}
