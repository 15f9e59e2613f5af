/* glm4moe.c: GLM 4.5 and later. arXiv:2508.06471: dense layers, then mixtures whose experts are
 * chosen with a bias. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->ffn_norm = "post_attention_norm";
    m->heads.qk_norm = PM__QK_NORM_HEADS;
    m->mixed = m->mixture.renorm = true;
    m->mixture.gating = PM__ROUTE_SIGMOID;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_glm4moe = {
    .name = "glm4moe", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
