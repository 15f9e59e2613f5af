#include "tuning.h"

#include "../base/grow.h"
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

enum { MOST_TEXT = 512 << 10, LINE_SIZE = 400, MOST_WORDS = 17 };

static const char first_line[] = "pumice tuning 1";
static const char *const rows_names[] = {"1", "2-8", "9-"};

/* ---- shapes ---------------------------------------------------------------------------------- */

pm__rows_class pm__rows_class_of(uint32_t n_row) {
    return n_row <= 1 ? PM__ROWS_ONE : n_row <= PM__MOST_FEW_ROWS ? PM__ROWS_FEW : PM__ROWS_MANY;
}

const char *pm__rows_class_name(pm__rows_class rows) {
    return rows_names[rows];
}

pm__node_shape pm__node_shape_of(const pm__node *node, uint32_t n_row) {
    const int matrix = pm__op_get(node->op)->matrix;
    pm__node_shape shape = {.op = node->op,
                            .type = PM__TYPE_COUNT,
                            .n_out = node->out->n_col,
                            .rows = pm__rows_class_of(n_row)};
    for (uint32_t i = 0; i < PM__MOST_INPUTS; i++) {
        const pm__tensor *t = node->in[i];
        if (t == NULL)
            continue;
        shape.inputs |= 1u << i;
        if ((int)i == matrix || t->kind == PM__CACHE)
            shape.type = (uint32_t)t->type;
    }
    if (node->out->kind == PM__CACHE)
        shape.type = (uint32_t)node->out->type;
    shape.n_in = node->in[0] != NULL ? node->in[0]->n_col : 0;
    shape.n_other = matrix >= 0           ? node->in[matrix]->n_row
                    : node->in[1] != NULL ? node->in[1]->n_col
                                          : 0;
    return shape;
}

bool pm__node_shape_equal(const pm__node_shape *a, const pm__node_shape *b) {
    return a->op == b->op && a->type == b->type && a->n_out == b->n_out && a->n_in == b->n_in &&
           a->n_other == b->n_other && a->inputs == b->inputs && a->rows == b->rows;
}

/* ---- choices --------------------------------------------------------------------------------- */

void pm__tuning_finish(pm__tuning *tuning) {
    free(tuning->items);
    *tuning = (pm__tuning){.n = 0};
}

pm_status pm__tuning_add(pm__tuning *tuning, const pm__choice *choice) {
    for (uint32_t i = 0; i < tuning->n; i++)
        if (pm__node_shape_equal(&tuning->items[i].shape, &choice->shape)) {
            tuning->items[i] = *choice;
            return PM_OK;
        }
    if (tuning->n == PM__MOST_TUNED)
        return pm__fail(PM_FAILURE, "tune: a tuning holds %d shapes at most", PM__MOST_TUNED);
    PM_TRY(pm__grow("tune", &tuning->items, &tuning->capacity, tuning->n, sizeof *tuning->items));
    tuning->items[tuning->n++] = *choice;
    return PM_OK;
}

