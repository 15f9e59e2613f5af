/* bitnet.c: BitNet b1.58. arXiv:2402.17764: a norm before each output projection. */
#include "decoder.h"

static void load(pm__model_def *def, void *self) {
    pm__decoder *m = self;
    m->rope_style = PM__ROPE_HALVES;
    pm__decoder_load(def, m);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++) {
        pm__layer *l = &m->layers[i];
        const uint32_t n_v = m->heads.n_head * m->heads.head_dim;
        l->attn.sub_norm = pm__load_norm(def, m->norm, n_v, "blk.%u.attn_sub_norm", i);
        l->ffn.sub_norm = pm__load_norm(def, m->norm, l->ffn.up->n_row, "blk.%u.ffn_sub_norm", i);
    }
}

const pm__arch pm__arch_bitnet = {
    .name = "bitnet", .self_bytes = sizeof(pm__decoder), .load = load, .build = pm__decoder_build};
