/* gpt2.c: GPT-2: learned positions. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->no_rope = true;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_gpt2 = {
    .name = "gpt2", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
