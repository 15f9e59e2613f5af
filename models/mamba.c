/* mamba.c: Mamba (arXiv:2312.00752) and Mamba 2 (arXiv:2405.21060): state spaces and nothing
 * else. */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__ssm ssm;   /* of the first */
    pm__ssm2 ssm2; /* of the second */
} layer;

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    pm__load_ssm(def, i, &l->ssm);
}

static void load_layer2(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    pm__load_ssm2(def, i, &l->ssm2);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    (void)m;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    return l->ssm.out != NULL ? pm__build_ssm(g, &l->ssm, h, x) : pm__build_ssm2(g, &l->ssm2, h, x);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer, .build_layer = build_layer};
    pm__stack_load(def, m);
}

static void load2(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer2, .build_layer = build_layer};
    pm__stack_load(def, m);
}

const pm__arch pm__arch_mamba = {
    .name = "mamba", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
const pm__arch pm__arch_mamba2 = {
    .name = "mamba2", .self_bytes = sizeof(pm__stack), .load = load2, .build = pm__stack_build};
