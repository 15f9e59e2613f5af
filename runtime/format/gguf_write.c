#include "gguf_write.h"

#include "../base/checked.h"
#include "../base/grow.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32, HEADER_BYTES = 24 };

void pm__gguf_writer_init(pm__gguf_writer *w) {
    *w = (pm__gguf_writer){0};
}

void pm__gguf_writer_finish(pm__gguf_writer *w) {
    free(w->keys.data);
    free(w->tensors.data);
    free(w->sizes);
    *w = (pm__gguf_writer){0};
}

/* ---- the index, in memory -------------------------------------------------------------------- */

static void put(pm__gguf_writer *w, pm__gguf_bytes *bytes, const void *data, size_t n) {
    if (w->status != PM_OK || n == 0)
        return;
    const size_t least = n > SIZE_MAX - bytes->n ? SIZE_MAX : bytes->n + n;
    const size_t half = bytes->capacity / 2;
    const size_t more = bytes->capacity > SIZE_MAX - half ? SIZE_MAX : bytes->capacity + half;
    if (least > bytes->capacity)
        w->status = pm__reserve("gguf: the index", &bytes->data, &bytes->capacity,
                                least > more ? least : more, 1);
    if (w->status != PM_OK)
        return;
    memcpy(bytes->data + bytes->n, data, n);
    bytes->n += n;
}

/* The n low bytes of x, lowest first. */
static void put_number(pm__gguf_writer *w, pm__gguf_bytes *bytes, uint64_t x, size_t n) {
    uint8_t out[8];
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(x >> 8 * i);
    put(w, bytes, out, n);
}

static void put_text(pm__gguf_writer *w, pm__gguf_bytes *bytes, const char *text, size_t n) {
    put_number(w, bytes, n, 8);
    put(w, bytes, text, n);
}

static void begin_key(pm__gguf_writer *w, pm__span name, pm__gguf_type type) {
    assert(name.size >= 1 && name.size <= PM__GGUF_MOST_NAME);
    put_text(w, &w->keys, name.data, name.size);
    put_number(w, &w->keys, (uint64_t)type, 4);
    w->n_key++;
}

static pm__span span_of(const char *text) {
    return (pm__span){text, strlen(text)};
}

static void put_scalar(pm__gguf_writer *w, const char *name, pm__gguf_type type, uint64_t value) {
    begin_key(w, span_of(name), type);
    put_number(w, &w->keys, value, pm__gguf_type_bytes(type));
}

void pm__gguf_put_bool(pm__gguf_writer *w, const char *name, bool value) {
    put_scalar(w, name, PM__GGUF_BOOL, value);
}

void pm__gguf_put_u32(pm__gguf_writer *w, const char *name, uint32_t value) {
    put_scalar(w, name, PM__GGUF_U32, value);
}

void pm__gguf_put_i32(pm__gguf_writer *w, const char *name, int32_t value) {
    put_scalar(w, name, PM__GGUF_I32, (uint32_t)value);
}

