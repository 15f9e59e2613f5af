/* seed_oss.c: Seed-OSS. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->ffn_norm = "post_attention_norm";
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_seed_oss = {.name = "seed_oss",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
