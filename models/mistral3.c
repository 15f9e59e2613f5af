/* mistral3.c: Mistral 3 (Ministral): Llama whose queries grow with the position. */
#include "decoder.h"

#include <math.h>

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    const float log_multiplier =
        pm__key_f32_or(def, "rope.scaling.yarn_log_multiplier", 0.0f, 1e3f, 0.0f);
    const float factor = pm__key_f32_or(def, "rope.scaling.factor", 1.0f, 1e6f, 1.0f);
    m->yarn_betas[0] = pm__key_f32_or(def, "rope.scaling.yarn_beta_fast", 0.0f, 1e6f, 32.0f);
    m->yarn_betas[1] = pm__key_f32_or(def, "rope.scaling.yarn_beta_slow", 0.0f, 1e6f, 1.0f);
    m->heads.temper.scale = pm__key_f32_or(def, "attention.temperature_scale", 0.0f, 1e3f, 0.0f);
    if (m->heads.temper.scale > 0)
        m->heads.temper.original =
            pm__key_u32(def, "rope.scaling.original_context_length", 1, INT32_MAX);
    pm__decoder_load(def, m);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        m->layers[i].heads.rotation.rope.scale /= 1.0f + 0.1f * log_multiplier * logf(factor);
}

const pm__arch pm__arch_mistral3 = {.name = "mistral3",
                                    .self_bytes = sizeof(pm__decoder),
                                    .load = load,
                                    .build = pm__decoder_build};
