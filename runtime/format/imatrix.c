#include "imatrix.h"

#include "../base/grow.h"
#include "bytes.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_ENTRY_BYTES = 4 + 1 + 4 + 4 + 4, MOST_NAME = 1024 };

static const char SUM_END[] = ".in_sum2", COUNT_END[] = ".counts";

static float load_f32(const uint8_t *at) {
    const uint32_t bits = pm__load_u32(at);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const pm__imatrix_entry *)a)->name, ((const pm__imatrix_entry *)b)->name);
}

/* Sorts; two entries of one name are a failure. */
static pm_status close_list(pm__imatrix *imatrix) {
    if (imatrix->n_entry == 0)
        return pm__fail(PM_BAD_FILE, "imatrix: the file names no matrix");
    qsort(imatrix->entries, imatrix->n_entry, sizeof *imatrix->entries, by_name);
    for (size_t i = 1; i < imatrix->n_entry; i++)
        if (by_name(&imatrix->entries[i - 1], &imatrix->entries[i]) == 0)
            return pm__fail(PM_BAD_FILE, "imatrix: '%s' is there twice", imatrix->entries[i].name);
    return PM_OK;
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && strcmp(name + n - n_end, end) == 0;
}

/* The counts that belong to sums: [n_matrix]. */
static pm_status find_counts(const pm__gguf *gguf, const pm__gguf_tensor *sums, const char *name,
                             const pm__gguf_tensor **out) {
    char full[MOST_NAME + sizeof COUNT_END];
    const size_t n = strlen(name);
    if (n > MOST_NAME)
        return pm__fail(PM_BAD_FILE, "imatrix: a name of %zu bytes", n);
    memcpy(full, name, n);
    memcpy(full + n, COUNT_END, sizeof COUNT_END);
    *out = pm__gguf_find_tensor(gguf, full);
    if (*out == NULL || (*out)->type != PM__TYPE_F32 || sums->type != PM__TYPE_F32 ||
        (*out)->bytes / sizeof(float) != sums->shape[1] * sums->shape[2] * sums->shape[3])
        return pm__fail(PM_BAD_FILE,
                        "imatrix: '%s' needs tensors %s and %s of F32, one count a row of sums",
                        name, SUM_END, COUNT_END);
    return PM_OK;
}

/* A matrix that no token came by (an expert that was never chosen) has importances of 1. */
static bool divide(const pm__gguf_tensor *sums, const pm__gguf_tensor *counts, float *out) {
    const uint64_t n_col = sums->shape[0], n = sums->bytes / sizeof(float);
    for (uint64_t i = 0; i < n; i++) {
        const float count = load_f32(counts->data + i / n_col * sizeof(float));
        const float sum = load_f32(sums->data + i * sizeof(float));
        out[i] = count > 0 ? sum / count : 1;
        if (!(count >= 0) || !isfinite(out[i]) || out[i] < 0)
            return false;
    }
    return true;
}

static pm_status take_tensor(pm__imatrix *imatrix, const pm__gguf *gguf,
                             const pm__gguf_tensor *sums) {
    pm__imatrix_entry *entry = &imatrix->entries[imatrix->n_entry];
    const pm__gguf_tensor *counts = NULL;
    entry->name =
        pm__arena_string(&imatrix->arena, sums->name, strlen(sums->name) - (sizeof SUM_END - 1));
    if (entry->name == NULL)
        return PM_OUT_OF_MEMORY;
    PM_TRY(find_counts(gguf, sums, entry->name, &counts));
    entry->n_value = sums->bytes / sizeof(float);
    float *values = pm__arena_array(&imatrix->arena, (size_t)entry->n_value, sizeof *values);
    if (values == NULL)
        return PM_OUT_OF_MEMORY;
    if (!divide(sums, counts, values))
        return pm__fail(PM_BAD_FILE, "imatrix: '%s' holds a sum or a count that cannot be",
                        entry->name);
    entry->values = values;
    imatrix->n_entry++;
    return PM_OK;
}

