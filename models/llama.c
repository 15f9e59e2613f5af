/* llama.c: Llama 1 to 3 and its many kin. arXiv:2302.13971; grouped heads arXiv:2305.13245. */
#include "../runtime/graph/model.h"

#include <math.h>

typedef struct layer {
    pm__t attn_norm;                     /* [n_embd] */
    pm__t wq;                            /* [n_head * head_dim, n_embd] */
    pm__t wk, wv;                        /* [n_head_kv * head_dim, n_embd] */
    pm__t wo;                            /* [n_embd, n_head * head_dim] */
    pm__t bq, bk, bv, bo;                /* biases or NULL */
    pm__t ffn_norm;                      /* [n_embd] */
    pm__t gate, up, down;                /* 2 x [n_ff, n_embd], [n_embd, n_ff] */
    pm__t gate_bias, up_bias, down_bias; /* or NULL */
} layer;

typedef struct llama {
    uint32_t n_head, n_head_kv, head_dim, n_ff;
    float eps;
    pm__rope_desc rope;
    pm__t token_embd, output_norm, output; /* [n_vocab, n_embd], [n_embd], [n_vocab, n_embd] */
    layer *layers;                         /* [n_layer] */
} llama;

/* ---- hyper-parameters ------------------------------------------------------------------------ */

static void load_heads(pm__model_def *def, llama *m) {
    m->n_head = pm__key_u32(def, "attention.head_count", 1, 1 << 16);
    m->n_head_kv = pm__key_u32_or(def, "attention.head_count_kv", 1, m->n_head, m->n_head);
    m->head_dim = pm__key_u32_or(def, "attention.key_length", 1, PM__MOST_HEAD_DIM, 0);
    if (def->status == PM_OK && m->n_head % m->n_head_kv != 0)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: llama.attention.head_count_kv is %u, which does not divide "
                               "llama.attention.head_count, %u",
                               m->n_head_kv, m->n_head);
    if (def->status == PM_OK && m->head_dim == 0) {
        if (def->n_embd % m->n_head != 0 || def->n_embd / m->n_head > PM__MOST_HEAD_DIM)
            def->status = pm__fail(PM_BAD_FILE,
                                   "model: llama.attention.head_count is %u, which does not cut "
                                   "llama.embedding_length, %u, into heads of at most %d",
                                   m->n_head, def->n_embd, PM__MOST_HEAD_DIM);
        m->head_dim = def->n_embd / m->n_head;
    }
    const uint32_t value_length =
        pm__key_u32_or(def, "attention.value_length", 1, PM__MOST_HEAD_DIM, m->head_dim);
    if (def->status == PM_OK && value_length != m->head_dim)
        def->status = pm__fail(PM_UNSUPPORTED,
                               "model: llama.attention.value_length is %u and keys have %u; "
                               "only equal lengths are built",
                               value_length, m->head_dim);
}

static void load_rope(pm__model_def *def, llama *m) {
    m->rope = (pm__rope_desc){.head_dim = m->head_dim, .style = PM__ROPE_PAIRS};
    m->rope.n_rot = pm__key_u32_or(def, "rope.dimension_count", 2, m->head_dim & ~1u, m->head_dim);
    if (def->status == PM_OK && m->rope.n_rot % 2 != 0)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: llama.rope.dimension_count is %u, but values turn in pairs",
                               m->rope.n_rot);
    m->rope.freq_base = pm__key_f32_or(def, "rope.freq_base", 1.0f, 1e12f, 10000.0f);
    /* A factor without a type is linear. */
    float factor = pm__key_f32_or(def, "rope.scale_linear", 1e-3f, 1e6f, 1.0f);
    factor = pm__key_f32_or(def, "rope.scaling.factor", 1e-3f, 1e6f, factor);
    if (pm__key_is(def, "rope.scaling.type", "none"))
        factor = 1.0f;
    else if (!pm__key_is(def, "rope.scaling.type", "linear"))
        pm__key_refuse(def, "rope.scaling.type", "only none and linear are built");
    m->rope.freq_scale = 1.0f / factor;
    if (def->status == PM_OK)
        m->rope.factors = pm__vector_or_null(def, m->rope.n_rot / 2, "rope_freqs.weight");
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void load_layer(pm__model_def *def, const llama *m, layer *l, uint32_t i) {
    const uint32_t n_embd = def->n_embd, n_ff = m->n_ff;
    const uint32_t n_q = m->n_head * m->head_dim, n_kv = m->n_head_kv * m->head_dim;
    l->attn_norm = pm__vector(def, n_embd, "blk.%u.attn_norm.weight", i);
    l->wq = pm__matrix(def, n_q, n_embd, "blk.%u.attn_q.weight", i);
    l->wk = pm__matrix(def, n_kv, n_embd, "blk.%u.attn_k.weight", i);
    l->wv = pm__matrix(def, n_kv, n_embd, "blk.%u.attn_v.weight", i);
    l->wo = pm__matrix(def, n_embd, n_q, "blk.%u.attn_output.weight", i);
    l->bq = pm__vector_or_null(def, n_q, "blk.%u.attn_q.bias", i);
    l->bk = pm__vector_or_null(def, n_kv, "blk.%u.attn_k.bias", i);
    l->bv = pm__vector_or_null(def, n_kv, "blk.%u.attn_v.bias", i);
    l->bo = pm__vector_or_null(def, n_embd, "blk.%u.attn_output.bias", i);
    l->ffn_norm = pm__vector(def, n_embd, "blk.%u.ffn_norm.weight", i);
    l->gate = pm__matrix(def, n_ff, n_embd, "blk.%u.ffn_gate.weight", i);
    l->up = pm__matrix(def, n_ff, n_embd, "blk.%u.ffn_up.weight", i);
    l->down = pm__matrix(def, n_embd, n_ff, "blk.%u.ffn_down.weight", i);
    l->gate_bias = pm__vector_or_null(def, n_ff, "blk.%u.ffn_gate.bias", i);
    l->up_bias = pm__vector_or_null(def, n_ff, "blk.%u.ffn_up.bias", i);
    l->down_bias = pm__vector_or_null(def, n_embd, "blk.%u.ffn_down.bias", i);
    /* Old converters wrote the frequencies that follow from rope.freq_base. */
    pm__tensor_ignore(def, "blk.%u.attn_rot_embd.weight", i);
    pm__tensor_ignore(def, "blk.%u.attn_rot_embd", i);
}

