#include "recurrent.h"

enum { MOST_INNER = 1 << 20 };

/* ---- state spaces ---------------------------------------------------------------------------- */

static pm__t load_conv(pm__model_def *def, uint32_t n, uint32_t n_tap, uint32_t layer) {
    return pm__matrix(def, n, n_tap, "blk.%u.ssm_conv1d.weight", layer);
}

static uint32_t load_taps(pm__model_def *def) {
    return pm__key_u32(def, "ssm.conv_kernel", 2, PM__MOST_TAPS);
}

/* Jamba norms dt, B and C, some Mambas do so without weights. */
static void load_ssm_norms(pm__model_def *def, uint32_t i, pm__ssm *out) {
    out->normed = pm__key_bool_or(def, "ssm.dt_b_c_rms", false);
    out->eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f);
    if (!pm__tensor_exists(def, "blk.%u.ssm_dt_norm.weight", i))
        return;
    out->normed = true;
    out->dt_norm = pm__vector(def, out->rank, "blk.%u.ssm_dt_norm.weight", i);
    out->b_norm = pm__vector(def, out->n_state, "blk.%u.ssm_b_norm.weight", i);
    out->c_norm = pm__vector(def, out->n_state, "blk.%u.ssm_c_norm.weight", i);
}

void pm__load_ssm(pm__model_def *def, uint32_t i, pm__ssm *out) {
    const uint32_t n = out->n_inner = pm__key_u32(def, "ssm.inner_size", 1, MOST_INNER);
    const uint32_t n_state = out->n_state =
        pm__key_u32(def, "ssm.state_size", 1, PM__MOST_SSM_STATE);
    const uint32_t rank = out->rank = pm__key_u32(def, "ssm.time_step_rank", 1, MOST_INNER);
    static const char in[] = "blk.%u.ssm_in.weight", x[] = "blk.%u.ssm_x.weight";
    out->n_tap = load_taps(def);
    out->in_x = pm__matrix_rows(def, 2 * n, 0, n, def->n_embd, in, i);
    out->in_z = pm__matrix_rows(def, 2 * n, n, n, def->n_embd, in, i);
    out->conv = load_conv(def, n, out->n_tap, i);
    out->conv_bias = pm__vector_or_null(def, n, "blk.%u.ssm_conv1d.bias", i);
    out->x_dt = pm__matrix_rows(def, rank + 2 * n_state, 0, rank, n, x, i);
    load_ssm_norms(def, i, out);
    if (out->normed) {
        out->x_b = pm__matrix_rows(def, rank + 2 * n_state, rank, n_state, n, x, i);
        out->x_c = pm__matrix_rows(def, rank + 2 * n_state, rank + n_state, n_state, n, x, i);
    } else {
        out->x_bc = pm__matrix_rows(def, rank + 2 * n_state, rank, 2 * n_state, n, x, i);
    }
    out->dt = pm__matrix(def, n, rank, "blk.%u.ssm_dt.weight", i);
    out->dt_bias = pm__vector(def, n, "blk.%u.ssm_dt.bias", i);
    out->a = pm__matrix(def, n, n_state, "blk.%u.ssm_a", i);
    out->d = pm__vector(def, n, "blk.%u.ssm_d", i);
    out->out = pm__matrix(def, def->n_embd, n, "blk.%u.ssm_out.weight", i);
}

