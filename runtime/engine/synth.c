/* synth.c: models of a named shape with random weights. Blocks are drawn and written a few megabytes
 * at a time; nothing else is held. */
#include "synth.h"

#include "../base/checked.h"
#include "../source/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TIED = 1, HEAD_NORMS = 2, SANDWICH = 4 };
enum { SLAB_BYTES = 4 << 20, MOST_NAME = 96, WINDOW = 1024, MOST_POOL = 8 };

static const pm__shape shapes[] = {
#define PM_SHAPE(...) {__VA_ARGS__},
#include "shapes.def"
};

bool pm_synth_shape(size_t i, const char **name, const char **what) {
    if (i >= PM__COUNT(shapes))
        return false;
    *name = shapes[i].name;
    *what = shapes[i].what;
    return true;
}

typedef struct synth {
    const pm_synth_desc *desc;
    pm__shape shape;
    pm__type type;
    pm__source tokenizer; /* where one was given */
    pm__gguf_writer writer;
    struct {
        pm__synth_pool blocks;
        uint32_t n_col;
    } pools[MOST_POOL]; /* one for each type and length of rows */
    uint8_t *slab;
    uint64_t seed, done, total; /* bytes of tensors */
    bool writing;               /* else tensors are only named */
} synth;

/* ---- what is asked for ----------------------------------------------------------------------- */

static pm_status find_shape(synth *s) {
    char known[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < PM__COUNT(shapes); i++) {
        if (strcmp(shapes[i].name, s->desc->shape) == 0)
            s->shape = shapes[i];
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, " %s", shapes[i].name);
    }
    if (s->shape.name == NULL)
        return pm__fail(PM_ARGUMENT, "synth: there is no shape '%.40s'; there are%s",
                        s->desc->shape, known);
    if (s->desc->n_layer > 0)
        s->shape.n_layer = s->desc->n_layer;
    if (s->desc->n_ctx > 0)
        s->shape.n_ctx = s->desc->n_ctx;
    if (s->shape.n_layer > 1024 || s->shape.n_ctx > 1 << 24)
        return pm__fail(PM_ARGUMENT, "synth: at most 1024 layers and 16777216 positions");
    return PM_OK;
}

static pm_status find_type(synth *s) {
    const char *name = s->desc->type != NULL ? s->desc->type : "q4_0";
    s->type = PM__TYPE_COUNT;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        /* Those that become F32 on a device are of no use to anybody as matrices. */
        const pm__type_info *info = pm__type_get(type);
        const bool kept = strcmp(info->planes, "F32") != 0 || type == PM__TYPE_F32;
        if (kept && strcasecmp(info->file, name) == 0)
            s->type = type;
    }
    return s->type != PM__TYPE_COUNT
               ? PM_OK
               : pm__fail(PM_ARGUMENT, "synth: '%.40s' is no tensor type of matrices", name);
}

