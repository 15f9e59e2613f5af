/* gguf_write.h: a GGUF file (version 3), written front to back: first all keys and tensors are
 * named, then the data of the tensors follows in the same order. Nothing but the index is kept in
 * memory.
 *
 *   pm__gguf_writer w;
 *   pm__gguf_writer_init(&w);
 *   pm__gguf_put_u32(&w, "general.file_type", 7);
 *   pm__gguf_put_tensor(&w, "output.weight", PM__TYPE_F16, 2, (uint64_t[]){64, 512});
 *   status = pm__gguf_write_index(&w, write, user);
 *   status = pm__gguf_write_data(&w, rows, n_byte);     (any number of times)
 *   pm__gguf_writer_finish(&w);
 *
 * The first failure of a put call is what pm__gguf_write_index returns; those after it do nothing.
 * source  as gguf.h */
#ifndef PM_FORMAT_GGUF_WRITE_H
#define PM_FORMAT_GGUF_WRITE_H

#include "gguf.h"

typedef struct pm__gguf_bytes {
    uint8_t *data;
    size_t n, capacity;
} pm__gguf_bytes;

typedef struct pm__gguf_writer {
    pm__gguf_bytes keys, tensors; /* as they will stand in the file */
    uint64_t n_key, n_tensor;
    uint64_t *sizes; /* [n_tensor] bytes of each tensor's data */
    size_t size_capacity;
    uint64_t data_bytes; /* of all tensors so far, each padded */
    pm_status status;
    pm_write_fn write;
    void *user;
    uint64_t current, done; /* tensor whose data is awaited, and bytes of it that are written */
    uint64_t written;       /* bytes of the file */
} pm__gguf_writer;

void pm__gguf_writer_init(pm__gguf_writer *w);
void pm__gguf_writer_finish(pm__gguf_writer *w);

/* Keys, in the order of the file; a name must not come twice. */
void pm__gguf_put_bool(pm__gguf_writer *w, const char *name, bool value);
void pm__gguf_put_u32(pm__gguf_writer *w, const char *name, uint32_t value);
void pm__gguf_put_i32(pm__gguf_writer *w, const char *name, int32_t value);
void pm__gguf_put_u64(pm__gguf_writer *w, const char *name, uint64_t value);
void pm__gguf_put_f32(pm__gguf_writer *w, const char *name, float value);
void pm__gguf_put_string(pm__gguf_writer *w, const char *name, const char *text, size_t n_byte);
/* Arrays of n elements. */
void pm__gguf_put_i32s(pm__gguf_writer *w, const char *name, const int32_t *values, uint64_t n);
void pm__gguf_put_f32s(pm__gguf_writer *w, const char *name, const float *values, uint64_t n);
void pm__gguf_put_strings(pm__gguf_writer *w, const char *name, const pm__span *texts, uint64_t n);
/* A key of another file, as it stands there; general.alignment is left out, since this file's is
 * the 32 of files that do not say. */
void pm__gguf_put_key(pm__gguf_writer *w, const pm__gguf_key *key);

/* shape    [n_dim], 1 to 4, innermost first, a multiple of the type's block
 * type_id  of the file
 * A shape that does not fit its type is a failure of the writer, UNSUPPORTED. */
void pm__gguf_put_tensor(pm__gguf_writer *w, const char *name, uint32_t type_id, uint32_t n_dim,
                         const uint64_t *shape);
/* Bytes of the whole file. */
uint64_t pm__gguf_file_bytes(const pm__gguf_writer *w);

/* Header, keys, tensors. `write` gets all bytes of the file in order, from here and the call below.
 * FAILURE: it returned false. */
pm_status pm__gguf_write_index(pm__gguf_writer *w, pm_write_fn write, void *user);
/* The next bytes of the tensors' data, in the order they were put; a call may end within a tensor,
 * and must not go past its end. Padding is added. */
pm_status pm__gguf_write_data(pm__gguf_writer *w, const void *data, size_t n);
/* True once all data was given. */
bool pm__gguf_write_is_done(const pm__gguf_writer *w);

#endif
