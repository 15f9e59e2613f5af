/* test_cache_faults.c: the cache directory on a disk that is full or broken, torn and damaged files
 * at every byte, folders that change or vanish, and many processes at once, some of them killed.
 * ctest: quick */
#define _DEFAULT_SOURCE /* scandir with its sorts, setuid */
#include "host_faults.h"

#include "devices.h"
#include "gpu/kernels.h"
#include "gpu/quarantine.h"
#include "gpu/shader.h"
#include "gpu/weights.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "shader-0123456789abcdef.spv"

typedef struct pm__shader_cache cache;

static char folder[PM__FOLDER_SIZE];
static unsigned n_warning;

static void hear(void *user, pm_log_level level, const char *line) {
    (void)user, (void)line;
    n_warning += level <= PM_LOG_WARN;
}

static int set_up(void **state) {
    (void)state;
    pm__folder_init(folder);
    pm_set_log(PM_LOG_WARN, hear, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_set_log(PM_LOG_WARN, NULL, NULL);
    pm__folder_finish(folder);
    return 0;
}

static cache *open_cache(void) {
    cache *made = NULL;
    assert_int_equal(pm__shader_cache_create(folder, &made), PM_OK);
    return made;
}

static void path_of(const char *name, char path[2 * PM__FOLDER_SIZE]) {
    snprintf(path, 2 * PM__FOLDER_SIZE, "%s/%s", folder, name);
}

static int is_file(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* scandir's own opendir does not fail. */
static int count_files(void) {
    struct dirent **list;
    const int n = scandir(folder, &list, is_file, NULL);
    for (int i = 0; i < n; i++)
        free(list[i]);
    if (n >= 0)
        free(list);
    return n;
}

static size_t read_file(const char *name, unsigned char *bytes, size_t size) {
    char path[2 * PM__FOLDER_SIZE];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, size, file);
    assert_int_equal(fclose(file), 0);
    assert_true(n < size);
    return n;
}

static void write_file(const char *name, const unsigned char *bytes, size_t n) {
    char path[2 * PM__FOLDER_SIZE];
    path_of(name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* ---- torn and damaged ------------------------------------------------------------------------ */

/* Hands over the file with every length, with every bit the other way round, and with more. */
static unsigned each_damage(const char *name, void (*expect_miss)(void)) {
    unsigned char bytes[2048];
    const size_t n = read_file(name, bytes, sizeof bytes);
    for (size_t length = 0; length < n; length++) {
        write_file(name, bytes, length);
        expect_miss();
    }
    for (size_t at = 0; at < n; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (unsigned char)(bytes[at] ^ 1 << bit);
            write_file(name, bytes, n);
            expect_miss();
            bytes[at] = (unsigned char)(bytes[at] ^ 1 << bit);
        }
    }
    bytes[n] = '\n';
    write_file(name, bytes, n + 1);
    expect_miss();
    write_file(name, bytes, n);
    return (unsigned)(9 * n + 1);
}

static cache *damaged;

static void expect_no_file(void) {
    size_t n;
    assert_null(pm__cache_read(damaged, NAME, &n));
}

static void every_byte_of_a_file(void **state) {
    (void)state;
    size_t n;
    damaged = open_cache();
    pm__cache_write(damaged, NAME, "what a compiler made of a shader", 32);
    print_message("  %u damaged files\n", each_damage(NAME, expect_no_file));
    char *data = pm__cache_read(damaged, NAME, &n);
    assert_true(data != NULL && n == 32 && memcmp(data, "what a compiler", 15) == 0);
    free(data);
    pm__shader_cache_destroy(damaged);
}

/* ---- the record of checks -------------------------------------------------------------------- */

static pm__gpu gpu;
static pm__gpu_device device = {.gpu = &gpu};
static const pm__device_handle handle = {.device = &device};

static pm_status open_record(void) {
    return pm__quarantine_create(&gpu);
}

static void close_record(void) {
    pm__quarantine_destroy(gpu.quarantine);
    gpu.quarantine = NULL;
}

/* No shaders to hash into the name of the record, which would take most of the time. */
static void start_record(void) {
    setenv("PUMICE_SHADER_DIR", folder, 1);
    gpu.shaders = open_cache();
    gpu.info = (pm_device_info){.name = "a device", .driver = "its driver"};
    assert_int_equal(open_record(), PM_OK);
}

static void end_record(void) {
    close_record();
    pm__shader_cache_destroy(gpu.shaders);
    gpu = (pm__gpu){0};
    unsetenv("PUMICE_SHADER_DIR");
}

/* Of the first kernels, a bit each. */
static uint64_t quarantined_bits(void) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i++)
        bits |= (uint64_t)gpu.caps.quarantined[i] << i;
    return bits;
}

