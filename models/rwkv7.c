/* rwkv7.c: RWKV-7 "Goose", arXiv:2503.14456: no attention; what a layer mixes of a token with the
 * one before it, and a state for each head that a rule like the delta net's changes. */
#include "recurrent.h"

enum { MIX_R, MIX_W, MIX_K, MIX_V, MIX_A, MIX_G, MIX_COUNT };

/* up f(down x) + bias, of a low rank. */
typedef struct low_rank {
    pm__t down, up, bias; /* [rank, n_embd], [n_embd, rank], [n_embd] or NULL */
} low_rank;

typedef struct layer {
    pm__norm time_norm, channel_norm;
    pm__t mix[MIX_COUNT];                  /* [n_embd] */
    pm__t receptance, key, value;          /* 3 x [n_embd, n_embd] */
    low_rank decay, rate, value_mix, gate; /* value_mix not in the first layer */
    pm__t k_k, k_a, r_k;                   /* 3 x [n_embd] */
    pm__norm head_norm;
    pm__t output;                     /* [n_embd, n_embd] */
    pm__t channel_mix;                /* [n_embd] */
    pm__t channel_key, channel_value; /* [n_ff, n_embd], [n_embd, n_ff] */
} layer;

typedef struct rwkv7 {
    uint32_t head_dim;
    pm__t token_embd; /* [n_vocab, n_embd] */
    pm__norm embd_norm;
    pm__output_part output;
    layer *layers; /* [n_layer] */
} rwkv7;

/* ---- loading --------------------------------------------------------------------------------- */

/* The rank is what the tensor says. */
static low_rank load_low_rank(pm__model_def *def, char name, uint32_t i, bool biased) {
    const uint32_t n = def->n_embd;
    const uint32_t rank = pm__tensor_rows(def, "blk.%u.time_mix_%c1.weight", i, name);
    low_rank l = {.down = pm__matrix(def, rank, n, "blk.%u.time_mix_%c1.weight", i, name),
                  .up = pm__matrix(def, n, rank, "blk.%u.time_mix_%c2.weight", i, name)};
    if (biased)
        l.bias = pm__vector(def, n, "blk.%u.time_mix_%c0.weight", i, name);
    return l;
}

static void load_time_mix(pm__model_def *def, const rwkv7 *m, layer *l, uint32_t i) {
    const uint32_t n = def->n_embd;
    for (uint32_t k = 0; k < MIX_COUNT; k++)
        l->mix[k] =
            pm__vector_part(def, MIX_COUNT * n, k * n, n, "blk.%u.time_mix_lerp_fused.weight", i);
    l->receptance = pm__matrix(def, n, n, "blk.%u.time_mix_receptance.weight", i);
    l->key = pm__matrix(def, n, n, "blk.%u.time_mix_key.weight", i);
    l->value = pm__matrix(def, n, n, "blk.%u.time_mix_value.weight", i);
    l->decay = load_low_rank(def, 'w', i, true);
    l->rate = load_low_rank(def, 'a', i, true);
    l->gate = load_low_rank(def, 'g', i, false);
    if (i > 0) {
        l->value_mix = load_low_rank(def, 'v', i, true);
    } else {
        pm__tensor_ignore(def, "blk.0.time_mix_v0.weight");
        pm__tensor_ignore(def, "blk.0.time_mix_v1.weight");
        pm__tensor_ignore(def, "blk.0.time_mix_v2.weight");
    }
    l->k_k = pm__vector(def, n, "blk.%u.time_mix_k_k.weight", i);
    l->k_a = pm__vector(def, n, "blk.%u.time_mix_k_a.weight", i);
    l->r_k = pm__vector(def, n, "blk.%u.time_mix_r_k.weight", i);
    l->head_norm = pm__load_norm(def, PM__NORM_LAYER, n, "blk.%u.time_mix_ln", i);
    l->head_norm.head_dim = m->head_dim;
    l->head_norm.eps = 64e-5f;
    l->output = pm__matrix(def, n, n, "blk.%u.time_mix_output.weight", i);
}

static void load_layer(pm__model_def *def, const rwkv7 *m, layer *l, uint32_t i) {
    const uint32_t n = def->n_embd;
    const uint32_t n_ff = pm__key_u32_layer(def, "feed_forward_length", i, 1, 1 << 24);
    l->time_norm = pm__load_norm(def, PM__NORM_LAYER, n, "blk.%u.attn_norm", i);
    load_time_mix(def, m, l, i);
    l->channel_norm = pm__load_norm(def, PM__NORM_LAYER, n, "blk.%u.attn_norm_2", i);
    l->channel_mix = pm__vector(def, n, "blk.%u.channel_mix_lerp_k.weight", i);
    l->channel_key = pm__matrix(def, n_ff, n, "blk.%u.channel_mix_key.weight", i);
    l->channel_value = pm__matrix(def, n, n_ff, "blk.%u.channel_mix_value.weight", i);
}

static void load(pm__model_def *def, void *self) {
    rwkv7 *m = self;
    pm__load_sizes(def);
    m->head_dim = pm__key_u32(def, "wkv.head_size", 1, PM__MOST_DELTA_HEAD);
    if (def->status == PM_OK && def->n_embd % m->head_dim != 0)
        def->status = pm__fail(PM_BAD_FILE,
                               "model: rwkv7.wkv.head_size is %u, which does not cut "
                               "rwkv7.embedding_length, %u",
                               m->head_dim, def->n_embd);
    m->token_embd = pm__matrix(def, def->n_vocab, def->n_embd, "token_embd.weight");
    m->embd_norm = pm__load_norm(def, PM__NORM_LAYER, def->n_embd, "token_embd_norm");
    pm__load_output(def, PM__NORM_LAYER, m->token_embd, &m->output);
    m->layers = pm__load_layers(def, sizeof m->layers[0]);
    for (uint32_t i = 0; i < def->n_layer && def->status == PM_OK; i++)
        load_layer(def, m, &m->layers[i], i);
}

