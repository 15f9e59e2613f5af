/* bert.c: BERT (arXiv:1810.04805) and Nomic BERT (arXiv:2402.01613): encoders, norms after each
 * branch is added. */
#include "parts.h"

typedef struct layer {
    pm__attention_part attn;
    pm__ffn ffn;
    pm__norm attn_norm, ffn_norm;
} layer;

typedef struct bert {
    pm__heads heads;
    pm__t token_embd, type_embd; /* [n_vocab, n_embd], [1, n_embd] */
    pm__t position_embd;         /* [positions, n_embd], or NULL where heads turn */
    pm__norm embd_norm;
    layer *layers; /* [n_layer] */
} bert;

/* ---- loading --------------------------------------------------------------------------------- */

static void load_embeddings(pm__model_def *def, bert *m) {
    const uint32_t n_embd = def->n_embd, n_type = pm__tensor_rows(def, "token_types.weight");
    m->token_embd = pm__matrix(def, def->n_vocab, n_embd, "token_embd.weight");
    m->type_embd = pm__matrix_rows(def, n_type, 0, 1, n_embd, "token_types.weight");
    if (n_type > 1) /* of the second of two sentences, which no text here has */
        pm__matrix_rows(def, n_type, 1, n_type - 1, n_embd, "token_types.weight");
    if (pm__tensor_exists(def, "position_embd.weight"))
        m->position_embd = pm__matrix(def, pm__tensor_rows(def, "position_embd.weight"), n_embd,
                                      "position_embd.weight");
    m->embd_norm = pm__load_norm(def, PM__NORM_LAYER, n_embd, "token_embd_norm");
}

static void load(pm__model_def *def, bert *m, const pm__activation_part *act) {
    pm__load_sizes(def);
    const uint32_t n_ff = pm__key_u32(def, "feed_forward_length", 1, 1 << 24);
    m->heads.bidirectional = true;
    pm__load_heads(def, &m->heads);
    load_embeddings(def, m);
    if (m->position_embd == NULL)
        m->heads.rotation = pm__load_rotation(def, PM__ROPE_HALVES, m->heads.head_dim, NULL);
    m->layers = pm__load_layers(def, sizeof m->layers[0]);
    for (uint32_t i = 0; def->status == PM_OK && i < def->n_layer; i++) {
        layer *l = &m->layers[i];
        pm__load_attention(def, &m->heads, PM__NORM_LAYER, i, &l->attn);
        pm__load_ffn(def, act, n_ff, i, &l->ffn);
        l->attn_norm =
            pm__load_norm(def, PM__NORM_LAYER, def->n_embd, "blk.%u.attn_output_norm", i);
        l->ffn_norm =
            pm__load_norm(def, PM__NORM_LAYER, def->n_embd, "blk.%u.layer_output_norm", i);
    }
}

static void load_bert(pm__model_def *def, void *self) {
    static const pm__activation_part gelu = {.unary = PM__GELU};
    load(def, self, &gelu);
}

static void load_nomic(pm__model_def *def, void *self) {
    static const pm__activation_part swiglu = {.gated = true};
    load(def, self, &swiglu);
}

/* ---- forward --------------------------------------------------------------------------------- */

static pm__t embed(pm__graph *g, const bert *m) {
    pm__t x = pm__embed(g, "token_embd", m->token_embd);
    x = pm__add(g, "type_add", x, m->type_embd);
    if (m->position_embd != NULL)
        x = pm__add(g, "position_add", x,
                    pm__embed_positions(g, "position_embd", m->position_embd));
    return pm__build_norm(g, "token_embd_norm", x, &m->embd_norm);
}

static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    const bert *m = self;
    pm__t x = embed(g, m);
    for (uint32_t i = 0; i < def->n_layer; i++) {
        const layer *l = &m->layers[i];
        pm__graph_scope(g, "blk.%u.", i);
        x = pm__build_attention(g, &m->heads, &l->attn, x, x);
        x = pm__build_norm(g, "attn_output_norm", x, &l->attn_norm);
        x = pm__build_ffn(g, &l->ffn, x, x);
        x = pm__build_norm(g, "layer_output_norm", x, &l->ffn_norm);
    }
    pm__graph_scope(g, "%s", "");
    return pm__select(g, "select", x);
}

const pm__arch pm__arch_bert = {
    .name = "bert", .encoder = true, .self_bytes = sizeof(bert), .load = load_bert, .build = build};

const pm__arch pm__arch_nomic_bert = {.name = "nomic-bert",
                                      .encoder = true,
                                      .self_bytes = sizeof(bert),
                                      .load = load_nomic,
                                      .build = build};
