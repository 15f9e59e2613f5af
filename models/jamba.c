/* jamba.c: Jamba, arXiv:2403.19887: layers of Mamba, and some that attend, without positions; after
 * either, a feed-forward block or a mixture of experts. */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__heads heads; /* n_head_kv 0: a state space */
    pm__attention_part attn;
    pm__ssm ssm;
    pm__tail tail;
} layer;

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    static const pm__mixture_kind kind = {.gating = PM__ROUTE_SOFTMAX, .glu = PM__GLU_SILU};
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    if (pm__load_layer_heads(def, i, &l->heads))
        pm__load_attention(def, &l->heads, PM__NORM_RMS, i, &l->attn);
    else
        pm__load_ssm(def, i, &l->ssm);
    pm__load_tail(def, "ffn_norm", &kind, i, &l->tail);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    (void)m;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    x = l->heads.n_head_kv > 0 ? pm__build_attention(g, &l->heads, &l->attn, h, x)
                               : pm__build_ssm(g, &l->ssm, h, x);
    return pm__build_tail(g, &l->tail, x, 0);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer, .build_layer = build_layer};
    pm__stack_load(def, m);
}

const pm__arch pm__arch_jamba = {
    .name = "jamba", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
