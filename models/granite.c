/* granite.c: Granite 3 and MiniCPM (arXiv:2404.06395): Llama with factors on embeddings, branches,
 * scores and logits. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    const float scale = pm__key_f32_or(def, "attention.scale", 0.0f, 1e3f, 0.0f);
    m->embed_scale = pm__key_f32_or(def, "embedding_scale", 0.0f, 1e6f, 0.0f);
    m->residual_scale = pm__key_f32_or(def, "residual_scale", 0.0f, 1e6f, 0.0f);
    m->output.scale = 1.0f / pm__key_f32_or(def, "logit_scale", 1e-6f, 1e6f, 1.0f);
    m->no_rope = !pm__key_bool_or(def, "rope.scaling.finetuned", true);
    pm__decoder_load(def, m);
    for (uint32_t i = 0; scale > 0 && def->status == PM_OK && i < def->n_layer; i++)
        m->layers[i].heads.scale = scale;
}

static void load_moe(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->mixed = m->mixture.renorm = true;
    load(def, m);
}

const pm__arch pm__arch_granitemoe = {.name = "granitemoe",
                                      .self_bytes = sizeof(pm__decoder),
                                      .load = load_moe,
                                      .build = pm__decoder_build};
const pm__arch pm__arch_granite = {
    .name = "granite", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
const pm__arch pm__arch_minicpm = {
    .name = "minicpm", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
