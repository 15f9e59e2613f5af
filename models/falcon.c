/* falcon.c: Falcon. arXiv:2311.16867: both branches side by side; the 40B has a norm for each. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->block = PM__BLOCK_PARALLEL;
    m->norm = PM__NORM_LAYER;
    m->ungated = true;
    m->unary = PM__GELU;
    m->rope_style = PM__ROPE_HALVES;
    pm__decoder_load(def, m);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++) {
        pm__layer *l = &m->layers[i];
        const pm__norm second =
            pm__load_norm_or_none(def, m->norm, def->n_embd, "blk.%u.attn_norm_2", i);
        if (second.weight == NULL)
            continue;
        l->ffn_norm = l->attn_norm;
        l->attn_norm = second;
    }
}

const pm__arch pm__arch_falcon = {
    .name = "falcon", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
