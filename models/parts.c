#include "parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The last layers of some files predict tokens further ahead, which plain decoding does not
 * need. */
static void drop_predicting_layers(pm__model_def *def) {
    const uint32_t n_all = def->n_layer;
    const uint32_t n = pm__key_u32_or(def, "nextn_predict_layers", 0, n_all - 1, 0);
    def->n_layer -= n;
    for (uint64_t t = 0; n > 0 && t < def->gguf->n_tensor; t++) {
        unsigned i;
        const char *name = def->gguf->tensors[t].name;
        if (sscanf(name, "blk.%u.", &i) == 1 && i >= def->n_layer && i < n_all)
            pm__tensor_ignore(def, "%s", name);
    }
}

void pm__load_sizes(pm__model_def *def) {
    def->n_layer = pm__key_u32(def, "block_count", 1, PM__MOST_LAYER);
    drop_predicting_layers(def);
    def->n_ctx_train = pm__key_u32(def, "context_length", 1, INT32_MAX);
    def->n_embd = pm__key_u32(def, "embedding_length", 1, 1 << 20);
    def->n_vocab = pm__tensor_rows(def, "token_embd.weight");
}

void *pm__load_layers(pm__model_def *def, size_t layer_bytes) {
    if (def->status != PM_OK)
        return NULL;
    void *layers = pm__arena_array(&def->arena, def->n_layer, layer_bytes);
    if (layers == NULL)
        def->status = PM_OUT_OF_MEMORY;
    return layers;
}

/* ---- norms ----------------------------------------------------------------------------------- */

enum { MOST_NAME = 64 };

static float norm_eps(pm__model_def *def, pm__norm_kind kind) {
    return pm__key_f32(def,
                       kind == PM__NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                            : "attention.layer_norm_epsilon",
                       0.0f, 1.0f);
}

pm__norm pm__load_norm(pm__model_def *def, pm__norm_kind kind, uint32_t n, const char *fmt, ...) {
    char name[MOST_NAME];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return (pm__norm){.kind = kind,
                      .eps = norm_eps(def, kind),
                      .weight = pm__vector(def, n, "%s.weight", name),
                      .bias = pm__vector_or_null(def, n, "%s.bias", name)};
}

pm__norm pm__load_norm_or_none(pm__model_def *def, pm__norm_kind kind, uint32_t n, const char *fmt,
                               ...) {
    char name[MOST_NAME];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (!pm__tensor_exists(def, "%s.weight", name))
        return (pm__norm){.kind = kind};
    return pm__load_norm(def, kind, n, "%s", name);
}

pm__t pm__build_norm(pm__graph *g, const char *name, pm__t x, const pm__norm *norm) {
    if (norm->weight == NULL && !norm->bare)
        return x;
    const uint32_t head_dim = norm->head_dim != 0 || x == NULL ? norm->head_dim : x->n_col;
    if (norm->kind == PM__NORM_RMS)
        return pm__rmsnorm_heads(g, name, x, norm->weight, head_dim, norm->eps);
    return pm__layernorm_heads(g, name, x, norm->weight, norm->bias, head_dim, norm->eps);
}

/* ---- rotations ------------------------------------------------------------------------------- */

enum { MOST_PAIRS = 512 };

/* The pair that turns b times within the length the model was trained for. */
static double pair_of_turns(const pm__rope_desc *rope, double n_ctx, double b) {
    const double two_pi = 6.283185307179586477;
    return rope->n_rot * log(n_ctx / (two_pi * b)) / (2 * log((double)rope->freq_base));
}

/* Slow pairs are interpolated, fast ones are not: their factors, times those that the file has. */
static pm__t yarn_factors(pm__model_def *def, const pm__rope_desc *rope, double factor,
                          const float betas[2]) {
    const double n_ctx = pm__key_u32(def, "rope.scaling.original_context_length", 1, INT32_MAX);
    const uint32_t n_pair = rope->n_rot / 2;
    const double low = fmax(0, floor(pair_of_turns(rope, n_ctx, (double)betas[0])));
    const double high =
        fmin((double)rope->n_rot - 1, ceil(pair_of_turns(rope, n_ctx, (double)betas[1])));
    const float *own = rope->factors != NULL ? pm__vector_values(def, rope->factors) : NULL;
    float factors[MOST_PAIRS];
    if (def->status != PM_OK || n_pair > MOST_PAIRS)
        return NULL;
    for (uint32_t i = 0; i < n_pair; i++) {
        const double ramp = fmin(fmax((i - low) / fmax(0.001, high - low), 0), 1);
        factors[i] = (float)(1 / (ramp / factor + (1 - ramp)));
        if (own != NULL)
            factors[i] *= own[i];
    }
    return pm__constant(def, "rope_factors_yarn", factors, n_pair);
}

