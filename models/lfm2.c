/* lfm2.c: LFM2 and its mixtures of experts, arXiv:2511.23404: short convolutions, and some layers
 * that attend. */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__heads heads; /* n_head_kv 0: a convolution */
    pm__attention_part attn;
    pm__shortconv conv;
    pm__tail tail;
} layer;

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    static const pm__mixture_kind kind = {
        .gating = PM__ROUTE_SIGMOID, .renorm = true, .glu = PM__GLU_SILU};
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    l->heads.qk_norm = PM__QK_NORM_HEADS;
    if (pm__load_layer_heads(def, i, &l->heads)) {
        l->heads.rotation = pm__load_rotation(def, PM__ROPE_HALVES, l->heads.head_dim, NULL);
        pm__load_attention(def, &l->heads, PM__NORM_RMS, i, &l->attn);
    } else {
        pm__load_shortconv(def, i, &l->conv);
    }
    pm__load_tail(def, "ffn_norm", &kind, i, &l->tail);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    (void)m;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    x = l->heads.n_head_kv > 0 ? pm__build_attention(g, &l->heads, &l->attn, h, x)
                               : pm__build_shortconv(g, &l->conv, h, x);
    return pm__build_tail(g, &l->tail, x, 0);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){.layer_bytes = sizeof(layer),
                     .load_layer = load_layer,
                     .build_layer = build_layer,
                     .output_norm = "token_embd_norm"};
    pm__stack_load(def, m);
}

const pm__arch pm__arch_lfm2moe = {
    .name = "lfm2moe", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
const pm__arch pm__arch_lfm2 = {
    .name = "lfm2", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
