/* glm4.c: GLM 4: norms before and after each branch. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_SANDWICH;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_glm4 = {
    .name = "glm4", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