static void load_scaling(pm__model_def *def, pm__rope_desc *rope, const float betas[2]) {
    /* A factor without a type is linear; old files say it in one word. */
    float factor = pm__key_f32_or(def, "rope.scale_linear", 1e-3f, 1e6f, 1.0f);
    factor = pm__key_f32_or(def, "rope.scaling.factor", 1e-3f, 1e6f, factor);
    const float attn_factor = pm__key_f32_or(def, "rope.scaling.attn_factor", 1e-3f, 1e3f, 1.0f);
    rope->freq_scale = 1.0f;
    rope->scale = attn_factor;
    if (pm__key_is(def, "rope.scaling.type", "yarn")) {
        rope->factors = yarn_factors(def, rope, (double)factor, betas);
        rope->scale *= 1.0f + 0.1f * logf(factor);
    } else if (pm__key_is(def, "rope.scaling.type", "linear")) {
        rope->freq_scale = 1.0f / factor;
    } else if (pm__key_is(def, "rope.scaling.type", "none") ||
               pm__key_is(def, "rope.scaling.type", "longrope")) {
        return;
    } else if (pm__key_exists(def, "rope.scaling.type")) {
        pm__key_refuse(def, "rope.scaling.type", "only none, linear, yarn and longrope are built");
    } else {
        rope->freq_scale = 1.0f / factor;
    }
}

static void load_long_factors(pm__model_def *def, pm__rotation *r) {
    const uint32_t n_pair = r->rope.n_rot / 2;
    r->long_factors = pm__vector_or_null(def, n_pair, "rope_factors_long.weight");
    if (r->long_factors == NULL)
        return;
    r->rope.factors = pm__vector(def, n_pair, "rope_factors_short.weight");
    r->n_ctx_short = pm__key_u32(def, "rope.scaling.original_context_length", 1, INT32_MAX);
}

pm__rotation pm__load_rotation(pm__model_def *def, pm__rope_style style, uint32_t head_dim,
                               const float yarn_betas[2]) {
    float betas[2] = {32.0f, 1.0f};
    for (int i = 0; yarn_betas != NULL && i < 2; i++)
        if (yarn_betas[i] > 0)
            betas[i] = yarn_betas[i];
    pm__rotation r = {.rope = {.head_dim = head_dim, .style = style}};
    r.rope.n_rot = pm__key_u32_or(def, "rope.dimension_count", 2, head_dim & ~1u, head_dim);
    if (def->status == PM_OK && r.rope.n_rot % 2 != 0)
        def->status =
            pm__fail(PM_BAD_FILE, "model: %s.rope.dimension_count is %u, but values turn in pairs",
                     def->arch->name, r.rope.n_rot);
    r.rope.freq_base = pm__key_f32_or(def, "rope.freq_base", 1.0f, 1e12f, 10000.0f);
    r.rope.factors = pm__vector_or_null(def, r.rope.n_rot / 2, "rope_freqs.weight");
    load_scaling(def, &r.rope, betas);
    load_long_factors(def, &r);
    return r;
}

pm__rotation pm__plain_rotation(const pm__rotation *from, float freq_base) {
    pm__rotation plain = {.rope = from->rope};
    plain.rope.freq_base = freq_base;
    plain.rope.freq_scale = plain.rope.scale = 1.0f;
    plain.rope.factors = NULL;
    return plain;
}

pm__t pm__build_rotation(pm__graph *g, const char *name, pm__t x, const pm__rotation *rotation) {
    if (rotation->rope.n_rot == 0)
        return x;
    pm__rope_desc rope = rotation->rope;
    if (rotation->long_factors != NULL && g->n_ctx > rotation->n_ctx_short)
        rope.factors = rotation->long_factors;
    return pm__rope(g, name, x, &rope);
}

/* ---- attention ------------------------------------------------------------------------------- */

static void check_heads(pm__model_def *def, const pm__heads *h) {
    if (def->status == PM_OK && (h->n_head_kv == 0 || h->n_head % h->n_head_kv != 0))
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.attention.head_count_kv is %u, which does not divide "
                               "%s.attention.head_count, %u",
                               def->arch->name, h->n_head_kv, def->arch->name, h->n_head);
}

