#include "host_faults.h"

#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <shaderc/shaderc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* ---- which calls fail ------------------------------------------------------------------------ */

static atomic_int armed_kind;
static atomic_uint n_call, first_call, n_wanted, n_failed;
static int armed_error;
static const char *_Atomic failed_name; /* the first that failed */
/* Inside a library that is linked statically, and whose own calls are not ours. */
static _Thread_local int outside;

void pm__faults_arm(pm__fault_kind kind, uint32_t first, uint32_t n, int error) {
    atomic_store(&n_call, 0);
    atomic_store(&n_failed, 0);
    atomic_store(&first_call, first);
    atomic_store(&n_wanted, n);
    atomic_store(&failed_name, "");
    armed_error = error;
    atomic_store(&armed_kind, (int)kind);
}

uint32_t pm__faults_disarm(void) {
    atomic_store(&armed_kind, PM__FAULT_NONE);
    return atomic_load(&n_failed);
}

static bool fails(pm__fault_kind kind, const char *name) {
    if (atomic_load(&armed_kind) != (int)kind || outside > 0)
        return false;
    const uint32_t n = atomic_fetch_add(&n_call, 1) + 1;
    const uint32_t first = atomic_load(&first_call);
    if (n < first || n - first >= atomic_load(&n_wanted))
        return false;
    if (atomic_fetch_add(&n_failed, 1) == 0)
        atomic_store(&failed_name, name);
    errno = kind == PM__FAULT_MEMORY ? ENOMEM : kind == PM__FAULT_THREAD ? EAGAIN : armed_error;
    return true;
}

/* ---- what is live ---------------------------------------------------------------------------- */

enum { N_SLOT = 1 << 16 };

static void *slots[N_SLOT]; /* open addressing */
static size_t n_live;
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t slot_of(const void *block) {
    return (size_t)(((uint64_t)(uintptr_t)block >> 4) * 0x9e3779b97f4a7c15ULL >> 48) % N_SLOT;
}

static void *keep(void *block) {
    if (block == NULL || outside > 0)
        return block;
    pthread_mutex_lock(&slots_lock);
    size_t i = slot_of(block);
    while (slots[i] != NULL)
        i = (i + 1) % N_SLOT;
    slots[i] = block;
    n_live++;
    if (n_live > N_SLOT / 2)
        abort();
    pthread_mutex_unlock(&slots_lock);
    return block;
}

/* Those behind the one that goes, and of its chain, move up. */
static void close_gap(size_t gap) {
    for (size_t i = (gap + 1) % N_SLOT; slots[i] != NULL; i = (i + 1) % N_SLOT) {
        const size_t home = slot_of(slots[i]);
        if ((i + N_SLOT - home) % N_SLOT < (i + N_SLOT - gap) % N_SLOT)
            continue;
        slots[gap] = slots[i];
        slots[i] = NULL;
        gap = i;
    }
}

/* Blocks that a library made are not among them. */
static void drop(const void *block) {
    if (block == NULL)
        return;
    pthread_mutex_lock(&slots_lock);
    size_t i = slot_of(block);
    while (slots[i] != NULL && slots[i] != block)
        i = (i + 1) % N_SLOT;
    if (slots[i] != NULL) {
        slots[i] = NULL;
        n_live--;
        close_gap(i);
    }
    pthread_mutex_unlock(&slots_lock);
}

size_t pm__faults_live(void) {
    pthread_mutex_lock(&slots_lock);
    const size_t n = n_live;
    pthread_mutex_unlock(&slots_lock);
    return n;
}

int pm__faults_open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* ---- the calls ------------------------------------------------------------------------------- */

/* The linker gives calls of NAME to __wrap_NAME, and those of __real_NAME to NAME. tests.cmake
 * reads the names from the lines that begin with WRAP. */
#define WRAP(type, name, ...)                                                                      \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t n) {
    return fails(PM__FAULT_MEMORY, "malloc") ? NULL : keep(__real_malloc(n));
}

WRAP(void *, calloc, size_t n, size_t size) {
    return fails(PM__FAULT_MEMORY, "calloc") ? NULL : keep(__real_calloc(n, size));
}

WRAP(void *, realloc, void *block, size_t n) {
    if (fails(PM__FAULT_MEMORY, "realloc"))
        return NULL;
    drop(block); /* before another thread can be given the same address */
    void *moved = __real_realloc(block, n);
    keep(moved != NULL ? moved : block);
    return moved;
}

WRAP(char *, strdup, const char *text) {
    return fails(PM__FAULT_MEMORY, "strdup") ? NULL : keep(__real_strdup(text));
}