pm__t pm__build_ssm(pm__graph *g, const pm__ssm *m, pm__t x, pm__t residual) {
    const uint32_t n_before = m->n_inner * (m->n_tap - 1);
    const pm__ssm_desc desc = {
        .a = m->a, .d = m->d, .state = pm__state(g, "state", m->n_inner * m->n_state)};
    pm__t z = pm__matmul(g, "ssm_in_z", x, m->in_z, NULL), bc;
    x = pm__matmul(g, "ssm_in_x", x, m->in_x, NULL);
    x = pm__conv(g, "ssm_conv1d", x, m->conv, m->conv_bias, pm__state(g, "state_conv", n_before),
                 true);
    pm__t dt = pm__matmul(g, "ssm_x_dt", x, m->x_dt, NULL);
    if (m->normed) {
        pm__t b = pm__matmul(g, "ssm_x_b", x, m->x_b, NULL);
        pm__t c = pm__matmul(g, "ssm_x_c", x, m->x_c, NULL);
        dt = pm__rmsnorm(g, "ssm_dt_norm", dt, m->dt_norm, m->eps);
        bc = pm__concat(g, "ssm_bc", pm__rmsnorm(g, "ssm_b_norm", b, m->b_norm, m->eps),
                        pm__rmsnorm(g, "ssm_c_norm", c, m->c_norm, m->eps), 1);
    } else {
        bc = pm__matmul(g, "ssm_x_bc", x, m->x_bc, NULL);
    }
    dt = pm__matmul(g, "ssm_dt", dt, m->dt, m->dt_bias);
    pm__t y = pm__ssm_scan(g, "ssm_scan", x, dt, bc, &desc);
    y = pm__glu(g, "ssm_gate", PM__GLU_SILU, z, y);
    return pm__matmul_add(g, "ssm_out", y, m->out, NULL, residual);
}

static void check_heads(pm__model_def *def, const pm__ssm2 *m) {
    if (def->status == PM_OK && (m->n_inner % m->n_head != 0 || m->n_head % m->n_group != 0))
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.ssm.inner_size, %u, is not cut by ssm.time_step_rank, "
                               "%u, or that by ssm.group_count, %u",
                               def->arch->name, m->n_inner, m->n_head, m->n_group);
}

void pm__load_ssm2(pm__model_def *def, uint32_t i, pm__ssm2 *out) {
    const uint32_t n = out->n_inner = pm__key_u32(def, "ssm.inner_size", 1, MOST_INNER);
    out->n_state = pm__key_u32(def, "ssm.state_size", 1, PM__MOST_SSM_STATE);
    out->n_head = pm__key_u32(def, "ssm.time_step_rank", 1, 1 << 16);
    out->n_group = pm__key_u32(def, "ssm.group_count", 1, 1 << 16);
    out->n_tap = load_taps(def);
    check_heads(def, out);
    const uint32_t n_xbc = n + 2 * out->n_group * out->n_state, n_all = n + n_xbc + out->n_head;
    static const char in[] = "blk.%u.ssm_in.weight";
    out->in_z = pm__matrix_rows(def, n_all, 0, n, def->n_embd, in, i);
    out->in_xbc = pm__matrix_rows(def, n_all, n, n_xbc, def->n_embd, in, i);
    out->in_dt = pm__matrix_rows(def, n_all, n + n_xbc, out->n_head, def->n_embd, in, i);
    out->dt_bias = pm__vector(def, out->n_head, "blk.%u.ssm_dt.bias", i);
    out->conv = load_conv(def, n_xbc, out->n_tap, i);
    out->conv_bias = pm__vector_or_null(def, n_xbc, "blk.%u.ssm_conv1d.bias", i);
    out->a = pm__vector(def, out->n_head, "blk.%u.ssm_a", i);
    out->d = pm__vector(def, out->n_head, "blk.%u.ssm_d", i);
    out->norm = pm__load_norm_or_none(def, PM__NORM_RMS, n, "blk.%u.ssm_norm", i);
    out->norm.head_dim = n / out->n_group;
    out->out = pm__matrix(def, def->n_embd, n, "blk.%u.ssm_out.weight", i);
}

