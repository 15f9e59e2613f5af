/* falcon_h1.c: Falcon H1, arXiv:2507.22448: attention and Mamba 2 side by side in every layer; the
 * converter folds the original's multipliers into the weights. */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__heads heads;
    pm__attention_part attn;
    pm__ssm2 ssm;
    pm__tail tail;
} layer;

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    pm__load_heads(def, &l->heads);
    l->heads.rotation = pm__load_rotation(def, PM__ROPE_HALVES, l->heads.head_dim, NULL);
    pm__load_attention(def, &l->heads, PM__NORM_RMS, i, &l->attn);
    pm__load_ssm2(def, i, &l->ssm);
    pm__load_tail(def, "ffn_norm", NULL, i, &l->tail);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    (void)m;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    x = pm__build_attention(g, &l->heads, &l->attn, h, x);
    x = pm__build_ssm2(g, &l->ssm, h, x);
    return pm__build_tail(g, &l->tail, x, 0);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer, .build_layer = build_layer};
    pm__stack_load(def, m);
}

const pm__arch pm__arch_falcon_h1 = {
    .name = "falcon-h1", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
