/* test_mix.c: which type each tensor gets: models of many layers, of experts, of shared heads, by
 * the rules as llama.cpp's llama-quantize applies them. What real files got is in
 * test_quantize_command.
 */
/* ctest: quick */
#include "engine/mix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Numbers of a model, as keys of a file. */
typedef struct shape {
    uint32_t n_layer, n_head, n_head_kv, n_expert;
    bool imatrix, tied;
} shape;

enum { MOST_TENSOR = 800 };

typedef struct model {
    pm__gguf_tensor tensors[MOST_TENSOR];
    char names[MOST_TENSOR][64];
    size_t n_tensor;
    pm__gguf_key keys[5];
    uint8_t values[5][16];
    pm__gguf gguf;
    pm__mix_model mix;
} model;

static void add_tensor(model *m, uint32_t n_dim, const char *name) {
    assert_true(m->n_tensor < MOST_TENSOR);
    snprintf(m->names[m->n_tensor], sizeof m->names[0], "%s", name);
    m->tensors[m->n_tensor] =
        (pm__gguf_tensor){.name = m->names[m->n_tensor],
                          .type = PM__TYPE_F32,
                          .n_dim = n_dim,
                          .shape = {512, n_dim > 1 ? 768 : 1, n_dim > 2 ? 8 : 1, 1}};
    m->n_tensor++;
}

static void add_layers(model *m, const shape *s) {
    static const char *const names[] = {"attn_norm",   "attn_q",   "attn_k", "attn_v",
                                        "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    char name[64];
    for (uint32_t i = s->n_layer; i-- > 0;) /* in no order of layers */
        for (size_t k = 0; k < PM__COUNT(names); k++) {
            const bool experts = s->n_expert > 0 && strncmp(names[k], "ffn", 3) == 0;
            snprintf(name, sizeof name, "blk.%u.%s%s.weight", i, names[k], experts ? "_exps" : "");
            add_tensor(m, k == 0 ? 1 : experts ? 3 : 2, name);
        }
}

static void add_u32(model *m, size_t i, const char *name, uint32_t value) {
    for (size_t k = 0; k < 4; k++)
        m->values[i][k] = (uint8_t)(value >> 8 * k);
    m->keys[i] = (pm__gguf_key){.name = {name, strlen(name)},
                                .type = PM__GGUF_U32,
                                .n = 1,
                                .value = m->values[i],
                                .value_bytes = 4};
}

static model *make(const char *mix, const shape *s) {
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    add_tensor(m, 2, "token_embd.weight");
    if (!s->tied)
        add_tensor(m, 2, "output.weight");
    add_tensor(m, 1, "output_norm.weight");
    add_tensor(m, 2, "blk.0.ffn_gate_inp.weight");
    add_layers(m, s);
    memcpy(m->values[0], "\5\0\0\0\0\0\0\0llama", 13);
    m->keys[0] = (pm__gguf_key){.name = {"general.architecture", 20},
                                .type = PM__GGUF_STRING,
                                .n = 1,
                                .value = m->values[0],
                                .value_bytes = 13};
    add_u32(m, 1, "llama.block_count", s->n_layer);
    add_u32(m, 2, "llama.attention.head_count", s->n_head);
    add_u32(m, 3, "llama.attention.head_count_kv", s->n_head_kv);
    add_u32(m, 4, "llama.expert_count", s->n_expert);
    assert_int_equal(pm__gguf_make(&m->gguf, "test", m->keys, 5, m->tensors, m->n_tensor), PM_OK);
    assert_int_equal(pm__mix_model_init(&m->mix, pm__mix_find(mix), &m->gguf, s->imatrix), PM_OK);
    return m;
}

static void drop(model *m) {
    pm__mix_model_finish(&m->mix);
    pm__gguf_finish(&m->gguf);
    free(m);
}

static const char *type_of(const model *m, const char *name) {
    const pm__gguf_tensor *tensor = pm__gguf_find_tensor(&m->gguf, name);
    assert_non_null(tensor);
    const pm__role role = pm__mix_role(&m->mix, tensor);
    return role == PM__ROLE_KEPT ? "kept" : pm__type_get(pm__mix_type(&m->mix, tensor, role))->name;
}

/* Types of one kind of matrix in all layers, such as "6..6..": the digits of Q6_K, '.' the
 * mix's. */
static void expect_layers(const model *m, const char *kind, const char *expected) {
    for (uint32_t i = 0; expected[i] != '\0'; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, kind);
        const char *type = type_of(m, name);
        const bool same = strcmp(type, pm__type_get(m->mix.mix->type)->name) == 0;
        if (same ? expected[i] != '.' : expected[i] != type[1])
            fail_msg("%s: %s is %s, expected %c", m->mix.mix->name, name, type, expected[i]);
    }
}

static void expect(const model *m, const char *name, const char *type) {
    if (strcmp(type_of(m, name), type) != 0)
        fail_msg("%s: %s is %s, expected %s", m->mix.mix->name, name, type_of(m, name), type);
}

static void small_tensors_are_kept(void **state) {
    (void)state;
    const shape s = {.n_layer = 2, .n_head = 4, .n_head_kv = 4};
    model *m = make("Q4_K_M", &s);
    expect(m, "output_norm.weight", "kept");
    expect(m, "blk.1.attn_norm.weight", "kept");
    expect(m, "blk.0.ffn_gate_inp.weight", "kept");
    expect(m, "output.weight", "Q6_K");
    expect(m, "token_embd.weight", "Q4_K");
    drop(m);
    m = make("TQ2_0", &s);
    expect(m, "token_embd.weight", "Q4_K");
    drop(m);
    m = make("f16", &s);
    expect(m, "output.weight", "F16");
    expect(m, "blk.0.attn_v.weight", "F16");
    drop(m);
    const shape tied = {.n_layer = 2, .n_head = 4, .n_head_kv = 4, .tied = true};
    m = make("Q4_0", &tied);
    expect(m, "token_embd.weight", "Q6_K");
    drop(m);
}

