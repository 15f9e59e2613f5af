/* fuzz_model.c: keys and tensors of a model file to an architecture, its graph and its plan; no
 * weight is evaluated. First byte 0: the rest is a GGUF file; else it says how to change a small
 * Llama: seven bytes of sizes, then changes of keys and tensors. */
#include "input.h"

#include "graph/model.h"
#include "graph/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a small Llama --------------------------------------------------------------------------- */

enum { MOST_KEY = 32, MOST_TENSOR = 64, MOST_FILE = 1 << 20, ALIGNMENT = 8, LLAMA_KEYS = 8 };

typedef struct key {
    char name[64];
    uint8_t type; /* of the file, arrays left out; 255: dropped */
    uint64_t value;
    const char *text;
} key;

typedef struct tensor {
    char name[40];
    uint32_t type_id, n_dim; /* n_dim 0: dropped */
    uint64_t shape[4];
} tensor;

typedef struct llama {
    key keys[MOST_KEY];
    size_t n_key;
    tensor tensors[MOST_TENSOR];
    size_t n_tensor;
} llama;

static uint64_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void add_key(llama *m, const char *name, uint8_t type, uint64_t value) {
    key *k = &m->keys[m->n_key++];
    *k = (key){.type = type, .value = value, .text = "llama"};
    snprintf(k->name, sizeof k->name, "%s", name);
}

static void add_keys(llama *m, const uint32_t sizes[7]) {
    static const char *const whole[] = {
        "llama.block_count",          "llama.embedding_length",        "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.key_length",
    };
    add_key(m, "general.architecture", PM__GGUF_STRING, 0);
    for (size_t i = 0; i < PM__COUNT(whole); i++)
        add_key(m, whole[i], PM__GGUF_U32, sizes[i]);
    add_key(m, "llama.context_length", PM__GGUF_U32, 64);
    add_key(m, "llama.attention.layer_norm_rms_epsilon", PM__GGUF_F32, bits_of(1e-5f));
}