/* ---- forward --------------------------------------------------------------------------------- */

static pm__t build_low_rank(pm__graph *g, const char *const names[3], const low_rank *l, pm__t x,
                            const pm__unary_kind *between) {
    pm__t y = pm__matmul(g, names[0], x, l->down, NULL);
    if (between != NULL)
        y = pm__unary(g, names[1], *between, y);
    return pm__matmul(g, names[2], y, l->up, l->bias);
}

/* Values are mixed with those of the first layer. */
static pm__t build_value(pm__graph *g, const layer *l, pm__t x, pm__t *first) {
    static const char *const names[] = {"time_mix_v1", NULL, "time_mix_v2"};
    pm__t v = pm__matmul(g, "time_mix_value", x, l->value, NULL);
    if (l->value_mix.down == NULL)
        return *first = v;
    pm__t share = build_low_rank(g, names, &l->value_mix, x, NULL);
    return pm__lerp(g, "time_mix_v", v, *first,
                    pm__unary(g, "time_mix_v_share", PM__SIGMOID, share));
}

static pm__t build_time_mix(pm__graph *g, const rwkv7 *m, const layer *l, pm__t x, pm__t *first) {
    static const char *const mixes[] = {"mix_r", "mix_w", "mix_k", "mix_v", "mix_a", "mix_g"};
    static const char *const w_names[] = {"time_mix_w1", "time_mix_w_tanh", "time_mix_w2"};
    static const char *const a_names[] = {"time_mix_a1", NULL, "time_mix_a2"};
    static const char *const g_names[] = {"time_mix_g1", "time_mix_g_sigmoid", "time_mix_g2"};
    static const pm__unary_kind tanh_kind = PM__TANH, sigmoid_kind = PM__SIGMOID;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->time_norm), mixed[MIX_COUNT];
    const uint32_t n = h != NULL ? h->n_col : 0;
    pm__t before = pm__shift(g, "shift", h, pm__state(g, "state_shift", n));
    for (int i = 0; i < MIX_COUNT; i++)
        mixed[i] = pm__lerp(g, mixes[i], h, before, l->mix[i]);
    pm__t r = pm__matmul(g, "time_mix_receptance", mixed[MIX_R], l->receptance, NULL);
    pm__t k = pm__matmul(g, "time_mix_key", mixed[MIX_K], l->key, NULL);
    pm__t v = build_value(g, l, mixed[MIX_V], first);
    pm__t w = build_low_rank(g, w_names, &l->decay, mixed[MIX_W], &tanh_kind);
    pm__t a = build_low_rank(g, a_names, &l->rate, mixed[MIX_A], NULL);
    pm__t gate = build_low_rank(g, g_names, &l->gate, mixed[MIX_G], &sigmoid_kind);
    a = pm__unary(g, "time_mix_a", PM__SIGMOID, a);
    pm__t kk = pm__l2norm(g, "time_mix_kk_norm", pm__mul(g, "time_mix_kk", k, l->k_k), m->head_dim,
                          1e-12f);
    k = pm__lerp(g, "time_mix_k", k, pm__mul(g, "time_mix_ka", k, a), l->k_a);
    pm__t kka = pm__concat(g, "time_mix_kk_a", kk, pm__mul(g, "time_mix_kka", kk, a), 1);
    const pm__t inputs[] = {r, w, k, v, kka};
    pm__t y = pm__wkv7(g, "wkv7", inputs, m->head_dim, pm__state(g, "state", n * m->head_dim));
    y = pm__build_norm(g, "time_mix_ln", y, &l->head_norm);
    const pm__t all[] = {y, r, k, v};
    y = pm__wkv7_bonus(g, "time_mix_bonus", all, l->r_k, m->head_dim);
    return pm__matmul_add(g, "time_mix_output", pm__mul(g, "time_mix_gate", y, gate), l->output,
                          NULL, x);
}

static pm__t build_channel_mix(pm__graph *g, const layer *l, pm__t x) {
    pm__t h = pm__build_norm(g, "attn_norm_2", x, &l->channel_norm);
    pm__t state = pm__state(g, "state_channel", h != NULL ? h->n_col : 0);
    pm__t before = pm__shift(g, "channel_shift", h, state);
    h = pm__lerp(g, "channel_mix", h, before, l->channel_mix);
    h = pm__matmul(g, "channel_mix_key", h, l->channel_key, NULL);
    h = pm__unary(g, "channel_mix_act", PM__RELU2, h);
    return pm__matmul_add(g, "channel_mix_value", h, l->channel_value, NULL, x);
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const rwkv7 *m = self;
    pm__t first = NULL, x = pm__embed(g, "token_embd", m->token_embd);
    x = pm__build_norm(g, "token_embd_norm", x, &m->embd_norm);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        pm__graph_scope(g, "blk.%u.", i);
        x = build_time_mix(g, m, &m->layers[i], x, &first);
        x = build_channel_mix(g, &m->layers[i], x);
    }
    pm__graph_scope(g, "%s", "");
    return pm__build_output(g, &m->output, x);
}

const pm__arch pm__arch_rwkv7 = {
    .name = "rwkv7", .self_bytes = sizeof(rwkv7), .load = load, .build = build};
