/* starcoder2.c: StarCoder 2. arXiv:2402.19173. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->rope_style = PM__ROPE_HALVES;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_starcoder2 = {.name = "starcoder2",
                                      .self_bytes = sizeof(pm__decoder),
                                      .load = load,
                                      .build = pm__decoder_build};