static void expect_empty_record(void) {
    n_warning = 0;
    assert_int_equal(open_record(), PM_OK);
    assert_true(quarantined_bits() == 0 && !pm__quarantine_has_checked(&handle, 7));
    assert_int_equal(n_warning, 1);
    close_record();
}

static void every_byte_of_a_record(void **state) {
    (void)state;
    char name[PM__FOLDER_SIZE];
    start_record();
    pm__quarantine_add(&handle, 1, "NMSE 3");
    pm__quarantine_add(&handle, 2, "it hangs");
    pm__quarantine_note_checked(&handle, 7);
    close_record();
    pm__folder_find(folder, "check-", name);
    print_message("  %u damaged records\n", each_damage(name, expect_empty_record));
    assert_int_equal(open_record(), PM_OK);
    assert_true(quarantined_bits() == 6 && pm__quarantine_has_checked(&handle, 7));
    end_record();
}

static void huge_record(void **state) {
    (void)state;
    char name[PM__FOLDER_SIZE], path[2 * PM__FOLDER_SIZE];
    start_record();
    pm__quarantine_note_checked(&handle, 7);
    close_record();
    pm__folder_find(folder, "check-", name);
    path_of(name, path);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0); /* with a hole: no disk is filled */
    expect_empty_record();
    end_record();
}

/* A check that takes minutes, and a run that begins before it ends: the later one knows nothing of
 * what the other found, and must not lose it. */
static void two_records(void **state) {
    (void)state;
    start_record();
    pm__gpu other = gpu;
    pm__gpu_device other_device = {.gpu = &other};
    const pm__device_handle other_handle = {.device = &other_device};
    assert_int_equal(pm__quarantine_create(&other), PM_OK);
    pm__quarantine_add(&handle, 1, "NMSE 3");
    pm__quarantine_note_checked(&handle, 6);
    pm__quarantine_note_checked(&other_handle, 7);
    pm__quarantine_destroy(other.quarantine);
    close_record();
    assert_int_equal(open_record(), PM_OK);
    assert_int_equal(quarantined_bits(), 2);
    assert_true(pm__quarantine_has_checked(&handle, 6) && pm__quarantine_has_checked(&handle, 7));
    end_record();
}

/* ---- a disk that is full or broken ----------------------------------------------------------- */

/* A failure costs what is kept, never what is right, and leaves nothing half written. */
static pm_status run_files(void *user) {
    (void)user;
    cache *made = NULL;
    size_t n = 0;
    PM_TRY(pm__shader_cache_create(folder, &made));
    pm__cache_write(made, NAME, "first", 5);
    pm__cache_write(made, NAME, "second one", 10);
    char *data = pm__cache_read(made, NAME, &n);
    const bool right = data == NULL || (n == 5 && memcmp(data, "first", 5) == 0) ||
                       (n == 10 && memcmp(data, "second one", 10) == 0);
    free(data);
    pm__shader_cache_destroy(made);
    assert_true(right);
    assert_true(count_files() <= 1);
    return PM_OK;
}

static pm_status run_record(void *user) {
    (void)user;
    PM_TRY(open_record());
    const uint64_t before = quarantined_bits();
    assert_true(before == 0 || before == 2);
    pm__quarantine_add(&handle, 1, "NMSE 3");
    assert_int_equal(quarantined_bits(), 2); /* here at least, and in the file if it can be */
    pm__quarantine_note_checked(&handle, 7);
    const pm_status status = pm__quarantine_clear(&handle);
    close_record();
    assert_true(count_files() <= 1);
    return status;
}

static pm_status run_record_after_cache(void *user) {
    PM_TRY(pm__shader_cache_create(folder, &gpu.shaders));
    const pm_status status = run_record(user);
    pm__shader_cache_destroy(gpu.shaders);
    gpu.shaders = NULL;
    return status;
}

static void broken_disk(void **state) {
    (void)state;
    static const struct {
        int error;
        bool one_alone;
    } errors[] = {{ENOSPC, false}, {EIO, false}, {EACCES, false}, {EINTR, true}, {EEXIST, true}};
    setenv("PUMICE_SHADER_DIR", folder, 1);
    gpu.info = (pm_device_info){.name = "a device", .driver = "its driver"};
    for (size_t i = 0; i < PM__COUNT(errors); i++) {
        pm__fault_scenario scenario = {.name = strerror(errors[i].error),
                                       .run = run_files,
                                       .kind = PM__FAULT_FILE,
                                       .error = errors[i].error,
                                       .may_survive = true,
                                       .one_alone = errors[i].one_alone};
        pm__faults_everywhere(&scenario);
        scenario.run = run_record_after_cache;
        pm__faults_everywhere(&scenario);
    }
    unsetenv("PUMICE_SHADER_DIR");
    gpu = (pm__gpu){0};
}

