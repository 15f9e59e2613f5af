#include "quarantine.h"

#include "../base/hash.h"
#include "../base/log.h"
#include "../base/utf8.h"
#include "kernels.h"
#include "shader.h"
#include "weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SETS = 64, WHY_SIZE = 160, MOST_TEXT = 32768 };

static const char first_line[] = "pumice check 1";

typedef struct state {
    char why[PM__MOST_KERNELS][WHY_SIZE]; /* "": not in quarantine */
    bool temporary[PM__MOST_KERNELS];     /* gone when the device is closed */
    uint64_t sets[MOST_SETS];             /* newest last */
    uint32_t n_set;
} state;

struct pm__quarantine {
    char name[40]; /* of the file */
    state state;
};

static pm__gpu *gpu_of(const pm__device_handle *handle) {
    return ((const pm__gpu_device *)handle->device)->gpu;
}

/* ---- the file -------------------------------------------------------------------------------- */

static pm_status hash_shaders(uint64_t *all) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    *all = PM__HASH_START;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(table[i].file, table[i - 1].file) == 0)
            continue;
        const pm_status status = pm__shader_hash(table[i].file, all);
        if (status == PM_OUT_OF_MEMORY)
            return status;
        if (status != PM_OK)
            *all = pm__hash_string(*all, "missing"); /* whoever needs it will say so */
    }
    return PM_OK;
}

static pm_status name_file(const pm__gpu *gpu, char name[40]) {
    uint64_t shaders;
    PM_TRY(hash_shaders(&shaders));
    const uint64_t key = pm__hash(pm__gpu_key(gpu), &shaders, sizeof shaders);
    snprintf(name, 40, "check-%016" PRIx64 ".txt", key);
    return PM_OK;
}

static bool parse_quarantined(state *out, char *rest) {
    char *space = strchr(rest, ' ');
    if (space == NULL || space[1] == '\0' || strlen(space + 1) >= WHY_SIZE)
        return false;
    *space = '\0';
    const int kernel = pm__kernel_find(rest);
    if (kernel < 0)
        return false;
    snprintf(out->why[kernel], WHY_SIZE, "%s", space + 1);
    return true;
}

static bool parse_checked(state *out, const char *rest) {
    char *end;
    if (strlen(rest) != 16 || strspn(rest, "0123456789abcdef") != 16 || out->n_set == MOST_SETS)
        return false;
    out->sets[out->n_set++] = strtoull(rest, &end, 16);
    return *end == '\0';
}

static bool parse_line(state *out, char *line) {
    char *space = strchr(line, ' ');
    if (!pm__is_plain_ascii(line) || space == NULL)
        return false;
    *space = '\0';
    if (strcmp(line, "quarantined") == 0)
        return parse_quarantined(out, space + 1);
    if (strcmp(line, "checked") == 0)
        return parse_checked(out, space + 1);
    return strcmp(line, "device") == 0;
}

/* Whole or not at all: "end" is the last line, so that half a file shows; with the hash of all
 * before it where this wrote it, so that a damaged one does. People may leave the hash out. */
static bool parse(state *out, char *text) {
    bool first = true;
    char end[24];
    size_t n = strlen(text);
    while (n > 1 && text[n - 2] != '\n')
        n--;
    snprintf(end, sizeof end, "end %016" PRIx64, pm__hash(PM__HASH_START, text, n > 0 ? n - 1 : 0));
    for (char *line = text, *next; *line; line = next) {
        char *newline = strchr(line, '\n');
        if (newline == NULL)
            return false;
        *newline = '\0';
        next = newline + 1;
        if (!first && (strcmp(line, "end") == 0 || strcmp(line, end) == 0))
            return *next == '\0';
        if (first ? strcmp(line, first_line) != 0 : !parse_line(out, line))
            return false;
        first = false;
    }
    return false;
}

static void apply(pm__gpu *gpu) {
    for (int i = 0; i < PM__MOST_KERNELS; i++)
        gpu->caps.quarantined[i] = gpu->quarantine->state.why[i][0] != '\0';
}

static pm_status read_file(pm__gpu *gpu) {
    struct pm__quarantine *q = gpu->quarantine;
    bool found;
    char *text;
    PM_TRY(pm__cache_read_text(gpu->shaders, q->name, MOST_TEXT, &text, &found));
    if (found && (text == NULL || !parse(&q->state, text))) {
        q->state = (state){.n_set = 0};
        pm__log(PM_LOG_WARN,
                "cache: %s is no record of checks and is ignored; 'pumice check' writes it anew",
                q->name);
    }
    free(text);
    return PM_OK;
}

/* Text of printable characters, as parse_line wants it. */
static void put(char *text, size_t *used, const char *words) {
    for (; *words && *used < MOST_TEXT - 1; words++)
        text[(*used)++] = *words == '\n' || (*words >= ' ' && *words <= '~') ? *words : '?';
    text[*used] = '\0';
}

static bool has_set(const state *s, uint64_t set) {
    for (uint32_t i = 0; i < s->n_set; i++)
        if (s->sets[i] == set)
            return true;
    return false;
}

/* Adds what `theirs` has and `out` has not; of too many sets the last stay. */
static void merge(state *out, const state *theirs) {
    uint64_t sets[2 * MOST_SETS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < theirs->n_set; i++)
        if (!has_set(out, theirs->sets[i]))
            sets[n++] = theirs->sets[i];
    for (uint32_t i = 0; i < out->n_set; i++)
        sets[n++] = out->sets[i];
    out->n_set = n < MOST_SETS ? n : MOST_SETS;
    memcpy(out->sets, sets + (n - out->n_set), out->n_set * sizeof sets[0]);
    for (int i = 0; i < PM__MOST_KERNELS; i++)
        if (out->why[i][0] == '\0')
            memcpy(out->why[i], theirs->why[i], WHY_SIZE);
}

