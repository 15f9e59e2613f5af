/* fuzz_record.c: the record of checks in the cache directory, a text that people may edit. First
 * byte 0: the rest is the file; else: what is done to a record, which must come back when the
 * device is opened again. No Vulkan device: a record asks only for its name. */
#include "input.h"

#include "base/hash.h"
#include "gpu/kernels.h"
#include "gpu/quarantine.h"
#include "gpu/shader.h"
#include "gpu/weights.h"

#include <dirent.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_SETS = 64, MOST_KERNELS = PM__MOST_KERNELS, WHY_SIZE = 160, MOST_OPERATIONS = 24 };

/* What a record should hold. */
typedef struct record {
    char why[MOST_KERNELS][WHY_SIZE]; /* "": not in quarantine */
    bool temporary[MOST_KERNELS];
    uint64_t sets[MOST_SETS]; /* newest last */
    size_t n_set;
} record;

static char folder[256], path[512];
static pm__gpu gpu;
static pm__gpu_device device = {.gpu = &gpu};
static const pm__device_handle handle = {.device = &device};
static regex_t quarantined, checked, other;
static unsigned n_warning;

static void hear(void *user, pm_log_level level, const char *line) {
    (void)user;
    PM__HOLDS(pm__input_is_plain(line, strlen(line)));
    n_warning += level <= PM_LOG_WARN;
}

/* ---- a device that is opened and closed ------------------------------------------------------ */

static void open_record(void) {
    n_warning = 0;
    PM__HOLDS(pm__quarantine_create(&gpu) == PM_OK);
}

static void close_record(void) {
    pm__quarantine_destroy(gpu.quarantine);
    gpu.quarantine = NULL;
}