/* n_head and n_head_kv are there. */
static void load_head_dim(pm__model_def *def, pm__heads *h) {
    h->head_dim = pm__key_u32_or(def, "attention.key_length", 1, PM__MOST_HEAD_DIM, 0);
    check_heads(def, h);
    if (def->status == PM_OK && h->head_dim == 0) {
        if (def->n_embd % h->n_head != 0 || def->n_embd / h->n_head > PM__MOST_HEAD_DIM)
            def->status = pm__fail(PM_BAD_FILE,
                                   "model: %s.attention.head_count is %u, which does not cut "
                                   "%s.embedding_length, %u, into heads of at most %d",
                                   def->arch->name, h->n_head, def->arch->name, def->n_embd,
                                   PM__MOST_HEAD_DIM);
        h->head_dim = def->n_embd / h->n_head;
    }
    const uint32_t value_length =
        pm__key_u32_or(def, "attention.value_length", 1, PM__MOST_HEAD_DIM, h->head_dim);
    if (def->status == PM_OK && value_length != h->head_dim)
        def->status = pm__fail(PM_UNSUPPORTED,
                               "model: %s.attention.value_length is %u and keys have %u; "
                               "only equal lengths are built",
                               def->arch->name, value_length, h->head_dim);
    h->scale = 1.0f / sqrtf((float)h->head_dim);
}

void pm__load_heads(pm__model_def *def, pm__heads *h) {
    h->n_head = pm__key_u32(def, "attention.head_count", 1, 1 << 16);
    h->n_head_kv = pm__key_u32_or(def, "attention.head_count_kv", 1, h->n_head, h->n_head);
    load_head_dim(def, h);
}

bool pm__load_layer_heads(pm__model_def *def, uint32_t layer, pm__heads *h) {
    const uint32_t n_head = pm__key_u32_layer(def, "attention.head_count", layer, 0, 1 << 16);
    h->n_head = n_head;
    h->n_head_kv = pm__key_u32_layer_or(def, "attention.head_count_kv", layer, 0, n_head, n_head);
    if (h->n_head_kv > 0)
        load_head_dim(def, h);
    return h->n_head_kv > 0;
}

bool pm__load_windowed(pm__model_def *def, uint32_t period, uint32_t layer) {
    bool flag;
    if (pm__key_flag_layer(def, "attention.sliding_window_pattern", layer, &flag))
        return flag;
    period = pm__key_u32_or(def, "attention.sliding_window_pattern", 0, PM__MOST_LAYER, period);
    return period == 0 || layer % period < period - 1;
}

/* All q heads, then k, then v, in one tensor. */
static void load_fused(pm__model_def *def, const pm__heads *h, uint32_t layer,
                       pm__attention_part *out) {
    const uint32_t n_q = h->n_head * h->head_dim, n_kv = h->n_head_kv * h->head_dim;
    const uint32_t n_all = n_q + 2 * n_kv, n_embd = def->n_embd;
    static const char weight[] = "blk.%u.attn_qkv.weight", bias[] = "blk.%u.attn_qkv.bias";
    out->wq = pm__matrix_rows(def, n_all, 0, n_q, n_embd, weight, layer);
    out->wk = pm__matrix_rows(def, n_all, n_q, n_kv, n_embd, weight, layer);
    out->wv = pm__matrix_rows(def, n_all, n_q + n_kv, n_kv, n_embd, weight, layer);
    if (!pm__tensor_exists(def, bias, layer))
        return;
    out->bq = pm__vector_part(def, n_all, 0, n_q, bias, layer);
    out->bk = pm__vector_part(def, n_all, n_q, n_kv, bias, layer);
    out->bv = pm__vector_part(def, n_all, n_q + n_kv, n_kv, bias, layer);
}

static void load_split(pm__model_def *def, const pm__heads *h, uint32_t layer,
                       pm__attention_part *out) {
    const uint32_t n_q = h->n_head * h->head_dim * (h->gated ? 2 : 1);
    const uint32_t n_kv = h->n_head_kv * h->head_dim;
    out->wq = pm__matrix(def, n_q, def->n_embd, "blk.%u.attn_q.weight", layer);
    out->wk = pm__matrix(def, n_kv, def->n_embd, "blk.%u.attn_k.weight", layer);
    out->wv = pm__matrix(def, n_kv, def->n_embd, "blk.%u.attn_v.weight", layer);
    out->bq = pm__vector_or_null(def, n_q, "blk.%u.attn_q.bias", layer);
    out->bk = pm__vector_or_null(def, n_kv, "blk.%u.attn_k.bias", layer);
    out->bv = pm__vector_or_null(def, n_kv, "blk.%u.attn_v.bias", layer);
}

