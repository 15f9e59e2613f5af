#include "gguf.h"

#include "../base/checked.h"
#include "../base/utf8.h"
#include "bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 24,
    LEAST_KEY_BYTES = 8 + 1 + 4 + 1,            /* name, type, value */
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name, n_dim, one dimension, type, offset */
    DEFAULT_ALIGNMENT = 32,
    SHOWN_NAME = 80 /* bytes of a name that a sentence quotes */
};

struct pm__gguf_name {
    pm__span name;
    uint32_t at; /* position in keys or tensors */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
} cursor;

static uint64_t bytes_left(const cursor *c) {
    return c->size - c->at;
}

/* NULL, with the sentence, if fewer than n bytes are left. */
static const uint8_t *take(cursor *c, uint64_t n, const char *what) {
    if (n > bytes_left(c)) {
        pm__fail(PM_BAD_FILE,
                 "gguf: %s at offset %zu needs %" PRIu64
                 " bytes, but the file ends at %zu; is it complete?",
                 what, c->at, n, c->size);
        return NULL;
    }
    const uint8_t *bytes = c->data + c->at;
    c->at += (size_t)n;
    return bytes;
}

static pm_status take_u32(cursor *c, const char *what, uint32_t *out) {
    const uint8_t *bytes = take(c, 4, what);
    if (bytes == NULL)
        return PM_BAD_FILE;
    *out = pm__load_u32(bytes);
    return PM_OK;
}

static pm_status take_u64(cursor *c, const char *what, uint64_t *out) {
    const uint8_t *bytes = take(c, 8, what);
    if (bytes == NULL)
        return PM_BAD_FILE;
    *out = pm__load_u64(bytes);
    return PM_OK;
}

static pm_status take_string(cursor *c, const char *what, pm__span *out) {
    uint64_t n = 0;
    PM_TRY(take_u64(c, what, &n));
    const uint8_t *bytes = take(c, n, what);
    if (bytes == NULL)
        return PM_BAD_FILE;
    *out = (pm__span){(const char *)bytes, (size_t)n};
    return PM_OK;
}

/* How much of a checked name a sentence shows. */
static int shown(pm__span name) {
    if (name.size <= SHOWN_NAME)
        return (int)name.size;
    return (int)(SHOWN_NAME - pm__utf8_incomplete(name.data, SHOWN_NAME));
}

/* kind  "key name" or "tensor name" */
static pm_status take_name(cursor *c, const char *kind, pm__span *out) {
    const size_t start = c->at;
    PM_TRY(take_string(c, kind, out));
    if (out->size == 0 || out->size > PM__GGUF_MOST_NAME)
        return pm__fail(PM_BAD_FILE, "gguf: %s at offset %zu is %zu bytes long, not 1 to %d", kind,
                        start, out->size, PM__GGUF_MOST_NAME);
    for (size_t at = 0; at < out->size;) {
        uint32_t code;
        at += pm__utf8_decode(out->data + at, out->size - at, &code);
        if (pm__utf8_is_control(code))
            return pm__fail(PM_BAD_FILE,
                            "gguf: %s at offset %zu holds the control character 0x%02x", kind,
                            start, code);
    }
    if (pm__utf8_check(out->data, out->size) != out->size)
        return pm__fail(PM_BAD_FILE, "gguf: %s at offset %zu is not UTF-8", kind, start);
    return PM_OK;
}

/* ---- names to positions ---------------------------------------------------------------------- */