void pm__gguf_put_u64(pm__gguf_writer *w, const char *name, uint64_t value) {
    put_scalar(w, name, PM__GGUF_U64, value);
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

void pm__gguf_put_f32(pm__gguf_writer *w, const char *name, float value) {
    put_scalar(w, name, PM__GGUF_F32, bits_of(value));
}

void pm__gguf_put_string(pm__gguf_writer *w, const char *name, const char *text, size_t n_byte) {
    begin_key(w, span_of(name), PM__GGUF_STRING);
    put_text(w, &w->keys, text, n_byte);
}

static void begin_array(pm__gguf_writer *w, pm__span name, pm__gguf_type element, uint64_t n) {
    begin_key(w, name, PM__GGUF_ARRAY);
    put_number(w, &w->keys, (uint64_t)element, 4);
    put_number(w, &w->keys, n, 8);
}

void pm__gguf_put_i32s(pm__gguf_writer *w, const char *name, const int32_t *values, uint64_t n) {
    begin_array(w, span_of(name), PM__GGUF_I32, n);
    for (uint64_t i = 0; i < n; i++)
        put_number(w, &w->keys, (uint32_t)values[i], 4);
}

void pm__gguf_put_f32s(pm__gguf_writer *w, const char *name, const float *values, uint64_t n) {
    begin_array(w, span_of(name), PM__GGUF_F32, n);
    for (uint64_t i = 0; i < n; i++)
        put_number(w, &w->keys, bits_of(values[i]), 4);
}

void pm__gguf_put_strings(pm__gguf_writer *w, const char *name, const pm__span *texts, uint64_t n) {
    begin_array(w, span_of(name), PM__GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++)
        put_text(w, &w->keys, texts[i].data, texts[i].size);
}

static bool is_named(const pm__gguf_key *key, const char *name) {
    return key->name.size == strlen(name) && memcmp(key->name.data, name, key->name.size) == 0;
}

void pm__gguf_put_key(pm__gguf_writer *w, const pm__gguf_key *key) {
    if (is_named(key, "general.alignment"))
        return;
    if (key->type == PM__GGUF_ARRAY)
        begin_array(w, key->name, key->element, key->n);
    else
        begin_key(w, key->name, key->type);
    put(w, &w->keys, key->value, key->value_bytes);
}

/* Bytes of a tensor's data; false if the shape does not fit the type. */
static bool size_tensor(const pm__type_block *block, uint32_t n_dim, const uint64_t *shape,
                        uint64_t *bytes) {
    if (shape[0] == 0 || shape[0] % block->n != 0 ||
        !pm__mul_u64(shape[0] / block->n, block->bytes, bytes))
        return false;
    for (uint32_t i = 1; i < n_dim; i++)
        if (shape[i] == 0 || !pm__mul_u64(*bytes, shape[i], bytes))
            return false;
    return true;
}

void pm__gguf_put_tensor(pm__gguf_writer *w, const char *name, uint32_t type_id, uint32_t n_dim,
                         const uint64_t *shape) {
    assert(n_dim >= 1 && n_dim <= 4 && *name != '\0' && w->write == NULL);
    pm__type_block block;
    uint64_t bytes = 0, padded = 0, end = 0;
    if (w->status == PM_OK)
        w->status = pm__type_block_from_id(type_id, &block);
    if (w->status == PM_OK)
        w->status = pm__grow("gguf: the index", &w->sizes, &w->size_capacity, (size_t)w->n_tensor,
                             sizeof *w->sizes);
    if (w->status != PM_OK)
        return;
    if (!size_tensor(&block, n_dim, shape, &bytes) || !pm__align_u64(bytes, ALIGNMENT, &padded) ||
        !pm__add_u64(w->data_bytes, padded, &end)) {
        w->status = pm__fail(PM_UNSUPPORTED,
                             "gguf: tensor '%s': rows of %" PRIu64 " do not fit the %" PRIu32
                             " elements of a block of %s, or it is too large to be written",
                             name, shape[0], block.n, block.name);
        return;
    }
    put_text(w, &w->tensors, name, strlen(name));
    put_number(w, &w->tensors, n_dim, 4);
    for (uint32_t i = 0; i < n_dim; i++)
        put_number(w, &w->tensors, shape[i], 8);
    put_number(w, &w->tensors, type_id, 4);
    put_number(w, &w->tensors, w->data_bytes, 8);
    w->sizes[w->n_tensor++] = bytes;
    w->data_bytes = end;
}

/* ---- the file -------------------------------------------------------------------------------- */

static uint64_t index_bytes(const pm__gguf_writer *w) {
    return HEADER_BYTES + (uint64_t)w->keys.n + w->tensors.n;
}

uint64_t pm__gguf_file_bytes(const pm__gguf_writer *w) {
    const uint64_t index = index_bytes(w);
    return w->n_tensor != 0 ? pm__round_up(index, ALIGNMENT) + w->data_bytes : index;
}

static pm_status write_bytes(pm__gguf_writer *w, const void *data, size_t n) {
    if (n == 0)
        return PM_OK;
    if (!w->write(w->user, data, n))
        return pm__fail(PM_FAILURE,
                        "gguf: the output took no more after %" PRIu64 " of %" PRIu64 " bytes",
                        w->written, pm__gguf_file_bytes(w));
    w->written += n;
    return PM_OK;
}

static pm_status pad(pm__gguf_writer *w) {
    static const uint8_t zeros[ALIGNMENT];
    return write_bytes(w, zeros, (size_t)(pm__round_up(w->written, ALIGNMENT) - w->written));
}

pm_status pm__gguf_write_index(pm__gguf_writer *w, pm_write_fn write, void *user) {
    pm__gguf_bytes header = {0};
    put(w, &header, "GGUF", 4);
    put_number(w, &header, VERSION, 4);
    put_number(w, &header, w->n_tensor, 8);
    put_number(w, &header, w->n_key, 8);
    pm_status status = w->status;
    w->write = write;
    w->user = user;
    if (status == PM_OK)
        status = write_bytes(w, header.data, header.n);
    free(header.data);
    PM_TRY(status);
    PM_TRY(write_bytes(w, w->keys.data, w->keys.n));
    PM_TRY(write_bytes(w, w->tensors.data, w->tensors.n));
    return w->n_tensor != 0 ? pad(w) : PM_OK;
}

pm_status pm__gguf_write_data(pm__gguf_writer *w, const void *data, size_t n) {
    assert(w->current < w->n_tensor && n <= w->sizes[w->current] - w->done);
    PM_TRY(write_bytes(w, data, n));
    w->done += n;
    if (w->done < w->sizes[w->current])
        return PM_OK;
    w->current++;
    w->done = 0;
    return pad(w);
}

bool pm__gguf_write_is_done(const pm__gguf_writer *w) {
    return w->write != NULL && w->written == pm__gguf_file_bytes(w);
}
