/* synth.c: models of a named shape with random weights: their keys, their tensors, and how they are
 * written as a file. Blocks are drawn and written a few megabytes at a time; nothing else is
 * held. */
#include "synth.h"

#include "../base/checked.h"
#include "../base/grow.h"
#include "mix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TIED = 1, HEAD_NORMS = 2, SANDWICH = 4 };
enum { SLAB_BYTES = 4 << 20, MOST_NAME = 96, WINDOW = 1024 };

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

/* ---- what is asked for ----------------------------------------------------------------------- */

static pm_status find_shape(pm__synth *s) {
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

static pm_status find_type(pm__synth *s) {
    const char *name = s->desc->type != NULL ? s->desc->type : "q4_0";
    s->type = PM__TYPE_COUNT;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        /* Those that become F32 on a device are of no use to anybody as matrices. */
        const pm__type_info *info = pm__type_get(type);
        const bool kept = strcmp(info->planes, "F32") != 0 || type == PM__TYPE_F32;
        if (kept && strcasecmp(info->file, name) == 0)
            s->type = type;
    }
    if (s->type == PM__TYPE_COUNT)
        s->mix = pm__mix_find(name);
    return s->type != PM__TYPE_COUNT || s->mix != NULL
               ? PM_OK
               : pm__fail(PM_ARGUMENT,
                          "synth: '%.40s' is no tensor type of matrices, and no mix of them", name);
}

