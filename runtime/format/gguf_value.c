/* gguf_value.c: reading and showing the values of keys. */
#include "gguf.h"

#include "../base/utf8.h"
#include "bytes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} types[] = {
#define TYPE(NAME, name, bytes) {#name, bytes},
    PM__GGUF_TYPE_LIST(TYPE)
#undef TYPE
};

const char *pm__gguf_type_name(pm__gguf_type type) {
    return (size_t)type < PM__COUNT(types) ? types[type].name : "unknown";
}

uint32_t pm__gguf_type_bytes(pm__gguf_type type) {
    assert((size_t)type < PM__COUNT(types));
    return types[type].bytes;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* A signed value is widened to 64 bits. */
static bool integer(pm__gguf_type type, const uint8_t *at, uint64_t *bits, bool *negative) {
    int64_t x = 0;
    *negative = false;
    switch (type) {
    case PM__GGUF_U8:
        *bits = *at;
        return true;
    case PM__GGUF_U16:
        *bits = pm__load_u16(at);
        return true;
    case PM__GGUF_U32:
        *bits = pm__load_u32(at);
        return true;
    case PM__GGUF_U64:
        *bits = pm__load_u64(at);
        return true;
    case PM__GGUF_I8:
        x = (int8_t)*at;
        break;
    case PM__GGUF_I16:
        x = (int16_t)pm__load_u16(at);
        break;
    case PM__GGUF_I32:
        x = (int32_t)pm__load_u32(at);
        break;
    case PM__GGUF_I64:
        x = (int64_t)pm__load_u64(at);
        break;
    default:
        return false;
    }
    *bits = (uint64_t)x;
    *negative = x < 0;
    return true;
}

static bool number_u64(pm__gguf_type type, const uint8_t *at, uint64_t *out) {
    uint64_t bits;
    bool negative;
    if (!integer(type, at, &bits, &negative) || negative)
        return false;
    *out = bits;
    return true;
}

static bool number_i64(pm__gguf_type type, const uint8_t *at, int64_t *out) {
    uint64_t bits;
    bool negative;
    if (!integer(type, at, &bits, &negative) || (!negative && bits > INT64_MAX))
        return false;
    *out = (int64_t)bits;
    return true;
}

static bool number_f64(pm__gguf_type type, const uint8_t *at, double *out) {
    if (type == PM__GGUF_F64) {
        const uint64_t bits = pm__load_u64(at);
        memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (type != PM__GGUF_F32)
        return false;
    const uint32_t bits = pm__load_u32(at);
    float x;
    memcpy(&x, &bits, sizeof x);
    *out = x;
    return true;
}

bool pm__gguf_u64(const pm__gguf_key *key, uint64_t *out) {
    return number_u64(key->type, key->value, out);
}

bool pm__gguf_f64(const pm__gguf_key *key, double *out) {
    return number_f64(key->type, key->value, out);
}

bool pm__gguf_bool(const pm__gguf_key *key, bool *out) {
    if (key->type != PM__GGUF_BOOL)
        return false;
    *out = key->value[0] != 0;
    return true;
}

/* NULL if the key is no array of numbers or has no element i. */
static const uint8_t *element(const pm__gguf_key *key, uint64_t i) {
    const bool numbers = key->type == PM__GGUF_ARRAY && key->element != PM__GGUF_STRING;
    return numbers && i < key->n ? key->value + i * pm__gguf_type_bytes(key->element) : NULL;
}

bool pm__gguf_array_u64(const pm__gguf_key *key, uint64_t i, uint64_t *out) {
    const uint8_t *at = element(key, i);
    return at != NULL && number_u64(key->element, at, out);
}

bool pm__gguf_array_i64(const pm__gguf_key *key, uint64_t i, int64_t *out) {
    const uint8_t *at = element(key, i);
    return at != NULL && number_i64(key->element, at, out);
}

bool pm__gguf_array_f64(const pm__gguf_key *key, uint64_t i, double *out) {
    const uint8_t *at = element(key, i);
    return at != NULL && number_f64(key->element, at, out);
}

/* ---- strings; their lengths were checked when the key was read ------------------------------- */

static pm__span string_at(const uint8_t *at) {
    return (pm__span){(const char *)at + 8, (size_t)pm__load_u64(at)};
}

bool pm__gguf_string(const pm__gguf_key *key, pm__span *out) {
    if (key->type != PM__GGUF_STRING)
        return false;
    *out = string_at(key->value);
    return true;
}

bool pm__gguf_strings(const pm__gguf_key *key, pm__arena *arena, const pm__span **out) {
    if (key->type != PM__GGUF_ARRAY || key->element != PM__GGUF_STRING)
        return false;
    pm__span *strings = pm__arena_array(arena, (size_t)key->n, sizeof *strings);
    if (strings == NULL)
        return false;
    const uint8_t *at = key->value;
    for (uint64_t i = 0; i < key->n; i++) {
        strings[i] = string_at(at);
        at += 8 + strings[i].size;
    }
    *out = strings;
    return true;
}

/* ---- text for people ------------------------------------------------------------------------- */

static const char ellipsis[] = "...";

enum { SHOWN_ELEMENTS = 8 };

typedef struct writer {
    char *out;
    size_t size, used; /* used < size */
    bool full;         /* nothing is added any more */
} writer;

/* All of a piece or, with the ellipsis that room was kept for, none. */
static void add(writer *w, const char *piece, size_t n) {
    if (w->full)
        return;
    if (n + sizeof ellipsis > w->size - w->used) {
        w->full = true;
        piece = ellipsis;
        n = w->size - w->used - 1;
        if (n > sizeof ellipsis - 1)
            n = sizeof ellipsis - 1;
    }
    memcpy(w->out + w->used, piece, n);
    w->used += n;
    w->out[w->used] = '\0';
}

PM__PRINTF(2, 3) static void add_format(writer *w, const char *fmt, ...) {
    char piece[64];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof piece);
    add(w, piece, (size_t)n);
}

static void add_string(writer *w, pm__span text) {
    add(w, "\"", 1);
    for (size_t at = 0; at < text.size && !w->full;) {
        uint32_t code;
        char bytes[4];
        at += pm__utf8_decode(text.data + at, text.size - at, &code);
        if (code == '\n')
            add(w, "\\n", 2);
        else if (code == '"' || code == '\\')
            add_format(w, "\\%c", (char)code);
        else if (pm__utf8_is_control(code))
            add_format(w, "\\u%04" PRIx32, code);
        else
            add(w, bytes, pm__utf8_encode(code, bytes));
    }
    add(w, "\"", 1);
}

static void add_number(writer *w, pm__gguf_type type, const uint8_t *at) {
    uint64_t u;
    int64_t i;
    double f;
    if (type == PM__GGUF_BOOL)
        add_format(w, "%s", *at != 0 ? "true" : "false");
    else if (number_u64(type, at, &u))
        add_format(w, "%" PRIu64, u);
    else if (number_i64(type, at, &i))
        add_format(w, "%" PRId64, i);
    else if (number_f64(type, at, &f))
        add_format(w, "%.9g", f);
}

static const uint8_t *add_value(writer *w, pm__gguf_type type, const uint8_t *at) {
    if (type == PM__GGUF_STRING) {
        const pm__span text = string_at(at);
        add_string(w, text);
        return at + 8 + text.size;
    }
    add_number(w, type, at);
    return at + pm__gguf_type_bytes(type);
}

void pm__gguf_print_value(const pm__gguf_key *key, char *out, size_t size) {
    if (size == 0)
        return;
    writer w = {out, size, 0, false};
    out[0] = '\0';
    const uint8_t *at = key->value;
    if (key->type != PM__GGUF_ARRAY) {
        add_value(&w, key->type, at);
        return;
    }
    add(&w, "[", 1);
    for (uint64_t i = 0; i < key->n && i < SHOWN_ELEMENTS; i++) {
        if (i != 0)
            add(&w, ", ", 2);
        at = add_value(&w, key->element, at);
    }
    if (key->n > SHOWN_ELEMENTS)
        add_format(&w, ", %s (%" PRIu64 ")", ellipsis, key->n);
    add(&w, "]", 1);
}
