/* olmoe.c: OLMoE. arXiv:2409.02060: a mixture, with norms over all heads of queries and keys. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_WHOLE;
    m->mixed = true;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_olmoe = {
    .name = "olmoe", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
