/* qwen2.c: Qwen 2 and 2.5. arXiv:2407.10671: Llama with biases on queries, keys and values;
 * and mixtures with a shared expert that has a gate. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    pm__decoder_load(def, m);
}

static void load_moe(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->mixed = true;
    load(def, m);
}

const pm__arch pm__arch_qwen2moe = {.name = "qwen2moe",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load_moe,
                                    .build = pm__decoder_build};
const pm__arch pm__arch_qwen2 = {
    .name = "qwen2", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