/* Another file's vocabulary decides how many pieces there are. */
static pm_status open_tokenizer(synth *s) {
    if (s->desc->tokenizer == NULL)
        return PM_OK;
    PM_TRY(pm__source_init(&s->tokenizer, s->desc->tokenizer));
    const pm__gguf_key *tokens = pm__gguf_find_key(&s->tokenizer.gguf, "tokenizer.ggml.tokens");
    if (tokens == NULL || tokens->type != PM__GGUF_ARRAY || tokens->n == 0 || tokens->n > INT32_MAX)
        return pm__fail(PM_BAD_FILE, "synth: %s has no vocabulary (tokenizer.ggml.tokens)",
                        s->desc->tokenizer);
    s->shape.n_vocab = (uint32_t)tokens->n;
    return PM_OK;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static const char *key_name(const synth *s, const char *suffix, char out[MOST_NAME]) {
    snprintf(out, MOST_NAME, "%s.%s", s->shape.arch, suffix);
    return out;
}

static void put_u32(synth *s, const char *suffix, uint32_t value) {
    char name[MOST_NAME];
    pm__gguf_put_u32(&s->writer, key_name(s, suffix, name), value);
}

static void put_f32(synth *s, const char *suffix, float value) {
    char name[MOST_NAME];
    pm__gguf_put_f32(&s->writer, key_name(s, suffix, name), value);
}

static void put_text(synth *s, const char *name, const char *text) {
    pm__gguf_put_string(&s->writer, name, text, strlen(text));
}

static void put_shape(synth *s) {
    const pm__shape *shape = &s->shape;
    char name[MOST_NAME];
    put_u32(s, "vocab_size", shape->n_vocab);
    put_u32(s, "context_length", shape->n_ctx);
    put_u32(s, "embedding_length", shape->n_embd);
    put_u32(s, "block_count", shape->n_layer);
    put_u32(s, "feed_forward_length", shape->n_ff);
    put_u32(s, "attention.head_count", shape->n_head);
    put_u32(s, "attention.head_count_kv", shape->n_head_kv);
    put_u32(s, "attention.key_length", shape->head_dim);
    put_u32(s, "attention.value_length", shape->head_dim);
    put_f32(s, "attention.layer_norm_rms_epsilon", 1e-6f);
    put_u32(s, "rope.dimension_count", shape->head_dim);
    put_f32(s, "rope.freq_base", (float)shape->rope_base);
    if (shape->n_expert > 0) {
        put_u32(s, "expert_count", shape->n_expert);
        put_u32(s, "expert_used_count", shape->n_expert_used);
        put_u32(s, "expert_feed_forward_length", shape->n_ff);
    }
    if ((shape->flags & SANDWICH) != 0) {
        put_u32(s, "attention.sliding_window", WINDOW);
        put_text(s, key_name(s, "rope.scaling.type", name), "linear");
        put_f32(s, "rope.scaling.factor", 8.0f);
    }
}

static pm_status put_keys(synth *s) {
    static const char vocabulary[] = "tokenizer.";
    put_text(s, "general.architecture", s->shape.arch);
    put_text(s, "general.name", s->shape.name);
    put_shape(s);
    if (s->desc->tokenizer == NULL)
        return pm__synth_vocabulary(&s->writer, s->shape.n_vocab);
    for (uint64_t i = 0; i < s->tokenizer.gguf.n_key; i++) {
        const pm__gguf_key *key = &s->tokenizer.gguf.keys[i];
        if (key->name.size > strlen(vocabulary) &&
            memcmp(key->name.data, vocabulary, strlen(vocabulary)) == 0)
            pm__gguf_put_key(&s->writer, key);
    }
    return PM_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The type asked for, or one of more bits whose blocks divide the rows. */
static pm__type fit(pm__type type, uint64_t n_col) {
    if (n_col % pm__type_get(type)->block_n == 0)
        return type;
    return n_col % pm__type_get(PM__TYPE_Q8_0)->block_n == 0 ? PM__TYPE_Q8_0 : PM__TYPE_F16;
}

static pm_status tell(synth *s, uint64_t bytes) {
    s->done += bytes;
    if (s->desc->progress != NULL && !s->desc->progress(s->desc->user, "synth", s->done, s->total))
        return pm__fail(PM_CANCELLED, "synth: interrupted");
    return PM_OK;
}

/* A row gives a sum of n_col products: what goes in with size 1 comes out with it. No shape has more
 * lengths of rows than there are pools. */
static pm_status find_pool(synth *s, pm__type type, uint32_t n_col, pm__synth_pool **out) {
    uint32_t i = 0;
    while (i < MOST_POOL - 1 && s->pools[i].n_col != 0 &&
           (s->pools[i].n_col != n_col || s->pools[i].blocks.type != type))
        i++;
    *out = &s->pools[i].blocks;
    if (s->pools[i].n_col != 0)
        return PM_OK;
    s->pools[i].n_col = n_col;
    return pm__synth_pool_init(*out, type, 1.0f / sqrtf((float)n_col), s->desc->seed + i);
}

static pm_status write_matrix(synth *s, pm__type type, uint32_t n_col, uint64_t n_row) {
    pm__synth_pool *pool = NULL;
    PM_TRY(find_pool(s, type, n_col, &pool));
    const uint64_t step = SLAB_BYTES / pool->group_bytes;
    for (uint64_t left = n_col * n_row / pool->group_n; left > 0;) {
        const uint64_t n = pm__least_u64(left, step);
        pm__synth_pool_draw(pool, n, s->slab);
        PM_TRY(pm__gguf_write_data(&s->writer, s->slab, (size_t)(n * pool->group_bytes)));
        PM_TRY(tell(s, n * pool->group_bytes));
        left -= n;
    }
    return PM_OK;
}

/* [n_matrix] matrices of n_row rows of n_col, in `type`. */
static pm_status matrices(synth *s, pm__type type, uint32_t n_col, uint32_t n_row,
                          uint32_t n_matrix, const char *name) {
    const uint64_t shape[] = {n_col, n_row, n_matrix};
    uint64_t row_bytes = 0;
    if (s->writing)
        return write_matrix(s, type, n_col, (uint64_t)n_row * n_matrix);
    pm__type_row_bytes(type, n_col, &row_bytes);
    s->total += row_bytes * n_row * n_matrix;
    pm__gguf_put_tensor(&s->writer, name, pm__type_get(type)->id, n_matrix > 1 ? 3 : 2, shape);
    return PM_OK;
}

/* A matrix of the type asked for, as nearly as its rows allow. */
static pm_status matrix(synth *s, uint32_t n_col, uint32_t n_row, const char *name) {
    return matrices(s, fit(s->type, n_col), n_col, n_row, 1, name);
}

/* Weights of a norm, around 1. */
static pm_status norm(synth *s, uint32_t n, const char *name) {
    const uint64_t shape[] = {n};
    if (!s->writing) {
        s->total += n * sizeof(float);
        pm__gguf_put_tensor(&s->writer, name, pm__type_get(PM__TYPE_F32)->id, 1, shape);
        return PM_OK;
    }
    float *x = (float *)(void *)s->slab;
    for (uint32_t i = 0; i < n; i++)
        x[i] = 1.0f + 0.1f * pm__synth_normal(&s->seed);
    PM_TRY(pm__gguf_write_data(&s->writer, x, n * sizeof *x));
    return tell(s, n * sizeof *x);
}

static const char *in_layer(uint32_t layer, const char *what, char out[MOST_NAME]) {
    snprintf(out, MOST_NAME, "blk.%" PRIu32 ".%s.weight", layer, what);
    return out;
}

static pm_status attention(synth *s, uint32_t layer) {
    const pm__shape *m = &s->shape;
    const uint32_t n_q = m->n_head * m->head_dim, n_kv = m->n_head_kv * m->head_dim;
    char name[MOST_NAME];
    PM_TRY(norm(s, m->n_embd, in_layer(layer, "attn_norm", name)));
    PM_TRY(matrix(s, m->n_embd, n_q, in_layer(layer, "attn_q", name)));
    PM_TRY(matrix(s, m->n_embd, n_kv, in_layer(layer, "attn_k", name)));
    PM_TRY(matrix(s, m->n_embd, n_kv, in_layer(layer, "attn_v", name)));
    PM_TRY(matrix(s, n_q, m->n_embd, in_layer(layer, "attn_output", name)));
    if ((m->flags & HEAD_NORMS) != 0) {
        PM_TRY(norm(s, m->head_dim, in_layer(layer, "attn_q_norm", name)));
        PM_TRY(norm(s, m->head_dim, in_layer(layer, "attn_k_norm", name)));
    }
    if ((m->flags & SANDWICH) != 0)
        PM_TRY(norm(s, m->n_embd, in_layer(layer, "post_attention_norm", name)));
    return PM_OK;
}

static pm_status experts(synth *s, uint32_t layer) {
    const pm__shape *m = &s->shape;
    const pm__type in = fit(s->type, m->n_embd), out = fit(s->type, m->n_ff);
    const uint32_t n = m->n_expert;
    char name[MOST_NAME];
    PM_TRY(matrices(s, PM__TYPE_F32, m->n_embd, n, 1, in_layer(layer, "ffn_gate_inp", name)));
    PM_TRY(matrices(s, in, m->n_embd, m->n_ff, n, in_layer(layer, "ffn_gate_exps", name)));
    PM_TRY(matrices(s, in, m->n_embd, m->n_ff, n, in_layer(layer, "ffn_up_exps", name)));
    return matrices(s, out, m->n_ff, m->n_embd, n, in_layer(layer, "ffn_down_exps", name));
}

static pm_status feed_forward(synth *s, uint32_t layer) {
    const pm__shape *m = &s->shape;
    char name[MOST_NAME];
    PM_TRY(norm(s, m->n_embd, in_layer(layer, "ffn_norm", name)));
    if (m->n_expert > 0)
        return experts(s, layer);
    PM_TRY(matrix(s, m->n_embd, m->n_ff, in_layer(layer, "ffn_gate", name)));
    PM_TRY(matrix(s, m->n_embd, m->n_ff, in_layer(layer, "ffn_up", name)));
    PM_TRY(matrix(s, m->n_ff, m->n_embd, in_layer(layer, "ffn_down", name)));
    return (m->flags & SANDWICH) != 0 ? norm(s, m->n_embd, in_layer(layer, "post_ffw_norm", name))
                                      : PM_OK;
}

/* Names all tensors, or writes them, in the same order. */
static pm_status each_tensor(synth *s) {
    const pm__shape *m = &s->shape;
    PM_TRY(matrix(s, m->n_embd, m->n_vocab, "token_embd.weight"));
    PM_TRY(norm(s, m->n_embd, "output_norm.weight"));
    if ((m->flags & TIED) == 0)
        PM_TRY(matrix(s, m->n_embd, m->n_vocab, "output.weight"));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        PM_TRY(attention(s, i));
        PM_TRY(feed_forward(s, i));
    }
    return PM_OK;
}

/* ---- whole ----------------------------------------------------------------------------------- */

static pm_status run(synth *s) {
    PM_TRY(find_shape(s));
    PM_TRY(find_type(s));
    PM_TRY(open_tokenizer(s));
    PM_TRY(put_keys(s));
    PM_TRY(each_tensor(s));
    s->slab = malloc(SLAB_BYTES);
    if (s->slab == NULL)
        return pm__fail_memory("synth: blocks", SLAB_BYTES);
    PM_TRY(pm__gguf_write_index(&s->writer, s->desc->write, s->desc->user));
    s->writing = true;
    return each_tensor(s);
}

pm_status pm_synth(const pm_synth_desc *desc) {
    if (desc == NULL || desc->shape == NULL || desc->write == NULL)
        return pm__fail(PM_ARGUMENT, "synth: no shape, or nothing to write to");
    synth *s = calloc(1, sizeof *s);
    if (s == NULL)
        return pm__fail_memory("synth", sizeof *s);
    s->desc = desc;
    s->seed = desc->seed;
    pm__gguf_writer_init(&s->writer);
    const pm_status status = run(s);
    for (size_t i = 0; i < PM__COUNT(s->pools); i++)
        pm__synth_pool_finish(&s->pools[i].blocks);
    pm__gguf_writer_finish(&s->writer);
    pm__source_finish(&s->tokenizer);
    free(s->slab);
    free(s);
    return status;
}