/* Another file's vocabulary decides how many pieces there are. */
static pm_status open_tokenizer(pm__synth *s) {
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

static const char *key_name(const pm__synth *s, const char *suffix, char out[MOST_NAME]) {
    snprintf(out, MOST_NAME, "%s.%s", s->shape.arch, suffix);
    return out;
}

static void put_u32(pm__synth *s, const char *suffix, uint32_t value) {
    char name[MOST_NAME];
    pm__gguf_put_u32(&s->writer, key_name(s, suffix, name), value);
}

static void put_f32(pm__synth *s, const char *suffix, float value) {
    char name[MOST_NAME];
    pm__gguf_put_f32(&s->writer, key_name(s, suffix, name), value);
}

static void put_text(pm__synth *s, const char *name, const char *text) {
    pm__gguf_put_string(&s->writer, name, text, strlen(text));
}

static void put_shape(pm__synth *s) {
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

static pm_status put_keys(pm__synth *s) {
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
    if (type == PM__TYPE_COUNT || n_col % pm__type_get(type)->block_n == 0)
        return type;
    return n_col % pm__type_get(PM__TYPE_Q8_0)->block_n == 0 ? PM__TYPE_Q8_0 : PM__TYPE_F16;
}

/* type  PM__TYPE_COUNT: the mix will say */
static pm_status add(pm__synth *s, const char *name, pm__type type, uint32_t n_dim,
                     const uint64_t shape[3]) {
    PM_TRY(pm__grow("synth: tensors", &s->tensors, &s->capacity, s->n_tensor, sizeof *s->tensors));
    pm__gguf_tensor *t = &s->tensors[s->n_tensor];
    *t = (pm__gguf_tensor){.name = pm__arena_string(&s->arena, name, strlen(name)),
                           .type = type,
                           .n_dim = n_dim,
                           .shape = {shape[0], shape[1], shape[2], 1}};
    s->n_tensor += t->name != NULL;
    return t->name != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* A matrix of the type asked for, as nearly as its rows allow. */
static pm_status matrix(pm__synth *s, uint32_t n_col, uint32_t n_row, const char *name) {
    return add(s, name, fit(s->type, n_col), 2, (const uint64_t[]){n_col, n_row, 1});
}

static pm_status matrices(pm__synth *s, uint32_t n_col, uint32_t n_row, const char *name) {
    const uint32_t n = s->shape.n_expert;
    return add(s, name, fit(s->type, n_col), n > 1 ? 3 : 2, (const uint64_t[]){n_col, n_row, n});
}

/* Weights of a norm, around 1. */
static pm_status norm(pm__synth *s, uint32_t n, const char *name) {
    return add(s, name, PM__TYPE_F32, 1, (const uint64_t[]){n, 1, 1});
}

static const char *in_layer(uint32_t layer, const char *what, char out[MOST_NAME]) {
    snprintf(out, MOST_NAME, "blk.%" PRIu32 ".%s.weight", layer, what);
    return out;
}

static pm_status attention(pm__synth *s, uint32_t layer) {
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

static pm_status experts(pm__synth *s, uint32_t layer) {
    const pm__shape *m = &s->shape;
    const uint64_t router[] = {m->n_embd, m->n_expert, 1};
    char name[MOST_NAME];
    PM_TRY(add(s, in_layer(layer, "ffn_gate_inp", name), PM__TYPE_F32, 2, router));
    PM_TRY(matrices(s, m->n_embd, m->n_ff, in_layer(layer, "ffn_gate_exps", name)));
    PM_TRY(matrices(s, m->n_embd, m->n_ff, in_layer(layer, "ffn_up_exps", name)));
    return matrices(s, m->n_ff, m->n_embd, in_layer(layer, "ffn_down_exps", name));
}

static pm_status feed_forward(pm__synth *s, uint32_t layer) {
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

static pm_status add_all(pm__synth *s) {
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

/* The keys alone, as if a file had them: the rules of mixes look at them, and so does a model. */
static bool keep(void *user, const void *data, size_t n) {
    uint8_t **at = user;
    memcpy(*at, data, n);
    *at += n;
    return true;
}

static pm_status index_keys(pm__synth *s) {
    PM_TRY(put_keys(s));
    const size_t n = (size_t)pm__gguf_file_bytes(&s->writer);
    uint8_t *bytes = s->writer.status == PM_OK ? malloc(n) : NULL;
    s->key_bytes = bytes;
    s->n_key_byte = n;
    if (bytes == NULL)
        return s->writer.status != PM_OK ? s->writer.status : pm__fail_memory("synth: keys", n);
    PM_TRY(pm__gguf_write_index(&s->writer, keep, &bytes));
    pm__gguf_writer_finish(&s->writer);
    pm__gguf_writer_init(&s->writer);
    return pm__gguf_init(&s->keys, s->key_bytes, n);
}

static pm_status mix_types(pm__synth *s, const pm__gguf *gguf) {
    pm__mix_model model = {.mix = NULL};
    const pm_status status = pm__mix_model_init(&model, s->mix, gguf, false);
    for (size_t i = 0; i < s->n_tensor && status == PM_OK; i++) {
        pm__gguf_tensor *t = &s->tensors[i];
        const pm__role role = pm__mix_role(&model, t);
        if (role != PM__ROLE_KEPT)
            t->type = pm__mix_fit(pm__mix_type(&model, t, role), t->shape[0]);
    }
    pm__mix_model_finish(&model);
    return status;
}

static pm_status choose_types(pm__synth *s) {
    pm__gguf gguf = {0};
    if (s->mix == NULL)
        return PM_OK;
    PM_TRY(pm__gguf_make(&gguf, "synth", s->keys.keys, (size_t)s->keys.n_key, s->tensors,
                         s->n_tensor));
    const pm_status status = mix_types(s, &gguf);
    pm__gguf_finish(&gguf);
    return status;
}

pm_status pm__synth_init(pm__synth *s, const pm_synth_desc *desc) {
    *s = (pm__synth){.desc = desc, .seed = desc->seed};
    pm__gguf_writer_init(&s->writer);
    PM_TRY(find_shape(s));
    PM_TRY(find_type(s));
    PM_TRY(open_tokenizer(s));
    PM_TRY(index_keys(s));
    PM_TRY(add_all(s));
    PM_TRY(choose_types(s));
    for (size_t i = 0; i < s->n_tensor; i++) {
        pm__gguf_tensor *t = &s->tensors[i];
        t->type_id = pm__type_get(t->type)->id;
        pm__type_row_bytes(t->type, t->shape[0], &t->bytes);
        t->bytes *= t->shape[1] * t->shape[2];
        s->total += t->bytes;
    }
    return PM_OK;
}

void pm__synth_finish(pm__synth *s) {
    for (size_t i = 0; i < PM__COUNT(s->pools); i++)
        pm__synth_pool_finish(&s->pools[i].blocks);
    pm__gguf_writer_finish(&s->writer);
    pm__gguf_finish(&s->keys);
    pm__source_finish(&s->tokenizer);
    pm__arena_finish(&s->arena);
    free(s->key_bytes);
    free(s->tensors);
}

/* A row gives a sum of n_col products: what goes in with size 1 comes out with it. No shape has
 * more types and lengths of rows than there are pools. */
pm_status pm__synth_find_pool(pm__synth *s, const pm__gguf_tensor *t, uint32_t *out) {
    const uint32_t n_col = (uint32_t)t->shape[0];
    uint32_t i = 0;
    while (i < PM__SYNTH_POOLS - 1 && s->pools[i].n_col != 0 &&
           (s->pools[i].n_col != n_col || s->pools[i].blocks.type != t->type))
        i++;
    *out = i;
    if (s->pools[i].n_col != 0)
        return PM_OK;
    s->pools[i].n_col = n_col;
    return pm__synth_pool_init(&s->pools[i].blocks, t->type, 1.0f / sqrtf((float)n_col),
                               s->desc->seed + i);
}

void pm__synth_draw_norm(pm__synth *s, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = 1.0f + 0.1f * pm__synth_normal(&s->seed);
}

/* ---- the file -------------------------------------------------------------------------------- */

static pm_status write_data(pm__synth *s, const uint8_t *slab, uint64_t bytes) {
    PM_TRY(pm__gguf_write_data(&s->writer, slab, (size_t)bytes));
    s->done += bytes;
    if (s->desc->progress != NULL && !s->desc->progress(s->desc->user, "synth", s->done, s->total))
        return pm__fail(PM_CANCELLED, "synth: interrupted");
    return PM_OK;
}

static pm_status write_tensor(pm__synth *s, const pm__gguf_tensor *t, uint8_t *slab) {
    uint32_t i = 0;
    if (t->n_dim == 1) {
        pm__synth_draw_norm(s, t->shape[0], (float *)(void *)slab);
        return write_data(s, slab, t->bytes);
    }
    PM_TRY(pm__synth_find_pool(s, t, &i));
    pm__synth_pool *pool = &s->pools[i].blocks;
    const uint64_t step = SLAB_BYTES / pool->group_bytes;
    for (uint64_t left = t->bytes / pool->group_bytes; left > 0;) {
        const uint64_t n = pm__least_u64(left, step);
        pm__synth_pool_draw(pool, n, slab);
        PM_TRY(write_data(s, slab, n * pool->group_bytes));
        left -= n;
    }
    return PM_OK;
}

static pm_status write_file(pm__synth *s, uint8_t *slab) {
    PM_TRY(put_keys(s));
    for (size_t i = 0; i < s->n_tensor; i++)
        pm__gguf_put_tensor(&s->writer, s->tensors[i].name, s->tensors[i].type_id,
                            s->tensors[i].n_dim, s->tensors[i].shape);
    PM_TRY(pm__gguf_write_index(&s->writer, s->desc->write, s->desc->user));
    for (size_t i = 0; i < s->n_tensor; i++)
        PM_TRY(write_tensor(s, &s->tensors[i], slab));
    return PM_OK;
}

pm_status pm_synth(const pm_synth_desc *desc) {
    if (desc == NULL || desc->shape == NULL || desc->write == NULL)
        return pm__fail(PM_ARGUMENT, "synth: no shape, or nothing to write to");
    pm__synth *s = calloc(1, sizeof *s);
    uint8_t *slab = malloc(SLAB_BYTES);
    pm_status status = s != NULL && slab != NULL ? pm__synth_init(s, desc)
                                                 : pm__fail_memory("synth: blocks", SLAB_BYTES);
    if (status == PM_OK)
        status = write_file(s, slab);
    if (s != NULL)
        pm__synth_finish(s);
    free(slab);
    free(s);
    return status;
}
