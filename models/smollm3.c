/* smollm3.c: SmolLM 3: every fourth layer has no positions (arXiv:2501.18795). */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    pm__decoder_load(def, m);
    for (uint32_t i = 3; def->status == PM_OK && i < def->n_layer; i += 4)
        m->layers[i].heads.rotation.rope.n_rot = 0;
}

const pm__arch pm__arch_smollm3 = {
    .name = "smollm3", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
