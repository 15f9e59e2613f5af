/* mpt.c: MPT: ALiBi (arXiv:2108.12409), queries, keys and values are clamped. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->no_rope = true;
    m->heads.max_alibi_bias = pm__key_f32_or(def, "attention.max_alibi_bias", 0.0f, 1e3f, 0.0f);
    m->heads.clamp = pm__key_f32_or(def, "attention.clamp_kqv", 0.0f, 1e6f, 0.0f);
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_mpt = {
    .name = "mpt", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