pm__t pm__build_ssm2(pm__graph *g, const pm__ssm2 *m, pm__t x, pm__t residual) {
    const uint32_t n_xbc = m->n_inner + 2 * m->n_group * m->n_state;
    const pm__ssm2_desc desc = {.n_head = m->n_head,
                                .n_group = m->n_group,
                                .n_state = m->n_state,
                                .a = m->a,
                                .d = m->d,
                                .state = pm__state(g, "state", m->n_inner * m->n_state)};
    pm__t z = pm__matmul(g, "ssm_in_z", x, m->in_z, NULL);
    pm__t dt = pm__matmul(g, "ssm_in_dt", x, m->in_dt, m->dt_bias);
    pm__t xbc = pm__matmul(g, "ssm_in_xbc", x, m->in_xbc, NULL);
    xbc = pm__conv(g, "ssm_conv1d", xbc, m->conv, m->conv_bias,
                   pm__state(g, "state_conv", n_xbc * (m->n_tap - 1)), true);
    pm__t y = pm__ssm2_scan(g, "ssm_scan", xbc, dt, &desc);
    y = pm__glu(g, "ssm_gate", PM__GLU_SILU, z, y);
    y = pm__build_norm(g, "ssm_norm", y, &m->norm);
    return pm__matmul_add(g, "ssm_out", y, m->out, NULL, residual);
}

/* ---- delta nets ------------------------------------------------------------------------------ */

static void load_delta_sizes(pm__model_def *def, pm__delta *m) {
    const uint32_t n_inner = pm__key_u32(def, "ssm.inner_size", 1, MOST_INNER);
    m->head_dim = pm__key_u32(def, "ssm.state_size", 1, PM__MOST_DELTA_HEAD);
    m->n_head = pm__key_u32(def, "ssm.time_step_rank", 1, 1 << 12);
    m->n_head_k = pm__key_u32(def, "ssm.group_count", 1, 1 << 12);
    m->n_tap = load_taps(def);
    m->eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f);
    if (def->status == PM_OK &&
        (n_inner != m->n_head * m->head_dim || m->n_head % m->n_head_k != 0))
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.ssm.inner_size is %u, with ssm.time_step_rank %u, "
                               "ssm.state_size %u and ssm.group_count %u, which do not fit",
                               def->arch->name, n_inner, m->n_head, m->head_dim, m->n_head_k);
}

void pm__load_delta(pm__model_def *def, uint32_t i, pm__delta *out) {
    const uint32_t n_embd = def->n_embd;
    load_delta_sizes(def, out);
    const uint32_t n_inner = out->n_head * out->head_dim;
    const uint32_t n_qkv = n_inner + 2 * out->n_head_k * out->head_dim;
    out->in_qkv = pm__matrix(def, n_qkv, n_embd, "blk.%u.attn_qkv.weight", i);
    out->gate = pm__matrix(def, n_inner, n_embd, "blk.%u.attn_gate.weight", i);
    out->conv = load_conv(def, n_qkv, out->n_tap, i);
    out->ba = pm__matrix_or_null(def, 2 * out->n_head, n_embd, "blk.%u.ssm_ba.weight", i);
    out->tiled = out->ba == NULL;
    if (out->ba == NULL) {
        out->beta = pm__matrix(def, out->n_head, n_embd, "blk.%u.ssm_beta.weight", i);
        out->alpha = pm__matrix(def, out->n_head, n_embd, "blk.%u.ssm_alpha.weight", i);
    }
    out->dt_bias = pm__vector(def, out->n_head, "blk.%u.ssm_dt.bias", i);
    out->decay = pm__vector(def, out->n_head, "blk.%u.ssm_a", i);
    out->norm = pm__load_norm(def, PM__NORM_RMS, out->head_dim, "blk.%u.ssm_norm", i);
    out->norm.head_dim = out->head_dim;
    out->out = pm__matrix(def, n_embd, n_inner, "blk.%u.ssm_out.weight", i);
}

