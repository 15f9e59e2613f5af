/* cohere.c: Command R, and Cohere 2 whose windows alternate with layers without positions
 * (arXiv:2504.00698). */
#include "decoder.h"

static void load_common(pm__model_def *def, pm__decoder *m) {
    m->block = PM__BLOCK_PARALLEL;
    m->norm = PM__NORM_LAYER;
    m->output.scale = pm__key_f32(def, "logit_scale", 1e-6f, 1e6f);
    pm__decoder_load(def, m);
}

static void load_command_r(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->heads.qk_norm = PM__QK_NORM_EACH;
    load_common(def, m);
}

static void load_cohere2(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->windowed = true;
    m->window_period = 4;
    load_common(def, m);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        if (m->layers[i].heads.window == 0)
            m->layers[i].heads.rotation.rope.n_rot = 0;
}

const pm__arch pm__arch_command_r = {.name = "command-r",
                                     .self_bytes = sizeof(pm__decoder),
                                     .load = load_command_r,
                                     .build = pm__decoder_build};
const pm__arch pm__arch_cohere2 = {.name = "cohere2",
                                   .self_bytes = sizeof(pm__decoder),
                                   .load = load_cohere2,
                                   .build = pm__decoder_build};
