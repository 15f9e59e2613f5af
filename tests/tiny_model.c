#include "tiny_model.h"

#include "format/quant.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    N_EMBD = 96,
    N_HEAD = 6,
    N_HEAD_KV = 3,
    HEAD_DIM = 16,
    N_FF = 160,
    MOST_LAYERS = 3,
    MOST_TENSORS = 3 + 9 * MOST_LAYERS,
    ROOM = 1 << 20,
    ALIGNMENT = 32,
    VALUE_U32 = 4, /* of GGUF keys */
    VALUE_I32 = 5,
    VALUE_F32 = 6,
    VALUE_TEXT = 8,
    VALUE_ARRAY = 9,
    N_SPECIAL = 3, /* <unk>, <s>, </s>; then a piece for each byte, then words */
    FIRST_WORD = N_SPECIAL + 256,
};

typedef struct writer {
    uint8_t *at, *end;
    uint64_t offset; /* of the next tensor in the data */
    uint32_t random;
} writer;

static void put(writer *w, const void *data, size_t n) {
    assert_true(n <= (size_t)(w->end - w->at));
    memcpy(w->at, data, n);
    w->at += n;
}

static void put_u32(writer *w, uint32_t x) {
    put(w, &x, sizeof x);
}

static void put_u64(writer *w, uint64_t x) {
    put(w, &x, sizeof x);
}

static void put_text(writer *w, const char *text) {
    put_u64(w, strlen(text));
    put(w, text, strlen(text));
}

static void put_key_u32(writer *w, const char *key, uint32_t value) {
    put_text(w, key);
    put_u32(w, VALUE_U32);
    put_u32(w, value);
}

static float random_unit(writer *w) { /* in [-1, 1) */
    w->random = w->random * 1664525u + 1013904223u;
    return (float)(w->random >> 8) / 8388608.0f - 1.0f;
}

/* ---- tensors
 * -------------------------------------------------------------------------------------- */

typedef struct tensor {
    char name[40];
    pm__type type;
    uint32_t n_row, n_col; /* n_row 0: a vector */
} tensor;

static uint64_t bytes_of(const tensor *t) {
    uint64_t row = 0;
    assert_true(pm__type_row_bytes(t->type, t->n_col, &row));
    return row * (t->n_row != 0 ? t->n_row : 1);
}