/* b and a of each head of values. */
static void build_rates(pm__graph *g, const pm__delta *m, pm__t x, pm__t out[2]) {
    if (m->ba == NULL) {
        out[0] = pm__matmul(g, "ssm_beta", x, m->beta, NULL);
        out[1] = pm__matmul(g, "ssm_alpha", x, m->alpha, m->dt_bias);
        return;
    }
    const uint32_t n = m->n_head / m->n_head_k;
    const pm__slice_desc first = {.n_group = m->n_head_k, .stride = 2 * n, .n = n};
    const pm__slice_desc second = {.n_group = m->n_head_k, .stride = 2 * n, .first = n, .n = n};
    pm__t ba = pm__matmul(g, "ssm_ba", x, m->ba, NULL);
    out[0] = pm__slice(g, "ssm_beta", ba, &first);
    out[1] = pm__add(g, "ssm_dt_bias", pm__slice(g, "ssm_alpha", ba, &second), m->dt_bias);
}

pm__t pm__build_delta(pm__graph *g, const pm__delta *m, pm__t x, pm__t residual) {
    const uint32_t n_inner = m->n_head * m->head_dim, n_qk = 2 * m->n_head_k * m->head_dim;
    const uint32_t n_qkv = n_qk + n_inner;
    const pm__slice_desc of_qk = {.n_group = 1, .stride = n_qkv, .n = n_qk};
    const pm__slice_desc of_v = {.n_group = 1, .stride = n_qkv, .first = n_qk, .n = n_inner};
    const pm__delta_net_desc desc = {.n_head = m->n_head,
                                     .n_head_k = m->n_head_k,
                                     .head_dim = m->head_dim,
                                     .tiled = m->tiled,
                                     .decay = m->decay,
                                     .state = pm__state(g, "state", n_inner * m->head_dim)};
    pm__t z = pm__matmul(g, "attn_gate", x, m->gate, NULL), rates[2];
    build_rates(g, m, x, rates);
    pm__t qkv = pm__matmul(g, "attn_qkv", x, m->in_qkv, NULL);
    qkv = pm__conv(g, "ssm_conv1d", qkv, m->conv, NULL,
                   pm__state(g, "state_conv", n_qkv * (m->n_tap - 1)), true);
    pm__t qk = pm__l2norm(g, "qk_norm", pm__slice(g, "qk", qkv, &of_qk), m->head_dim, m->eps);
    const pm__t inputs[] = {qk, pm__slice(g, "v", qkv, &of_v), rates[0], rates[1]};
    pm__t y = pm__delta_net(g, "delta_net", inputs, &desc);
    y = pm__build_norm(g, "ssm_norm", y, &m->norm);
    y = pm__glu(g, "ssm_gate", PM__GLU_SILU, z, y);
    return pm__matmul_add(g, "ssm_out", y, m->out, NULL, residual);
}

/* ---- short convolutions ---------------------------------------------------------------------- */

void pm__load_shortconv(pm__model_def *def, uint32_t i, pm__shortconv *out) {
    const uint32_t n = def->n_embd;
    static const char in[] = "blk.%u.shortconv.in_proj.weight";
    out->n_tap = pm__key_u32(def, "shortconv.l_cache", 2, PM__MOST_TAPS);
    out->in_b = pm__matrix_rows(def, 3 * n, 0, n, n, in, i);
    out->in_c = pm__matrix_rows(def, 3 * n, n, n, n, in, i);
    out->in_x = pm__matrix_rows(def, 3 * n, 2 * n, n, n, in, i);
    out->conv = pm__matrix(def, n, out->n_tap, "blk.%u.shortconv.conv.weight", i);
    out->out = pm__matrix(def, n, n, "blk.%u.shortconv.out_proj.weight", i);
}