static int compare_spans(pm__span a, pm__span b) {
    const int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_names(const void *a, const void *b) {
    return compare_spans(((const struct pm__gguf_name *)a)->name,
                         ((const struct pm__gguf_name *)b)->name);
}

/* kind  "key" or "tensor" */
static pm_status sort_names(struct pm__gguf_name *names, uint64_t n, const char *floor,
                            const char *kind) {
    if (n < 2)
        return PM_OK;
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (uint64_t i = 1; i < n; i++)
        if (compare_names(&names[i - 1], &names[i]) == 0)
            return pm__fail(PM_BAD_FILE, "%s: %s '%.*s' is there twice", floor, kind,
                            shown(names[i].name), names[i].name.data);
    return PM_OK;
}

static const struct pm__gguf_name *find_name(const struct pm__gguf_name *names, uint64_t n,
                                             const char *name) {
    if (n == 0)
        return NULL;
    const struct pm__gguf_name wanted = {{name, strlen(name)}, 0};
    return bsearch(&wanted, names, (size_t)n, sizeof *names, compare_names);
}

const pm__gguf_key *pm__gguf_find_key(const pm__gguf *gguf, const char *name) {
    const struct pm__gguf_name *found = find_name(gguf->key_names, gguf->n_key, name);
    return found != NULL ? &gguf->keys[found->at] : NULL;
}

const pm__gguf_tensor *pm__gguf_find_tensor(const pm__gguf *gguf, const char *name) {
    const struct pm__gguf_name *found = find_name(gguf->tensor_names, gguf->n_tensor, name);
    return found != NULL ? &gguf->tensors[found->at] : NULL;
}

/* ---- header ---------------------------------------------------------------------------------- */

static pm_status check_version(uint32_t version) {
    if (version == 2 || version == 3)
        return PM_OK;
    if (version != 0 && (version & 0xffff) == 0)
        return pm__fail(PM_BAD_FILE,
                        "gguf: the file is big-endian (version 0x%08x); get the little-endian one",
                        version);
    if (version == 1)
        return pm__fail(PM_BAD_FILE, "gguf: version 1 is no longer in use; convert the model "
                                     "again to get version 3");
    return pm__fail(PM_BAD_FILE, "gguf: version %" PRIu32 " is unknown; 2 and 3 can be read",
                    version);
}

/* least_bytes  of one record */
static pm_status check_count(const cursor *c, uint64_t n, uint64_t least_bytes, const char *kind) {
    if (n > bytes_left(c) / least_bytes)
        return pm__fail(PM_BAD_FILE,
                        "gguf: the header counts %" PRIu64 " %s, which cannot fit in the %" PRIu64
                        " bytes left; is the file complete?",
                        n, kind, bytes_left(c));
    if (n > PM__GGUF_MOST_RECORDS)
        return pm__fail(PM_BAD_FILE, "gguf: the header counts %" PRIu64 " %s; at most %d are read",
                        n, kind, PM__GGUF_MOST_RECORDS);
    return PM_OK;
}

static pm_status read_header(pm__gguf *gguf, cursor *c) {
    if (c->size == 0)
        return pm__fail(PM_BAD_FILE, "gguf: the file is empty");
    const size_t n = c->size < 4 ? c->size : 4;
    if (memcmp(c->data, "GGUF", n) != 0)
        return pm__fail(PM_BAD_FILE, "gguf: the file does not begin with the letters GGUF, so it "
                                     "is no GGUF file");
    const uint8_t *header = take(c, HEADER_BYTES, "the header");
    if (header == NULL)
        return PM_BAD_FILE;
    gguf->version = pm__load_u32(header + 4);
    gguf->n_tensor = pm__load_u64(header + 8);
    gguf->n_key = pm__load_u64(header + 16);
    PM_TRY(check_version(gguf->version));
    PM_TRY(check_count(c, gguf->n_key, LEAST_KEY_BYTES, "keys"));
    return check_count(c, gguf->n_tensor, LEAST_TENSOR_BYTES, "tensors");
}

/* ---- keys ------------------------------------------------------------------------------------ */

static pm_status take_type(cursor *c, const pm__gguf_key *key, pm__gguf_type *out) {
    uint32_t id = 0;
    PM_TRY(take_u32(c, "a value type", &id));
    if (id >= PM__GGUF_TYPE_COUNT)
        return pm__fail(PM_BAD_FILE, "gguf: key '%.*s' has the unknown value type %" PRIu32,
                        shown(key->name), key->name.data, id);
    *out = (pm__gguf_type)id;
    return PM_OK;
}

static pm_status check_bools(const pm__gguf_key *key) {
    for (uint64_t i = 0; i < key->n; i++)
        if (key->value[i] > 1)
            return pm__fail(PM_BAD_FILE, "gguf: key '%.*s' holds the bool %u, not 0 or 1",
                            shown(key->name), key->name.data, key->value[i]);
    return PM_OK;
}

/* key->n values of `type`. */
static pm_status read_values(cursor *c, pm__gguf_key *key, pm__gguf_type type) {
    char what[SHOWN_NAME + 32];
    snprintf(what, sizeof what, "the value of key '%.*s'", shown(key->name), key->name.data);
    const uint64_t least_bytes = type == PM__GGUF_STRING ? 8 : pm__gguf_type_bytes(type);
    if (key->n > bytes_left(c) / least_bytes)
        return pm__fail(PM_BAD_FILE,
                        "gguf: key '%.*s' counts %" PRIu64
                        " elements of type %s, which cannot fit in the %" PRIu64
                        " bytes left; is the file complete?",
                        shown(key->name), key->name.data, key->n, pm__gguf_type_name(type),
                        bytes_left(c));
    const size_t start = c->at;
    key->value = c->data + start;
    pm__span string;
    if (type == PM__GGUF_STRING)
        for (uint64_t i = 0; i < key->n; i++)
            PM_TRY(take_string(c, what, &string));
    else
        c->at += (size_t)(key->n * least_bytes);
    key->value_bytes = c->at - start;
    return type == PM__GGUF_BOOL ? check_bools(key) : PM_OK;
}

static pm_status read_key(cursor *c, pm__gguf_key *key) {
    PM_TRY(take_name(c, "key name", &key->name));
    PM_TRY(take_type(c, key, &key->type));
    key->element = key->type;
    key->n = 1;
    if (key->type == PM__GGUF_ARRAY) {
        PM_TRY(take_type(c, key, &key->element));
        PM_TRY(take_u64(c, "an array length", &key->n));
        if (key->element == PM__GGUF_ARRAY)
            return pm__fail(PM_BAD_FILE, "gguf: key '%.*s' is an array of arrays", shown(key->name),
                            key->name.data);
    }
    return read_values(c, key, key->element);
}

static pm_status read_keys(pm__gguf *gguf, cursor *c) {
    const size_t n = (size_t)gguf->n_key;
    pm__gguf_key *keys = pm__arena_array(&gguf->arena, n, sizeof *keys);
    struct pm__gguf_name *names = pm__arena_array(&gguf->arena, n, sizeof *names);
    if (keys == NULL || names == NULL)
        return PM_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        PM_TRY(read_key(c, &keys[i]));
        names[i] = (struct pm__gguf_name){keys[i].name, (uint32_t)i};
    }
    gguf->keys = keys;
    gguf->key_names = names;
    return sort_names(names, n, "gguf", "key");
}