static void find_file(void) {
    DIR *dir = opendir(folder);
    PM__HOLDS(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (entry->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
    closedir(dir);
    PM__HOLDS(path[0] != '\0');
}

static void finish(void) {
    unlink(path);
    rmdir(folder);
    pm__shader_cache_destroy(gpu.shaders);
    regfree(&quarantined);
    regfree(&checked);
    regfree(&other);
}

static void compile(regex_t *out, const char *pattern) {
    PM__HOLDS(regcomp(out, pattern, REG_EXTENDED) == 0);
}

/* The name of the file is the record's own affair: one is written and looked for. */
static void start(void) {
    const char *top = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/pumice-fuzz-XXXXXX", top != NULL ? top : "/tmp");
    PM__HOLDS(mkdtemp(folder) != NULL);
    /* No shaders to hash into the name, which would take most of the time. */
    PM__HOLDS(setenv("PUMICE_SHADER_DIR", folder, 1) == 0);
    PM__HOLDS(pm__shader_cache_create(folder, &gpu.shaders) == PM_OK);
    gpu.info = (pm_device_info){.name = "a \xc3\xa9 device", .driver = "its driver"};
    compile(&quarantined, "^quarantined ([^ ]+) ([ -~]{1,159})$");
    compile(&checked, "^checked [0-9a-f]{16}$");
    compile(&other, "^device [ -~]*$");
    open_record();
    pm__quarantine_note_checked(&handle, 1);
    close_record();
    find_file();
    atexit(finish);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void compare(const record *wanted) {
    size_t n;
    (void)pm__kernel_table(&n);
    for (size_t i = 0; i < n; i++) {
        const char *why = pm__quarantine_why(&handle, (int)i);
        PM__HOLDS(strcmp(why != NULL ? why : "", wanted->why[i]) == 0);
        PM__HOLDS(gpu.caps.quarantined[i] == (why != NULL));
    }
    for (size_t i = 0; i < wanted->n_set; i++)
        PM__HOLDS(pm__quarantine_has_checked(&handle, wanted->sets[i]));
}

static int kernel_named(const char *name, size_t n_name) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == n_name && memcmp(table[i].name, name, n_name) == 0)
            return (int)i;
    return -1;
}

static bool read_line(record *out, const char *line) {
    regmatch_t at[3];
    if (regexec(&quarantined, line, 3, at, 0) == 0) {
        const int kernel = kernel_named(line + at[1].rm_so, (size_t)(at[1].rm_eo - at[1].rm_so));
        if (kernel >= 0)
            snprintf(out->why[kernel], WHY_SIZE, "%.159s", line + at[2].rm_so);
        return kernel >= 0;
    }
    if (regexec(&checked, line, 0, NULL, 0) == 0) {
        if (out->n_set < MOST_SETS)
            out->sets[out->n_set] = strtoull(line + strlen("checked "), NULL, 16);
        return out->n_set++ < MOST_SETS;
    }
    return regexec(&other, line, 0, NULL, 0) == 0;
}

/* A hash at the end is of all before its line. Returns the length without it. */
static size_t drop_hash(char *text, size_t n) {
    char last[32];
    const size_t n_last = 22,
                 at = n > n_last ? n - n_last : 0; /* newline, end, 16 digits, newline */
    snprintf(last, sizeof last, "\nend %016llx\n",
             (unsigned long long)pm__hash(PM__HASH_START, text, at + 1));
    if (at == 0 || memcmp(text + at, last, n_last) != 0)
        return n;
    memcpy(text + at, "\nend\n", 6);
    return at + 5;
}

/* The format, read another way. */
static bool read_record(record *out, char *text, size_t n) {
    static const char first[] = "pumice check 1\n", last[] = "\nend\n";
    const size_t n_first = sizeof first - 1, n_last = sizeof last - 1;
    *out = (record){.n_set = 0};
    n = drop_hash(text, n);
    if (n + 1 < n_first + n_last || memchr(text, '\0', n) != NULL ||
        memcmp(text, first, n_first) != 0 || memcmp(text + n - n_last, last, n_last) != 0)
        return false;
    char *end = text + n - n_last;
    for (char *line = text + n_first; line <= end; line += strlen(line) + 1) {
        *strchr(line, '\n') = '\0';
        if (!read_line(out, line))
            return false;
    }
    return true;
}

/* The order of what is done: whoever reads it again finds the same, and can go on. */
static void check_again(record *wanted) {
    compare(wanted);
    if (wanted->n_set < MOST_SETS && !pm__quarantine_has_checked(&handle, 7))
        wanted->sets[wanted->n_set++] = 7;
    pm__quarantine_note_checked(&handle, 7);
    close_record();
    open_record();
    PM__HOLDS(n_warning == 0);
    compare(wanted);
}

/* Taken as it says, or ignored as a whole with a warning. */
static void check_file(const uint8_t *bytes, size_t n) {
    static record wanted;
    FILE *file = fopen(path, "wb");
    PM__HOLDS(file != NULL && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
    char *text = malloc(n + 1);
    PM__HOLDS(text != NULL);
    memcpy(text, bytes, n);
    text[n] = '\0';
    const bool is_whole = read_record(&wanted, text, n);
    if (!is_whole)
        wanted = (record){.n_set = 0};
    open_record();
    PM__HOLDS(n_warning == !is_whole);
    check_again(&wanted);
    close_record();
    free(text);
}

/* ---- what is done to a record ---------------------------------------------------------------- */

/* A reason, and the printable line that it becomes. */
static void take_why(pm__input *in, char given[256], char wanted[WHY_SIZE]) {
    const pm__span bytes = pm__input_bytes(in, pm__input_u8(in));
    size_t n = 0;
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] != '\0')
            given[n++] = bytes.data[i];
    given[n] = '\0';
    snprintf(wanted, WHY_SIZE, "%.159s", n > 0 ? given : "unknown");
    for (char *c = wanted; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static void quarantine(pm__input *in, record *wanted, bool temporary) {
    char given[256], why[WHY_SIZE];
    size_t n;
    (void)pm__kernel_table(&n);
    const size_t kernel = pm__input_u8(in) % n;
    take_why(in, given, why);
    if (temporary)
        pm__quarantine_set_aside(&handle, (int)kernel, given);
    else
        pm__quarantine_add(&handle, (int)kernel, given);
    if (temporary && wanted->why[kernel][0] != '\0')
        return; /* the first reason stays */
    memcpy(wanted->why[kernel], why, WHY_SIZE);
    wanted->temporary[kernel] = temporary;
}

static void note(record *wanted, uint64_t set) {
    pm__quarantine_note_checked(&handle, set);
    for (size_t i = 0; i < wanted->n_set; i++)
        if (wanted->sets[i] == set)
            return;
    if (wanted->n_set == MOST_SETS) {
        memmove(wanted->sets, wanted->sets + 1, (MOST_SETS - 1) * sizeof wanted->sets[0]);
        wanted->n_set--;
    }
    wanted->sets[wanted->n_set++] = set;
}

/* More than there is room for. */
static void note_many(record *wanted, uint8_t first) {
    for (uint64_t i = 0; i <= MOST_SETS; i++)
        note(wanted, first + i);
}

static void reopen(record *wanted) {
    close_record();
    open_record();
    PM__HOLDS(n_warning == 0);
    for (size_t i = 0; i < MOST_KERNELS; i++) {
        if (wanted->temporary[i])
            wanted->why[i][0] = '\0';
        wanted->temporary[i] = false;
    }
}

static void clear(record *wanted) {
    PM__HOLDS(pm__quarantine_clear(&handle) == PM_OK && access(path, F_OK) != 0);
    *wanted = (record){.n_set = 0};
}

static void check_operations(pm__input *in) {
    static record wanted;
    unlink(path);
    open_record();
    clear(&wanted);
    for (int i = 0; i < MOST_OPERATIONS && in->left > 0; i++) {
        const uint8_t what = pm__input_u8(in) % 8;
        if (what == 0)
            clear(&wanted);
        else if (what == 1)
            reopen(&wanted);
        else if (what == 2)
            note(&wanted, pm__input_u64(in));
        else if (what == 3)
            note_many(&wanted, pm__input_u8(in));
        else
            quarantine(in, &wanted, what == 4);
        compare(&wanted);
    }
    reopen(&wanted);
    compare(&wanted);
    close_record();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm_set_log(PM_LOG_DEBUG, hear, NULL);
    if (gpu.shaders == NULL)
        start();
    pm__input in = {data, size};
    if (pm__input_u8(&in) == 0)
        check_file(in.at, in.left);
    else
        check_operations(&in);
    return 0;
}