WRAP(void, free, void *block) {
    drop(block);
    __real_free(block);
}

WRAP(void *, mmap, void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    if (fails(PM__FAULT_MEMORY, "mmap"))
        return MAP_FAILED;
    void *map = __real_mmap(at, n, protection, flags, fd, offset);
    /* What is laid over a map goes with it. */
    return map == MAP_FAILED || (flags & MAP_FIXED) != 0 ? map : keep(map);
}

WRAP(int, munmap, void *map, size_t n) {
    drop(map);
    return __real_munmap(map, n);
}

WRAP(FILE *, fopen, const char *path, const char *mode) {
    return fails(PM__FAULT_FILE, "fopen") ? NULL : keep(__real_fopen(path, mode));
}

WRAP(int, fclose, FILE *file) {
    drop(file);
    return __real_fclose(file);
}

WRAP(pcre2_code *, pcre2_compile_8, PCRE2_SPTR expression, PCRE2_SIZE n, uint32_t options,
     int *error, PCRE2_SIZE *at, pcre2_compile_context *context) {
    if (fails(PM__FAULT_MEMORY, "pcre2_compile")) {
        *error = PCRE2_ERROR_HEAP_FAILED;
        *at = 0;
        return NULL;
    }
    return keep(__real_pcre2_compile_8(expression, n, options, error, at, context));
}

WRAP(void, pcre2_code_free_8, pcre2_code *code) {
    drop(code);
    __real_pcre2_code_free_8(code);
}

WRAP(int, pcre2_jit_compile_8, pcre2_code *code, uint32_t options) {
    return fails(PM__FAULT_MEMORY, "pcre2_jit_compile") ? PCRE2_ERROR_NOMEMORY
                                                        : __real_pcre2_jit_compile_8(code, options);
}

WRAP(int, pcre2_match_8, const pcre2_code *code, PCRE2_SPTR text, PCRE2_SIZE n, PCRE2_SIZE start,
     uint32_t options, pcre2_match_data *match, pcre2_match_context *context) {
    return fails(PM__FAULT_MEMORY, "pcre2_match")
               ? PCRE2_ERROR_NOMEMORY
               : __real_pcre2_match_8(code, text, n, start, options, match, context);
}

WRAP(pcre2_match_data *, pcre2_match_data_create_8, uint32_t n, pcre2_general_context *context) {
    return fails(PM__FAULT_MEMORY, "pcre2_match_data_create")
               ? NULL
               : keep(__real_pcre2_match_data_create_8(n, context));
}

WRAP(void, pcre2_match_data_free_8, pcre2_match_data *match) {
    drop(match);
    __real_pcre2_match_data_free_8(match);
}

WRAP(pcre2_match_context *, pcre2_match_context_create_8, pcre2_general_context *general) {
    return fails(PM__FAULT_MEMORY, "pcre2_match_context_create")
               ? NULL
               : keep(__real_pcre2_match_context_create_8(general));
}

WRAP(void, pcre2_match_context_free_8, pcre2_match_context *context) {
    drop(context);
    __real_pcre2_match_context_free_8(context);
}

WRAP(shaderc_compiler_t, shaderc_compiler_initialize, void) {
    if (fails(PM__FAULT_MEMORY, "shaderc_compiler_initialize"))
        return NULL;
    outside++;
    shaderc_compiler_t compiler = __real_shaderc_compiler_initialize();
    outside--;
    return keep(compiler);
}

WRAP(void, shaderc_compiler_release, shaderc_compiler_t compiler) {
    drop(compiler);
    __real_shaderc_compiler_release(compiler);
}

WRAP(shaderc_compile_options_t, shaderc_compile_options_initialize, void) {
    return fails(PM__FAULT_MEMORY, "shaderc_compile_options_initialize")
               ? NULL
               : keep(__real_shaderc_compile_options_initialize());
}

WRAP(void, shaderc_compile_options_release, shaderc_compile_options_t options) {
    drop(options);
    __real_shaderc_compile_options_release(options);
}

WRAP(shaderc_compilation_result_t, shaderc_compile_into_spv, const shaderc_compiler_t compiler,
     const char *text, size_t n, shaderc_shader_kind kind, const char *file, const char *entry,
     const shaderc_compile_options_t options) {
    if (fails(PM__FAULT_MEMORY, "shaderc_compile_into_spv"))
        return NULL;
    outside++;
    shaderc_compilation_result_t result =
        __real_shaderc_compile_into_spv(compiler, text, n, kind, file, entry, options);
    outside--;
    return keep(result);
}

