/* llama.c: Llama 1 to 3 and its many kin: Mistral, Mixtral, Yi, Vicuna ... arXiv:2302.13971;
 * grouped heads arXiv:2305.13245; sliding window arXiv:2310.06825. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->windowed = true;
    m->mixed = m->mixture.renorm = true;
    pm__decoder_load(def, m);
}

const pm__arch pm__arch_llama = {
    .name = "llama", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
