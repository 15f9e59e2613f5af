/* gemma.c: Gemma 1 to 3. arXiv:2403.08295; 2: arXiv:2408.00118; 3: arXiv:2503.19786. Norm weights
 * of files have the 1 added that the papers add. */
#include "decoder.h"

#include <math.h>

static void load_gemma(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->glu = PM__GLU_GELU;
    pm__decoder_load(def, m);
    m->embed_scale = sqrtf((float)def->n_embd);
}

/* The largest of each generation divides scores by what its heads would be long if they cut the
 * embedding. */
static void set_scale(const pm__model_def *def, pm__decoder *m, uint32_t n_layer_largest) {
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        if (def->n_layer == n_layer_largest)
            m->layers[i].heads.scale = 1.0f / sqrtf((float)def->n_embd / (float)m->heads.n_head);
}

static void load_gemma2(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_SANDWICH;
    m->windowed = true;
    m->window_period = 2;
    m->heads.softcap = pm__key_f32_or(def, "attn_logit_softcapping", 1e-3f, 1e6f, 50.0f);
    m->output.softcap = pm__key_f32_or(def, "final_logit_softcapping", 1e-3f, 1e6f, 30.0f);
    load_gemma(def, m);
    set_scale(def, m, 46);
}

/* Layers with a window have a base of their own, and positions that are not stretched. */
static void load_gemma3(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    const float base = pm__key_f32_or(def, "rope.freq_base_swa", 1.0f, 1e12f, 10000.0f);
    m->block = PM__BLOCK_SANDWICH;
    m->heads.qk_norm = PM__QK_NORM_HEADS;
    m->windowed = true;
    m->window_period = 6;
    m->output.softcap = pm__key_f32_or(def, "final_logit_softcapping", 0.0f, 1e6f, 0.0f);
    load_gemma(def, m);
    set_scale(def, m, 62);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        if (m->layers[i].heads.window > 0)
            m->layers[i].heads.rotation = pm__plain_rotation(&m->heads.rotation, base);
}

/* Each row sees all others, in layers with a window those at most half of it away. */
static void load_embedding(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->heads.bidirectional = true;
    load_gemma3(def, m);
}

const pm__arch pm__arch_gemma = {.name = "gemma",
                                 .self_bytes = sizeof(pm__decoder),
                                 .load = load_gemma,
                                 .build = pm__decoder_build};
const pm__arch pm__arch_gemma2 = {.name = "gemma2",
                                  .self_bytes = sizeof(pm__decoder),
                                  .load = load_gemma2,
                                  .build = pm__decoder_build};
const pm__arch pm__arch_gemma3 = {.name = "gemma3",
                                  .self_bytes = sizeof(pm__decoder),
                                  .load = load_gemma3,
                                  .build = pm__decoder_build};

const pm__arch pm__arch_gemma_embedding = {.name = "gemma-embedding",
                                           .encoder = true,
                                           .self_bytes = sizeof(pm__decoder),
                                           .load = load_embedding,
                                           .build = pm__decoder_build};
