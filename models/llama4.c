/* llama4.c: Llama 4, Scout and Maverick. Three of four layers turn queries and keys, norm them
 * without weights, and see chunks of 8192 positions; the fourth does none of it, and its queries
 * grow with the position. What an expert is given is weighed, not what it gives.
 * source  the model's own code (meta-llama/llama-models) and GGUF files of the field */
#include "decoder.h"

enum { CHUNK = 8192, LARGEST_NORMED = 127 };

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->mixed = m->mixture.weigh_first = true;
    m->mixture.gating = PM__ROUTE_SIGMOID;
    pm__decoder_load(def, m);
    const uint32_t chunk = pm__key_u32_or(def, "attention.sliding_window", 0, INT32_MAX, CHUNK);
    /* The one of 128 experts was trained without norms; files do not say so. */
    const bool normed =
        pm__key_u32_or(def, "expert_count", 0, PM__MOST_EXPERTS, 0) <= LARGEST_NORMED;
    const float eps = pm__key_f32(def, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f);
    const pm__norm norm = {
        .kind = PM__NORM_RMS, .eps = eps, .head_dim = m->heads.head_dim, .bare = normed};
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++) {
        pm__layer *l = &m->layers[i];
        if (chunk == 0 || pm__load_windowed(def, 4, i)) {
            l->heads.window = chunk;
            l->heads.chunked = chunk > 0;
            l->heads.norm_after_rotation = true;
            l->attn.q_norm = l->attn.k_norm = norm;
        } else {
            l->heads.rotation.rope.n_rot = 0;
            l->heads.temper = (pm__temper_desc){.scale = 0.1f, .original = CHUNK, .ahead = 1};
        }
    }
}

const pm__arch pm__arch_llama4 = {
    .name = "llama4", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