/* What is to be kept: what this process knows, and what others have written since it read. */
static pm_status gather(const pm__gpu *gpu, state *out) {
    state theirs = {.n_set = 0};
    bool found;
    char *text;
    PM_TRY(pm__cache_read_text(gpu->shaders, gpu->quarantine->name, MOST_TEXT, &text, &found));
    *out = gpu->quarantine->state;
    for (int i = 0; i < PM__MOST_KERNELS; i++)
        if (out->temporary[i])
            out->why[i][0] = '\0';
    if (text != NULL && parse(&theirs, text))
        merge(out, &theirs);
    free(text);
    return PM_OK;
}

static void compose(const pm__gpu *gpu, const state *s, char text[MOST_TEXT]) {
    size_t n, used = 0;
    const pm__kernel *table = pm__kernel_table(&n);
    char line[WHY_SIZE + 64];
    put(text, &used, first_line);
    snprintf(line, sizeof line, "\ndevice %.100s, %.80s\n", gpu->info.name, gpu->info.driver);
    put(text, &used, line);
    for (size_t i = 0; i < n; i++) {
        if (s->why[i][0] == '\0')
            continue;
        snprintf(line, sizeof line, "quarantined %s %s\n", table[i].name, s->why[i]);
        put(text, &used, line);
    }
    for (uint32_t i = 0; i < s->n_set; i++) {
        snprintf(line, sizeof line, "checked %016" PRIx64 "\n", s->sets[i]);
        put(text, &used, line);
    }
    snprintf(line, sizeof line, "end %016" PRIx64 "\n", pm__hash(PM__HASH_START, text, used));
    put(text, &used, line);
}

static void write_file(const pm__gpu *gpu) {
    const char *name = gpu->quarantine->name;
    state kept;
    char text[MOST_TEXT];
    if (!pm__cache_is_kept(gpu->shaders))
        return;
    bool written = gather(gpu, &kept) == PM_OK;
    if (written) {
        compose(gpu, &kept, text);
        written = pm__cache_write_text(gpu->shaders, name, text);
    }
    if (!written)
        pm__log(PM_LOG_WARN, "cache: %s cannot be written; the check will run again", name);
}

/* ---- life ------------------------------------------------------------------------------------ */

pm_status pm__quarantine_create(struct pm__gpu *gpu) {
    gpu->quarantine = calloc(1, sizeof *gpu->quarantine);
    if (gpu->quarantine == NULL)
        return pm__fail_memory("gpu: record of checks", sizeof *gpu->quarantine);
    if (!pm__cache_is_kept(gpu->shaders))
        return PM_OK;
    PM_TRY(name_file(gpu, gpu->quarantine->name));
    PM_TRY(read_file(gpu));
    apply(gpu);
    return PM_OK;
}

void pm__quarantine_destroy(struct pm__quarantine *quarantine) {
    free(quarantine);
}

bool pm__quarantine_is_kept(const pm__device_handle *handle) {
    return pm__cache_is_kept(gpu_of(handle)->shaders);
}

/* The reason on one line of printable characters. */
static void set_why(const pm__device_handle *handle, int kernel, const char *why) {
    pm__gpu *gpu = gpu_of(handle);
    char *to = gpu->quarantine->state.why[kernel];
    snprintf(to, WHY_SIZE, "%s", why[0] != '\0' ? why : "unknown");
    for (; *to; to++)
        if (*to < ' ' || *to > '~')
            *to = '?';
    apply(gpu);
}

void pm__quarantine_add(const pm__device_handle *handle, int kernel, const char *why) {
    set_why(handle, kernel, why);
    gpu_of(handle)->quarantine->state.temporary[kernel] = false;
    write_file(gpu_of(handle));
}

void pm__quarantine_set_aside(const pm__device_handle *handle, int kernel, const char *why) {
    if (pm__quarantine_why(handle, kernel) != NULL)
        return;
    set_why(handle, kernel, why);
    gpu_of(handle)->quarantine->state.temporary[kernel] = true;
}

const char *pm__quarantine_why(const pm__device_handle *handle, int kernel) {
    const char *why = gpu_of(handle)->quarantine->state.why[kernel];
    return why[0] != '\0' ? why : NULL;
}

pm_status pm__quarantine_clear(const pm__device_handle *handle) {
    pm__gpu *gpu = gpu_of(handle);
    gpu->quarantine->state = (state){.n_set = 0};
    apply(gpu);
    if (pm__cache_is_kept(gpu->shaders) && !pm__cache_remove(gpu->shaders, gpu->quarantine->name))
        return pm__fail(PM_FAILURE, "cache: %s cannot be removed", gpu->quarantine->name);
    return PM_OK;
}

bool pm__quarantine_has_checked(const pm__device_handle *handle, uint64_t set) {
    return has_set(&gpu_of(handle)->quarantine->state, set);
}

void pm__quarantine_note_checked(const pm__device_handle *handle, uint64_t set) {
    state *s = &gpu_of(handle)->quarantine->state;
    if (pm__quarantine_has_checked(handle, set))
        return;
    if (s->n_set == MOST_SETS) {
        memmove(s->sets, s->sets + 1, (MOST_SETS - 1) * sizeof s->sets[0]);
        s->n_set--;
    }
    s->sets[s->n_set++] = set;
    write_file(gpu_of(handle));
}