static pm__norm load_qk_norm(pm__model_def *def, const pm__heads *h, uint32_t n_head,
                             const char *name, uint32_t layer, pm__norm_kind kind) {
    if (h->qk_norm == PM__QK_NORM_NONE)
        return (pm__norm){.kind = kind};
    const uint32_t n = h->qk_norm == PM__QK_NORM_HEADS ? h->head_dim : n_head * h->head_dim;
    pm__norm norm = pm__load_norm_or_none(def, kind, n, "blk.%u.%s", layer, name);
    norm.head_dim = h->qk_norm == PM__QK_NORM_WHOLE ? n : h->head_dim;
    return norm;
}

void pm__load_attention(pm__model_def *def, const pm__heads *h, pm__norm_kind kind, uint32_t layer,
                        pm__attention_part *out) {
    const uint32_t n_q = h->n_head * h->head_dim;
    *out = (pm__attention_part){.wq = NULL};
    if (pm__tensor_exists(def, "blk.%u.attn_qkv.weight", layer))
        load_fused(def, h, layer, out);
    else
        load_split(def, h, layer, out);
    pm__join_matrices(def, (pm__t[]){out->wq, out->wk, out->wv}, 3);
    pm__join_vectors(def, (pm__t[]){out->bq, out->bk, out->bv}, 3);
    out->wo = pm__matrix(def, def->n_embd, n_q, "blk.%u.attn_output.weight", layer);
    out->bo = pm__vector_or_null(def, def->n_embd, "blk.%u.attn_output.bias", layer);
    out->q_norm = load_qk_norm(def, h, h->n_head, "attn_q_norm", layer, kind);
    out->k_norm = load_qk_norm(def, h, h->n_head_kv, "attn_k_norm", layer, kind);
    /* Old converters wrote the frequencies that follow from rope.freq_base. */
    pm__tensor_ignore(def, "blk.%u.attn_rot_embd.weight", layer);
    pm__tensor_ignore(def, "blk.%u.attn_rot_embd", layer);
    pm__tensor_ignore(def, "blk.%u.attention.rotary_emb.inv_freq", layer);
}

/* Queries or keys: product, norm, rotation. */
static pm__t turned(pm__graph *g, const pm__heads *h, const pm__norm *norm, pm__t x,
                    const char *const names[3]) {
    if (h->clamp > 0)
        x = pm__clamp(g, names[2], x, -h->clamp, h->clamp);
    if (!h->norm_after_rotation)
        x = pm__build_norm(g, names[0], x, norm);
    x = pm__build_rotation(g, names[1], x, &h->rotation);
    return h->norm_after_rotation ? pm__build_norm(g, names[0], x, norm) : x;
}

/* Of each head the query, then the gate. */
static pm__t split_gate(pm__graph *g, const pm__heads *h, pm__t q, pm__t *gate) {
    pm__slice_desc half = {.n_group = h->n_head, .stride = 2 * h->head_dim, .n = h->head_dim};
    pm__t query = pm__slice(g, "attn_q_head", q, &half);
    half.first = h->head_dim;
    *gate = pm__slice(g, "attn_q_gate", q, &half);
    return query;
}

pm__t pm__build_attention(pm__graph *g, const pm__heads *h, const pm__attention_part *a, pm__t x,
                          pm__t residual) {
    static const char *const q_names[] = {"attn_q_norm", "rope_q", "clamp_q"};
    static const char *const k_names[] = {"attn_k_norm", "rope_k", "clamp_k"};
    const uint32_t n_kv = h->n_head_kv * h->head_dim;
    const pm__attention_desc desc = {.n_head = h->n_head,
                                     .n_head_kv = h->n_head_kv,
                                     .head_dim = h->head_dim,
                                     .scale = h->scale,
                                     .window = h->window,
                                     .bidirectional = h->bidirectional,
                                     .chunked = h->chunked,
                                     .softcap = h->softcap,
                                     .max_alibi_bias = h->max_alibi_bias,
                                     .sinks = a->sinks};
    pm__t k_cache = pm__cache(g, "cache_k", g->cache_types.k, n_kv);
    pm__t v_cache = pm__cache(g, "cache_v", g->cache_types.v, n_kv);

    pm__t gate = NULL, q = pm__matmul(g, "attn_q", x, a->wq, a->bq);
    if (h->gated)
        q = split_gate(g, h, q, &gate);
    q = turned(g, h, &a->q_norm, q, q_names);
    pm__t k = turned(g, h, &a->k_norm, pm__matmul(g, "attn_k", x, a->wk, a->bk), k_names);
    pm__t v = pm__matmul(g, "attn_v", x, a->wv, a->bv);
    if (h->clamp > 0)
        v = pm__clamp(g, "clamp_v", v, -h->clamp, h->clamp);
    if (h->temper.scale > 0)
        q = pm__temper(g, "temper_q", q, &h->temper);
    pm__kv_store(g, "store_k", k_cache, k);
    pm__kv_store(g, "store_v", v_cache, v);
    pm__t y = pm__attention(g, "attention", q, k_cache, v_cache, &desc);
    if (h->gated)
        y = pm__glu(g, "attn_gated", PM__GLU_SIGMOID, gate, y);
    y = pm__build_norm(g, "attn_sub_norm", y, &a->sub_norm);
    return pm__matmul_add(g, "attn_output", y, a->wo, a->bo, residual);
}

