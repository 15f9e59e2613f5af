/* stablelm.c: StableLM 2. arXiv:2402.17834. The 12B has one norm for both branches. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    const bool two_norms = pm__tensor_exists(def, "blk.0.ffn_norm.weight");
    m->block = two_norms ? PM__BLOCK_PRE : PM__BLOCK_PARALLEL;
    m->norm = PM__NORM_LAYER;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_EACH;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_stablelm = {.name = "stablelm",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
