#include "safetensors.h"

#include "../base/checked.h"
#include "../base/utf8.h"
#include "bytes.h"
#include "json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, SHOWN_NAME = 80 };

static const struct {
    const char *name;
    uint32_t bits, type_id;
} types[] = {
#define TYPE(name, bits, id) {#name, bits, id},
    PM__SAFETENSORS_TYPE_LIST(TYPE)
#undef TYPE
};

/* ---- one tensor ------------------------------------------------------------------------------ */

static bool is_plain_name(const char *name, size_t n) {
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += pm__utf8_decode(name + at, n - at, &code);
        if (pm__utf8_is_control(code))
            return false;
    }
    return pm__utf8_check(name, n) == n;
}

static pm_status read_name(pm__safetensors *file, const char *name, pm__safetensor *out) {
    const size_t n = strlen(name);
    if (n == 0 || n > PM__SAFETENSORS_MOST_NAME)
        return pm__fail(PM_BAD_FILE, "safetensors: a tensor's name is %zu bytes long, not 1 to %d",
                        n, PM__SAFETENSORS_MOST_NAME);
    if (!is_plain_name(name, n))
        return pm__fail(PM_BAD_FILE,
                        "safetensors: the name of tensor '%.*s' is not UTF-8 without control "
                        "characters",
                        SHOWN_NAME, name);
    out->name = pm__arena_string(&file->arena, name, n);
    return out->name != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* bits  of one element */
static pm_status read_type(const cJSON *entry, pm__safetensor *out, uint32_t *bits) {
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    if (!cJSON_IsString(dtype))
        return pm__fail(PM_BAD_FILE, "safetensors: tensor '%.*s' has no dtype", SHOWN_NAME,
                        out->name);
    for (size_t i = 0; i < PM__COUNT(types); i++)
        if (strcmp(types[i].name, dtype->valuestring) == 0) {
            out->dtype = types[i].name;
            out->type_id = types[i].type_id;
            *bits = types[i].bits;
            return PM_OK;
        }
    return pm__fail(PM_BAD_FILE, "safetensors: tensor '%.*s' has the unknown dtype '%.*s'",
                    SHOWN_NAME, out->name, SHOWN_NAME, dtype->valuestring);
}

/* n_bit  of all elements together */
static pm_status read_shape(const cJSON *entry, pm__safetensor *out, uint64_t *n_bit) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    if (!cJSON_IsArray(shape))
        return pm__fail(PM_BAD_FILE, "safetensors: tensor '%.*s' has no shape", SHOWN_NAME,
                        out->name);
    const cJSON *size;
    cJSON_ArrayForEach(size, shape) {
        if (out->n_dim == PM__SAFETENSORS_MOST_DIM)
            return pm__fail(PM_BAD_FILE, "safetensors: tensor '%.*s' has more than %d dimensions",
                            SHOWN_NAME, out->name, PM__SAFETENSORS_MOST_DIM);
        uint64_t n;
        if (!pm__json_whole(size, INT64_MAX, &n))
            return pm__fail(PM_BAD_FILE,
                            "safetensors: tensor '%.*s': dimension %" PRIu32
                            " is no whole number of at least 0",
                            SHOWN_NAME, out->name, out->n_dim);
        if (!pm__mul_u64(*n_bit, n, n_bit))
            return pm__fail(PM_BAD_FILE,
                            "safetensors: tensor '%.*s': the size of its shape overflows",
                            SHOWN_NAME, out->name);
        out->shape[out->n_dim++] = n;
    }
    return PM_OK;
}

/* data, size  of all tensors */
static pm_status read_place(const cJSON *entry, const uint8_t *data, size_t size, uint64_t n_bit,
                            pm__safetensor *out) {
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    uint64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !pm__json_whole(offsets->child, UINT64_MAX, &begin) ||
        !pm__json_whole(offsets->child->next, UINT64_MAX, &end) || begin > end)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: tensor '%.*s': data_offsets are not two whole numbers, begin "
                        "and end",
                        SHOWN_NAME, out->name);
    if (end > size)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: tensor '%.*s' ends at byte %" PRIu64
                        " of the data, but there are %zu; is the file complete?",
                        SHOWN_NAME, out->name, end, size);
    if (n_bit % 8 != 0 || n_bit / 8 != end - begin)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: tensor '%.*s' has %" PRIu64
                        " bytes, but its shape and dtype %s make %" PRIu64,
                        SHOWN_NAME, out->name, end - begin, out->dtype, n_bit / 8);
    out->data = data + begin;
    out->bytes = end - begin;
    return PM_OK;
}

static pm_status read_tensor(pm__safetensors *file, const cJSON *entry, const uint8_t *data,
                             size_t size) {
    pm__safetensor *out = &file->tensors[file->n];
    PM_TRY(read_name(file, entry->string, out));
    if (!cJSON_IsObject(entry))
        return pm__fail(PM_BAD_FILE, "safetensors: the entry of tensor '%.*s' is no object",
                        SHOWN_NAME, out->name);
    uint32_t bits = 0;
    PM_TRY(read_type(entry, out, &bits));
    uint64_t n_bit = bits;
    PM_TRY(read_shape(entry, out, &n_bit));
    PM_TRY(read_place(entry, data, size, n_bit, out));
    file->n++;
    return PM_OK;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int compare_places(const void *a, const void *b) {
    const pm__safetensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data > y->data ? 1 : -1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const pm__safetensor *)a)->name, ((const pm__safetensor *)b)->name);
}

