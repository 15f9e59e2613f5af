/* t5.c: T5 and Flan-T5. arXiv:1910.10683, gated: arXiv:2002.05202. An encoder reads the text, the
 * decoder sees its last states; biases by distance in the place of positions. */
#include "parts.h"

#include <stdio.h>

typedef struct attention {
    pm__t wq, wk, wv, wo;
} attention;

typedef struct layer {
    pm__norm attn_norm, cross_norm, ffn_norm;
    attention self, cross; /* cross: of the decoder alone */
    pm__ffn ffn;
} layer;

typedef struct side {
    const char *name; /* before ".blk.0." */
    uint32_t n_layer;
    pm__t rel_bias; /* [1, buckets * n_head], of all layers */
    pm__norm output_norm;
    layer *layers;
} side;

typedef struct t5 {
    uint32_t n_head, head_dim, n_ff, n_bucket;
    pm__t token_embd, output;
    side encoder, decoder;
} t5;

/* ---- loading --------------------------------------------------------------------------------- */

static attention load_attention(pm__model_def *def, const t5 *m, const char *prefix,
                                const char *kind) {
    const uint32_t n = m->n_head * m->head_dim, n_embd = def->n_embd;
    return (attention){.wq = pm__matrix(def, n, n_embd, "%s%s_q.weight", prefix, kind),
                       .wk = pm__matrix(def, n, n_embd, "%s%s_k.weight", prefix, kind),
                       .wv = pm__matrix(def, n, n_embd, "%s%s_v.weight", prefix, kind),
                       .wo = pm__matrix(def, n_embd, n, "%s%s_o.weight", prefix, kind)};
}

static void load_ffn(pm__model_def *def, const t5 *m, const char *prefix, pm__ffn *ffn) {
    ffn->act = (pm__activation_part){.glu = PM__GLU_GELU, .unary = PM__RELU};
    ffn->gate = pm__matrix_or_null(def, m->n_ff, def->n_embd, "%sffn_gate.weight", prefix);
    ffn->act.gated = ffn->gate != NULL;
    ffn->up = pm__matrix(def, m->n_ff, def->n_embd, "%sffn_up.weight", prefix);
    ffn->down = pm__matrix(def, def->n_embd, m->n_ff, "%sffn_down.weight", prefix);
}

static void load_layer(pm__model_def *def, const t5 *m, const side *s, uint32_t i, layer *l) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s.blk.%u.", s->name, i);
    l->attn_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "%sattn_norm", prefix);
    l->self = load_attention(def, m, prefix, "attn");
    if (s == &m->decoder) {
        l->cross_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "%scross_attn_norm", prefix);
        l->cross = load_attention(def, m, prefix, "cross_attn");
    }
    l->ffn_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "%sffn_norm", prefix);
    load_ffn(def, m, prefix, &l->ffn);
    /* Those of the first layer serve all; where the encoder is seen, distances do not count. */
    if (i > 0)
        pm__tensor_ignore(def, "%sattn_rel_b.weight", prefix);
    pm__tensor_ignore(def, "%scross_attn_rel_b.weight", prefix);
}

static void load_side(pm__model_def *def, const t5 *m, const char *name, side *s) {
    s->name = name;
    s->rel_bias = pm__vector(def, m->n_bucket * m->n_head, "%s.blk.0.attn_rel_b.weight", name);
    s->output_norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "%s.output_norm", name);
    if (def->status != PM_OK)
        return;
    s->layers = pm__arena_array(&def->arena, s->n_layer, sizeof s->layers[0]);
    if (s->layers == NULL)
        def->status = PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; def->status == PM_OK && i < s->n_layer; i++)
        load_layer(def, m, s, i, &s->layers[i]);
}

static void load(pm__model_def *def, void *self) {
    t5 *m = self;
    pm__load_sizes(def);
    m->n_head = pm__key_u32(def, "attention.head_count", 1, 1 << 16);
    m->head_dim = pm__key_u32(def, "attention.key_length", 1, PM__MOST_HEAD_DIM);
    m->n_ff = pm__key_u32(def, "feed_forward_length", 1, 1 << 24);
    m->n_bucket = pm__key_u32(def, "attention.relative_buckets_count", 8, 254);
    m->encoder.n_layer = def->n_layer;
    m->decoder.n_layer =
        pm__key_u32_or(def, "decoder_block_count", 1, PM__MOST_LAYER, def->n_layer);
    def->decoder_start = pm__key_u32_or(def, "decoder_start_token_id", 0, def->n_vocab - 1, 0);
    m->token_embd = pm__matrix(def, def->n_vocab, def->n_embd, "token_embd.weight");
    m->output = pm__matrix_or_null(def, def->n_vocab, def->n_embd, "output.weight");
    if (m->output == NULL)
        m->output = m->token_embd;
    load_side(def, m, "enc", &m->encoder);
    load_side(def, m, "dec", &m->decoder);
}

