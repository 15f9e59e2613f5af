/* gemma4.c: Gemma 4. Gemma 3 with heads of another size where the window is, values that are normed
 * too, layers at the end that read the caches of layers before them, an embedding of each token for
 * each layer, and experts beside the feed-forward block. Tensor by tensor as in the GGUF files of
 * the field. */
#include "mixture.h"

#include <math.h>

typedef struct layer {
    pm__norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm;
    pm__norm q_norm, k_norm;
    pm__heads heads;
    pm__t wq, wk, wv, wo; /* wk NULL: of the caches of kv_layer; wv NULL: values are the keys */
    uint32_t kv_layer;
    pm__ffn ffn;
    pm__mixture *experts; /* or NULL, as all that follows to router_scale */
    pm__norm ffn_post_norm_1, ffn_pre_norm_2, ffn_post_norm_2;
    pm__t router_scale;   /* [1, n_embd] */
    pm__t inp_gate, proj; /* [n_per_layer, n_embd], [n_embd, n_per_layer] */
    pm__norm post_norm;
    pm__t output_scale; /* [1, 1] or NULL */
} layer;

typedef struct gemma4 {
    uint32_t n_head, n_shared, n_per_layer;
    float eps;
    pm__heads full, windowed;
    pm__t token_embd; /* [n_vocab, n_embd] */
    pm__output_part output;
    pm__t layer_embd;    /* [n_vocab, n_layer * n_per_layer] */
    pm__t layer_proj;    /* [n_layer * n_per_layer, n_embd] */
    pm__norm layer_norm; /* of n_per_layer */
    layer *layers;       /* [n_layer] */
} gemma4;

/* ---- loading --------------------------------------------------------------------------------- */

static pm__norm norm(pm__model_def *def, uint32_t n, const char *name, uint32_t i) {
    return pm__load_norm(def, PM__NORM_RMS, n, "blk.%u.%s", i, name);
}

static void load_heads(pm__model_def *def, gemma4 *m) {
    m->n_head = pm__key_u32(def, "attention.head_count", 1, 1 << 16);
    m->full = m->windowed = (pm__heads){.n_head = m->n_head, .scale = 1.0f};
    m->full.head_dim = pm__key_u32(def, "attention.key_length", 2, PM__MOST_HEAD_DIM);
    m->windowed.head_dim =
        pm__key_u32_or(def, "attention.key_length_swa", 2, PM__MOST_HEAD_DIM, m->full.head_dim);
    m->windowed.window = pm__key_u32(def, "attention.sliding_window", 1, INT32_MAX);
    m->full.rotation = pm__load_rotation(def, PM__ROPE_HALVES, m->full.head_dim, NULL);
    const float base = pm__key_f32_or(def, "rope.freq_base_swa", 1.0f, 1e12f, 10000.0f);
    m->windowed.rotation = pm__plain_rotation(&m->full.rotation, base);
    pm__rope_desc *rope = &m->windowed.rotation.rope;
    rope->head_dim = m->windowed.head_dim;
    rope->n_rot = pm__key_u32_or(def, "rope.dimension_count_swa", 2, rope->head_dim & ~1u,
                                 rope->head_dim & ~1u);
    if (def->status == PM_OK && rope->n_rot % 2 != 0)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.rope.dimension_count_swa is %u, but values turn in pairs",
                               def->arch->name, rope->n_rot);
}

/* Layers without keys of their own read those of the last layer of their kind that has them. */
static uint32_t kv_layer_of(pm__model_def *def, const gemma4 *m, uint32_t i, bool windowed) {
    const uint32_t n_own = def->n_layer - m->n_shared;
    if (i < n_own)
        return i;
    for (uint32_t k = n_own; k-- > 0;)
        if ((m->layers[k].heads.window > 0) == windowed)
            return k;
    if (def->status == PM_OK)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.attention.shared_kv_layers is %u, and no layer before "
                               "these has caches for layer %u",
                               def->arch->name, m->n_shared, i);
    return i;
}