/* Every byte of the data belongs to one tensor. */
static pm_status check_places(pm__safetensors *file, const uint8_t *data, size_t size) {
    if (file->n > 1)
        qsort(file->tensors, file->n, sizeof *file->tensors, compare_places);
    const uint8_t *end = data;
    for (size_t i = 0; i < file->n; i++) {
        const pm__safetensor *t = &file->tensors[i];
        if (t->data != end)
            return pm__fail(
                PM_BAD_FILE,
                "safetensors: tensor '%.*s' begins at byte %zu of the data, but the one "
                "before ends at %zu",
                SHOWN_NAME, t->name, (size_t)(t->data - data), (size_t)(end - data));
        end += t->bytes;
    }
    if ((size_t)(end - data) != size)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: the data has %zu bytes, but its tensors end at %zu", size,
                        (size_t)(end - data));
    return PM_OK;
}

static pm_status check_names(pm__safetensors *file) {
    if (file->n > 1)
        qsort(file->tensors, file->n, sizeof *file->tensors, compare_names);
    for (size_t i = 1; i < file->n; i++)
        if (compare_names(&file->tensors[i - 1], &file->tensors[i]) == 0)
            return pm__fail(PM_BAD_FILE, "safetensors: tensor '%.*s' is there twice", SHOWN_NAME,
                            file->tensors[i].name);
    return PM_OK;
}

static pm_status check_metadata(const cJSON *entry) {
    const cJSON *item;
    if (!cJSON_IsObject(entry))
        return pm__fail(PM_BAD_FILE, "safetensors: __metadata__ is no object");
    cJSON_ArrayForEach(item, entry) {
        if (!cJSON_IsString(item))
            return pm__fail(PM_BAD_FILE, "safetensors: __metadata__ '%.*s' is no text", SHOWN_NAME,
                            item->string);
    }
    return PM_OK;
}

static pm_status read_tensors(pm__safetensors *file, const cJSON *header, const uint8_t *data,
                              size_t size) {
    if (!cJSON_IsObject(header))
        return pm__fail(PM_BAD_FILE, "safetensors: the header is no JSON object");
    const size_t n = (size_t)cJSON_GetArraySize(header);
    if (n > PM__SAFETENSORS_MOST_RECORDS)
        return pm__fail(PM_BAD_FILE, "safetensors: the header has %zu entries; at most %d are read",
                        n, PM__SAFETENSORS_MOST_RECORDS);
    file->tensors = pm__arena_array(&file->arena, n, sizeof *file->tensors);
    if (file->tensors == NULL)
        return PM_OUT_OF_MEMORY;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, header) {
        if (strcmp(entry->string, "__metadata__") == 0)
            PM_TRY(check_metadata(entry));
        else
            PM_TRY(read_tensor(file, entry, data, size));
    }
    PM_TRY(check_places(file, data, size));
    return check_names(file);
}

static pm_status find_header(const uint8_t *data, size_t size, size_t *n) {
    if (size < LENGTH_BYTES)
        return pm__fail(PM_BAD_FILE, "safetensors: the file has %zu bytes, too few for a header",
                        size);
    const uint64_t length = pm__load_u64(data);
    if (length > PM__SAFETENSORS_MOST_HEADER)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: the header is %" PRIu64 " bytes long; at most %d are read",
                        length, PM__SAFETENSORS_MOST_HEADER);
    if (length > size - LENGTH_BYTES)
        return pm__fail(PM_BAD_FILE,
                        "safetensors: the header is %" PRIu64
                        " bytes long, but the file has %zu; is it complete?",
                        length, size);
    if (length == 0 || data[LENGTH_BYTES] != '{')
        return pm__fail(PM_BAD_FILE, "safetensors: the header does not begin with '{', so this is "
                                     "no safetensors file");
    *n = (size_t)length;
    return PM_OK;
}

/* All numbers of a header are whole; afterwards 2.0 could not be told from 2. */
static pm_status check_numbers(const char *text, size_t n) {
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && i > 0 && memchr(".eE", text[i], 3) != NULL && text[i - 1] >= '0' &&
                 text[i - 1] <= '9')
            return pm__fail(PM_BAD_FILE,
                            "safetensors: the header has a number that is not whole at byte %zu",
                            i);
    }
    return PM_OK;
}

pm_status pm__safetensors_init(pm__safetensors *file, const uint8_t *data, size_t size) {
    *file = (pm__safetensors){0};
    size_t n = 0;
    PM_TRY(find_header(data, size, &n));
    const char *text = (const char *)data + LENGTH_BYTES;
    cJSON *header = NULL;
    PM_TRY(check_numbers(text, n));
    PM_TRY(pm__json_parse_bounded("safetensors: the header", text, n, PM__SAFETENSORS_MOST_VALUES,
                                  &header));
    const pm_status status =
        read_tensors(file, header, data + LENGTH_BYTES + n, size - LENGTH_BYTES - n);
    cJSON_Delete(header);
    if (status != PM_OK)
        pm__safetensors_finish(file);
    return status;
}

void pm__safetensors_finish(pm__safetensors *file) {
    pm__arena_finish(&file->arena);
    *file = (pm__safetensors){0};
}

const pm__safetensor *pm__safetensors_find(const pm__safetensors *file, const char *name) {
    const pm__safetensor wanted = {.name = name};
    return file->n > 0 ? bsearch(&wanted, file->tensors, file->n, sizeof wanted, compare_names)
                       : NULL;
}