static void add_tensor(llama *m, const char *name, uint64_t n_col, uint64_t n_row) {
    tensor *t = &m->tensors[m->n_tensor++];
    *t = (tensor){.n_dim = n_row > 1 ? 2 : 1, .shape = {n_col, n_row, 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
}

static void add_layer(llama *m, uint32_t layer, const uint32_t sizes[7]) {
    const uint32_t n_embd = sizes[1], n_ff = sizes[2];
    const uint32_t n_q = sizes[3] * sizes[5], n_kv = sizes[4] * sizes[5];
    const struct {
        const char *name;
        uint32_t n_col, n_row;
    } rows[] = {{"attn_norm", n_embd, 1},     {"attn_q", n_embd, n_q},  {"attn_k", n_embd, n_kv},
                {"attn_v", n_embd, n_kv},     {"ffn_norm", n_embd, 1},  {"ffn_gate", n_embd, n_ff},
                {"attn_output", n_q, n_embd}, {"ffn_up", n_embd, n_ff}, {"ffn_down", n_ff, n_embd}};
    for (size_t i = 0; i < PM__COUNT(rows); i++) {
        char name[40];
        snprintf(name, sizeof name, "blk.%u.%s.weight", (unsigned)layer, rows[i].name);
        add_tensor(m, name, rows[i].n_col, rows[i].n_row);
    }
}

/* sizes  layers, width, feed-forward width, heads, KV heads, head size, vocabulary */
static void make_llama(llama *m, pm__input *in) {
    static const uint32_t most[] = {3, 32, 32, 8, 8, 16, 32};
    uint32_t sizes[7];
    for (size_t i = 0; i < PM__COUNT(sizes); i++)
        sizes[i] = pm__input_u8(in) % most[i] + 1u;
    m->n_key = m->n_tensor = 0;
    add_keys(m, sizes);
    add_tensor(m, "token_embd.weight", sizes[1], sizes[6]);
    add_tensor(m, "output_norm.weight", sizes[1], 1);
    for (uint32_t i = 0; i < sizes[0]; i++)
        add_layer(m, i, sizes);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void change_key(llama *m, pm__input *in) {
    static const char *const more[] = {
        "llama.attention.value_length",   "llama.rope.dimension_count", "llama.rope.freq_base",
        "llama.rope.scale_linear",        "llama.rope.scaling.factor",  "llama.rope.scaling.type",
        "llama.attention.sliding_window", "llama.expert_count",         "other.key"};
    static const char *const texts[] = {"llama", "linear", "none", "yarn", ""};
    const size_t which = pm__input_u8(in) % (m->n_key + PM__COUNT(more));
    const uint8_t type = pm__input_u8(in) % (PM__GGUF_TYPE_COUNT + 1);
    const uint64_t value = pm__input_u64(in);
    if (which >= m->n_key && m->n_key < MOST_KEY)
        add_key(m, more[which - m->n_key], type, value);
    else if (which < m->n_key)
        m->keys[which].value = value;
    key *k = &m->keys[which < m->n_key ? which : m->n_key - 1];
    k->type = type == PM__GGUF_ARRAY || type == PM__GGUF_TYPE_COUNT ? 255 : type;
    k->text = texts[value % PM__COUNT(texts)];
}

static void change_tensor(llama *m, pm__input *in) {
    static const uint32_t types[] = {0,  1,  2,  8,  30, 12, 28, 3,  6,  7,  10,
                                     11, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23,
                                     24, 26, 27, 29, 34, 35, 39, 40, 41, 42};
    tensor *t = &m->tensors[pm__input_u8(in) % m->n_tensor];
    const uint8_t what = pm__input_u8(in);
    t->n_dim = what % 5;
    t->type_id = types[(what >> 3) % PM__COUNT(types)];
    for (size_t i = 0; i < 4; i++)
        t->shape[i] = (what & 0x80) == 0 && i < 2 ? t->shape[i] : pm__input_u8(in) % 65u;
}

static void add_other_tensor(llama *m, pm__input *in) {
    static const char *const names[] = {"output.weight",
                                        "rope_freqs.weight",
                                        "blk.0.attn_q.bias",
                                        "blk.0.attn_v.bias",
                                        "blk.0.attn_output.bias",
                                        "blk.1.ffn_up.bias",
                                        "blk.0.attn_rot_embd.weight",
                                        "other",
                                        "blk.0.ffn_up.scale",
                                        "output.input_scale"};
    const char *name = names[pm__input_u8(in) % PM__COUNT(names)];
    const uint8_t n_col = pm__input_u8(in) % 65, n_row = pm__input_u8(in) % 33;
    if (m->n_tensor < MOST_TENSOR)
        add_tensor(m, name, n_col, n_row);
}

static void change(llama *m, pm__input *in) {
    while (in->left > 0) {
        switch (pm__input_u8(in) % 3) {
        case 0:
            change_key(m, in);
            break;
        case 1:
            change_tensor(m, in);
            break;
        default:
            add_other_tensor(m, in);
        }
    }
}

/* ---- its file -------------------------------------------------------------------------------- */

typedef struct file {
    uint8_t *bytes; /* [MOST_FILE] */
    size_t size;
} file;

static void put(file *f, const void *data, size_t n) {
    PM__HOLDS(n <= MOST_FILE - f->size);
    memcpy(f->bytes + f->size, data, n);
    f->size += n;
}

static void put_int(file *f, uint64_t x, size_t n) {
    for (size_t i = 0; i < n; i++)
        put(f, &(uint8_t){(uint8_t)(x >> 8 * i)}, 1);
}

static void put_text(file *f, const char *text) {
    put_int(f, strlen(text), 8);
    put(f, text, strlen(text));
}

static void put_keys(file *f, const llama *m) {
    put_text(f, "general.alignment");
    put_int(f, PM__GGUF_U32, 4);
    put_int(f, ALIGNMENT, 4);
    for (size_t i = 0; i < m->n_key; i++) {
        const key *k = &m->keys[i];
        if (k->type == 255)
            continue;
        put_text(f, k->name);
        put_int(f, k->type, 4);
        if (k->type == PM__GGUF_STRING)
            put_text(f, k->text);
        else
            put_int(f, k->type == PM__GGUF_BOOL ? k->value & 1 : k->value,
                    pm__gguf_type_bytes((pm__gguf_type)k->type));
    }
}

/* Bytes of its data; what the parser refuses has none. */
static uint64_t bytes_of(const tensor *t) {
    pm__type_block block;
    if (pm__type_block_from_id(t->type_id, &block) != PM_OK || t->shape[0] % block.n != 0)
        return 0;
    uint64_t bytes = t->shape[0] / block.n * block.bytes;
    for (uint32_t i = 1; i < t->n_dim; i++)
        bytes *= t->shape[i];
    return bytes < MOST_FILE / 4 ? bytes : 0;
}

static void put_tensors(file *f, const llama *m) {
    uint64_t offset = 0;
    for (size_t i = 0; i < m->n_tensor; i++) {
        const tensor *t = &m->tensors[i];
        if (t->n_dim == 0)
            continue;
        put_text(f, t->name);
        put_int(f, t->n_dim, 4);
        for (uint32_t k = 0; k < t->n_dim; k++)
            put_int(f, t->shape[k], 8);
        put_int(f, t->type_id, 4);
        put_int(f, offset, 8);
        offset += (bytes_of(t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    while (f->size % ALIGNMENT != 0)
        put_int(f, 0, 1);
    offset = offset < MOST_FILE / 2 ? offset : MOST_FILE / 2;
    memset(f->bytes + f->size, 0, (size_t)offset);
    f->size += (size_t)offset;
}

static uint8_t *write_llama(const llama *m, size_t *size) {
    static uint8_t room[MOST_FILE];
    file f = {.bytes = room};
    uint64_t n_key = 1, n_tensor = 0;
    for (size_t i = 0; i < m->n_key; i++)
        n_key += m->keys[i].type != 255;
    for (size_t i = 0; i < m->n_tensor; i++)
        n_tensor += m->tensors[i].n_dim > 0;
    put(&f, "GGUF", 4);
    put_int(&f, 3, 4);
    put_int(&f, n_tensor, 8);
    put_int(&f, n_key, 8);
    put_keys(&f, m);
    put_tensors(&f, m);
    *size = f.size;
    return pm__input_copy(room, f.size);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void check_weights(const pm__model_def *def) {
    PM__HOLDS(def->n_vocab > 0 && def->n_embd > 0 && def->n_layer > 0 && def->n_ctx_train > 0);
    for (uint32_t i = 0; i < def->n_weight; i++) {
        const pm__weight *w = def->weights[i];
        uint64_t row;
        PM__HOLDS(w->tensor.index == i && w->tensor.n_row > 0 && w->tensor.n_col > 0);
        PM__HOLDS(pm__type_row_bytes(w->tensor.type, w->tensor.n_col, &row));
        if (w->tensor.n_joined > 0)
            continue; /* its pieces are weights, too */
        if (w->source == NULL || w->tensor.type != w->source->type) {
            pm__input_read(w->data, row * w->tensor.n_row); /* computed, or a vector made F32 */
            continue;
        }
        const size_t at = (size_t)(w->data - w->source->data);
        PM__HOLDS(at <= w->source->bytes && row * w->tensor.n_row <= w->source->bytes - at);
    }
}

static void check_nodes(const pm__graph *g) {
    for (uint32_t i = 0; i < g->n_node; i++) {
        pm__access access;
        pm__node_access(&g->nodes[i], &access);
        PM__HOLDS(access.n_write > 0 && access.n_read <= PM__MOST_INPUTS + 1);
        PM__HOLDS(pm__input_is_plain(g->nodes[i].name, strlen(g->nodes[i].name)));
        const pm__cost small = pm__node_cost(&g->nodes[i], 1, 1, 1);
        const pm__cost large = pm__node_cost(&g->nodes[i], 512, 3, 4096);
        PM__HOLDS(small.bytes <= large.bytes && small.flops <= large.flops);
    }
}

static void check_plan(const pm__graph *g, uint32_t n_row, uint32_t n_out, uint64_t alignment) {
    static const pm_status allowed[] = {PM_OUT_OF_MEMORY};
    pm__plan plan;
    const pm_status status = pm__plan_init(&plan, g, n_row, n_out, alignment);
    if (status != PM_OK) {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
        return;
    }
    for (uint32_t i = 0; i < g->n_activation; i++) {
        const pm__tensor *t = g->activations[i];
        const uint64_t rows = t->rows == PM__ROWS_BATCH ? n_row : n_out;
        PM__HOLDS(plan.offsets[i] % alignment == 0);
        PM__HOLDS(plan.sizes[i] == rows * t->n_col * sizeof(float));
        PM__HOLDS(plan.offsets[i] <= plan.arena_bytes &&
                  plan.sizes[i] <= plan.arena_bytes - plan.offsets[i]);
    }
    pm__plan_finish(&plan);
}

static void check_limits(const pm__graph *g) {
    const pm__limits all[] = {{.n_ctx = 1, .n_batch = 1, .n_out = 1, .n_seq = 1},
                              {.n_ctx = 513, .n_batch = 512, .n_out = 3, .n_seq = 7},
                              {.n_ctx = UINT32_MAX, .n_batch = 1, .n_out = 1, .n_seq = UINT32_MAX}};
    for (size_t i = 0; i < PM__COUNT(all); i++) {
        for (uint32_t k = 0; k < g->n_cache; k++)
            PM__HOLDS(pm__limits_cache_bytes(&all[i], g->caches[k]) >=
                      (uint64_t)all[i].n_ctx * g->caches[k]->n_col);
        for (uint32_t k = 0; k < g->n_state; k++)
            PM__HOLDS(pm__limits_state_bytes(&all[i], g->states[k]) >=
                      (uint64_t)all[i].n_seq * g->states[k]->n_col);
        for (int part = 0; part < PM__STEP_PART_COUNT; part++)
            PM__HOLDS(pm__limits_step_bytes(&all[i], (pm__step_part)part) > 0);
    }
}

static pm_status check_model(const pm__gguf *gguf) {
    pm__model_def def;
    PM_TRY(pm__model_def_init(&def, gguf));
    check_weights(&def);
    pm__graph graph;
    static const pm__build_desc build = {.n_ctx = 4096};
    const pm_status status = pm__model_def_build(&def, &build, &graph);
    if (status == PM_OK) {
        PM__HOLDS(graph.logits != NULL && graph.logits->n_col == def.n_vocab);
        check_nodes(&graph);
        check_plan(&graph, 1, 1, 4);
        check_plan(&graph, 512, 3, 256);
        check_plan(&graph, UINT32_MAX, UINT32_MAX, 1 << 20);
        check_limits(&graph);
        pm__graph_finish(&graph);
    }
    pm__model_def_finish(&def);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE, PM_UNSUPPORTED};
    static llama m;
    pm__input_quiet();
    pm__input in = {data, size};
    uint8_t *bytes;
    if (pm__input_u8(&in) == 0) {
        size = in.left;
        bytes = pm__input_copy(in.at, in.left);
    } else {
        make_llama(&m, &in);
        change(&m, &in);
        bytes = write_llama(&m, &size);
    }
    pm__gguf gguf;
    pm_status status = pm__gguf_init(&gguf, bytes, size);
    if (status == PM_OK) {
        status = check_model(&gguf);
        pm__gguf_finish(&gguf);
    }
    if (status != PM_OK)
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    free(bytes);
    return 0;
}
