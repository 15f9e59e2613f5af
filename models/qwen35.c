/* qwen35.c: Qwen 3.5, its mixtures of experts, and Qwen 3 Next: gated delta nets
 * (arXiv:2412.06464), and every so many layers attention whose output is gated
 * (arXiv:2505.06708). */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__delta delta; /* out NULL: it attends */
    pm__heads heads;
    pm__attention_part attn;
    pm__tail tail;
} layer;

static void load_attention(pm__model_def *def, layer *l, uint32_t i) {
    pm__heads *h = &l->heads;
    h->qk_norm = PM__QK_NORM_HEADS;
    h->gated = true;
    pm__load_heads(def, h);
    h->rotation = pm__load_rotation(def, PM__ROPE_HALVES, h->head_dim, NULL);
    pm__load_attention(def, h, PM__NORM_RMS, i, &l->attn);
}

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    static const pm__mixture_kind kind = {
        .gating = PM__ROUTE_SOFTMAX, .renorm = true, .glu = PM__GLU_SILU};
    layer *l = self;
    (void)m;
    const uint32_t interval = pm__key_u32_or(def, "full_attention_interval", 1, PM__MOST_LAYER, 4);
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    if ((i + 1) % interval == 0)
        load_attention(def, l, i);
    else
        pm__load_delta(def, i, &l->delta);
    pm__load_tail(def, "post_attention_norm", &kind, i, &l->tail);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    (void)m;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    x = l->delta.out != NULL ? pm__build_delta(g, &l->delta, h, x)
                             : pm__build_attention(g, &l->heads, &l->attn, h, x);
    return pm__build_tail(g, &l->tail, x, 0);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer, .build_layer = build_layer};
    pm__stack_load(def, m);
}

const pm__arch pm__arch_qwen3next = {
    .name = "qwen3next", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
const pm__arch pm__arch_qwen35moe = {
    .name = "qwen35moe", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
const pm__arch pm__arch_qwen35 = {
    .name = "qwen35", .self_bytes = sizeof(pm__stack), .load = load, .build = pm__stack_build};
