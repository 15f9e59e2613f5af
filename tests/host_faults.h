/* host_faults.h: calls of the C library, and of the libraries that parse and compile, fail at will
 * where this program makes them; calls inside those libraries do not. A test whose source includes
 * this is linked for it by tools/cmake/tests.cmake. */
#ifndef PM_TESTS_HOST_FAULTS_H
#define PM_TESTS_HOST_FAULTS_H

#include "pumice.h"

typedef enum pm__fault_kind {
    PM__FAULT_NONE,
    PM__FAULT_MEMORY, /* malloc and its kin, mmap, what PCRE2 and shaderc make */
    PM__FAULT_THREAD, /* pthread_create */
    PM__FAULT_FILE,   /* fopen, open, read, write, close, fstat, fsync, rename, mkdir, opendir */
} pm__fault_kind;

/* Of the calls of this kind from now on, number `first` (from 1) and the n - 1 after it fail with
 * errno `error`. */
void pm__faults_arm(pm__fault_kind kind, uint32_t first, uint32_t n, int error);
/* Every call works again. Returns how many failed. */
uint32_t pm__faults_disarm(void);

/* Blocks, maps, streams, expressions and compilers that this program has and has not given back. */
size_t pm__faults_live(void);
int pm__faults_open_descriptors(void);

/* Something that allocates, opens and starts, and leaves nothing behind. */
typedef struct pm__fault_scenario {
    const char *name;
    /* Checks what it gets where it gets it. */
    pm_status (*run)(void *user);
    void *user;
    pm__fault_kind kind;
    int error;        /* errno of PM__FAULT_FILE */
    bool may_survive; /* PM_OK with the right result is as good as a failure */
    bool one_alone;   /* never all calls: for errors that ask to try again */
    uint32_t stride;  /* 0: 1 */
} pm__fault_scenario;

/* Runs it with the n-th call failing, for every n (of the stride) until none fails; then with all
 * calls from the n-th on. Each run ends in PM_OUT_OF_MEMORY with a sentence that says so, or where
 * it may, in PM_OK; leaves as many live objects and descriptors as before; and the last one, with
 * nothing failing, works. */
void pm__faults_everywhere(const pm__fault_scenario *scenario);

#endif