pm__t pm__build_shortconv(pm__graph *g, const pm__shortconv *m, pm__t x, pm__t residual) {
    pm__t b = pm__matmul(g, "shortconv_b", x, m->in_b, NULL);
    pm__t c = pm__matmul(g, "shortconv_c", x, m->in_c, NULL);
    pm__t y = pm__mul(g, "shortconv_bx", b, pm__matmul(g, "shortconv_x", x, m->in_x, NULL));
    const uint32_t n = y != NULL ? y->n_col : 0;
    pm__t state = pm__state(g, "state_conv", n * (m->n_tap - 1));
    y = pm__mul(g, "shortconv_gate", c, pm__conv(g, "shortconv", y, m->conv, NULL, state, false));
    return pm__matmul_add(g, "shortconv_out", y, m->out, NULL, residual);
}

/* ---- feed-forward ---------------------------------------------------------------------------- */

/* Falcon H1's tensor is called by its bare name. */
static pm__norm load_tail_norm(pm__model_def *def, const char *name, uint32_t i) {
    if (!pm__tensor_exists(def, "blk.%u.%s", i, name))
        return pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.%s", i, name);
    return (pm__norm){.kind = PM__NORM_RMS,
                      .eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f),
                      .weight = pm__vector(def, def->n_embd, "blk.%u.%s", i, name)};
}

void pm__load_tail(pm__model_def *def, const char *norm, const pm__mixture_kind *mixture,
                   uint32_t i, pm__tail *out) {
    static const pm__activation_part act = {.gated = true, .glu = PM__GLU_SILU};
    out->norm = load_tail_norm(def, norm, i);
    if (mixture != NULL && pm__has_mixture(def, i))
        out->mixture = pm__load_mixture(def, mixture, i);
    else
        pm__load_ffn(def, &act, pm__key_u32_layer(def, "feed_forward_length", i, 1, 1 << 24), i,
                     &out->ffn);
}

static pm__t build_ffn(pm__graph *g, const pm__tail *tail, pm__t x, pm__t residual) {
    return tail->mixture != NULL ? pm__build_mixture(g, tail->mixture, x, residual)
                                 : pm__build_ffn(g, &tail->ffn, x, residual);
}

pm__t pm__build_tail(pm__graph *g, const pm__tail *tail, pm__t x, float scale) {
    pm__t h = pm__build_norm(g, "ffn_norm", x, &tail->norm);
    if (scale == 0)
        return build_ffn(g, tail, h, x);
    return pm__add(g, "ffn_add", x, pm__scale(g, "ffn_scale", build_ffn(g, tail, h, NULL), scale));
}

/* ---- a decoder whose layers are the model's own ---------------------------------------------- */

static void load_ends(pm__model_def *def, pm__stack *m) {
    const uint32_t n_vocab = def->n_vocab, n_embd = def->n_embd;
    m->token_embd = pm__matrix(def, n_vocab, n_embd, "token_embd.weight");
    if (m->output_norm == NULL) {
        pm__load_output(def, PM__NORM_RMS, m->token_embd, &m->output);
        return;
    }
    m->output.norm = pm__load_norm(def, PM__NORM_RMS, n_embd, "%s", m->output_norm);
    m->output.weight = pm__matrix_or_null(def, n_vocab, n_embd, "output.weight");
    if (m->output.weight == NULL)
        m->output.weight = m->token_embd;
}

void pm__stack_load(pm__model_def *def, pm__stack *m) {
    pm__load_sizes(def);
    load_ends(def, m);
    m->layers = pm__load_layers(def, m->layer_bytes);
    for (uint32_t i = 0; i < def->n_layer && def->status == PM_OK; i++)
        m->load_layer(def, m, m->layers + i * m->layer_bytes, i);
}

pm__t pm__stack_build(pm__graph *g, const pm__model_def *def, const void *stack) {
    const pm__stack *m = stack;
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    if (m->embed_scale != 0)
        x = pm__scale(g, "embed_scale", x, m->embed_scale);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        pm__graph_scope(g, "blk.%u.", i);
        x = m->build_layer(g, m, m->layers + i * m->layer_bytes, x);
    }
    pm__graph_scope(g, "%s", "");
    return pm__build_output(g, &m->output, x);
}
