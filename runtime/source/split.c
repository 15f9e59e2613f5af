/* split.c: GGUF models in several files.
 * source  gguf-split of llama.cpp, whose files these are: every file counts itself in split.no
 *         (from 0) and all in split.count; the first has the keys of the model */
#include "source.h"

#include "../base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MOST_PATH = 4096,
    MOST_PARTS = 99999, /* what fits the names */
    SUFFIX_BYTES = 20   /* -00001-of-00003.gguf */
};

typedef struct numbers {
    uint64_t no, count, n_tensor;
} numbers;

/* False, with the sentence, if the key is there and no whole number. */
static pm_status read_number(const pm__source_file *file, const char *name, uint64_t otherwise,
                             uint64_t *out) {
    const pm__gguf_key *key = pm__gguf_find_key(&file->gguf, name);
    *out = otherwise;
    if (key != NULL && !pm__gguf_u64(key, out))
        return pm__fail(PM_BAD_FILE, "split: %s: %s is no whole number", file->path, name);
    return PM_OK;
}

static pm_status read_numbers(const pm__source_file *file, numbers *out) {
    PM_TRY(read_number(file, "split.count", 0, &out->count));
    PM_TRY(read_number(file, "split.no", 0, &out->no));
    PM_TRY(read_number(file, "split.tensors.count", UINT64_MAX, &out->n_tensor));
    if (out->count > MOST_PARTS)
        return pm__fail(PM_BAD_FILE, "split: %s: split.count is %" PRIu64 ", more than %d",
                        file->path, out->count, MOST_PARTS);
    if (out->count > 1 && out->no >= out->count)
        return pm__fail(PM_BAD_FILE, "split: %s: split.no is %" PRIu64 " of %" PRIu64, file->path,
                        out->no, out->count);
    return PM_OK;
}

/* The name of a part, after that of the part `no` (from 0): false if that is not named as parts
 * are. */
static bool name_part(const char *path, const numbers *n, uint64_t wanted, char out[MOST_PATH]) {
    char suffix[SUFFIX_BYTES + 1];
    const size_t size = strlen(path);
    snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", (unsigned)n->no + 1, (unsigned)n->count);
    if (size < SUFFIX_BYTES || size >= MOST_PATH || strcmp(path + size - SUFFIX_BYTES, suffix) != 0)
        return false;
    snprintf(out, MOST_PATH, "%.*s-%05u-of-%05u.gguf", (int)(size - SUFFIX_BYTES), path,
             (unsigned)wanted + 1, (unsigned)n->count);
    return true;
}

static pm_status check_first(const pm__source_file *file, const numbers *n) {
    char first[MOST_PATH];
    const bool named = name_part(file->path, n, 0, first);
    if (n->no != 0)
        return pm__fail(PM_BAD_FILE,
                        "split: %s is part %" PRIu64 " of %" PRIu64 " of a model; give the first, "
                        "%s",
                        file->path, n->no + 1, n->count, named ? first : "whose split.no is 0");
    if (!named)
        return pm__fail(PM_BAD_FILE,
                        "split: %s is part 1 of %" PRIu64 ", so its name must end in "
                        "-00001-of-%05u.gguf, or the other parts cannot be found",
                        file->path, n->count, (unsigned)n->count);
    return PM_OK;
}

static pm_status open_part(pm__source *source, const numbers *first, uint64_t no) {
    char path[MOST_PATH];
    pm__source_file *file = NULL;
    name_part(source->files[0].path, first, no, path);
    struct numbers n;
    const pm_status status = pm__source_map(source, path, &file);
    if (status == PM_BAD_FILE)
        return pm__fail(status, "split: part %" PRIu64 " of %" PRIu64 " cannot be opened: %s",
                        no + 1, first->count, pm_last_error());
    PM_TRY(status);
    if (pm__gguf_init(&file->gguf, file->map.data, file->map.size) != PM_OK) {
        if (strstr(pm_last_error(), "gguf: ") != pm_last_error())
            return PM_OUT_OF_MEMORY;
        return pm__fail(PM_BAD_FILE, "split: part %" PRIu64 " of %" PRIu64 ", %s: %s", no + 1,
                        first->count, path, pm_last_error());
    }
    PM_TRY(read_numbers(file, &n));
    if (n.count != first->count || n.no != no || n.n_tensor != first->n_tensor)
        return pm__fail(PM_BAD_FILE,
                        "split: %s says it is part %" PRIu64 " of %" PRIu64
                        " of a model of %" PRId64 " tensors, but must be part %" PRIu64
                        " of %" PRIu64 " of one of %" PRId64 "; is it of another model?",
                        path, n.no + 1, n.count, (int64_t)n.n_tensor, no + 1, first->count,
                        (int64_t)first->n_tensor);
    return PM_OK;
}

static pm_status put_together(pm__source *source, const numbers *first) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < source->n_file; i++)
        n += source->files[i].gguf.n_tensor;
    if (first->n_tensor != UINT64_MAX && n != first->n_tensor)
        return pm__fail(PM_BAD_FILE,
                        "split: the parts of %s have %" PRIu64
                        " tensors together, but split.tensors.count is %" PRIu64,
                        source->files[0].path, n, first->n_tensor);
    if (n > PM__GGUF_MOST_RECORDS)
        return pm__fail(PM_BAD_FILE, "split: %" PRIu64 " tensors; at most %d are read", n,
                        PM__GGUF_MOST_RECORDS);
    pm__gguf_tensor *tensors = pm__arena_array(&source->arena, (size_t)n, sizeof *tensors);
    if (tensors == NULL)
        return PM_OUT_OF_MEMORY;
    size_t at = 0;
    for (uint32_t i = 0; i < source->n_file; i++)
        for (uint64_t k = 0; k < source->files[i].gguf.n_tensor; k++, at++) {
            tensors[at] = source->files[i].gguf.tensors[k];
            tensors[at].file = i;
        }
    const pm__gguf *head = &source->files[0].gguf;
    PM_TRY(pm__gguf_make(&source->gguf, "split", head->keys, head->n_key, tensors, (size_t)n));
    source->gguf.version = head->version;
    source->shared = false;
    return PM_OK;
}

pm_status pm__split_open(pm__source *source) {
    numbers first;
    source->gguf = source->files[0].gguf;
    source->shared = true;
    PM_TRY(read_numbers(&source->files[0], &first));
    if (first.count < 2)
        return PM_OK;
    PM_TRY(check_first(&source->files[0], &first));
    for (uint64_t no = 1; no < first.count; no++)
        PM_TRY(open_part(source, &first, no));
    return put_together(source, &first);
}