static pm_status read_alignment(const pm__gguf *gguf, uint64_t *out) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, "general.alignment");
    *out = DEFAULT_ALIGNMENT;
    if (key == NULL)
        return PM_OK;
    if (key->type != PM__GGUF_U32)
        return pm__fail(PM_BAD_FILE, "gguf: general.alignment is of type %s, not u32",
                        pm__gguf_type_name(key->type));
    *out = pm__load_u32(key->value);
    if (*out < PM__GGUF_LEAST_ALIGNMENT || *out > PM__GGUF_MOST_ALIGNMENT ||
        (*out & (*out - 1)) != 0)
        return pm__fail(PM_BAD_FILE,
                        "gguf: general.alignment is %" PRIu64 ", not a power of two from %d to %d",
                        *out, PM__GGUF_LEAST_ALIGNMENT, PM__GGUF_MOST_ALIGNMENT);
    return PM_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int shown_of(const pm__gguf_tensor *tensor) {
    return shown((pm__span){tensor->name, strlen(tensor->name)});
}

static pm_status read_shape(cursor *c, pm__gguf_tensor *tensor) {
    PM_TRY(take_u32(c, "a number of dimensions", &tensor->n_dim));
    if (tensor->n_dim < 1 || tensor->n_dim > 4)
        return pm__fail(PM_BAD_FILE, "gguf: tensor '%.*s' has %" PRIu32 " dimensions, not 1 to 4",
                        shown_of(tensor), tensor->name, tensor->n_dim);
    for (uint32_t i = 0; i < 4; i++) {
        tensor->shape[i] = 1;
        if (i >= tensor->n_dim)
            continue;
        PM_TRY(take_u64(c, "a dimension", &tensor->shape[i]));
        if (tensor->shape[i] == 0 || tensor->shape[i] > INT64_MAX)
            return pm__fail(PM_BAD_FILE, "gguf: tensor '%.*s': dimension %" PRIu32 " is %" PRId64,
                            shown_of(tensor), tensor->name, i, (int64_t)tensor->shape[i]);
    }
    return PM_OK;
}

