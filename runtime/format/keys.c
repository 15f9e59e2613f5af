#include "keys.h"

#include <string.h>

void pm__keys_init(pm__keys *keys, pm__arena *arena) {
    *keys = (pm__keys){.arena = arena, .status = PM_OK};
}

void pm__keys_copy(pm__keys *keys, const pm__gguf_key *key) {
    if (keys->status != PM_OK)
        return;
    if (keys->n == keys->room) {
        const size_t room = keys->room > 0 ? 2 * keys->room : 64;
        pm__gguf_key *items = pm__arena_array(keys->arena, room, sizeof *items);
        if (items == NULL) {
            keys->status = PM_OUT_OF_MEMORY;
            return;
        }
        if (keys->n > 0)
            memcpy(items, keys->items, keys->n * sizeof *items);
        keys->items = items;
        keys->room = room;
    }
    keys->items[keys->n++] = *key;
}

/* A key whose value has room for n_byte, which the caller fills; NULL after a failure.
 * type  of each of n elements
 * array  false: n is 1 */
static uint8_t *add(pm__keys *keys, const char *name, pm__gguf_type type, bool array, size_t n,
                    size_t n_byte) {
    if (keys->status != PM_OK)
        return NULL;
    char *copy = pm__arena_string(keys->arena, name, strlen(name));
    uint8_t *value = pm__arena_alloc(keys->arena, n_byte > 0 ? n_byte : 1);
    if (copy == NULL || value == NULL) {
        keys->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    const pm__gguf_key key = {.name = {copy, strlen(copy)},
                              .type = array ? PM__GGUF_ARRAY : type,
                              .element = type,
                              .n = n,
                              .value = value,
                              .value_bytes = n_byte};
    pm__keys_copy(keys, &key);
    return value;
}

static uint8_t *put_u32(uint8_t *to, uint32_t x) {
    for (uint32_t i = 0; i < 4; i++)
        to[i] = (uint8_t)(x >> 8 * i);
    return to + 4;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* words  [n] */
static void add_words(pm__keys *keys, const char *name, pm__gguf_type type, bool array,
                      const uint32_t *words, size_t n) {
    uint8_t *to = add(keys, name, type, array, n, 4 * n);
    for (size_t i = 0; to != NULL && i < n; i++)
        to = put_u32(to, words[i]);
}

void pm__keys_u32(pm__keys *keys, const char *name, uint32_t value) {
    add_words(keys, name, PM__GGUF_U32, false, &value, 1);
}

void pm__keys_f32(pm__keys *keys, const char *name, float value) {
    const uint32_t bits = bits_of(value);
    add_words(keys, name, PM__GGUF_F32, false, &bits, 1);
}

void pm__keys_i32s(pm__keys *keys, const char *name, const int32_t *values, size_t n) {
    uint8_t *to = add(keys, name, PM__GGUF_I32, true, n, 4 * n);
    for (size_t i = 0; to != NULL && i < n; i++)
        to = put_u32(to, (uint32_t)values[i]);
}

void pm__keys_f32s(pm__keys *keys, const char *name, const float *values, size_t n) {
    uint8_t *to = add(keys, name, PM__GGUF_F32, true, n, 4 * n);
    for (size_t i = 0; to != NULL && i < n; i++)
        to = put_u32(to, bits_of(values[i]));
}

void pm__keys_bool(pm__keys *keys, const char *name, bool value) {
    uint8_t *to = add(keys, name, PM__GGUF_BOOL, false, 1, 1);
    if (to != NULL)
        *to = value;
}

static uint8_t *put_span(uint8_t *to, pm__span text) {
    to = put_u32(to, (uint32_t)text.size);
    to = put_u32(to, (uint32_t)((uint64_t)text.size >> 32));
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    return to + text.size;
}

void pm__keys_span(pm__keys *keys, const char *name, pm__span value) {
    uint8_t *to = add(keys, name, PM__GGUF_STRING, false, 1, 8 + value.size);
    if (to != NULL)
        put_span(to, value);
}

void pm__keys_text(pm__keys *keys, const char *name, const char *value) {
    pm__keys_span(keys, name, (pm__span){value, strlen(value)});
}

void pm__keys_spans(pm__keys *keys, const char *name, const pm__span *values, size_t n) {
    size_t n_byte = 8 * n;
    for (size_t i = 0; i < n; i++)
        n_byte += values[i].size; /* they are all in memory */
    uint8_t *to = add(keys, name, PM__GGUF_STRING, true, n, n_byte);
    for (size_t i = 0; to != NULL && i < n; i++)
        to = put_span(to, values[i]);
}
