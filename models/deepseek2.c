/* deepseek2.c: DeepSeek V2, V2-Lite, V3 and R1, Kimi K2. Multi-head latent attention
 * arXiv:2405.04434 section 2.1, in its absorbed form: what is cached of a position is c, of which
 * the keys and values of all heads are made, and a rotated key that all heads share; queries are
 * brought into the space of c, where keys need not be made. Mixtures of experts
 * arXiv:2412.19437. */
#include "mixture.h"

#include <math.h>

typedef struct layer {
    pm__norm attn_norm, ffn_norm;
    pm__t q_a, q_b;    /* [q_rank, n_embd], [n_head * n_k, q_rank]; q_a NULL: q_b takes x */
    pm__t kv_c, k_rot; /* [kv_rank, n_embd], [n_rot, n_embd] */
    pm__t k_b, v_b;    /* [n_head * kv_rank, n_k - n_rot], [n_head * n_v, kv_rank] */
    pm__t wo;          /* [n_embd, n_head * n_v] */
    pm__norm q_norm, kv_norm;
    pm__ffn ffn;          /* of a layer that is no mixture */
    pm__mixture *mixture; /* or NULL */
} layer;

typedef struct deepseek2 {
    uint32_t n_head, q_rank, kv_rank;
    uint32_t n_k, n_v, n_rot; /* columns of a head; of n_k the last n_rot turn */
    float scale;
    pm__rotation rotation;
    pm__t token_embd; /* [n_vocab, n_embd] */
    pm__output_part output;
    layer *layers; /* [n_layer] */
} deepseek2;

/* ---- loading --------------------------------------------------------------------------------- */

/* YaRN's attention factor is part of the scale here, not of cosine and sine. */
static void load_rotation(pm__model_def *def, deepseek2 *m) {
    m->rotation = pm__load_rotation(def, PM__ROPE_PAIRS, m->n_rot, NULL);
    m->rotation.rope.scale = 1.0f;
    m->scale = 1.0f / sqrtf((float)m->n_k);
    const float multiplier =
        pm__key_f32_or(def, "rope.scaling.yarn_log_multiplier", 0.0f, 100.0f, 0.0f);
    if (pm__key_is(def, "rope.scaling.type", "yarn")) {
        const float factor = pm__key_f32(def, "rope.scaling.factor", 1e-3f, 1e6f);
        const float more = 1.0f + multiplier * logf(factor);
        m->scale *= more * more;
    }
}

static void load_heads(pm__model_def *def, deepseek2 *m) {
    const uint32_t most = PM__MOST_HEAD_DIM;
    m->n_head = pm__key_u32(def, "attention.head_count", 1, 1 << 16);
    m->q_rank = pm__key_u32_or(def, "attention.q_lora_rank", 0, 1 << 20, 0);
    m->n_rot = pm__key_u32(def, "rope.dimension_count", 2, most / 2);
    m->kv_rank = pm__key_u32(def, "attention.kv_lora_rank", 1, most - m->n_rot);
    m->n_k = pm__key_u32(def, "attention.key_length_mla", m->n_rot + 1, most);
    m->n_v = pm__key_u32(def, "attention.value_length_mla", 1, most);
}

static void load_attention(pm__model_def *def, const deepseek2 *m, layer *l, uint32_t i) {
    static const char kv_a[] = "blk.%u.attn_kv_a_mqa.weight";
    const uint32_t n_embd = def->n_embd, n_q = m->n_head * m->n_k, n_kv = m->kv_rank + m->n_rot;
    if (m->q_rank > 0) {
        l->q_a = pm__matrix(def, m->q_rank, n_embd, "blk.%u.attn_q_a.weight", i);
        l->q_norm = pm__load_norm(def, PM__NORM_RMS, m->q_rank, "blk.%u.attn_q_a_norm", i);
        l->q_b = pm__matrix(def, n_q, m->q_rank, "blk.%u.attn_q_b.weight", i);
    } else {
        l->q_b = pm__matrix(def, n_q, n_embd, "blk.%u.attn_q.weight", i);
    }
    l->kv_c = pm__matrix_rows(def, n_kv, 0, m->kv_rank, n_embd, kv_a, i);
    l->k_rot = pm__matrix_rows(def, n_kv, m->kv_rank, m->n_rot, n_embd, kv_a, i);
    l->kv_norm = pm__load_norm(def, PM__NORM_RMS, m->kv_rank, "blk.%u.attn_kv_a_norm", i);
    l->k_b =
        pm__experts(def, m->n_head, m->kv_rank, m->n_k - m->n_rot, "blk.%u.attn_k_b.weight", i);
    l->v_b = pm__experts(def, m->n_head, m->n_v, m->kv_rank, "blk.%u.attn_v_b.weight", i);
    l->wo = pm__matrix(def, n_embd, m->n_head * m->n_v, "blk.%u.attn_output.weight", i);
}