static void no_memory(void **state) {
    (void)state;
    pm__fault_scenario scenario = {
        .name = "files", .run = run_files, .kind = PM__FAULT_MEMORY, .may_survive = true};
    pm__faults_everywhere(&scenario);
    setenv("PUMICE_SHADER_DIR", folder, 1);
    gpu.info = (pm_device_info){.name = "a device", .driver = "its driver"};
    scenario.name = "record of checks"; /* what is not written is warned of */
    scenario.run = run_record_after_cache;
    pm__faults_everywhere(&scenario);
    unsetenv("PUMICE_SHADER_DIR");
    gpu = (pm__gpu){0};
}

static void wait_for(pid_t child, int wanted) {
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(wanted == 0 ? WIFEXITED(result) && WEXITSTATUS(result) == 0
                            : WIFSIGNALED(result) && WTERMSIG(result) == wanted);
}

static pid_t start_child(void (*work)(unsigned argument), unsigned argument) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        work(argument);
        _exit(0);
    }
    assert_true(child > 0);
    return child;
}

/* A limit on the size of files, as a full disk: a part of a write goes through. */
static void write_on_full_disk(unsigned room) {
    static char data[5000];
    cache *made = NULL;
    const struct rlimit limit = {room, room};
    signal(SIGXFSZ, SIG_IGN);
    n_warning = 0;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || pm__shader_cache_create(folder, &made) != PM_OK)
        _exit(2);
    pm__cache_write(made, NAME, data, sizeof data);
    pm__cache_write(made, NAME, data, sizeof data);
    if (n_warning != 1 || pm__cache_write_text(made, "check-text", "123456789 123456789"))
        _exit(3);
    pm__shader_cache_destroy(made);
}

static void full_disk(void **state) {
    (void)state;
    static const unsigned rooms[] = {0, 1, 18};
    size_t n;
    cache *made = open_cache();
    pm__cache_write(made, NAME, "first", 5);
    for (size_t i = 0; i < PM__COUNT(rooms); i++) {
        wait_for(start_child(write_on_full_disk, rooms[i]), 0);
        assert_int_equal(count_files(), 1);
        char *data = pm__cache_read(made, NAME, &n);
        assert_true(data != NULL && n == 5); /* what was there before */
        free(data);
    }
    pm__shader_cache_destroy(made);
}

/* ---- folders --------------------------------------------------------------------------------- */

static void write_where_forbidden(unsigned argument) {
    (void)argument;
    cache *made = NULL;
    size_t n;
    n_warning = 0;
    if ((geteuid() == 0 && setuid(65534) != 0) || pm__shader_cache_create(folder, &made) != PM_OK)
        _exit(2);
    pm__cache_write(made, NAME, "first", 5);
    if (pm__cache_is_kept(made) || pm__cache_read(made, NAME, &n) != NULL || n_warning != 1)
        _exit(3);
    pm__shader_cache_destroy(made);
}

static void folder_that_cannot_be_written(void **state) {
    (void)state;
    assert_int_equal(chmod(folder, 0555), 0);
    wait_for(start_child(write_where_forbidden, 0), 0);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_int_equal(count_files(), 0);
}

static void folder_that_vanishes(void **state) {
    (void)state;
    size_t n;
    start_record();
    assert_int_equal(rmdir(folder), 0);
    pm__cache_write(gpu.shaders, NAME, "first", 5);
    assert_null(pm__cache_read(gpu.shaders, NAME, &n));
    n_warning = 0;
    pm__quarantine_add(&handle, 1, "NMSE 3");
    assert_int_equal(n_warning, 1);
    assert_int_equal(quarantined_bits(), 2);
    assert_int_equal(pm__quarantine_clear(&handle), PM_OK);
    assert_int_equal(mkdir(folder, 0700), 0);
    pm__cache_write(gpu.shaders, NAME, "first", 5);
    void *data = pm__cache_read(gpu.shaders, NAME, &n);
    assert_non_null(data);
    free(data);
    end_record();
}

