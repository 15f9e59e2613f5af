/* phi2.c: Phi 1.5 and 2. arXiv:2309.05463: attention and feed-forward side by side. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_PARALLEL;
    m->norm = PM__NORM_LAYER;
    m->rope_style = PM__ROPE_HALVES;
    m->ungated = true;
    m->unary = PM__GELU;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_phi2 = {
    .name = "phi2", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