/* ---- feed-forward ---------------------------------------------------------------------------- */

static void load_gate_and_up(pm__model_def *def, uint32_t n_ff, uint32_t layer, pm__ffn *out) {
    const uint32_t n_embd = def->n_embd;
    static const char up[] = "blk.%u.ffn_up.weight";
    if (pm__tensor_exists(def, "blk.%u.ffn_gate.weight", layer)) {
        out->gate = pm__matrix(def, n_ff, n_embd, "blk.%u.ffn_gate.weight", layer);
        out->gate_bias = pm__vector_or_null(def, n_ff, "blk.%u.ffn_gate.bias", layer);
        out->up = pm__matrix(def, n_ff, n_embd, up, layer);
        out->up_bias = pm__vector_or_null(def, n_ff, "blk.%u.ffn_up.bias", layer);
    } else {
        out->gate = pm__matrix_rows(def, 2 * n_ff, 0, n_ff, n_embd, up, layer);
        out->up = pm__matrix_rows(def, 2 * n_ff, n_ff, n_ff, n_embd, up, layer);
    }
}

void pm__load_ffn(pm__model_def *def, const pm__activation_part *act, uint32_t n_ff, uint32_t layer,
                  pm__ffn *out) {
    *out = (pm__ffn){.act = *act};
    if (act->gated) {
        load_gate_and_up(def, n_ff, layer, out);
        pm__join_matrices(def, (pm__t[]){out->gate, out->up}, 2);
        pm__join_vectors(def, (pm__t[]){out->gate_bias, out->up_bias}, 2);
    } else {
        out->up = pm__matrix(def, n_ff, def->n_embd, "blk.%u.ffn_up.weight", layer);
        out->up_bias = pm__vector_or_null(def, n_ff, "blk.%u.ffn_up.bias", layer);
    }
    out->down = pm__matrix(def, def->n_embd, n_ff, "blk.%u.ffn_down.weight", layer);
    out->down_bias = pm__vector_or_null(def, def->n_embd, "blk.%u.ffn_down.bias", layer);
}

pm__t pm__build_ffn(pm__graph *g, const pm__ffn *ffn, pm__t x, pm__t residual) {
    pm__t gate = NULL;
    if (ffn->act.gated)
        gate = pm__matmul(g, "ffn_gate", x, ffn->gate, ffn->gate_bias);
    pm__t up = pm__matmul(g, "ffn_up", x, ffn->up, ffn->up_bias);
    pm__t y = ffn->act.gated ? pm__glu(g, "ffn_act", ffn->act.glu, gate, up)
                             : pm__unary(g, "ffn_act", ffn->act.unary, up);
    y = pm__build_norm(g, "ffn_sub_norm", y, &ffn->sub_norm);
    return pm__matmul_add(g, "ffn_down", y, ffn->down, ffn->down_bias, residual);
}

/* ---- output ---------------------------------------------------------------------------------- */

void pm__load_output(pm__model_def *def, pm__norm_kind kind, pm__t token_embd,
                     pm__output_part *out) {
    out->norm = pm__load_norm(def, kind, def->n_embd, "output_norm");
    out->weight = pm__matrix_or_null(def, def->n_vocab, def->n_embd, "output.weight");
    if (out->weight == NULL)
        out->weight = token_embd;
    out->bias = pm__vector_or_null(def, def->n_vocab, "output.bias");
}

pm__t pm__build_output(pm__graph *g, const pm__output_part *output, pm__t x) {
    x = pm__select(g, "select", x);
    x = pm__build_norm(g, "output_norm", x, &output->norm);
    if (g->hidden)
        return x;
    x = pm__matmul(g, "output", x, output->weight, output->bias);
    if (output->scale != 0)
        x = pm__scale(g, "logit_scale", x, output->scale);
    return output->softcap != 0 ? pm__softcap(g, "logit_softcap", x, output->softcap) : x;
}
