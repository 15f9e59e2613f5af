/* synth_memory.c: a synthetic model that is never written. Its matrices are addresses behind which
 * a few megabytes of random blocks stand again and again, so that a model of any size takes none of
 * the host's memory to speak of; a device gets all of it. */
#include "synth.h"

#include "../base/checked.h"
#include "../base/pattern.h"

#include <stdlib.h>
#include <string.h>

enum { PATTERN_BYTES = 16 << 20 };

typedef struct memory {
    pm__synth synth;
    pm__pattern patterns[PM__SYNTH_POOLS];
    size_t turn[PM__SYNTH_POOLS];   /* so that tensors do not all begin alike */
    uint64_t most[PM__SYNTH_POOLS]; /* bytes of the largest tensor of a pool */
    uint32_t *pool_of;              /* [n_tensor] */
} memory;

static size_t greatest_divisor(size_t a, size_t b) {
    while (b != 0) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The smallest number of bytes that is whole pages and whole blocks. */
static size_t unit_of(const pm__synth_pool *pool) {
    const size_t page = pm__page_bytes();
    return page / greatest_divisor(page, pool->group_bytes) * pool->group_bytes;
}

static pm_status find_pools(memory *m) {
    pm__synth *s = &m->synth;
    m->pool_of = calloc(s->n_tensor, sizeof *m->pool_of);
    if (m->pool_of == NULL)
        return pm__fail_memory("synth: tensors", s->n_tensor * sizeof *m->pool_of);
    for (size_t i = 0; i < s->n_tensor; i++) {
        if (s->tensors[i].n_dim == 1)
            continue;
        PM_TRY(pm__synth_find_pool(s, &s->tensors[i], &m->pool_of[i]));
        uint64_t *most = &m->most[m->pool_of[i]];
        *most = pm__most_u64(*most, s->tensors[i].bytes);
    }
    return PM_OK;
}

static pm_status make_patterns(memory *m) {
    for (uint32_t i = 0; i < PM__SYNTH_POOLS && m->most[i] > 0; i++) {
        pm__synth_pool *pool = &m->synth.pools[i].blocks;
        const size_t unit = unit_of(pool);
        const uint64_t wanted = pm__least_u64(m->most[i], PATTERN_BYTES);
        const size_t bytes = (size_t)pm__round_up(wanted, unit);
        PM_TRY(pm__pattern_init(&m->patterns[i], bytes));
        pm__synth_pool_draw(pool, bytes / pool->group_bytes, m->patterns[i].data);
    }
    return PM_OK;
}

static size_t page_bytes(uint64_t bytes) {
    return (size_t)pm__round_up(bytes, pm__page_bytes());
}

static pm_status reserve(const pm__synth *s, pm__source *out) {
    uint64_t all = pm__page_bytes();
    for (size_t i = 0; i < s->n_tensor; i++)
        all += s->tensors[i].n_dim > 1 ? page_bytes(s->tensors[i].bytes) : 0;
    out->files = pm__arena_array(&out->arena, 1, sizeof *out->files);
    if (out->files == NULL)
        return PM_OUT_OF_MEMORY;
    out->files[0] = (pm__source_file){.path = ""};
    out->n_file = out->n_room = 1;
    out->bytes = s->total;
    return pm__pattern_reserve(&out->files[0].map, (size_t)all);
}

static pm_status lay_tensors(memory *m, pm__gguf_tensor *tensors, pm__source *out) {
    pm__synth *s = &m->synth;
    const pm__file_map *map = &out->files[0].map;
    size_t at = 0;
    for (size_t i = 0; i < s->n_tensor; i++) {
        pm__gguf_tensor *t = &tensors[i];
        *t = s->tensors[i];
        t->name = pm__arena_string(&out->arena, t->name, strlen(t->name));
        if (t->name == NULL)
            return PM_OUT_OF_MEMORY;
        if (t->n_dim == 1) {
            float *norm = pm__arena_array(&out->arena, (size_t)t->shape[0], sizeof *norm);
            if (norm == NULL)
                return PM_OUT_OF_MEMORY;
            pm__synth_draw_norm(s, t->shape[0], norm);
            t->data = (const uint8_t *)norm;
            continue;
        }
        const uint32_t pool = m->pool_of[i];
        const size_t bytes = page_bytes(t->bytes);
        PM_TRY(pm__pattern_lay(&m->patterns[pool], m->turn[pool], map, at, bytes));
        m->turn[pool] = (m->turn[pool] + unit_of(&s->pools[pool].blocks)) % m->patterns[pool].bytes;
        t->data = map->data + at;
        at += bytes;
    }
    return PM_OK;
}

/* Keys point into the bytes they were written as, which move to the source. */
static pm_status copy_keys(const pm__synth *s, size_t n, pm__source *out) {
    uint8_t *bytes = pm__arena_alloc(&out->arena, n);
    if (bytes == NULL)
        return PM_OUT_OF_MEMORY;
    memcpy(bytes, s->key_bytes, n);
    return pm__gguf_init(&out->files[0].gguf, bytes, n);
}

static pm_status fill(memory *m, pm__source *out) {
    const pm__synth *s = &m->synth;
    out->kind = "synthetic";
    PM_TRY(find_pools(m));
    PM_TRY(make_patterns(m));
    PM_TRY(reserve(s, out));
    PM_TRY(copy_keys(s, s->n_key_byte, out));
    pm__gguf_tensor *tensors = pm__arena_array(&out->arena, s->n_tensor, sizeof *tensors);
    if (tensors == NULL)
        return PM_OUT_OF_MEMORY;
    PM_TRY(lay_tensors(m, tensors, out));
    const pm__gguf *keys = &out->files[0].gguf;
    return pm__gguf_make(&out->gguf, "synth", keys->keys, (size_t)keys->n_key, tensors,
                         s->n_tensor);
}

pm_status pm__synth_open(const pm_synth_desc *desc, pm__source *out) {
    memory *m = calloc(1, sizeof *m);
    *out = (pm__source){0};
    if (m == NULL)
        return pm__fail_memory("synth", sizeof *m);
    pm_status status = desc->shape != NULL ? pm__synth_init(&m->synth, desc)
                                           : pm__fail(PM_ARGUMENT, "synth: no shape");
    if (status == PM_OK)
        status = fill(m, out);
    if (status != PM_OK)
        pm__source_finish(out);
    pm__synth_finish(&m->synth);
    for (uint32_t i = 0; i < PM__SYNTH_POOLS; i++)
        pm__pattern_finish(&m->patterns[i]);
    free(m->pool_of);
    free(m);
    return status;
}
