#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

static void put(pm__writer *out, const void *data, size_t n) {
    if (out->size + n > out->capacity) {
        out->capacity = 2 * (out->size + n);
        out->data = realloc(out->data, out->capacity);
        if (out->data == NULL)
            abort();
    }
    memcpy(out->data + out->size, data, n);
    out->size += n;
}

/* The n low bytes of x, lowest first. */
static void put_int(pm__writer *out, uint64_t x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(x >> 8 * i);
        put(out, &byte, 1);
    }
}

static void put_string(pm__writer *out, const char *text) {
    put_int(out, strlen(text), 8);
    put(out, text, strlen(text));
}

static void put_key(pm__writer *out, const char *key, pm__gguf_type type) {
    if (out->n_key++ == 0) {
        put(out, "GGUF", 4);
        put_int(out, 3, 4);
        put_int(out, 0, 8);
        put_int(out, 0, 8); /* keys: written at the end */
    }
    put_string(out, key);
    put_int(out, type, 4);
}

static void put_array(pm__writer *out, const char *key, pm__gguf_type element, size_t n) {
    put_key(out, key, PM__GGUF_ARRAY);
    put_int(out, element, 4);
    put_int(out, n, 8);
}

void pm__write_text(pm__writer *out, const char *key, const char *text) {
    put_key(out, key, PM__GGUF_STRING);
    put_string(out, text);
}

void pm__write_u32(pm__writer *out, const char *key, uint32_t value) {
    put_key(out, key, PM__GGUF_U32);
    put_int(out, value, 4);
}

void pm__write_bool(pm__writer *out, const char *key, bool value) {
    put_key(out, key, PM__GGUF_BOOL);
    put_int(out, value, 1);
}

void pm__write_texts(pm__writer *out, const char *key, const char *const *texts, size_t n) {
    put_array(out, key, PM__GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(out, texts[i]);
}

void pm__write_i32s(pm__writer *out, const char *key, const int32_t *values, size_t n) {
    put_array(out, key, PM__GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put_int(out, (uint32_t)values[i], 4);
}

void pm__write_f32s(pm__writer *out, const char *key, const float *values, size_t n) {
    put_array(out, key, PM__GGUF_F32, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_int(out, bits, 4);
    }
}

void pm__write_i8s(pm__writer *out, const char *key, const int8_t *values, size_t n) {
    put_array(out, key, PM__GGUF_I8, n);
    put(out, values, n);
}

void pm__write_small(pm__writer *out, const pm__small_vocabulary *v) {
    pm__write_text(out, "tokenizer.ggml.model", v->model);
    pm__write_texts(out, "tokenizer.ggml.tokens", v->pieces, v->n);
    pm__write_i32s(out, "tokenizer.ggml.token_type", v->kinds, v->n);
    pm__write_u32(out, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unknown);
    if (strcmp(v->model, "t5") == 0) {
        pm__write_f32s(out, "tokenizer.ggml.scores", v->scores, v->n);
        pm__write_i8s(out, "tokenizer.ggml.precompiled_charsmap", v->charsmap, v->n_charsmap);
        pm__write_bool(out, "tokenizer.ggml.add_space_prefix", v->space);
        pm__write_bool(out, "tokenizer.ggml.remove_extra_whitespaces", v->merges_blanks);
    } else if (strcmp(v->model, "bert") == 0) {
        pm__write_bool(out, "tokenizer.ggml.normalizer.lowercase", v->lowers);
        pm__write_bool(out, "tokenizer.ggml.normalizer.strip_accents", v->strips);
    } else {
        pm__write_texts(out, "tokenizer.ggml.merges", v->merges, v->n_merge);
        pm__write_u32(out, "tokenizer.ggml.bos_token_id", 1);
    }
}

static pm_status open_bytes(pm__vocabulary *vocabulary, const uint8_t *data, size_t size) {
    pm_status status = pm__gguf_init(&vocabulary->gguf, data, size);
    vocabulary->has_gguf = status == PM_OK;
    if (status == PM_OK)
        status = pm__tokenizer_create(&vocabulary->gguf, &vocabulary->tokenizer);
    if (status != PM_OK)
        pm__vocabulary_close(vocabulary);
    return status;
}

pm_status pm__vocabulary_open(pm__vocabulary *vocabulary, const char *path) {
    *vocabulary = (pm__vocabulary){0};
    PM_TRY(pm__file_map_init(&vocabulary->map, path));
    return open_bytes(vocabulary, vocabulary->map.data, vocabulary->map.size);
}

pm_status pm__vocabulary_open_written(pm__vocabulary *vocabulary, pm__writer *written) {
    *vocabulary = (pm__vocabulary){.written = *written};
    *written = (pm__writer){0};
    pm__writer *out = &vocabulary->written;
    const size_t size = out->size;
    out->size = 16; /* where the number of keys stands */
    put_int(out, out->n_key, 8);
    out->size = size;
    return open_bytes(vocabulary, out->data, out->size);
}

void pm__vocabulary_close(pm__vocabulary *vocabulary) {
    pm__tokenizer_destroy(vocabulary->tokenizer);
    if (vocabulary->has_gguf)
        pm__gguf_finish(&vocabulary->gguf);
    pm__file_map_finish(&vocabulary->map);
    free(vocabulary->written.data);
    *vocabulary = (pm__vocabulary){0};
}
