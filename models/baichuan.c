/* baichuan.c: Baichuan 2. arXiv:2309.10305: the 7B (32 layers) turns, the 13B (40) has ALiBi. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    const uint32_t n_layer = pm__key_u32(def, "block_count", 1, PM__MOST_LAYER);
    m->no_rope = n_layer != 32;
    m->heads.max_alibi_bias = n_layer == 40 ? 8.0f : 0.0f;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_baichuan = {.name = "baichuan",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