static void load_attention(pm__model_def *def, const gemma4 *m, layer *l, uint32_t i) {
    const bool windowed = pm__load_windowed(def, 6, i);
    l->heads = windowed ? m->windowed : m->full;
    l->heads.n_head_kv =
        pm__key_u32_layer_or(def, "attention.head_count_kv", i, 1, m->n_head, m->n_head);
    l->kv_layer = kv_layer_of(def, m, i, windowed);
    const uint32_t n_q = m->n_head * l->heads.head_dim, n_embd = def->n_embd;
    const uint32_t n_kv = l->heads.n_head_kv * l->heads.head_dim;
    if (def->status == PM_OK && m->n_head % l->heads.n_head_kv != 0)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.attention.head_count_kv is %u in layer %u, which does "
                               "not divide %s.attention.head_count, %u",
                               def->arch->name, l->heads.n_head_kv, i, def->arch->name, m->n_head);
    l->wq = pm__matrix(def, n_q, n_embd, "blk.%u.attn_q.weight", i);
    l->q_norm = norm(def, l->heads.head_dim, "attn_q_norm", i);
    l->wo = pm__matrix(def, n_embd, n_q, "blk.%u.attn_output.weight", i);
    if (l->kv_layer != i)
        return;
    l->wk = pm__matrix(def, n_kv, n_embd, "blk.%u.attn_k.weight", i);
    l->k_norm = norm(def, l->heads.head_dim, "attn_k_norm", i);
    l->wv = pm__matrix_or_null(def, n_kv, n_embd, "blk.%u.attn_v.weight", i);
}

static void load_experts(pm__model_def *def, layer *l, uint32_t i) {
    const pm__mixture_kind kind = {.renorm = true, .glu = PM__GLU_GELU};
    if (!pm__has_mixture(def, i))
        return;
    l->experts = pm__load_mixture(def, &kind, i);
    l->ffn_post_norm_1 = norm(def, def->n_embd, "post_ffw_norm_1", i);
    l->ffn_pre_norm_2 = norm(def, def->n_embd, "pre_ffw_norm_2", i);
    l->ffn_post_norm_2 = norm(def, def->n_embd, "post_ffw_norm_2", i);
    l->router_scale = pm__vector(def, def->n_embd, "blk.%u.ffn_gate_inp.scale", i);
}

static void load_layer(pm__model_def *def, const gemma4 *m, layer *l, uint32_t i) {
    const uint32_t n = def->n_embd;
    const pm__activation_part act = {.gated = true, .glu = PM__GLU_GELU};
    l->attn_norm = norm(def, n, "attn_norm", i);
    load_attention(def, m, l, i);
    l->attn_post_norm = norm(def, n, "post_attention_norm", i);
    l->ffn_norm = norm(def, n, "ffn_norm", i);
    pm__load_ffn(def, &act, pm__key_u32_layer(def, "feed_forward_length", i, 1, 1 << 24), i,
                 &l->ffn);
    load_experts(def, l, i);
    l->ffn_post_norm = norm(def, n, "post_ffw_norm", i);
    if (m->n_per_layer > 0) {
        l->inp_gate = pm__matrix(def, m->n_per_layer, n, "blk.%u.inp_gate.weight", i);
        l->proj = pm__matrix(def, n, m->n_per_layer, "blk.%u.proj.weight", i);
        l->post_norm = norm(def, n, "post_norm", i);
    }
    l->output_scale = pm__vector_or_null(def, 1, "blk.%u.layer_output_scale.weight", i);
}

