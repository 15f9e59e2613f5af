/* qwen2.c: Qwen 2 and 2.5. arXiv:2407.10671: Llama with biases on queries, keys and values. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_qwen2 = {
    .name = "qwen2", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
