/* internlm2.c: InternLM 2. arXiv:2403.17297. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_internlm2 = {.name = "internlm2",
                                     .self_bytes = sizeof(pm__decoder),
                                     .load = load,
                                     .build = pm__decoder_build};
