#include "mixture.h"

/* ---- loading --------------------------------------------------------------------------------- */

bool pm__has_mixture(pm__model_def *def, uint32_t layer) {
    return pm__tensor_exists(def, "blk.%u.ffn_gate_inp.weight", layer);
}

/* expert_gating_func as the field counts: 1 softmax, 2 sigmoid, 3 softmax of the chosen. */
static pm__route_gating load_gating(pm__model_def *def, pm__route_gating otherwise) {
    static const pm__route_gating gatings[] = {PM__ROUTE_SOFTMAX, PM__ROUTE_SIGMOID,
                                               PM__ROUTE_SOFTMAX_CHOSEN};
    const uint32_t kind = pm__key_u32_or(def, "expert_gating_func", 0, 3, 0);
    return kind > 0 ? gatings[kind - 1] : otherwise;
}

/* Equal groups, of which those that are chosen have enough experts. */
static void load_groups(pm__model_def *def, uint32_t n_expert, pm__route_desc *r) {
    r->n_group = pm__key_u32_or(def, "expert_group_count", 0, n_expert, 1);
    if (r->n_group <= 1)
        return;
    r->n_group_used = pm__key_u32(def, "expert_group_used_count", 1, r->n_group);
    if (def->status == PM_OK &&
        (n_expert % r->n_group != 0 || n_expert / r->n_group * r->n_group_used < r->n_used))
        def->status = pm__fail(PM_BAD_FILE,
                               "model: %s.expert_group_used_count is %u of %u groups, in which %u "
                               "experts do not have the %u that a token uses",
                               def->arch->name, r->n_group_used, r->n_group, n_expert, r->n_used);
}

static void load_route(pm__model_def *def, const pm__mixture_kind *kind, pm__mixture *out) {
    pm__route_desc *r = &out->route;
    out->n_expert = pm__key_u32(def, "expert_count", 1, PM__MOST_EXPERTS);
    const uint32_t most = out->n_expert < PM__MOST_USED ? out->n_expert : PM__MOST_USED;
    r->n_used = pm__key_u32(def, "expert_used_count", 1, most);
    r->gating = load_gating(def, kind->gating);
    r->renorm = pm__key_bool_or(def, "expert_weights_norm", kind->renorm);
    r->scale = pm__key_f32_or(def, "expert_weights_scale", 0.0f, 1e4f, 1.0f);
    load_groups(def, out->n_expert, r);
}

static void load_matrices(pm__model_def *def, uint32_t i, pm__mixture *out) {
    const uint32_t n = out->n_expert, n_ff = out->n_ff, n_embd = def->n_embd;
    if (pm__tensor_exists(def, "blk.%u.ffn_gate_up_exps.weight", i)) {
        out->gate_up = pm__experts(def, n, 2 * n_ff, n_embd, "blk.%u.ffn_gate_up_exps.weight", i);
        out->gate_up_bias =
            pm__vector_or_null(def, n * 2 * n_ff, "blk.%u.ffn_gate_up_exps.bias", i);
    } else {
        out->gate = pm__experts(def, n, n_ff, n_embd, "blk.%u.ffn_gate_exps.weight", i);
        out->gate_bias = pm__vector_or_null(def, n * n_ff, "blk.%u.ffn_gate_exps.bias", i);
        out->up = pm__experts(def, n, n_ff, n_embd, "blk.%u.ffn_up_exps.weight", i);
        out->up_bias = pm__vector_or_null(def, n * n_ff, "blk.%u.ffn_up_exps.bias", i);
    }
    out->down = pm__experts(def, n, n_embd, n_ff, "blk.%u.ffn_down_exps.weight", i);
    out->down_bias = pm__vector_or_null(def, n * n_embd, "blk.%u.ffn_down_exps.bias", i);
}

/* Its size is what its tensors say: keys count it in three ways. */
static void load_shared(pm__model_def *def, uint32_t i, pm__mixture *out) {
    if (!pm__tensor_exists(def, "blk.%u.ffn_up_shexp.weight", i))
        return;
    const uint32_t n_ff = pm__tensor_rows(def, "blk.%u.ffn_up_shexp.weight", i);
    pm__ffn *s = &out->shared;
    s->act = (pm__activation_part){.gated = true, .glu = out->kind.glu};
    s->gate = pm__matrix(def, n_ff, def->n_embd, "blk.%u.ffn_gate_shexp.weight", i);
    s->up = pm__matrix(def, n_ff, def->n_embd, "blk.%u.ffn_up_shexp.weight", i);
    s->down = pm__matrix(def, def->n_embd, n_ff, "blk.%u.ffn_down_shexp.weight", i);
    out->shared_gate = pm__vector_or_null(def, def->n_embd, "blk.%u.ffn_gate_inp_shexp.weight", i);
}

