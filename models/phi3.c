/* phi3.c: Phi 3 and 4. arXiv:2404.14219: projections in one tensor each, LongRoPE. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->windowed = true;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_phi3 = {
    .name = "phi3", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
