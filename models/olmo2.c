/* olmo2.c: OLMo 2 and 3. arXiv:2501.00656: norms after each branch, and over all heads of queries
 * and keys. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_POST;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_WHOLE;
    m->windowed = true;
    m->window_period = 4;
    pm__decoder_load(def, m);
    const pm__rotation plain =
        pm__plain_rotation(&m->heads.rotation, m->heads.rotation.rope.freq_base);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        if (m->layers[i].heads.window > 0)
            m->layers[i].heads.rotation = plain;
}

const pm__arch pm__arch_olmo2 = {
    .name = "olmo2", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