static void some_layers_get_more(void **state) {
    (void)state;
    static const struct {
        const char *mix, *value, *down, *attention;
    } cases[] = {
        {"Q4_K_M", "66..6..6..6..666", "66..6..6..6..666", "................"},
        {"Q5_K_M", "66..6..6..6..666", "66..6..6..6..666", "................"},
        {"Q4_K_S", "5555............", "55..............", "................"},
        {"Q3_K_M", "5544444444444444", "5444444444444444", "4444444444444444"},
        {"Q3_K_L", "5555555555555555", "5555555555555555", "5555555555555555"},
        {"Q3_K_S", "................", "................", "................"},
        {"Q2_K", "3333333333333333", "3333333333333333", "3333333333333333"},
        {"Q2_K_S", "................", "44..............", "................"},
        {"IQ4_XS", "................", "55..............", "................"},
        {"Q4_0", "................", "................", "................"},
        {"Q6_K", "................", "................", "................"},
    };
    const shape s = {.n_layer = 16, .n_head = 8, .n_head_kv = 4};
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        model *m = make(cases[i].mix, &s);
        expect_layers(m, "attn_v", cases[i].value);
        expect_layers(m, "ffn_down", cases[i].down);
        expect_layers(m, "attn_output", cases[i].attention);
        expect_layers(m, "ffn_up", "................");
        drop(m);
    }
}

static void heads_experts_and_importances_count(void **state) {
    (void)state;
    const shape grouped = {.n_layer = 2, .n_head = 32, .n_head_kv = 8};
    model *m = make("Q2_K", &grouped);
    expect_layers(m, "attn_v", "44");
    drop(m);
    m = make("IQ4_NL", &grouped);
    expect_layers(m, "attn_v", "55");
    drop(m);
    const shape experts = {.n_layer = 8, .n_head = 32, .n_head_kv = 8, .n_expert = 8};
    m = make("Q4_K_M", &experts);
    expect(m, "blk.3.attn_v.weight", "Q8_0");
    expect(m, "blk.3.attn_k.weight", "Q8_0");
    expect(m, "blk.3.attn_output.weight", "Q5_K");
    expect_layers(m, "ffn_down_exps", "6..6..66");
    drop(m);
    m = make("MXFP4_MOE", &experts);
    expect(m, "blk.3.ffn_down_exps.weight", "MXFP4");
    expect(m, "blk.3.ffn_up_exps.weight", "MXFP4");
    expect(m, "blk.3.attn_q.weight", "Q8_0");
    drop(m);
    const shape weighted = {.n_layer = 8, .n_head = 8, .n_head_kv = 8, .imatrix = true};
    m = make("Q4_0", &weighted);
    expect(m, "blk.0.ffn_down.weight", "Q4_1");
    expect(m, "blk.1.ffn_down.weight", "Q4_0");
    drop(m);
    m = make("IQ4_XS", &weighted);
    expect_layers(m, "ffn_down", "........");
    drop(m);
    const shape large = {.n_layer = 80, .n_head = 64, .n_head_kv = 8};
    m = make("Q4_K_S", &large);
    expect(m, "blk.50.attn_v.weight", "Q5_K");
    drop(m);
}

static void types_fit_their_rows(void **state) {
    (void)state;
    static const struct {
        pm__type wanted;
        uint64_t n_col;
        pm__type fitting;
    } cases[] = {
        {PM__TYPE_Q4_K, 512, PM__TYPE_Q4_K},    {PM__TYPE_Q4_K, 96, PM__TYPE_Q5_0},
        {PM__TYPE_Q5_K, 96, PM__TYPE_Q5_1},     {PM__TYPE_Q6_K, 96, PM__TYPE_Q8_0},
        {PM__TYPE_Q2_K, 96, PM__TYPE_IQ4_NL},   {PM__TYPE_Q3_K, 96, PM__TYPE_IQ4_NL},
        {PM__TYPE_IQ4_XS, 96, PM__TYPE_IQ4_NL}, {PM__TYPE_TQ2_0, 96, PM__TYPE_Q4_0},
        {PM__TYPE_Q4_K, 105, PM__TYPE_F16},     {PM__TYPE_Q8_0, 105, PM__TYPE_F16},
        {PM__TYPE_F32, 105, PM__TYPE_F32},      {PM__TYPE_BF16, 105, PM__TYPE_BF16},
        {PM__TYPE_MXFP4, 48, PM__TYPE_F16},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        assert_int_equal(pm__mix_fit(cases[i].wanted, cases[i].n_col), cases[i].fitting);
}

static void names_are_those_of_the_field(void **state) {
    (void)state;
    assert_ptr_equal(pm__mix_find("q4_k"), pm__mix_find("Q4_K_M"));
    assert_ptr_equal(pm__mix_find("Q5_K"), pm__mix_find("q5_k_m"));
    assert_null(pm__mix_find("Q4"));
    assert_null(pm__mix_find(""));
    assert_int_equal(pm__mix_find("Q4_K_M")->file_type, 15);
    for (size_t i = 0; pm__mix_get(i) != NULL; i++)
        assert_ptr_equal(pm__mix_find(pm__mix_get(i)->name), pm__mix_get(i));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_tensors_are_kept),
        cmocka_unit_test(some_layers_get_more),
        cmocka_unit_test(heads_experts_and_importances_count),
        cmocka_unit_test(types_fit_their_rows),
        cmocka_unit_test(names_are_those_of_the_field),
    };
    return cmocka_run_group_tests_name("mix", tests, NULL, NULL);
}