int pm__tuning_find(const pm__tuning *tuning, const pm__node_shape *shape) {
    for (uint32_t i = 0; i < tuning->n; i++)
        if (pm__node_shape_equal(&tuning->items[i].shape, shape))
            return tuning->items[i].kernel;
    return -1;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int find_op(const char *name) {
    for (int op = 0; op < PM__OP_COUNT; op++)
        if (strcmp(pm__op_get((pm__op)op)->name, name) == 0)
            return op;
    return -1;
}

static bool find_type(const char *name, uint32_t *out) {
    for (*out = 0; *out < PM__TYPE_COUNT; ++*out)
        if (strcmp(pm__type_get((pm__type)*out)->name, name) == 0)
            return true;
    return strcmp(name, "-") == 0;
}

/* All of the text up to `end` ('\0': its end) is a number of that base; *rest: behind `end`. */
static bool read_number(const char *text, int base, char end, uint64_t most, uint64_t *out,
                        const char **rest) {
    static const char digits[] = "0123456789abcdef";
    uint64_t value = 0;
    const char *at = text;
    for (; *at != '\0' && *at != end; at++) {
        const char *digit = strchr(digits, *at);
        if (digit == NULL || digit - digits >= base)
            return false;
        const uint64_t add = (uint64_t)(digit - digits);
        if (value > (most - add) / (uint64_t)base)
            return false;
        value = value * (uint64_t)base + add;
    }
    *out = value;
    if (rest != NULL)
        *rest = *at != '\0' ? at + 1 : at;
    return at != text && *at == end;
}

static bool read_u32(const char *text, int base, char end, uint32_t *out, const char **rest) {
    uint64_t value;
    if (!read_number(text, base, end, UINT32_MAX, &value, rest))
        return false;
    *out = (uint32_t)value;
    return true;
}

/* The text of its shader with what it includes, and its constants. */
static pm_status hash_kernel(int kernel, uint64_t *hash) {
    size_t n;
    const pm__kernel *row = &pm__kernel_table(&n)[kernel];
    const uint32_t constants[] = {row->workgroup, row->group_rows, row->group_items,
                                  (uint32_t)row->tier};
    *hash = pm__hash(PM__HASH_START, constants, sizeof constants);
    const pm_status status = pm__shader_hash(row->file, hash);
    if (status == PM_OUT_OF_MEMORY)
        return status;
    if (status != PM_OK)
        *hash = 0;
    return PM_OK;
}

static size_t split(char *line, char *words[MOST_WORDS]) {
    size_t n = 0;
    for (char *at = line; n < MOST_WORDS; n++) {
        words[n] = at;
        at = strchr(at, ' ');
        if (at == NULL)
            return n + 1;
        *at++ = '\0';
    }
    return 0;
}

static bool read_sizes(const char *text, pm__node_shape *shape) {
    return read_u32(text, 10, 'x', &shape->n_out, &text) &&
           read_u32(text, 10, 'x', &shape->n_in, &text) &&
           read_u32(text, 10, '\0', &shape->n_other, NULL);
}

static bool read_rows(const char *text, pm__node_shape *shape) {
    for (int i = 0; i < PM__ROWS_CLASSES; i++)
        if (strcmp(text, rows_names[i]) == 0) {
            shape->rows = (pm__rows_class)i;
            return true;
        }
    return false;
}

/* take K for OP TYPE AxBxC inputs I rows R shader H ns N instead K N
 * *why: NULL, or why it is not used. */
static pm_status read_take(char *line, pm__choice *out, const char **why) {
    static const struct {
        size_t at;
        const char *word;
    } fixed[] = {{2, "for"},     {6, "inputs"}, {8, "rows"},
                 {10, "shader"}, {12, "ns"},    {14, "instead"}};
    char *words[MOST_WORDS];
    uint64_t hash, now;
    *why = "it is not as a tuning has them";
    if (split(line, words) != MOST_WORDS)
        return PM_OK;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (strcmp(words[fixed[i].at], fixed[i].word) != 0)
            return PM_OK;
    if (!read_sizes(words[5], &out->shape) ||
        !read_u32(words[7], 16, '\0', &out->shape.inputs, NULL) ||
        !read_rows(words[9], &out->shape) ||
        !read_number(words[11], 16, '\0', UINT64_MAX, &hash, NULL) ||
        !read_number(words[13], 10, '\0', UINT64_MAX, &out->ns, NULL) ||
        !read_number(words[16], 10, '\0', UINT64_MAX, &out->instead_ns, NULL))
        return PM_OK;
    const int op = find_op(words[3]);
    out->kernel = pm__kernel_find(words[1]);
    out->instead = pm__kernel_find(words[15]);
    *why = op < 0 ? "there is no such operation" : "there is no such type";
    if (op < 0 || !find_type(words[4], &out->shape.type))
        return PM_OK;
    out->shape.op = (pm__op)op;
    *why = "there is no such kernel";
    size_t n;
    if (out->kernel < 0 || out->instead < 0 ||
        pm__kernel_table(&n)[out->kernel].op != out->shape.op)
        return PM_OK;
    PM_TRY(hash_kernel(out->kernel, &now));
    *why = now == hash && now != 0 ? NULL : "the shader of its kernel is another one now";
    return PM_OK;
}

/* Whole or not at all: the last line is "end", with the hash of all before it or without. */
static bool is_whole(const char *text) {
    const size_t n = strlen(text), n_first = sizeof first_line - 1;
    char end[24];
    if (strncmp(text, first_line, n_first) != 0 || text[n_first] != '\n' || text[n - 1] != '\n')
        return false;
    size_t last = n - 1;
    while (last > 0 && text[last - 1] != '\n')
        last--;
    snprintf(end, sizeof end, "end %016" PRIx64 "\n", pm__hash(PM__HASH_START, text, last));
    return strcmp(text + last, "end\n") == 0 || strcmp(text + last, end) == 0;
}

static pm_status read_line(pm__tuning *tuning, char *line, char made_for[48], const char **why) {
    pm__choice choice = {.kernel = -1};
    *why = NULL;
    if (!pm__is_plain_ascii(line)) {
        *why = "it has other than printable characters";
    } else if (strncmp(line, "take ", 5) == 0) {
        PM_TRY(read_take(line, &choice, why));
        if (*why == NULL && tuning->n == PM__MOST_TUNED)
            *why = "there are too many";
        if (*why == NULL)
            return pm__tuning_add(tuning, &choice);
    } else if (strncmp(line, "for ", 4) == 0) {
        if (strlen(line + 4) < 48)
            memcpy(made_for, line + 4, strlen(line + 4) + 1);
    } else if (line[0] != '#' && strncmp(line, "device ", 7) != 0 && strncmp(line, "end", 3) != 0) {
        *why = "it is not as a tuning has them";
    }
    return PM_OK;
}

pm_status pm__tuning_parse(pm__tuning *tuning, const char *text, char made_for[48],
                           pm__tuning_say say, void *user) {
    char line[LINE_SIZE];
    unsigned number = 1;
    made_for[0] = '\0';
    if (!is_whole(text))
        return pm__fail(PM_BAD_FILE,
                        "tune: this is no tuning of this version of pumice, or not a whole one");
    for (const char *at = strchr(text, '\n') + 1; *at != '\0'; at = strchr(at, '\n') + 1) {
        const size_t n = (size_t)(strchr(at, '\n') - at);
        const char *why = "it is too long";
        number++;
        if (n < sizeof line) {
            memcpy(line, at, n);
            line[n] = '\0';
            PM_TRY(read_line(tuning, line, made_for, &why));
        }
        if (why != NULL)
            say(user, number, why);
    }
    return PM_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A line of printable characters. */
static void put(char *text, size_t *used, const char *words) {
    for (; *words; words++)
        text[(*used)++] = *words >= ' ' && *words <= '~' ? *words : '?';
    text[(*used)++] = '\n';
    text[*used] = '\0';
}

static pm_status put_choice(char *text, size_t *used, const pm__choice *c) {
    char line[LINE_SIZE];
    size_t n;
    uint64_t hash;
    const pm__kernel *table = pm__kernel_table(&n);
    const pm__node_shape *s = &c->shape;
    PM_TRY(hash_kernel(c->kernel, &hash));
    snprintf(line, sizeof line,
             "take %s for %s %s %" PRIu32 "x%" PRIu32 "x%" PRIu32 " inputs %" PRIx32
             " rows %s shader %016" PRIx64 " ns %" PRIu64 " instead %s %" PRIu64,
             table[c->kernel].name, pm__op_get(s->op)->name,
             s->type < PM__TYPE_COUNT ? pm__type_get((pm__type)s->type)->name : "-", s->n_out,
             s->n_in, s->n_other, s->inputs, rows_names[s->rows], hash, c->ns,
             table[c->instead].name, c->instead_ns);
    put(text, used, line);
    return PM_OK;
}

pm_status pm__tuning_compose(const pm__tuning *tuning, const char *device, const char *made_for,
                             char **out) {
    const size_t size = 1024 + (size_t)LINE_SIZE * tuning->n;
    char line[LINE_SIZE], *text = malloc(size);
    size_t used = 0;
    pm_status status = PM_OK;
    if (text == NULL)
        return pm__fail_memory("tune", size);
    put(text, &used, first_line);
    snprintf(line, sizeof line, "device %.200s", device);
    put(text, &used, line);
    snprintf(line, sizeof line, "for %.47s", made_for);
    put(text, &used, line);
    for (uint32_t i = 0; i < tuning->n && status == PM_OK; i++)
        status = put_choice(text, &used, &tuning->items[i]);
    if (status != PM_OK) {
        free(text);
        return status;
    }
    snprintf(line, sizeof line, "end %016" PRIx64, pm__hash(PM__HASH_START, text, used));
    put(text, &used, line);
    *out = text;
    return PM_OK;
}

/* ---- of a device ----------------------------------------------------------------------------- */

static pm__gpu *gpu_of(const pm__device_handle *handle) {
    return ((const pm__gpu_device *)handle->device)->gpu;
}

static void name_file(const pm__gpu *gpu, char name[40]) {
    snprintf(name, 40, "tune-%016" PRIx64 ".txt", pm__gpu_key(gpu));
}

/* Of the same model of device with the same driver, whatever its version. */
static void name_maker(const pm__gpu *gpu, char made_for[48]) {
    snprintf(made_for, 48, "%04" PRIx32 ":%04" PRIx32 ":%u", gpu->properties.vendorID,
             gpu->properties.deviceID, (unsigned)gpu->driver.driverID);
}

typedef struct unused {
    unsigned n, line;
    const char *why;
} unused;

static void count_unused(void *user, unsigned line, const char *why) {
    unused *u = user;
    if (u->n++ == 0) {
        u->line = line;
        u->why = why;
    }
}

static pm_status read_file(pm__gpu *gpu) {
    char name[40], made_for[48], *text;
    unused u = {0};
    bool found;
    name_file(gpu, name);
    PM_TRY(pm__cache_read_text(gpu->shaders, name, MOST_TEXT, &text, &found));
    pm_status status = PM_OK;
    if (text != NULL)
        status = pm__tuning_parse(gpu->tuning, text, made_for, count_unused, &u);
    free(text);
    if (status == PM_OUT_OF_MEMORY)
        return status;
    if (status != PM_OK || (found && text == NULL))
        pm__log(PM_LOG_WARN, "cache: %s is no tuning and is ignored; 'pumice tune' makes one",
                name);
    else if (u.n > 0)
        pm__log(PM_LOG_WARN,
                "cache: %s: %u choices are not used (line %u: %s); 'pumice tune' measures again",
                name, u.n, u.line, u.why);
    return PM_OK;
}

pm_status pm__tuning_create(struct pm__gpu *gpu) {
    gpu->tuning = calloc(1, sizeof *gpu->tuning);
    if (gpu->tuning == NULL)
        return pm__fail_memory("gpu: tuning", sizeof *gpu->tuning);
    gpu->caps.tuning = gpu->tuning;
    return pm__cache_is_kept(gpu->shaders) ? read_file(gpu) : PM_OK;
}

void pm__tuning_destroy(struct pm__gpu *gpu) {
    if (gpu->tuning != NULL)
        pm__tuning_finish(gpu->tuning);
    free(gpu->tuning);
    gpu->tuning = NULL;
    gpu->caps.tuning = NULL;
}

const pm__tuning *pm__tuning_of(const pm__device_handle *handle) {
    return gpu_of(handle)->tuning;
}

pm_status pm__tuning_choose(const pm__device_handle *handle, const pm__choice *choice) {
    return pm__tuning_add(gpu_of(handle)->tuning, choice);
}

void pm__tuning_drop(const pm__device_handle *handle, const pm__node_shape *shape) {
    pm__tuning *tuning = gpu_of(handle)->tuning;
    for (uint32_t i = 0; i < tuning->n; i++)
        if (pm__node_shape_equal(&tuning->items[i].shape, shape)) {
            tuning->items[i] = tuning->items[--tuning->n];
            return;
        }
}

pm_status pm__tuning_text(const pm__device_handle *handle, char **text) {
    const pm__gpu *gpu = gpu_of(handle);
    char device[240], made_for[48];
    name_maker(gpu, made_for);
    snprintf(device, sizeof device, "%.120s, %.100s", gpu->info.name, gpu->info.driver);
    return pm__tuning_compose(gpu->tuning, device, made_for, text);
}

bool pm__tuning_store(const pm__device_handle *handle) {
    const pm__gpu *gpu = gpu_of(handle);
    char name[40], *text;
    if (!pm__cache_is_kept(gpu->shaders) || pm__tuning_text(handle, &text) != PM_OK)
        return false;
    name_file(gpu, name);
    const bool written = pm__cache_write_text(gpu->shaders, name, text);
    free(text);
    if (!written)
        pm__log(PM_LOG_WARN, "cache: %s cannot be written", name);
    return written;
}

pm_status pm__tuning_clear(const pm__device_handle *handle) {
    const pm__gpu *gpu = gpu_of(handle);
    char name[40];
    pm__tuning_finish(gpu->tuning);
    name_file(gpu, name);
    if (pm__cache_is_kept(gpu->shaders) && !pm__cache_remove(gpu->shaders, name))
        return pm__fail(PM_FAILURE, "cache: %s cannot be removed", name);
    return PM_OK;
}

pm_status pm__tuning_take(const pm__device_handle *handle, const char *text, pm__tuning_say say,
                          void *user) {
    const pm__gpu *gpu = gpu_of(handle);
    pm__tuning tuning = {0};
    char made_for[48], mine[48];
    pm_status status = pm__tuning_parse(&tuning, text, made_for, say, user);
    name_maker(gpu, mine);
    if (status == PM_OK && strcmp(made_for, mine) != 0)
        status = pm__fail(PM_ARGUMENT,
                          "tune: the file was made for device %s (vendor:device:driver), and %s is "
                          "%s",
                          made_for[0] != '\0' ? made_for : "unknown", gpu->info.name, mine);
    if (status != PM_OK) {
        pm__tuning_finish(&tuning);
        return status;
    }
    pm__tuning_finish(gpu->tuning);
    *gpu->tuning = tuning;
    return PM_OK;
}
