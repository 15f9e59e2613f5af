/* bloom.c: BLOOM. arXiv:2211.05100: ALiBi, embeddings are normed. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->no_rope = true;
    m->heads.max_alibi_bias = 8.0f;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_bloom = {
    .name = "bloom", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
