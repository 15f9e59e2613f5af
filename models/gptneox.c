/* gptneox.c: GPT-NeoX and Pythia. arXiv:2204.06745. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->rope_style = PM__ROPE_HALVES;
    if (pm__key_bool_or(def, "use_parallel_residual", true))
        m->block = PM__BLOCK_PARALLEL;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_gptneox = {
    .name = "gptneox", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