pm__mixture *pm__load_mixture(pm__model_def *def, const pm__mixture_kind *kind, uint32_t layer) {
    pm__mixture *out = pm__arena_alloc(&def->arena, sizeof *out);
    if (out == NULL) {
        def->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    *out = (pm__mixture){.kind = *kind};
    load_route(def, kind, out);
    const uint32_t n = out->n_expert;
    out->n_ff = pm__key_exists(def, "expert_feed_forward_length")
                    ? pm__key_u32(def, "expert_feed_forward_length", 1, 1 << 24)
                    : pm__key_u32_layer(def, "feed_forward_length", layer, 1, 1 << 24);
    out->router = pm__matrix(def, n, def->n_embd, "blk.%u.ffn_gate_inp.weight", layer);
    out->router_bias = pm__vector_or_null(def, n, "blk.%u.ffn_gate_inp.bias", layer);
    out->select_bias = pm__vector_or_null(def, n, "blk.%u.exp_probs_b.bias", layer);
    load_matrices(def, layer, out);
    load_shared(def, layer, out);
    return out;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Gate and up in one product, cut apart expert by expert. */
static pm__t activated_fused(pm__graph *g, const pm__mixture *e, pm__t x, pm__t route) {
    pm__slice_desc half = {.n_group = e->route.n_used, .stride = 2 * e->n_ff, .n = e->n_ff};
    pm__t both = pm__experts_matmul(g, "ffn_gate_up_exps", x, e->gate_up, e->gate_up_bias, route,
                                    e->n_expert);
    pm__t gate = pm__slice(g, "ffn_gate_exps", both, &half);
    half.first = e->n_ff;
    pm__t up = pm__slice(g, "ffn_up_exps", both, &half);
    return pm__glu(g, "ffn_act_exps", e->kind.glu, gate, up);
}

static pm__t activated(pm__graph *g, const pm__mixture *e, pm__t x, pm__t route) {
    const uint32_t n = e->n_expert;
    pm__t gate = pm__experts_matmul(g, "ffn_gate_exps", x, e->gate, e->gate_bias, route, n);
    pm__t up = pm__experts_matmul(g, "ffn_up_exps", x, e->up, e->up_bias, route, n);
    return pm__glu(g, "ffn_act_exps", e->kind.glu, gate, up);
}

pm__t pm__build_routed(pm__graph *g, const pm__mixture *e, pm__t x, pm__t logits, pm__t residual) {
    pm__t route = pm__route(g, "ffn_route", logits, e->select_bias, NULL, &e->route);
    if (e->kind.weigh_first)
        x = pm__spread(g, "ffn_weigh", x, route);
    pm__t h = e->gate_up != NULL ? activated_fused(g, e, x, route) : activated(g, e, x, route);
    pm__t y = pm__experts_matmul(g, "ffn_down_exps", h, e->down, e->down_bias, route, e->n_expert);
    return e->kind.weigh_first ? pm__mix_sum(g, "ffn_mix", y, e->route.n_used, residual)
                               : pm__mix(g, "ffn_mix", y, route, residual);
}

static pm__t shared(pm__graph *g, const pm__mixture *e, pm__t x, pm__t residual) {
    if (e->shared_gate == NULL)
        return pm__build_ffn(g, &e->shared, x, residual);
    pm__t gate = pm__unary(g, "ffn_sigmoid_shexp", PM__SIGMOID,
                           pm__matmul(g, "ffn_gate_inp_shexp", x, e->shared_gate, NULL));
    pm__t y = pm__mul(g, "ffn_weigh_shexp", pm__build_ffn(g, &e->shared, x, NULL), gate);
    return pm__add(g, "ffn_add_shexp", residual, y);
}

pm__t pm__build_mixture(pm__graph *g, const pm__mixture *e, pm__t x, pm__t residual) {
    pm__t logits = pm__matmul(g, "ffn_gate_inp", x, e->router, e->router_bias);
    pm__t y = pm__build_routed(g, e, x, logits, residual);
    return e->shared.up != NULL ? shared(g, e, x, y) : y;
}
