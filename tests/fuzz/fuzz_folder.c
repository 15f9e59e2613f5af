/* fuzz_folder.c: Hugging Face folders. First byte: which file the rest is (the others are those of
 * a small model), or 6: all of them, with a length of 16 bits before each. The second byte chooses
 * the family of the small model. Refused, or a GGUF file is made of it that reads the same. */
#include "folder.h"

#include "source/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"config.json",           "tokenizer.json",
                                    "tokenizer.model",       "tokenizer_config.json",
                                    "model.safetensors",     "model.safetensors.index.json",
                                    "generation_config.json"};
enum { CONFIG, TOKENIZER, SPM, TOKENIZER_CONFIG, WEIGHTS, INDEX, N_FILE = 7, ALL = 6 };
enum { WIDTH = 4, N_VOCAB = 9, MOST_TENSOR = 16 };

typedef struct family {
    const char *model_type, *more; /* of config.json */
    struct {
        const char *name;
        uint32_t n_row, n_col; /* n_col 0: a vector */
    } tensors[MOST_TENSOR];
} family;

#define LAYER "model.layers.0."
static const family families[] = {
    {"llama",
     "",
     {{"model.embed_tokens.weight", N_VOCAB, WIDTH},
      {LAYER "self_attn.q_proj.weight", 4, WIDTH},
      {LAYER "self_attn.k_proj.bias", 4, 0},
      {LAYER "input_layernorm.weight", WIDTH, 0}}},
    {"mixtral",
     ",\"num_local_experts\":2,\"num_experts_per_tok\":1",
     {{"model.embed_tokens.weight", N_VOCAB, WIDTH},
      {LAYER "block_sparse_moe.experts.0.w1.weight", 3, WIDTH},
      {LAYER "block_sparse_moe.experts.1.w1.weight", 3, WIDTH}}},
    {"gemma2",
     ",\"sliding_window\":8,\"hidden_act\":\"gelu_pytorch_tanh\"",
     {{"model.embed_tokens.weight", N_VOCAB, WIDTH}, {"model.norm.weight", WIDTH, 0}}},
    {"gpt2",
     ",\"n_embd\":4,\"n_layer\":1,\"n_head\":2,\"n_positions\":8",
     {{"wte.weight", N_VOCAB, WIDTH}, {"h.0.attn.c_attn.weight", WIDTH, 12}}},
};

static const char pieces[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
                             "\"merges\":[\"a b\"]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}";

/* ---- a small model --------------------------------------------------------------------------- */

static pm__span text_span(const char *text) {
    return (pm__span){text, strlen(text)};
}

static void write_config(const family *f) {
    char text[512];
    snprintf(text, sizeof text,
             "{\"model_type\":\"%s\",\"hidden_size\":4,\"num_hidden_layers\":1,"
             "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"intermediate_size\":3,"
             "\"vocab_size\":9,\"max_position_embeddings\":16,\"rms_norm_eps\":1e-5%s}",
             f->model_type, f->more);
    pm__folder_write(names[CONFIG], text_span(text));
}

/* All of zeros, in F16. */
static void write_weights(const family *f) {
    char bytes[4096] = "", header[2048] = "{";
    size_t used = 1, n = 0;
    for (uint32_t i = 0; i < MOST_TENSOR && f->tensors[i].name != NULL; i++) {
        const uint32_t n_row = f->tensors[i].n_row, n_col = f->tensors[i].n_col;
        char shape[32];
        snprintf(shape, sizeof shape, n_col > 0 ? "%u,%u" : "%u", n_row, n_col);
        const size_t size = 2 * (size_t)n_row * (n_col > 0 ? n_col : 1);
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%s],"
                                 "\"data_offsets\":[%zu,%zu]}",
                                 i > 0 ? "," : "", f->tensors[i].name, shape, n, n + size);
        n += size;
    }
    header[used++] = '}';
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (char)(used >> 8 * i);
    memcpy(bytes + 8, header, used);
    pm__folder_write(names[WEIGHTS], (pm__span){bytes, 8 + used + n});
}

