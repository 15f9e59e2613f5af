/* nemotron.c: Nemotron and Minitron. arXiv:2402.16819: squared ReLU (arXiv:2109.08668). */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->norm = PM__NORM_LAYER;
    m->rope_style = PM__ROPE_HALVES;
    m->ungated = true;
    m->unary = PM__RELU2;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_nemotron = {.name = "nemotron",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
