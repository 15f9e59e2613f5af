/* qwen3.c: Qwen 3. arXiv:2505.09388: each head of queries and keys is normed. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->heads.qk_norm = PM__QK_NORM_HEADS;
    pm__decoder_load(def, m);
}

static void load_moe(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->mixed = m->mixture.renorm = true;
    load(def, m);
}

const pm__arch pm__arch_qwen3moe = {.name = "qwen3moe",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load_moe,
                                    .build = pm__decoder_build};
const pm__arch pm__arch_qwen3 = {
    .name = "qwen3", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
