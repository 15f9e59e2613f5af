/* exaone4.c: EXAONE 4. arXiv:2507.11407: norms after each branch; the 32B (64 layers) has windows,
 * and no positions in layers without. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_POST;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_HEADS;
    m->windowed = pm__key_u32(def, "block_count", 1, PM__MOST_LAYER) == 64;
    m->window_period = 4;
    pm__decoder_load(def, m);
    for (uint32_t i = 0; m->windowed && def->status == PM_OK && i < def->n_layer; i++)
        if (m->layers[i].heads.window == 0)
            m->layers[i].heads.rotation.rope.n_rot = 0;
}

const pm__arch pm__arch_exaone4 = {
    .name = "exaone4", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