WRAP(void, shaderc_result_release, shaderc_compilation_result_t result) {
    drop(result);
    __real_shaderc_result_release(result);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes,
     void *(*start)(void *), void *argument) {
    return fails(PM__FAULT_THREAD, "pthread_create")
               ? EAGAIN
               : __real_pthread_create(thread, attributes, start, argument);
}

WRAP(int, open, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails(PM__FAULT_FILE, "open") ? -1 : __real_open(path, flags, mode);
}

WRAP(ssize_t, read, int fd, void *data, size_t n) {
    return fails(PM__FAULT_FILE, "read") ? -1 : __real_read(fd, data, n);
}

WRAP(ssize_t, write, int fd, const void *data, size_t n) {
    return fails(PM__FAULT_FILE, "write") ? -1 : __real_write(fd, data, n);
}

/* It is closed all the same, as on Linux. */
WRAP(int, close, int fd) {
    const int result = __real_close(fd);
    return fails(PM__FAULT_FILE, "close") ? -1 : result;
}

WRAP(int, fstat, int fd, struct stat *info) {
    return fails(PM__FAULT_FILE, "fstat") ? -1 : __real_fstat(fd, info);
}

WRAP(int, fsync, int fd) {
    return fails(PM__FAULT_FILE, "fsync") ? -1 : __real_fsync(fd);
}

WRAP(int, rename, const char *from, const char *to) {
    return fails(PM__FAULT_FILE, "rename") ? -1 : __real_rename(from, to);
}

WRAP(int, mkdir, const char *path, mode_t mode) {
    return fails(PM__FAULT_FILE, "mkdir") ? -1 : __real_mkdir(path, mode);
}

WRAP(DIR *, opendir, const char *path) {
    return fails(PM__FAULT_FILE, "opendir") ? NULL : __real_opendir(path);
}

/* ---- scenarios ------------------------------------------------------------------------------- */

/* Speed alone depends on it. */
static bool is_mild(const char *name) {
    return strcmp(name, "pcre2_jit_compile") == 0 || strcmp(name, "pthread_create") == 0;
}

static void judge(const pm__fault_scenario *s, uint32_t n, const char *name, pm_status status) {
    const char *sentence = pm_last_error();
    if (status == PM_OK && (s->may_survive || is_mild(name)))
        return;
    if (status != PM_OUT_OF_MEMORY || s->kind != PM__FAULT_MEMORY)
        fail_msg("%s: call %u (%s) fails: %s (%s)", s->name, n, name, pm_status_text(status),
                 sentence);
    if (strstr(sentence, "memory") == NULL)
        fail_msg("%s: call %u (%s) fails, and the sentence is '%s'", s->name, n, name, sentence);
}

/* One run with calls n.. failing. False if there was no such call. */
static bool run_faulty(const pm__fault_scenario *s, uint32_t n, uint32_t n_fault,
                       uint32_t *n_survived) {
    const size_t live = pm__faults_live();
    const int descriptors = pm__faults_open_descriptors();
    pm__fail(PM_FAILURE, "what an earlier failure said");
    pm__faults_arm(s->kind, n, n_fault, s->error);
    const pm_status status = s->run(s->user);
    const char *name = atomic_load(&failed_name);
    const bool failed = pm__faults_disarm() > 0;
    if (!failed && status != PM_OK)
        fail_msg("%s: no call fails: %s (%s)", s->name, pm_status_text(status), pm_last_error());
    if (failed)
        judge(s, n, name, status);
    if (pm__faults_live() != live || pm__faults_open_descriptors() != descriptors)
        fail_msg("%s: call %u (%s) fails: %zu objects live, %zu before; %d descriptors, %d before",
                 s->name, n, name, pm__faults_live(), live, pm__faults_open_descriptors(),
                 descriptors);
    *n_survived += failed && status == PM_OK;
    return failed;
}

void pm__faults_everywhere(const pm__fault_scenario *s) {
    const uint32_t stride = s->stride > 0 ? s->stride : 1;
    const clock_t start = clock();
    uint32_t n_fault = 0, n_survived = 0;
    if (s->run(s->user) != PM_OK) /* what is made once and kept is made here */
        fail_msg("%s: %s", s->name, pm_last_error());
    for (int all = 0; all < (s->one_alone ? 1 : 2); all++)
        for (uint32_t n = 1; run_faulty(s, n, all ? UINT32_MAX : 1, &n_survived); n += stride)
            n_fault++;
    print_message("  %s: %u faults, %u of them without effect, %.2f s of processor time\n", s->name,
                  n_fault, n_survived, (double)(clock() - start) / CLOCKS_PER_SEC);
    if (n_fault == 0)
        fail_msg("%s: nothing failed", s->name);
}
