/* test_recurrent.c: models that carry states from token to token, through pumice.h: however a
 * prompt is cut, a sequence rewound or an answer repeated, the bits are those of a straight run; on
 * the CPU path and on the device of whole.h.
 * ctest: model */
#include "reference.h"
#include "whole.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_PROMPT = 41, N_ANSWER = 3, N_TOKEN = 15 };

static int32_t prompt[N_PROMPT];

static pm_session *open_session(pm_model *model, uint32_t n_batch) {
    const pm_session_desc desc = {
        .n_ctx = 100, .n_batch = n_batch, .n_seq = N_ANSWER, .deterministic = true};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

static void expect_logits(pm_session *session, uint32_t seq, uint32_t first, uint32_t end,
                          const float *expected, uint32_t n_vocab) {
    const float *logits = NULL;
    pm__expect_ok(pm_session_eval(session, seq, prompt + first, end - first, &logits));
    if (expected != NULL)
        assert_memory_equal(logits, expected + (size_t)(end - 1) * n_vocab,
                            n_vocab * sizeof *logits);
}

/* In one call, in two, token by token, in small steps; the last token once more. */
static void check_cuts(pm_model *model, const float *expected, uint32_t n_vocab) {
    static const uint32_t batches[] = {5, 16, 64};
    for (size_t i = 0; i < 3; i++) {
        pm_session *session = open_session(model, batches[i]);
        expect_logits(session, 0, 0, N_PROMPT, expected, n_vocab);
        expect_logits(session, 1, 0, 23, expected, n_vocab);
        for (uint32_t k = 0; k < N_PROMPT; k++)
            expect_logits(session, 2, k, k + 1, expected, n_vocab);
        expect_logits(session, 1, 23, N_PROMPT, expected, n_vocab);
        expect_logits(session, 0, N_PROMPT, N_PROMPT, expected, n_vocab);
        pm_session_close(session);
    }
}

static void check_rewind(pm_model *model, const float *expected, uint32_t n_vocab) {
    pm_session *session = open_session(model, 64);
    expect_logits(session, 0, 0, N_PROMPT, NULL, n_vocab);
    expect_logits(session, 1, 0, 7, NULL, n_vocab);
    pm__expect_ok(pm_session_rewind(session, 0, 17));
    expect_logits(session, 1, 7, 11, expected, n_vocab);
    expect_logits(session, 0, 17, 30, expected, n_vocab);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    expect_logits(session, 0, 0, 1, expected, n_vocab);
    expect_logits(session, 0, 1, N_PROMPT, expected, n_vocab);
    pm_session_close(session);
}

static pm_generation *generate(pm_session *session, uint64_t seed, uint32_t n_answer) {
    pm_sampling sampling = pm_sampling_default();
    sampling.seed = seed;
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = pm_session_length(session, 0) == 0 ? N_PROMPT : 0,
                                   .sampling = &sampling,
                                   .n_predict = N_TOKEN,
                                   .n_answer = n_answer,
                                   .ignore_eos = true};
    pm_generation *out = NULL;
    pm__expect_ok(pm_generate(session, &desc, &out));
    return out;
}

static void expect_same(const pm_answer *a, const pm_answer *b) {
    assert_int_equal(a->n_token, b->n_token);
    assert_memory_equal(a->tokens, b->tokens, a->n_token * sizeof *a->tokens);
    assert_int_equal(a->logits_hash, b->logits_hash);
}

/* Several answers at once fork the prompt's state; one after the other, each from the prompt. */
static void check_answers(pm_model *model) {
    pm_session *session = open_session(model, 64);
    pm_generation *all = generate(session, 5, N_ANSWER);
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        pm__expect_ok(pm_session_rewind(session, 0, N_PROMPT));
        pm_generation *one = generate(session, 5 + i, 1);
        expect_same(&all->answers[i], &one->answers[0]);
        pm_generation_free(one);
    }
    pm_generation_free(all);
    pm_session_close(session);
}

static void check_model(pm_device *on, const char *name) {
    char relative[96];
    snprintf(relative, sizeof relative, "reference/arch/%s/model.gguf", name);
    pm_model *model = pm__whole_model(on, relative);
    if (model == NULL)
        skip();
    const uint32_t n_vocab = pm_model_get_info(model)->n_vocab;
    for (int32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + i * i * 7 % 150;
    pm_session *session = open_session(model, 64);
    float *expected = pm__whole_logits(session, n_vocab, prompt, N_PROMPT);
    pm_session_close(session);
    check_cuts(model, expected, n_vocab);
    check_rewind(model, expected, n_vocab);
    check_answers(model);
    free(expected);
    pm_model_close(model);
}

static const char *const names[] = {"mamba", "rwkv7", "qwen35", "falcon-h1"};

static void test_cpu(void **state) {
    (void)state;
    pm_device *cpu = pm__whole_cpu();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_model(cpu, names[i]);
    pm_device_close(cpu);
}

static void test_device(void **state) {
    (void)state;
    pm_device *device = pm__whole_device();
    if (device == NULL)
        skip();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_model(device, names[i]);
    pm_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu), cmocka_unit_test(test_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