/* Sets type and bytes from type_id and shape. */
static pm_status size_tensor(pm__gguf_tensor *tensor) {
    pm__type_block block;
    if (pm__type_block_from_id(tensor->type_id, &block) != PM_OK)
        return pm__fail(PM_BAD_FILE, "gguf: tensor '%.*s': %s", shown_of(tensor), tensor->name,
                        pm_last_error());
    tensor->type = block.type;
    const uint64_t *shape = tensor->shape;
    if (shape[0] % block.n != 0)
        return pm__fail(PM_BAD_FILE,
                        "gguf: tensor '%.*s': rows of %" PRIu64 " are no multiple of the %" PRIu32
                        " elements of a %s block",
                        shown_of(tensor), tensor->name, shape[0], block.n, block.name);
    uint64_t n_element, row_bytes, n_row;
    if (!pm__mul_u64(shape[1], shape[2], &n_row) || !pm__mul_u64(n_row, shape[3], &n_row) ||
        !pm__mul_u64(n_row, shape[0], &n_element) ||
        !pm__mul_u64(shape[0] / block.n, block.bytes, &row_bytes) ||
        !pm__mul_u64(row_bytes, n_row, &tensor->bytes))
        return pm__fail(PM_BAD_FILE,
                        "gguf: tensor '%.*s': the size of shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                        ", %" PRIu64 "] overflows",
                        shown_of(tensor), tensor->name, shape[0], shape[1], shape[2], shape[3]);
    return PM_OK;
}

/* Leaves the offset as the file has it, from the start of the data. */
static pm_status read_tensor(pm__arena *arena, cursor *c, pm__gguf_tensor *tensor) {
    pm__span name = {0};
    PM_TRY(take_name(c, "tensor name", &name));
    tensor->name = pm__arena_string(arena, name.data, name.size);
    if (tensor->name == NULL)
        return PM_OUT_OF_MEMORY;
    PM_TRY(read_shape(c, tensor));
    PM_TRY(take_u32(c, "a tensor type", &tensor->type_id));
    PM_TRY(take_u64(c, "a tensor offset", &tensor->offset));
    return size_tensor(tensor);
}