/* The first of an array of names. */
static pm_status read_dataset(pm__imatrix *imatrix, const pm__gguf_key *key) {
    const pm__span *names = NULL;
    if (key == NULL || key->type != PM__GGUF_ARRAY || key->element != PM__GGUF_STRING ||
        key->n == 0)
        return PM_OK;
    if (!pm__gguf_strings(key, &imatrix->arena, &names))
        return PM_OUT_OF_MEMORY;
    imatrix->dataset = pm__arena_string(&imatrix->arena, names[0].data, names[0].size);
    return imatrix->dataset != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

static pm_status read_gguf(pm__imatrix *imatrix, const pm__gguf *gguf) {
    pm__span text;
    uint64_t n_chunk = 0;
    const pm__gguf_key *key = pm__gguf_find_key(gguf, "general.type");
    if (key == NULL || !pm__gguf_string(key, &text) || text.size != 7 ||
        memcmp(text.data, "imatrix", 7) != 0)
        return pm__fail(PM_BAD_FILE, "imatrix: a GGUF file, but general.type is not \"imatrix\"");
    key = pm__gguf_find_key(gguf, "imatrix.chunk_count");
    if (key != NULL && pm__gguf_u64(key, &n_chunk) && n_chunk <= UINT32_MAX)
        imatrix->n_chunk = (uint32_t)n_chunk;
    PM_TRY(read_dataset(imatrix, pm__gguf_find_key(gguf, "imatrix.datasets")));
    imatrix->entries =
        pm__arena_array(&imatrix->arena, (size_t)gguf->n_tensor + 1, sizeof *imatrix->entries);
    if (imatrix->entries == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < gguf->n_tensor; i++)
        if (ends_with(gguf->tensors[i].name, SUM_END))
            PM_TRY(take_tensor(imatrix, gguf, &gguf->tensors[i]));
    return PM_OK;
}

/* ---- the older format ------------------------------------------------------------------------ */

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

/* A count: an i32 of at most `most`. */
static bool take_count(cursor *c, size_t most, size_t *out) {
    if (c->end - c->at < 4)
        return false;
    const uint32_t n = pm__load_u32(c->at);
    c->at += 4;
    *out = n;
    return n <= INT32_MAX && n <= most;
}

static size_t left(const cursor *c) {
    return (size_t)(c->end - c->at);
}

/* Length and bytes of a name, number of calls, number of values, values: sums over the calls. */
static pm_status take_entry(pm__imatrix *imatrix, cursor *c) {
    pm__imatrix_entry *entry = &imatrix->entries[imatrix->n_entry];
    size_t n_name = 0, n_call = 0, n_value = 0;
    if (!take_count(c, left(c), &n_name) || n_name == 0 || n_name > MOST_NAME || n_name > left(c) ||
        memchr(c->at, 0, n_name) != NULL)
        return pm__fail(PM_BAD_FILE, "imatrix: entry %zu has no name", imatrix->n_entry);
    entry->name = pm__arena_string(&imatrix->arena, (const char *)c->at, n_name);
    c->at += n_name;
    if (entry->name == NULL)
        return PM_OUT_OF_MEMORY;
    if (!take_count(c, INT32_MAX, &n_call) || !take_count(c, left(c) / 4, &n_value) ||
        n_value == 0 || n_value > left(c) / 4)
        return pm__fail(PM_BAD_FILE, "imatrix: the file ends within entry %zu", imatrix->n_entry);
    float *values = pm__arena_array(&imatrix->arena, n_value, sizeof *values);
    if (values == NULL)
        return PM_OUT_OF_MEMORY;
    for (size_t i = 0; i < n_value; i++, c->at += 4) {
        values[i] = n_call > 0 ? load_f32(c->at) / (float)n_call : 1;
        if (!isfinite(values[i]) || values[i] < 0)
            return pm__fail(PM_BAD_FILE, "imatrix: entry %zu holds a sum that cannot be",
                            imatrix->n_entry);
    }
    entry->values = values;
    entry->n_value = n_value;
    imatrix->n_entry++;
    return PM_OK;
}

static pm_status read_old(pm__imatrix *imatrix, const uint8_t *data, size_t n) {
    cursor c = {data, data + n};
    size_t n_entry = 0, n_chunk = 0, n_name = 0;
    if (!take_count(&c, n / LEAST_ENTRY_BYTES, &n_entry))
        return pm__fail(PM_BAD_FILE, "imatrix: neither a GGUF file nor an importance matrix of the "
                                     "older format");
    imatrix->entries = pm__arena_array(&imatrix->arena, n_entry + 1, sizeof *imatrix->entries);
    if (imatrix->entries == NULL)
        return PM_OUT_OF_MEMORY;
    for (size_t i = 0; i < n_entry; i++)
        PM_TRY(take_entry(imatrix, &c));
    if (!take_count(&c, INT32_MAX, &n_chunk)) /* the rest came later */
        return PM_OK;
    imatrix->n_chunk = (uint32_t)n_chunk;
    if (!take_count(&c, left(&c), &n_name) || n_name > left(&c))
        return PM_OK;
    imatrix->dataset = pm__arena_string(&imatrix->arena, (const char *)c.at, n_name);
    return imatrix->dataset != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* ---- both ------------------------------------------------------------------------------------ */

static pm_status read_any(pm__imatrix *imatrix, const uint8_t *data, size_t n) {
    if (n == 0)
        return pm__fail(PM_BAD_FILE, "imatrix: the file is empty");
    if (n < 4 || memcmp(data, "GGUF", 4) != 0)
        return read_old(imatrix, data, n);
    pm__gguf gguf;
    PM_TRY(pm__gguf_init(&gguf, data, n));
    const pm_status status = read_gguf(imatrix, &gguf);
    pm__gguf_finish(&gguf);
    return status;
}

pm_status pm__imatrix_init(pm__imatrix *imatrix, const uint8_t *data, size_t n) {
    *imatrix = (pm__imatrix){.dataset = ""};
    pm_status status = read_any(imatrix, data, n);
    if (status == PM_OK)
        status = close_list(imatrix);
    if (status != PM_OK)
        pm__imatrix_finish(imatrix);
    return status;
}

void pm__imatrix_finish(pm__imatrix *imatrix) {
    pm__arena_finish(&imatrix->arena);
    *imatrix = (pm__imatrix){0};
}

const pm__imatrix_entry *pm__imatrix_find(const pm__imatrix *imatrix, const char *name) {
    const pm__imatrix_entry wanted = {.name = name};
    return bsearch(&wanted, imatrix->entries, imatrix->n_entry, sizeof wanted, by_name);
}