static void load(pm__model_def *def, void *self) {
    llama *m = self;
    def->n_layer = pm__key_u32(def, "block_count", 1, PM__MOST_LAYER);
    def->n_ctx_train = pm__key_u32(def, "context_length", 1, INT32_MAX);
    def->n_embd = pm__key_u32(def, "embedding_length", 1, 1 << 20);
    m->n_ff = pm__key_u32(def, "feed_forward_length", 1, 1 << 24);
    m->eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f);
    pm__key_refuse(def, "expert_count", "mixtures of experts are not built");
    pm__key_refuse(def, "attention.sliding_window", "sliding windows are not built");
    def->n_vocab = pm__tensor_rows(def, "token_embd.weight");
    load_heads(def, m);
    load_rope(def, m);

    m->token_embd = pm__matrix(def, def->n_vocab, def->n_embd, "token_embd.weight");
    m->output_norm = pm__vector(def, def->n_embd, "output_norm.weight");
    m->output = pm__matrix_or_null(def, def->n_vocab, def->n_embd, "output.weight");
    if (m->output == NULL)
        m->output = m->token_embd;
    if (def->status != PM_OK)
        return;
    m->layers = pm__arena_array(&def->arena, def->n_layer, sizeof m->layers[0]);
    if (m->layers == NULL)
        def->status = PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < def->n_layer && def->status == PM_OK; i++)
        load_layer(def, m, &m->layers[i], i);
}

/* ---- forward --------------------------------------------------------------------------------- */

static pm__t attention(pm__graph *g, const llama *m, const layer *l, pm__t x) {
    const uint32_t n_kv = m->n_head_kv * m->head_dim;
    const pm__attention_desc heads = {.n_head = m->n_head,
                                      .n_head_kv = m->n_head_kv,
                                      .head_dim = m->head_dim,
                                      .scale = 1.0f / sqrtf((float)m->head_dim)};
    pm__t k_cache = pm__cache(g, "cache_k", g->cache_types.k, n_kv);
    pm__t v_cache = pm__cache(g, "cache_v", g->cache_types.v, n_kv);

    pm__t h = pm__rmsnorm(g, "attn_norm", x, l->attn_norm, m->eps);
    pm__t q = pm__rope(g, "rope_q", pm__matmul(g, "attn_q", h, l->wq, l->bq), &m->rope);
    pm__t k = pm__rope(g, "rope_k", pm__matmul(g, "attn_k", h, l->wk, l->bk), &m->rope);
    pm__t v = pm__matmul(g, "attn_v", h, l->wv, l->bv);
    pm__kv_store(g, "store_k", k_cache, k);
    pm__kv_store(g, "store_v", v_cache, v);
    pm__t y = pm__attention(g, "attention", q, k_cache, v_cache, &heads);
    return pm__matmul_add(g, "attn_output", y, l->wo, l->bo, x);
}

static pm__t feed_forward(pm__graph *g, const llama *m, const layer *l, pm__t x) {
    pm__t h = pm__rmsnorm(g, "ffn_norm", x, l->ffn_norm, m->eps);
    pm__t gate = pm__matmul(g, "ffn_gate", h, l->gate, l->gate_bias);
    pm__t up = pm__matmul(g, "ffn_up", h, l->up, l->up_bias);
    return pm__matmul_add(g, "ffn_down", pm__glu(g, "ffn_act", PM__GLU_SILU, gate, up), l->down,
                          l->down_bias, x);
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const llama *m = self;
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        pm__graph_scope(g, "blk.%u.", i);
        x = attention(g, m, &m->layers[i], x);
        x = feed_forward(g, m, &m->layers[i], x);
    }
    pm__graph_scope(g, "%s", "");
    x = pm__select(g, "select", x);
    x = pm__rmsnorm(g, "output_norm", x, m->output_norm, m->eps);
    return pm__matmul(g, "output", x, m->output, NULL);
}

const pm__arch pm__arch_llama = {
    .name = "llama", .self_bytes = sizeof(llama), .load = load, .build = build};