static void load_layer(pm__model_def *def, const deepseek2 *m, layer *l, uint32_t i) {
    const pm__activation_part act = {.gated = true};
    const pm__mixture_kind kind = {.gating = PM__ROUTE_SOFTMAX};
    l->attn_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    load_attention(def, m, l, i);
    l->ffn_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.ffn_norm", i);
    if (pm__has_mixture(def, i))
        l->mixture = pm__load_mixture(def, &kind, i);
    else
        pm__load_ffn(def, &act, pm__key_u32_layer(def, "feed_forward_length", i, 1, 1 << 24), i,
                     &l->ffn);
}

/* Keys and values in one tensor, from which queries cannot be absorbed. */
static void refuse_old_files(pm__model_def *def) {
    if (def->status == PM_OK && pm__tensor_exists(def, "blk.0.attn_kv_b.weight") &&
        !pm__tensor_exists(def, "blk.0.attn_k_b.weight"))
        def->status = pm__fail(PM_UNSUPPORTED,
                               "model: tensor 'blk.0.attn_kv_b.weight' is of an old converter; "
                               "needed are attn_k_b and attn_v_b, as newer files have them");
}

static void load(pm__model_def *def, void *self) {
    deepseek2 *m = self;
    pm__load_sizes(def);
    refuse_old_files(def);
    load_heads(def, m);
    load_rotation(def, m);
    m->token_embd = pm__matrix(def, def->n_vocab, def->n_embd, "token_embd.weight");
    pm__load_output(def, PM__NORM_RMS, m->token_embd, &m->output);
    m->layers = pm__load_layers(def, sizeof m->layers[0]);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        load_layer(def, m, &m->layers[i], i);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Queries of all heads as [in the space of c | rotated]. */
static pm__t queries(pm__graph *g, const deepseek2 *m, const layer *l, pm__t x) {
    const uint32_t n_plain = m->n_k - m->n_rot;
    const pm__slice_desc plain = {m->n_head, m->n_k, 0, n_plain};
    const pm__slice_desc turning = {m->n_head, m->n_k, n_plain, m->n_rot};
    if (l->q_a != NULL)
        x = pm__build_norm(g, "attn_q_a_norm", pm__matmul(g, "attn_q_a", x, l->q_a, NULL),
                           &l->q_norm);
    pm__t q = pm__matmul(g, "attn_q", x, l->q_b, NULL);
    pm__t c = pm__heads_matmul(g, "attn_q_absorbed", pm__slice(g, "attn_q_plain", q, &plain),
                               l->k_b, m->n_head);
    pm__t rot =
        pm__build_rotation(g, "rope_q", pm__slice(g, "attn_q_rot", q, &turning), &m->rotation);
    return pm__concat(g, "attn_q_whole", c, rot, m->n_head);
}

static pm__t keys(pm__graph *g, const deepseek2 *m, const layer *l, pm__t x) {
    pm__t c = pm__build_norm(g, "attn_kv_a_norm", pm__matmul(g, "attn_kv_a", x, l->kv_c, NULL),
                             &l->kv_norm);
    pm__t rot = pm__build_rotation(g, "rope_k", pm__matmul(g, "attn_k_rot", x, l->k_rot, NULL),
                                   &m->rotation);
    return pm__concat(g, "attn_k_whole", c, rot, 1);
}

static pm__t attention(pm__graph *g, const deepseek2 *m, const layer *l, pm__t x) {
    const pm__attention_desc desc = {.n_head = m->n_head,
                                     .n_head_kv = 1,
                                     .head_dim = m->kv_rank + m->n_rot,
                                     .head_dim_v = m->kv_rank,
                                     .scale = m->scale};
    pm__t cache = pm__cache(g, "cache_kv", g->cache_types.k, desc.head_dim);
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->attn_norm);
    pm__t q = queries(g, m, l, h);
    pm__kv_store(g, "store_kv", cache, keys(g, m, l, h));
    pm__t y = pm__attention(g, "attention", q, cache, cache, &desc);
    y = pm__heads_matmul(g, "attn_v_b", y, l->v_b, m->n_head);
    return pm__matmul_add(g, "attn_output", y, l->wo, NULL, x);
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const deepseek2 *m = self;
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        const layer *l = &m->layers[i];
        pm__graph_scope(g, "blk.%u.", i);
        x = attention(g, m, l, x);
        pm__t h = pm__build_norm(g, "ffn_norm", x, &l->ffn_norm);
        x = l->mixture != NULL ? pm__build_mixture(g, l->mixture, h, x)
                               : pm__build_ffn(g, &l->ffn, h, x);
    }
    pm__graph_scope(g, "%s", "");
    return pm__build_output(g, &m->output, x);
}

const pm__arch pm__arch_deepseek2 = {
    .name = "deepseek2", .self_bytes = sizeof(deepseek2), .load = load, .build = build};
