/* gpt_oss.c: gpt-oss. arXiv:2508.10925: sinks in attention (arXiv:2309.17453), windows in every
 * other layer, biases everywhere, and gates that are clamped. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    m->ffn_norm = "post_attention_norm";
    m->windowed = true;
    m->window_period = 2;
    m->mixed = true;
    m->mixture.gating = PM__ROUTE_SOFTMAX_CHOSEN;
    m->mixture.glu = PM__GLU_CLAMPED;
    pm__decoder_load(def, m);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++)
        m->layers[i].attn.sinks = pm__vector(def, m->heads.n_head, "blk.%u.attn_sinks.weight", i);
}

const pm__arch pm__arch_gpt_oss = {
    .name = "gpt-oss", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
