#include "spirv.h"

#include "../base/checked.h"

#include <stdlib.h>

/* Numbers of the specification of SPIR-V. */
enum {
    MAGIC = 0x07230203,
    HEADER_WORDS = 5,
    MOST_IDS = 0x3fffff,
    TYPE_BOOL = 20,
    TYPE_INT = 21,
    TYPE_FLOAT = 22,
    TYPE_VECTOR = 23,
    TYPE_ARRAY = 28,
    TYPE_STRUCT = 30,
    TYPE_POINTER = 32,
    CONSTANT = 43,
    VARIABLE = 59,
    WORKGROUP = 4, /* a storage class */
};

typedef struct module {
    uint64_t *values; /* [bound] of an id: bytes of a type, or of what a pointer to shared memory
                         points to; a constant; else 0 */
    uint32_t bound;
    uint64_t shared_bytes;
} module;

typedef struct instruction {
    const uint32_t *words;
    uint32_t n;
} instruction;

static uint32_t word_of(const instruction *in, uint32_t i) {
    return i < in->n ? in->words[i] : 0;
}

static uint64_t value_of(const module *m, const instruction *in, uint32_t i) {
    const uint32_t id = word_of(in, i);
    return id < m->bound ? m->values[id] : 0;
}

static void set_value(module *m, uint32_t id, uint64_t value) {
    if (id < m->bound)
        m->values[id] = value;
}

static uint64_t struct_bytes(const module *m, const instruction *in) {
    uint64_t bytes = 0;
    for (uint32_t i = 2; i < in->n; i++)
        bytes = pm__add_most_u64(bytes, value_of(m, in, i));
    return bytes;
}

/* Each variable from a multiple of 16 bytes on, which is as much as any of them wants. */
static void add_variable(module *m, uint64_t bytes) {
    m->shared_bytes = pm__add_most_u64(m->shared_bytes, pm__mul_most_u64((bytes + 15) / 16, 16));
}

static void take(module *m, const instruction *in) {
    const uint32_t id = word_of(in, 1), length = word_of(in, 3);
    switch (word_of(in, 0) & 0xffff) {
    case TYPE_BOOL:
        set_value(m, id, 4);
        break;
    case TYPE_INT:
    case TYPE_FLOAT:
        set_value(m, id, word_of(in, 2) / 8);
        break;
    case TYPE_VECTOR: /* of three takes the place of four */
        set_value(m, id, value_of(m, in, 2) * (length == 3 ? 4 : length));
        break;
    case TYPE_ARRAY:
        set_value(m, id, pm__mul_most_u64(value_of(m, in, 2), value_of(m, in, 3)));
        break;
    case TYPE_STRUCT:
        set_value(m, id, struct_bytes(m, in));
        break;
    case TYPE_POINTER:
        set_value(m, id, word_of(in, 2) == WORKGROUP ? value_of(m, in, 3) : 0);
        break;
    case CONSTANT:
        set_value(m, word_of(in, 2), word_of(in, 3));
        break;
    case VARIABLE:
        if (word_of(in, 3) == WORKGROUP)
            add_variable(m, value_of(m, in, 1));
        break;
    default:
        break;
    }
}

static pm_status take_all(module *m, const uint32_t *words, size_t n_word) {
    for (size_t at = HEADER_WORDS; at < n_word;) {
        const instruction in = {.words = words + at, .n = words[at] >> 16};
        if (in.n == 0 || in.n > n_word - at)
            return pm__fail(PM_FAILURE, "shader: SPIR-V: an instruction of %u words at word %zu",
                            in.n, at);
        take(m, &in);
        at += in.n;
    }
    return PM_OK;
}

pm_status pm__spirv_shared_bytes(const uint32_t *words, size_t n_word, uint64_t *bytes) {
    if (n_word < HEADER_WORDS || words[0] != MAGIC || words[3] > MOST_IDS)
        return pm__fail(PM_FAILURE, "shader: SPIR-V: not the header of a module");
    module m = {.bound = words[3]};
    m.values = calloc(m.bound + 1, sizeof *m.values);
    if (m.values == NULL)
        return pm__fail_memory("shader: SPIR-V", m.bound * sizeof *m.values);
    const pm_status status = take_all(&m, words, n_word);
    free(m.values);
    *bytes = m.shared_bytes;
    return status;
}
