/* hunyuan.c: Hunyuan, the dense ones: heads are normed after they are turned. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_HEADS;
    m->heads.norm_after_rotation = true;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_hunyuan_dense = {.name = "hunyuan-dense",
                                         .self_bytes = sizeof(pm__decoder),
                                         .load = load,
                                         .build = pm__decoder_build};