static void load_layer_inputs(pm__model_def *def, gemma4 *m) {
    m->n_per_layer = pm__key_u32_or(def, "embedding_length_per_layer_input", 0, 1 << 16, 0);
    if (m->n_per_layer == 0)
        return;
    const uint32_t n = def->n_layer * m->n_per_layer;
    m->layer_embd = pm__matrix(def, def->n_vocab, n, "per_layer_token_embd.weight");
    m->layer_proj = pm__matrix(def, n, def->n_embd, "per_layer_model_proj.weight");
    m->layer_norm = pm__load_norm(def, PM__NORM_RMS, m->n_per_layer, "per_layer_proj_norm");
    m->layer_norm.head_dim = m->n_per_layer;
}

static void load(pm__model_def *def, void *self) {
    gemma4 *m = self;
    pm__load_sizes(def);
    m->eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f);
    m->output.softcap = pm__key_f32_or(def, "final_logit_softcapping", 0.0f, 1e6f, 0.0f);
    m->n_shared = pm__key_u32_or(def, "attention.shared_kv_layers", 0, def->n_layer - 1, 0);
    load_heads(def, m);
    load_layer_inputs(def, m);
    m->token_embd = pm__matrix(def, def->n_vocab, def->n_embd, "token_embd.weight");
    pm__load_output(def, PM__NORM_RMS, m->token_embd, &m->output);
    m->layers = pm__load_layers(def, sizeof m->layers[0]);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        load_layer(def, m, &m->layers[i], i);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Caches of a layer. */
typedef struct pair {
    pm__t k, v;
} pair;

static pair store(pm__graph *g, const gemma4 *m, const layer *l, pm__t x) {
    const pm__heads *h = &l->heads;
    const uint32_t n_kv = h->n_head_kv * h->head_dim;
    const pair caches = {pm__cache(g, "cache_k", g->cache_types.k, n_kv),
                         pm__cache(g, "cache_v", g->cache_types.v, n_kv)};
    pm__t k = pm__matmul(g, "attn_k", x, l->wk, NULL);
    pm__t v = l->wv != NULL ? pm__matmul(g, "attn_v", x, l->wv, NULL) : k;
    v = pm__rmsnorm_heads(g, "attn_v_norm", v, NULL, h->head_dim, m->eps);
    k = pm__rmsnorm_heads(g, "attn_k_norm", k, l->k_norm.weight, h->head_dim, m->eps);
    k = pm__build_rotation(g, "rope_k", k, &h->rotation);
    pm__kv_store(g, "store_k", caches.k, k);
    pm__kv_store(g, "store_v", caches.v, v);
    return caches;
}

static pm__t attention(pm__graph *g, const gemma4 *m, const layer *l, pair *caches, pm__t x) {
    const pm__heads *h = &l->heads;
    const pm__attention_desc desc = {.n_head = h->n_head,
                                     .n_head_kv = h->n_head_kv,
                                     .head_dim = h->head_dim,
                                     .scale = h->scale,
                                     .window = h->window};
    pm__t y = pm__build_norm(g, "attn_norm", x, &l->attn_norm);
    if (l->wk != NULL)
        caches[l->kv_layer] = store(g, m, l, y);
    pm__t q = pm__matmul(g, "attn_q", y, l->wq, NULL);
    q = pm__rmsnorm_heads(g, "attn_q_norm", q, l->q_norm.weight, h->head_dim, m->eps);
    q = pm__build_rotation(g, "rope_q", q, &h->rotation);
    const pair *from = &caches[l->kv_layer];
    y = pm__attention(g, "attention", q, from->k, from->v, &desc);
    y = pm__matmul(g, "attn_output", y, l->wo, NULL);
    y = pm__build_norm(g, "post_attention_norm", y, &l->attn_post_norm);
    return pm__add(g, "attn_add", x, y);
}

