/* ernie4_5.c: ERNIE 4.5, dense ones and mixtures. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    pm__decoder_load(def, m);
}

static void load_moe(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->mixed = m->mixture.renorm = true;
    load(def, m);
}

const pm__arch pm__arch_ernie4_5_moe = {.name = "ernie4_5-moe",
                                        .self_bytes = sizeof(pm__decoder),
                                        .load = load_moe,
                                        .build = pm__decoder_build};
const pm__arch pm__arch_ernie4_5 = {.name = "ernie4_5",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
