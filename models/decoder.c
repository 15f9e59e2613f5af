#include "decoder.h"

/* ---- loading --------------------------------------------------------------------------------- */

static void load_ends(pm__model_def *def, pm__decoder *m) {
    const uint32_t n_embd = def->n_embd, n_vocab = def->n_vocab;
    m->token_embd = pm__matrix(def, n_vocab, n_embd, "token_embd.weight");
    if (pm__tensor_exists(def, "position_embd.weight"))
        m->position_embd = pm__matrix(def, pm__tensor_rows(def, "position_embd.weight"), n_embd,
                                      "position_embd.weight");
    m->embd_norm = pm__load_norm_or_none(def, m->norm, n_embd, "token_embd_norm");
    pm__load_output(def, m->norm, m->token_embd, &m->output);
}

static void load_norms(pm__model_def *def, const pm__decoder *m, pm__layer *l, uint32_t i) {
    const uint32_t n = def->n_embd;
    const char *ffn_norm = m->ffn_norm != NULL ? m->ffn_norm : "ffn_norm";
    if (m->block != PM__BLOCK_POST)
        l->attn_norm = pm__load_norm(def, m->norm, n, "blk.%u.attn_norm", i);
    if (m->block == PM__BLOCK_PARALLEL)
        l->ffn_norm = pm__load_norm_or_none(def, m->norm, n, "blk.%u.%s", i, ffn_norm);
    else if (m->block != PM__BLOCK_POST)
        l->ffn_norm = pm__load_norm(def, m->norm, n, "blk.%u.%s", i, ffn_norm);
    if (m->block == PM__BLOCK_POST || m->block == PM__BLOCK_SANDWICH) {
        l->attn_post_norm = pm__load_norm(def, m->norm, n, "blk.%u.post_attention_norm", i);
        l->ffn_post_norm = pm__load_norm(def, m->norm, n, "blk.%u.post_ffw_norm", i);
    }
}

static void load_layer(pm__model_def *def, const pm__decoder *m, pm__layer *l, uint32_t i) {
    const pm__activation_part act = {.gated = !m->ungated, .glu = m->glu, .unary = m->unary};
    l->heads = m->heads;
    if (m->heads.window > 0 && !pm__load_windowed(def, m->window_period, i))
        l->heads.window = 0;
    load_norms(def, m, l, i);
    pm__load_attention(def, &l->heads, m->norm, i, &l->attn);
    if (m->mixed && pm__has_mixture(def, i))
        l->mixture = pm__load_mixture(def, &m->mixture, i);
    else
        pm__load_ffn(def, &act, pm__key_u32_layer(def, "feed_forward_length", i, 1, 1 << 24), i,
                     &l->ffn);
}

static void load_heads(pm__model_def *def, pm__decoder *m) {
    pm__load_heads(def, &m->heads);
    if (!m->no_rope)
        m->heads.rotation = pm__load_rotation(def, m->rope_style, m->heads.head_dim, m->yarn_betas);
    if (m->windowed)
        m->heads.window = pm__key_u32_or(def, "attention.sliding_window", 0, INT32_MAX, 0);
}

void pm__decoder_load(pm__model_def *def, pm__decoder *m) {
    pm__load_sizes(def);
    if (!m->mixed)
        pm__key_refuse(def, "expert_count", "this architecture is not known as a mixture");
    load_heads(def, m);
    load_ends(def, m);
    m->layers = pm__load_layers(def, sizeof m->layers[0]);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        load_layer(def, m, &m->layers[i], i);
}

/* ---- forward --------------------------------------------------------------------------------- */

static pm__t embed(pm__graph *g, const pm__decoder *m) {
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    if (m->embed_scale != 0)
        x = pm__scale(g, "embed_scale", x, m->embed_scale);
    if (m->position_embd != NULL)
        x = pm__add(g, "embed_add", x, pm__embed_positions(g, "position_embd", m->position_embd));
    return pm__build_norm(g, "token_embd_norm", x, &m->embd_norm);
}

/* x + what a branch gives, which may be normed or scaled first. */
static pm__t join(pm__graph *g, const pm__decoder *m, pm__t x, pm__t branch, const pm__norm *post,
                  const char *const names[3]) {
    branch = pm__build_norm(g, names[0], branch, post);
    if (m->residual_scale != 0)
        branch = pm__scale(g, names[1], branch, m->residual_scale);
    return pm__add(g, names[2], x, branch);
}

static bool plain_join(const pm__decoder *m, const pm__norm *post) {
    return post->weight == NULL && m->residual_scale == 0;
}

static pm__t attention(pm__graph *g, const pm__decoder *m, const pm__layer *l, pm__t x) {
    static const char *const names[] = {"post_attention_norm", "attn_scale", "attn_add"};
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->attn_norm);
    if (plain_join(m, &l->attn_post_norm))
        return pm__build_attention(g, &l->heads, &l->attn, h, x);
    pm__t y = pm__build_attention(g, &l->heads, &l->attn, h, NULL);
    return join(g, m, x, y, &l->attn_post_norm, names);
}

static pm__t ffn(pm__graph *g, const pm__layer *l, pm__t x, pm__t residual) {
    return l->mixture != NULL ? pm__build_mixture(g, l->mixture, x, residual)
                              : pm__build_ffn(g, &l->ffn, x, residual);
}

static pm__t feed_forward(pm__graph *g, const pm__decoder *m, const pm__layer *l, pm__t x) {
    static const char *const names[] = {"post_ffw_norm", "ffn_scale", "ffn_add"};
    pm__t h = pm__build_norm(g, "ffn_norm", x, &l->ffn_norm);
    if (plain_join(m, &l->ffn_post_norm))
        return ffn(g, l, h, x);
    pm__t y = ffn(g, l, h, NULL);
    return join(g, m, x, y, &l->ffn_post_norm, names);
}

/* Both read x. */
static pm__t parallel(pm__graph *g, const pm__layer *l, pm__t x) {
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->attn_norm);
    pm__t of_ffn = l->ffn_norm.weight != NULL ? pm__build_norm(g, "ffn_norm", x, &l->ffn_norm) : h;
    return ffn(g, l, of_ffn, pm__build_attention(g, &l->heads, &l->attn, h, x));
}

pm__t pm__decoder_build(pm__graph *g, const pm__model_def *def, const void *decoder) {
    const pm__decoder *m = decoder;
    pm__t x = embed(g, m);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        const pm__layer *l = &m->layers[i];
        pm__graph_scope(g, "blk.%u.", i);
        x = m->block == PM__BLOCK_PARALLEL ? parallel(g, l, x)
                                           : feed_forward(g, m, l, attention(g, m, l, x));
    }
    pm__graph_scope(g, "%s", "");
    return pm__build_output(g, &m->output, x);
}