static uint64_t round_up(uint64_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_info(writer *w, const tensor *t) {
    put_text(w, t->name);
    put_u32(w, t->n_row != 0 ? 2 : 1);
    put_u64(w, t->n_col);
    if (t->n_row != 0)
        put_u64(w, t->n_row);
    put_u32(w, pm__type_get(t->type)->id);
    put_u64(w, w->offset);
    w->offset += round_up(bytes_of(t));
}

static void put_half(writer *w, float x) {
    const uint16_t half = pm__f32_to_f16(x);
    put(w, &half, sizeof half);
}

/* Norms are near one; matrices keep the size of what passes through, with an outlier now and then.
 */
static float random_weight(writer *w, const tensor *t) {
    const float x = random_unit(w);
    if (t->n_row == 0)
        return 1.0f + 0.25f * x;
    return x * (w->random % 997 == 0 ? 1.5f : 0.15f);
}

static void put_data(writer *w, const tensor *t) {
    const uint32_t n = t->n_col * (t->n_row != 0 ? t->n_row : 1);
    const pm__type_info *info = pm__type_get(t->type);
    uint8_t *const start = w->at;
    for (uint32_t i = 0; i < n; i += info->block_n) {
        if (t->type == PM__TYPE_F32) {
            const float x = random_weight(w, t);
            put(w, &x, sizeof x);
        } else if (t->type == PM__TYPE_F16) {
            put_half(w, random_weight(w, t));
        } else { /* a scale, then quants: any bytes are good ones */
            const float size = t->type == PM__TYPE_Q8_0 ? 0.2f / 127.0f : 0.2f / 8.0f;
            put_half(w, size * (1.0f + 0.5f * random_unit(w)));
            for (uint32_t k = 2; k < info->block_bytes; k++) {
                const uint8_t byte = (uint8_t)(int)(127.0f * random_unit(w));
                put(w, &byte, 1);
            }
        }
    }
    assert_int_equal(w->at - start, bytes_of(t));
    while ((w->at - start) % ALIGNMENT != 0)
        put(w, "", 1);
}

static void list_layer(tensor *out, uint32_t layer) {
    static const pm__type types[] = {PM__TYPE_F16, PM__TYPE_Q8_0, PM__TYPE_Q4_0};
    static const struct {
        const char *name;
        uint32_t n_row, n_col;
    } rows[] = {
        {"attn_norm", 0, N_EMBD},
        {"attn_q", N_HEAD * HEAD_DIM, N_EMBD},
        {"attn_k", N_HEAD_KV * HEAD_DIM, N_EMBD},
        {"attn_v", N_HEAD_KV * HEAD_DIM, N_EMBD},
        {"attn_output", N_EMBD, N_HEAD * HEAD_DIM},
        {"ffn_norm", 0, N_EMBD},
        {"ffn_gate", N_FF, N_EMBD},
        {"ffn_up", N_FF, N_EMBD},
        {"ffn_down", N_EMBD, N_FF},
    };
    for (size_t i = 0; i < PM__COUNT(rows); i++) {
        out[i] = (tensor){.type = rows[i].n_row != 0 ? types[layer] : PM__TYPE_F32,
                          .n_row = rows[i].n_row,
                          .n_col = rows[i].n_col};
        snprintf(out[i].name, sizeof out[i].name, "blk.%u.%s.weight", layer, rows[i].name);
    }
}

/* ---- the file
 * ------------------------------------------------------------------------------------- */

static void put_key_text(writer *w, const char *key, const char *value) {
    put_text(w, key);
    put_u32(w, VALUE_TEXT);
    put_text(w, value);
}

static void put_array(writer *w, const char *key, uint32_t type) {
    put_text(w, key);
    put_u32(w, VALUE_ARRAY);
    put_u32(w, type);
    put_u64(w, PM__TINY_VOCAB);
}

static void put_piece(writer *w, uint32_t id) {
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    char text[32];
    if (id < N_SPECIAL)
        snprintf(text, sizeof text, "%s", special[id]);
    else if (id < FIRST_WORD)
        snprintf(text, sizeof text, "<0x%02X>", id - N_SPECIAL);
    else
        snprintf(text, sizeof text, "word%u", id);
    put_text(w, text);
}

static void put_tokenizer(writer *w) {
    static const uint32_t kinds[] = {PM__PIECE_UNKNOWN, PM__PIECE_CONTROL, PM__PIECE_CONTROL};
    put_key_text(w, "tokenizer.ggml.model", "llama");
    put_array(w, "tokenizer.ggml.tokens", VALUE_TEXT);
    for (uint32_t i = 0; i < PM__TINY_VOCAB; i++)
        put_piece(w, i);
    put_array(w, "tokenizer.ggml.scores", VALUE_F32);
    for (uint32_t i = 0; i < PM__TINY_VOCAB; i++) {
        const float score = -(float)i;
        put(w, &score, sizeof score);
    }
    put_array(w, "tokenizer.ggml.token_type", VALUE_I32);
    for (uint32_t i = 0; i < PM__TINY_VOCAB; i++)
        put_u32(w, i < N_SPECIAL ? kinds[i] : i < FIRST_WORD ? PM__PIECE_BYTE : PM__PIECE_NORMAL);
    put_key_u32(w, "tokenizer.ggml.bos_token_id", 1);
    put_key_u32(w, "tokenizer.ggml.eos_token_id", 2);
}

static void put_keys(writer *w, uint32_t n_layer) {
    put_key_text(w, "general.architecture", "llama");
    put_key_u32(w, "llama.block_count", n_layer);
    put_key_u32(w, "llama.context_length", 512);
    put_key_u32(w, "llama.embedding_length", N_EMBD);
    put_key_u32(w, "llama.feed_forward_length", N_FF);
    put_key_u32(w, "llama.attention.head_count", N_HEAD);
    put_key_u32(w, "llama.attention.head_count_kv", N_HEAD_KV);
    const float eps = 1e-5f;
    put_text(w, "llama.attention.layer_norm_rms_epsilon");
    put_u32(w, VALUE_F32);
    put(w, &eps, sizeof eps);
    put_tokenizer(w);
}

static void write_file(pm__tiny_model *model, uint32_t n_layer) {
    const uint32_t n_tensor = 3 + 9 * n_layer;
    tensor tensors[MOST_TENSORS] = {
        {"token_embd.weight", PM__TYPE_Q8_0, PM__TINY_VOCAB, N_EMBD},
        {"output_norm.weight", PM__TYPE_F32, 0, N_EMBD},
        {"output.weight", PM__TYPE_F32, PM__TINY_VOCAB, N_EMBD},
    };
    for (uint32_t i = 0; i < n_layer; i++)
        list_layer(&tensors[3 + 9 * i], i);
    model->file = calloc(1, ROOM);
    assert_non_null(model->file);
    writer w = {.at = model->file, .end = model->file + ROOM, .random = 7};
    put(&w, "GGUF", 4);
    put_u32(&w, 3);
    put_u64(&w, n_tensor);
    put_u64(&w, 8 + 6);
    put_keys(&w, n_layer);
    for (uint32_t i = 0; i < n_tensor; i++)
        put_info(&w, &tensors[i]);
    while ((w.at - model->file) % ALIGNMENT != 0)
        put(&w, "", 1);
    for (uint32_t i = 0; i < n_tensor; i++)
        put_data(&w, &tensors[i]);
    model->n_byte = (size_t)(w.at - model->file);
}

void pm__tiny_model_init(pm__tiny_model *model, uint32_t n_layer) {
    static const pm__build_desc build = {.n_ctx = 4096};
    *model = (pm__tiny_model){0};
    assert_true(n_layer >= 1 && n_layer <= MOST_LAYERS);
    write_file(model, n_layer);
    if (pm__gguf_init(&model->gguf, model->file, model->n_byte) != PM_OK ||
        pm__model_def_init(&model->def, &model->gguf) != PM_OK ||
        pm__model_def_build(&model->def, &build, &model->graph) != PM_OK)
        fail_msg("%s", pm_last_error());
}

void pm__tiny_model_write(const pm__tiny_model *model, const char *path) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(model->file, 1, model->n_byte, file), model->n_byte);
    assert_int_equal(fclose(file), 0);
}

void pm__tiny_model_finish(pm__tiny_model *model) {
    pm__graph_finish(&model->graph);
    pm__model_def_finish(&model->def);
    pm__gguf_finish(&model->gguf);
    free(model->file);
    *model = (pm__tiny_model){0};
}