/* Turns the offset into one from the start of the file, and checks it. */
static pm_status place_tensor(const cursor *c, uint64_t start, uint64_t alignment,
                              pm__gguf_tensor *tensor) {
    if (tensor->offset % alignment != 0)
        return pm__fail(PM_BAD_FILE,
                        "gguf: tensor '%.*s': offset %" PRIu64
                        " is no multiple of the alignment %" PRIu64,
                        shown_of(tensor), tensor->name, tensor->offset, alignment);
    uint64_t first, end;
    if (!pm__add_u64(start, tensor->offset, &first) || !pm__add_u64(first, tensor->bytes, &end) ||
        end > c->size)
        return pm__fail(
            PM_BAD_FILE,
            "gguf: tensor '%.*s': %" PRIu64 " bytes at data offset %" PRIu64
            " pass the end of the file (data from %" PRIu64 ", size %zu); is it complete?",
            shown_of(tensor), tensor->name, tensor->bytes, tensor->offset, start, c->size);
    tensor->offset = first;
    tensor->data = c->data + first;
    return PM_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const pm__gguf_tensor *x = *(const pm__gguf_tensor *const *)a;
    const pm__gguf_tensor *y = *(const pm__gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static pm_status check_overlap(pm__gguf *gguf) {
    if (gguf->n_tensor < 2)
        return PM_OK;
    const size_t n = (size_t)gguf->n_tensor;
    const pm__gguf_tensor **order = pm__arena_array(&gguf->arena, n, sizeof *order);
    if (order == NULL)
        return PM_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        order[i] = &gguf->tensors[i];
    qsort(order, n, sizeof *order, compare_offsets);
    for (size_t i = 1; i < n; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes)
            return pm__fail(PM_BAD_FILE, "gguf: tensors '%.*s' and '%.*s' overlap",
                            shown_of(order[i - 1]), order[i - 1]->name, shown_of(order[i]),
                            order[i]->name);
    return PM_OK;
}

static pm_status read_tensors(pm__gguf *gguf, cursor *c) {
    const size_t n = (size_t)gguf->n_tensor;
    pm__gguf_tensor *tensors = pm__arena_array(&gguf->arena, n, sizeof *tensors);
    struct pm__gguf_name *names = pm__arena_array(&gguf->arena, n, sizeof *names);
    if (tensors == NULL || names == NULL)
        return PM_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        PM_TRY(read_tensor(&gguf->arena, c, &tensors[i]));
        names[i] = (struct pm__gguf_name){{tensors[i].name, strlen(tensors[i].name)}, (uint32_t)i};
    }
    gguf->tensors = tensors;
    gguf->tensor_names = names;
    PM_TRY(sort_names(names, n, "gguf", "tensor"));
    uint64_t alignment = 0;
    PM_TRY(read_alignment(gguf, &alignment));
    const uint64_t start = pm__round_up(c->at, alignment);
    for (size_t i = 0; i < n; i++)
        PM_TRY(place_tensor(c, start, alignment, &tensors[i]));
    return check_overlap(gguf);
}

pm_status pm__gguf_init(pm__gguf *gguf, const uint8_t *data, size_t size) {
    *gguf = (pm__gguf){0};
    cursor c = {data, size, 0};
    pm_status status = read_header(gguf, &c);
    if (status == PM_OK)
        status = read_keys(gguf, &c);
    if (status == PM_OK)
        status = read_tensors(gguf, &c);
    if (status != PM_OK)
        pm__gguf_finish(gguf);
    return status;
}

/* ---- parts put together ---------------------------------------------------------------------- */

static pm_status index_names(pm__gguf *gguf, const char *kind) {
    struct pm__gguf_name *keys = pm__arena_array(&gguf->arena, gguf->n_key, sizeof *keys);
    struct pm__gguf_name *tensors = pm__arena_array(&gguf->arena, gguf->n_tensor, sizeof *tensors);
    if (keys == NULL || tensors == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < gguf->n_key; i++)
        keys[i] = (struct pm__gguf_name){gguf->keys[i].name, i};
    for (uint32_t i = 0; i < gguf->n_tensor; i++) {
        const char *name = gguf->tensors[i].name;
        tensors[i] = (struct pm__gguf_name){{name, strlen(name)}, i};
    }
    gguf->key_names = keys;
    gguf->tensor_names = tensors;
    PM_TRY(sort_names(keys, gguf->n_key, kind, "key"));
    return sort_names(tensors, gguf->n_tensor, kind, "tensor");
}

pm_status pm__gguf_make(pm__gguf *gguf, const char *kind, const pm__gguf_key *keys, size_t n_key,
                        const pm__gguf_tensor *tensors, size_t n_tensor) {
    *gguf = (pm__gguf){
        .version = 3, .n_key = n_key, .n_tensor = n_tensor, .keys = keys, .tensors = tensors};
    const pm_status status = index_names(gguf, kind);
    if (status != PM_OK)
        pm__gguf_finish(gguf);
    return status;
}

const uint8_t *pm__gguf_row(const pm__gguf_tensor *tensor, uint64_t row, uint64_t row_bytes) {
    const pm__gguf_rows *rows = tensor->rows;
    if (rows == NULL)
        return tensor->data + row * row_bytes;
    uint64_t at = row % rows->n_row;
    if (rows->halves != 0) {
        const uint64_t in_head = at % rows->halves;
        at += in_head / 2 + in_head % 2 * (rows->halves / 2) - in_head;
    }
    return rows->parts[row / rows->n_row] + at * row_bytes;
}

void pm__gguf_finish(pm__gguf *gguf) {
    pm__arena_finish(&gguf->arena);
    *gguf = (pm__gguf){0};
}