static void write_model(pm__input *in, bool with_tokenizer) {
    const family *f = &families[pm__input_u8(in) % PM__COUNT(families)];
    write_config(f);
    write_weights(f);
    if (with_tokenizer)
        pm__folder_write(names[TOKENIZER], text_span(pieces));
}

static void write_all(pm__input *in) {
    for (uint32_t i = 0; i < N_FILE && in->left > 0; i++) {
        const uint16_t n = pm__input_u16(in);
        if (n > 0)
            pm__folder_write(names[i], pm__input_bytes(in, n));
    }
}

/* ---- what must hold -------------------------------------------------------------------------- */

typedef struct output {
    uint8_t *data;
    size_t n;
} output;

static bool keep(void *user, const void *data, size_t n) {
    output *out = user;
    out->data = realloc(out->data, out->n + n);
    PM__HOLDS(out->data != NULL);
    memcpy(out->data + out->n, data, n);
    out->n += n;
    return true;
}

static void check_rows(const pm__gguf_tensor *t, const pm__gguf_tensor *read) {
    uint64_t row_bytes = 0;
    PM__HOLDS(pm__type_row_bytes(t->type, t->shape[0], &row_bytes));
    const uint64_t n_row = t->shape[1] * t->shape[2] * t->shape[3];
    PM__HOLDS(t->bytes == n_row * row_bytes && read->bytes == t->bytes);
    PM__HOLDS(read->type_id == t->type_id && memcmp(read->shape, t->shape, sizeof t->shape) == 0);
    for (uint64_t i = 0; i < n_row; i++)
        PM__HOLDS(memcmp(pm__gguf_row(t, i, row_bytes), read->data + i * row_bytes, row_bytes) ==
                  0);
}

static void check_keys(const pm__gguf *gguf, const pm__gguf *read) {
    PM__HOLDS(read->n_key == gguf->n_key + 2); /* general.file_type, quantization_version */
    for (uint64_t i = 0; i < gguf->n_key; i++) {
        const pm__gguf_key *a = &gguf->keys[i], *b = &read->keys[i];
        PM__HOLDS(a->name.size == b->name.size && a->type == b->type && a->n == b->n);
        PM__HOLDS(memcmp(a->name.data, b->name.data, a->name.size) == 0);
        PM__HOLDS(a->value_bytes == b->value_bytes && a->element == b->element);
        PM__HOLDS(memcmp(a->value, b->value, a->value_bytes) == 0);
    }
}

static void check_written(const pm__gguf *gguf) {
    output out = {NULL, 0};
    const pm_quantize_desc desc = {.path = pm__folder(), .write = keep, .user = &out};
    PM__HOLDS(pm_quantize(&desc) == PM_OK);
    pm__gguf read;
    PM__HOLDS(pm__gguf_init(&read, out.data, out.n) == PM_OK);
    PM__HOLDS(read.n_tensor == gguf->n_tensor);
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        PM__HOLDS(strcmp(gguf->tensors[i].name, read.tensors[i].name) == 0);
        check_rows(&gguf->tensors[i], &read.tensors[i]);
    }
    check_keys(gguf, &read);
    pm__gguf_finish(&read);
    free(out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE, PM_UNSUPPORTED};
    pm__input in = {data, size};
    pm__input_quiet();
    const uint8_t which = pm__input_u8(&in) % N_FILE;
    if (which == ALL)
        write_all(&in);
    else {
        write_model(&in, which != SPM);
        pm__folder_write(names[which], pm__input_bytes(&in, in.left));
    }
    pm__source source;
    const pm_status status = pm__source_init(&source, pm__folder());
    if (status == PM_OK) {
        check_written(&source.gguf);
        pm__source_finish(&source);
    } else
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    pm__folder_clear();
    return 0;
}
