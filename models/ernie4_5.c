/* ernie4_5.c: ERNIE 4.5, the dense ones. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_ernie4_5 = {.name = "ernie4_5",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