static void folder_in_the_place_of_a_file(void **state) {
    (void)state;
    char path[2 * PM__FOLDER_SIZE];
    size_t n;
    cache *made = open_cache();
    path_of(NAME, path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(pm__cache_read(made, NAME, &n));
    pm__cache_write(made, NAME, "first", 5);
    assert_null(pm__cache_read(made, NAME, &n));
    assert_int_equal(count_files(), 1);
    pm__shader_cache_destroy(made);
}

/* ---- what the dead leave --------------------------------------------------------------------- */

static void touch(const char *name, time_t age) {
    char path[2 * PM__FOLDER_SIZE];
    const struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    write_file(name, (const unsigned char *)"half", 4);
    path_of(name, path);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void left_by_the_dead(void **state) {
    (void)state;
    static const char *const others[] = {"notes.0123456789abcdef.new", "shader-1.new", NAME,
                                         "shader-0123456789abcdex.new"};
    touch(NAME ".0123456789abcdef.new", 4000);
    touch("check-0123456789abcdef.txt.0123456789abcdef.new", 4000);
    touch("pipelines-0123456789abcdef.bin.0123456789abcdef.new", 4000);
    touch(NAME ".fedcba9876543210.new", 60); /* somebody may be at it */
    for (size_t i = 0; i < PM__COUNT(others); i++)
        touch(others[i], 4000);
    pm__shader_cache_destroy(open_cache());
    assert_int_equal(count_files(), 1 + (int)PM__COUNT(others));
}

/* ---- many processes -------------------------------------------------------------------------- */

enum { N_PROCESS = 5, N_FILE = 3, N_BYTE = 70001, N_KILL = 25, N_ROUND = 60 };

/* Every version of file `k` is one letter over and over. */
static void fill(unsigned char *data, unsigned k, unsigned version) {
    memset(data, 'a' + (int)((k + version) % 26), N_BYTE);
}

static bool is_one_version(const unsigned char *data, size_t n) {
    return n == N_BYTE && memcmp(data, data + 1, n - 1) == 0;
}

static void live(unsigned seed) {
    unsigned char *data = malloc(N_BYTE);
    for (unsigned round = 0; round < N_ROUND && data != NULL; round++) {
        cache *made = NULL;
        char name[64];
        const unsigned k = (seed + round) % N_FILE;
        snprintf(name, sizeof name, "shader-%016x.spv", k);
        if (pm__shader_cache_create(folder, &made) != PM_OK)
            _exit(2);
        fill(data, k, seed + round);
        pm__cache_write(made, name, data, N_BYTE);
        size_t n = 0;
        unsigned char *got = pm__cache_read(made, name, &n);
        if (got == NULL || !is_one_version(got, n))
            _exit(3); /* it is there, and whole, at every moment after the first write */
        free(got);
        pm__shader_cache_destroy(made);
    }
    _exit(data != NULL ? 0 : 4);
}

static void processes_that_are_killed(void **state) {
    (void)state;
    pid_t children[N_PROCESS];
    for (unsigned i = 0; i < N_PROCESS; i++)
        children[i] = start_child(live, i);
    unsigned n_killed = 0;
    for (unsigned i = 0; i < N_KILL; i++) {
        const struct timespec moment = {.tv_nsec = 1000000 + 137000 * (long)i};
        nanosleep(&moment, NULL);
        pid_t *victim = &children[i % N_PROCESS];
        kill(*victim, SIGKILL);
        int result;
        assert_int_equal(waitpid(*victim, &result, 0), *victim);
        assert_true(WIFSIGNALED(result) || WEXITSTATUS(result) == 0);
        n_killed += WIFSIGNALED(result) != 0;
        *victim = start_child(live, i);
    }
    for (unsigned i = 0; i < N_PROCESS; i++)
        wait_for(children[i], 0);
    assert_true(count_files() >= N_FILE && count_files() <= N_FILE + (int)n_killed);
    print_message("  %u killed, %d files left half written\n", n_killed, count_files() - N_FILE);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(full_disk), /* first: the cache warns once in a process */
        WITH_FOLDER(folder_that_cannot_be_written),
        WITH_FOLDER(every_byte_of_a_file),
        WITH_FOLDER(every_byte_of_a_record),
        WITH_FOLDER(huge_record),
        WITH_FOLDER(two_records),
        WITH_FOLDER(broken_disk),
        WITH_FOLDER(no_memory),
        WITH_FOLDER(folder_that_vanishes),
        WITH_FOLDER(folder_in_the_place_of_a_file),
        WITH_FOLDER(left_by_the_dead),
        WITH_FOLDER(processes_that_are_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