/* The router reads what attention left, normed in its own way. */
static pm__t experts(pm__graph *g, const gemma4 *m, const layer *l, pm__t x) {
    pm__t r = pm__rmsnorm(g, "ffn_router_norm", x, NULL, m->eps);
    r = pm__scale(g, "ffn_router_scale", r, 1.0f / sqrtf((float)l->router_scale->n_col));
    r = pm__mul(g, "ffn_gate_inp_scale", r, l->router_scale);
    pm__t logits = pm__matmul(g, "ffn_gate_inp", r, l->experts->router, l->experts->router_bias);
    pm__t y = pm__build_norm(g, "pre_ffw_norm_2", x, &l->ffn_pre_norm_2);
    y = pm__build_routed(g, l->experts, y, logits, NULL);
    return pm__build_norm(g, "post_ffw_norm_2", y, &l->ffn_post_norm_2);
}

static pm__t feed_forward(pm__graph *g, const gemma4 *m, const layer *l, pm__t x) {
    pm__t y = pm__build_norm(g, "ffn_norm", x, &l->ffn_norm);
    y = pm__build_ffn(g, &l->ffn, y, NULL);
    if (l->experts != NULL) {
        y = pm__build_norm(g, "post_ffw_norm_1", y, &l->ffn_post_norm_1);
        y = pm__add(g, "ffn_add_experts", y, experts(g, m, l, x));
    }
    y = pm__build_norm(g, "post_ffw_norm", y, &l->ffn_post_norm);
    return pm__add(g, "ffn_add", x, y);
}

/* What all layers add of the tokens themselves: [rows, n_layer * n_per_layer]. */
static pm__t layer_inputs(pm__graph *g, const pm__model_def *def, const gemma4 *m, pm__t x) {
    const float n = (float)m->n_per_layer;
    pm__t of_token = pm__embed(g, "per_layer_token_embd", m->layer_embd);
    of_token = pm__scale(g, "per_layer_embd_scale", of_token, sqrtf(n));
    pm__t of_x = pm__matmul(g, "per_layer_model_proj", x, m->layer_proj, NULL);
    of_x = pm__scale(g, "per_layer_proj_scale", of_x, 1.0f / sqrtf((float)def->n_embd));
    of_x = pm__build_norm(g, "per_layer_proj_norm", of_x, &m->layer_norm);
    return pm__scale(g, "per_layer_scale", pm__add(g, "per_layer_add", of_x, of_token),
                     1.0f / sqrtf(2.0f));
}

static pm__t add_layer_input(pm__graph *g, const gemma4 *m, uint32_t i, pm__t x, pm__t inputs) {
    const layer *l = &m->layers[i];
    const pm__slice_desc mine = {1, inputs != NULL ? inputs->n_col : 0, i * m->n_per_layer,
                                 m->n_per_layer};
    pm__t gate = pm__matmul(g, "inp_gate", x, l->inp_gate, NULL);
    pm__t y = pm__slice(g, "inp_per_layer", inputs, &mine);
    y = pm__matmul(g, "proj", pm__glu(g, "inp_act", PM__GLU_GELU, gate, y), l->proj, NULL);
    return pm__add(g, "inp_add", x, pm__build_norm(g, "post_norm", y, &l->post_norm));
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const gemma4 *m = self;
    pair *caches = pm__arena_array(&g->arena, def->n_layer, sizeof *caches);
    if (caches == NULL) {
        g->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    x = pm__scale(g, "embed_scale", x, sqrtf((float)def->n_embd));
    pm__t inputs = m->n_per_layer > 0 ? layer_inputs(g, def, m, x) : NULL;
    for (uint32_t i = 0; i < def->n_layer; i++) {
        const layer *l = &m->layers[i];
        pm__graph_scope(g, "blk.%u.", i);
        x = feed_forward(g, m, l, attention(g, m, l, caches, x));
        if (m->n_per_layer > 0)
            x = add_layer_input(g, m, i, x, inputs);
        if (l->output_scale != NULL)
            x = pm__mul(g, "layer_output_scale", x, l->output_scale);
    }
    pm__graph_scope(g, "%s", "");
    return pm__build_output(g, &m->output, x);
}

const pm__arch pm__arch_gemma4 = {
    .name = "gemma4", .self_bytes = sizeof(gemma4), .load = load, .build = build};
