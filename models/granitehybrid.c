/* granitehybrid.c: Granite 4: layers of Mamba 2, and some that attend, with Granite's factors on
 * embeddings, branches, scores and logits; after either, a feed-forward block or a mixture. */
#include "recurrent.h"

typedef struct layer {
    pm__norm norm;
    pm__heads heads; /* n_head_kv 0: a state space */
    pm__attention_part attn;
    pm__ssm2 ssm;
    pm__tail tail;
} layer;

static void load_attention(pm__model_def *def, layer *l, uint32_t i) {
    l->heads.scale = pm__key_f32_or(def, "attention.scale", 0.0f, 1e3f, l->heads.scale);
    if (pm__key_bool_or(def, "rope.scaling.finetuned", true))
        l->heads.rotation = pm__load_rotation(def, PM__ROPE_PAIRS, l->heads.head_dim, NULL);
    pm__load_attention(def, &l->heads, PM__NORM_RMS, i, &l->attn);
}

static void load_layer(pm__model_def *def, const pm__stack *m, void *self, uint32_t i) {
    static const pm__mixture_kind kind = {
        .gating = PM__ROUTE_SOFTMAX, .renorm = true, .glu = PM__GLU_SILU};
    layer *l = self;
    (void)m;
    l->norm = pm__load_norm(def, PM__NORM_RMS, def->n_embd, "blk.%u.attn_norm", i);
    if (pm__load_layer_heads(def, i, &l->heads))
        load_attention(def, l, i);
    else
        pm__load_ssm2(def, i, &l->ssm);
    pm__load_tail(def, "ffn_norm", &kind, i, &l->tail);
}

static pm__t mix(pm__graph *g, const layer *l, pm__t x, pm__t residual) {
    return l->heads.n_head_kv > 0 ? pm__build_attention(g, &l->heads, &l->attn, x, residual)
                                  : pm__build_ssm2(g, &l->ssm, x, residual);
}

static pm__t build_layer(pm__graph *g, const pm__stack *m, const void *self, pm__t x) {
    const layer *l = self;
    pm__t h = pm__build_norm(g, "attn_norm", x, &l->norm);
    if (m->residual_scale == 0)
        x = mix(g, l, h, x);
    else
        x = pm__add(g, "mix_add", x,
                    pm__scale(g, "mix_scale", mix(g, l, h, NULL), m->residual_scale));
    return pm__build_tail(g, &l->tail, x, m->residual_scale);
}

static void load(pm__model_def *def, void *self) {
    pm__stack *m = self;
    *m = (pm__stack){
        .layer_bytes = sizeof(layer), .load_layer = load_layer, .build_layer = build_layer};
    m->embed_scale = pm__key_f32_or(def, "embedding_scale", 0.0f, 1e6f, 0.0f);
    m->residual_scale = pm__key_f32_or(def, "residual_scale", 0.0f, 1e6f, 0.0f);
    m->output.scale = 1.0f / pm__key_f32_or(def, "logit_scale", 1e-6f, 1e6f, 1.0f);
    pm__stack_load(def, m);
}

const pm__arch pm__arch_granitehybrid = {.name = "granitehybrid",
                                         .self_bytes = sizeof(pm__stack),
                                         .load = load,
                                         .build = pm__stack_build};