/* ---- forward --------------------------------------------------------------------------------- */

static pm__t cache(pm__graph *g, const t5 *m, const char *name, pm__type type, pm__t x, pm__t w) {
    pm__t cache = pm__cache(g, name, type, m->n_head * m->head_dim);
    pm__kv_store(g, name, cache, pm__matmul(g, name, x, w, NULL));
    return cache;
}

static pm__t self_attention(pm__graph *g, const t5 *m, const side *s, const layer *l, pm__t x) {
    const pm__attention_desc desc = {.n_head = m->n_head,
                                     .n_head_kv = m->n_head,
                                     .head_dim = m->head_dim,
                                     .scale = 1.0f,
                                     .bidirectional = s == &m->encoder,
                                     .rel_bias = s->rel_bias};
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->attn_norm);
    pm__t q = pm__matmul(g, "attn_q", h, l->self.wq, NULL);
    pm__t k = cache(g, m, "attn_k", g->cache_types.k, h, l->self.wk);
    pm__t v = cache(g, m, "attn_v", g->cache_types.v, h, l->self.wv);
    pm__t y = pm__attention(g, "attention", q, k, v, &desc);
    return pm__matmul_add(g, "attn_o", y, l->self.wo, NULL, x);
}

/* Over what the encoder has left of the sequence. */
static pm__t cross_attention(pm__graph *g, const t5 *m, const layer *l, pm__t x, pm__t k, pm__t v) {
    const pm__attention_desc desc = {.n_head = m->n_head,
                                     .n_head_kv = m->n_head,
                                     .head_dim = m->head_dim,
                                     .scale = 1.0f,
                                     .bidirectional = true};
    pm__t h = pm__build_norm(g, "cross_attn_norm", x, &l->cross_norm);
    pm__t q = pm__matmul(g, "cross_attn_q", h, l->cross.wq, NULL);
    pm__t y = pm__attention(g, "cross_attention", q, k, v, &desc);
    return pm__matmul_add(g, "cross_attn_o", y, l->cross.wo, NULL, x);
}

static pm__t feed_forward(pm__graph *g, const layer *l, pm__t x) {
    return pm__build_ffn(g, &l->ffn, pm__build_norm(g, "ffn_norm", x, &l->ffn_norm), x);
}

static pm__t encode(pm__graph *g, const t5 *m) {
    pm__graph_scope(g, "%s", "enc.");
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    for (uint32_t i = 0; i < m->encoder.n_layer; i++) {
        const layer *l = &m->encoder.layers[i];
        pm__graph_scope(g, "enc.blk.%u.", i);
        x = feed_forward(g, l, self_attention(g, m, &m->encoder, l, x));
    }
    return pm__build_norm(g, "output_norm", x, &m->encoder.output_norm);
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const t5 *m = self;
    pm__t cross_k[PM__MOST_LAYER], cross_v[PM__MOST_LAYER];
    (void)def;
    pm__graph_side(g, true);
    pm__t read = encode(g, m);
    for (uint32_t i = 0; i < m->decoder.n_layer; i++) {
        const attention *cross = &m->decoder.layers[i].cross;
        pm__graph_scope(g, "dec.blk.%u.", i);
        cross_k[i] = cache(g, m, "cross_attn_k", g->cache_types.k, read, cross->wk);
        cross_v[i] = cache(g, m, "cross_attn_v", g->cache_types.v, read, cross->wv);
    }
    pm__graph_side(g, false);
    pm__graph_scope(g, "%s", "dec.");
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    for (uint32_t i = 0; i < m->decoder.n_layer; i++) {
        const layer *l = &m->decoder.layers[i];
        pm__graph_scope(g, "dec.blk.%u.", i);
        x = self_attention(g, m, &m->decoder, l, x);
        x = cross_attention(g, m, l, x, cross_k[i], cross_v[i]);
        x = feed_forward(g, l, x);
    }
    pm__graph_scope(g, "%s", "");
    x = pm__build_norm(g, "output_norm", pm__select(g, "select", x), &m->decoder.output_norm);
    return g->hidden ? x : pm__matmul(g, "output", x, m->output, NULL);
}

const pm__arch pm__arch_t5 = {.name = "t5", .self_bytes = sizeof(t5), .load = load, .build = build};
