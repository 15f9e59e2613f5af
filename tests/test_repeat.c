/* ctest: model */
/* test_repeat.c: the same model, device, settings and seed give the same bits, however far the host
 * runs ahead and whatever the clock says; and the CPU path draws the same tokens. */
#include "reference.h"
#include "whole.h"

#include "base/status.h"
#include "engine/internal.h"
#include "gpu/run_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static pm_device *device; /* NULL: there is none */

static int set_up(void **state) {
    (void)state;
    device = pm__whole_device();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_device_close(device);
    return 0;
}

static const char PROMPT[] = "Once upon a time, there was a little girl named Lily. She had a "
                             "red ball.";

static void assert_same(const pm_generation *a, const pm_generation *b) {
    const pm_answer *x = &a->answers[0], *y = &b->answers[0];
    assert_int_equal(x->n_token, y->n_token);
    assert_memory_equal(x->tokens, y->tokens, x->n_token * sizeof *x->tokens);
    assert_int_equal(x->logits_hash, y->logits_hash);
}

/* ---- many runs
 * ------------------------------------------------------------------------------------ */

static pm_generation *run_in(pm_model *model, pm_session *session, float temperature,
                             uint32_t run_ahead) {
    pm__id_list ids;
    pm__whole_tokenize(model, PROMPT, &ids);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    pm_generation *out = pm__whole_answer(session, &ids, 18, temperature, run_ahead);
    assert_int_equal(out->answers[0].n_token, 18);
    assert_int_not_equal(out->answers[0].logits_hash, 0);
    return out;
}

/* One run in a session of its own. */
static pm_generation *run_once(pm_model *model, float temperature, uint32_t run_ahead) {
    pm_session *session = pm__whole_session(model, 160, 64, 1);
    pm_generation *out = run_in(model, session, temperature, run_ahead);
    pm_session_close(session);
    return out;
}

enum { N_AHEAD = 3, N_TEMPERATURE = 2 };

/* Twice in a session, with tokens drawn and with the likeliest, the host running ahead more or
 * less; *first has the answers of the first session, or NULL. */
static void check_session(pm_model *model, uint32_t n_batch, pm_generation **first) {
    static const uint32_t aheads[N_AHEAD] = {1, 4, 8};
    pm_session *session = pm__whole_session(model, 160, n_batch, 1);
    for (uint32_t i = 0; i < 2 * N_TEMPERATURE * N_AHEAD; i++) {
        const uint32_t warm = i / N_AHEAD % N_TEMPERATURE;
        pm_generation *again = run_in(model, session, warm ? 0.8f : 0.0f, aheads[i % N_AHEAD]);
        if (first[warm] == NULL) {
            first[warm] = again;
            continue;
        }
        assert_same(again, first[warm]);
        pm_generation_free(again);
    }
    pm_session_close(session);
}

/* In the first and the last session the same is asked for, in those between prompts are cut
 * elsewhere. */
static void test_runs(void **state) {
    (void)state;
    static const uint32_t batches[] = {9, 16, 512, 9};
    pm_generation *first[N_TEMPERATURE] = {NULL};
    if (device == NULL)
        skip();
    pm_model *model = pm__whole_model(device, "models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    for (uint32_t i = 0; i < PM__COUNT(batches); i++)
        check_session(model, batches[i], first);
    for (uint32_t warm = 0; warm < N_TEMPERATURE; warm++)
        pm_generation_free(first[warm]);
    pm_model_close(model);
}

/* A tight time budget cuts prompts and steps elsewhere, from run to run as the clock has it. */
static void test_budgets(void **state) {
    (void)state;
    static const uint32_t budgets[] = {0, 1, 60000};
    if (device == NULL || pm__reference_path("models/real/stories260K-f32.gguf") == NULL)
        skip();
    pm_generation *answers[PM__COUNT(budgets)];
    for (uint32_t i = 0; i < PM__COUNT(budgets); i++) {
        const pm_device_desc desc = {.name = getenv("PUMICE_TEST_DEVICE"), .submit_ms = budgets[i]};
        pm_device *own = NULL;
        pm__expect_ok(pm_device_open(&desc, &own));
        pm_model *model = pm__whole_model(own, "models/real/stories260K-f32.gguf");
        answers[i] = run_once(model, 0.8f, 4);
        assert_same(answers[i], answers[0]);
        pm_model_close(model);
        pm_device_close(own);
    }
    for (uint32_t i = 0; i < PM__COUNT(budgets); i++)
        pm_generation_free(answers[i]);
}

/* ---- what else is in the batch
 * --------------------------------------------------------------------- */

static pm_session *open_session(pm_model *model, uint32_t n_batch, uint32_t n_seq,
                                bool deterministic) {
    const pm_session_desc desc = {
        .n_ctx = 160, .n_batch = n_batch, .n_seq = n_seq, .deterministic = deterministic};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

static uint32_t n_vocab; /* of the model at hand */

static pm_status copy_logits(void *user, size_t i, const float *logits) {
    float **at = user;
    (void)i;
    memcpy(*at, logits, n_vocab * sizeof *logits);
    *at += n_vocab;
    return PM_OK;
}

/* The logits of all positions, evaluated in calls of n_each tokens. */
static float *logits_by(pm_session *session, const pm__id_list *ids, uint32_t n_each) {
    float *out = calloc((size_t)ids->n * n_vocab, sizeof *out), *at = out;
    assert_non_null(out);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    for (uint32_t i = 0; i < ids->n; i += n_each) {
        const uint32_t n = ids->n - i < n_each ? ids->n - i : n_each;
        pm__expect_ok(pm_session_eval_all(session, 0, ids->data + i, n, copy_logits, &at));
    }
    return out;
}

/* Logits do not depend on the batch: with `deterministic` never, else among tokens that are
 * evaluated with others, in batches from 9 rows on. On the CPU path they never do. Nor on how many
 * sequences there may be, for which products of many rows are done in pieces. */
static void check_calls(pm_model *model, const pm__id_list *ids, bool deterministic,
                        uint32_t least) {
    static const uint32_t calls[] = {1, 2, 3, 6, 9, 160}, batches[] = {9, 37};
    float *expected = NULL;
    for (uint32_t b = 0; b < PM__COUNT(batches); b++) {
        pm_session *session = open_session(model, batches[b], 1 + 8 * b, deterministic);
        for (uint32_t i = 0; i < PM__COUNT(calls); i++) {
            if (calls[i] < least || (least > 1 && ids->n % calls[i] == 1))
                continue;
            float *mine = logits_by(session, ids, calls[i]);
            if (expected != NULL)
                assert_memory_equal(mine, expected, (size_t)ids->n * n_vocab * sizeof *mine);
            free(expected);
            expected = mine;
        }
        pm_session_close(session);
    }
    free(expected);
}

/* An answer's tokens do not depend on how many others are drawn beside it. */
static void check_answers(pm_model *model) {
    enum { N_ANSWER = 3, N_TOKEN = 24 };
    pm_generation *one[N_ANSWER], *all;
    pm__id_list ids;
    pm__whole_tokenize(model, PROMPT, &ids);
    for (uint32_t i = 0; i <= N_ANSWER; i++) {
        pm_session *session = open_session(model, 37, N_ANSWER, true);
        pm_sampling sampling = pm_sampling_default();
        sampling.seed = i < N_ANSWER ? 7 + i : 7;
        const pm_generate_desc desc = {.prompt = ids.data,
                                       .n_prompt = ids.n,
                                       .sampling = &sampling,
                                       .n_predict = N_TOKEN,
                                       .n_answer = i < N_ANSWER ? 1 : N_ANSWER};
        pm__expect_ok(pm_generate(session, &desc, i < N_ANSWER ? &one[i] : &all));
        pm_session_close(session);
    }
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        const pm_answer *x = &all->answers[i], *y = &one[i]->answers[0];
        assert_int_equal(x->n_token, y->n_token);
        assert_memory_equal(x->tokens, y->tokens, x->n_token * sizeof *x->tokens);
        assert_int_equal(x->logits_hash, y->logits_hash);
        pm_generation_free(one[i]);
    }
    pm_generation_free(all);
}

/* Whether no kernel for many rows has a norm or a gate in it, which would add up otherwise. */
static bool only_prepares(const pm_model *model) {
    const pm__plan_desc what = {
        .def = &model->def, .weights = model->weights, .graph = &model->graph};
    pm__graph g;
    bool only = true;
    pm__expect_ok(pm__gpu_fuse(&model->device->handle, &what, 37, &g));
    for (uint32_t i = 0; i < g.n_node; i++)
        if (g.nodes[i].op == PM__OP_MATMUL)
            only = only && !g.nodes[i].params.matmul.normed && !g.nodes[i].params.matmul.gated;
    pm__graph_finish(&g);
    return only;
}

/* Queries, keys and values as one product, and all behind it in one kernel, have the bits of the
 * nodes that they stand for. */
static void test_fused(void **state) {
    (void)state;
    pm_model *model =
        device != NULL ? pm__whole_model(device, "models/real/stories260K-f32.gguf") : NULL;
    float *logits[2];
    pm__id_list ids;
    if (model == NULL || !only_prepares(model)) {
        pm_model_close(model);
        skip();
    }
    pm__whole_tokenize(model, PROMPT, &ids);
    n_vocab = pm_model_get_info(model)->n_vocab;
    for (int i = 0; i < 2; i++) {
        const pm_session_desc desc = {.n_ctx = 160, .n_batch = 37, .no_fuse = i == 1};
        pm_session *session = NULL;
        pm__expect_ok(pm_session_open(model, &desc, &session));
        logits[i] = logits_by(session, &ids, ids.n / 2);
        pm_session_close(session);
    }
    assert_memory_equal(logits[0], logits[1], (size_t)ids.n * n_vocab * sizeof(float));
    free(logits[0]);
    free(logits[1]);
    pm_model_close(model);
}

static void check_alike(pm_device *on, bool cpu) {
    pm_model *model = on != NULL ? pm__whole_model(on, "models/real/stories260K-f32.gguf") : NULL;
    if (model == NULL)
        skip();
    pm__id_list ids;
    n_vocab = pm_model_get_info(model)->n_vocab;
    pm__whole_tokenize(model, PROMPT, &ids);
    ids.n -= ids.n % 2; /* no call of one token is left over */
    check_calls(model, &ids, true, 1);
    check_calls(model, &ids, false, cpu ? 1 : 2);
    check_answers(model);
    pm_model_close(model);
}

static void test_alike(void **state) {
    (void)state;
    check_alike(device, false);
}

/* Rows choose experts, each of which has a few. */
static void test_alike_experts(void **state) {
    (void)state;
    static pm__id_list ids = {.n = 38};
    pm_model *model =
        device != NULL ? pm__whole_model(device, "reference/arch/qwen3moe/model.gguf") : NULL;
    if (model == NULL)
        skip();
    n_vocab = pm_model_get_info(model)->n_vocab;
    for (uint32_t i = 0; i < ids.n; i++)
        ids.data[i] = (int32_t)((3 + 7 * i) % n_vocab);
    check_calls(model, &ids, false, 2);
    pm_model_close(model);
}

static void test_alike_cpu(void **state) {
    (void)state;
    pm_device *cpu = pm__whole_cpu();
    check_alike(cpu, true);
    pm_device_close(cpu);
}

/* ---- the CPU path
 * --------------------------------------------------------------------------------- */

static pm_generation *draw_on(pm_device *on, const char *path, uint32_t n) {
    pm_model *model = pm__whole_model_at(on, path);
    pm_session *session = pm__whole_session(model, 256, 64, 1);
    pm__id_list ids;
    pm__whole_tokenize(model, "Once upon a time", &ids);
    pm_generation *out = pm__whole_answer(session, &ids, n, 0.8f, 0);
    pm_session_close(session);
    pm_model_close(model);
    return out;
}

static void check_draws(const char *path) {
    enum { N = 200 };
    if (device == NULL || path == NULL)
        skip();
    pm_device *cpu = pm__whole_cpu();
    pm_generation *theirs = draw_on(cpu, path, N), *mine = draw_on(device, path, N);
    assert_int_equal(mine->answers[0].n_token, N);
    assert_memory_equal(mine->answers[0].tokens, theirs->answers[0].tokens, N * sizeof(int32_t));
    pm_generation_free(mine);
    pm_generation_free(theirs);
    pm_device_close(cpu);
}

static void test_draws_stories(void **state) {
    (void)state;
    check_draws(pm__reference_path("models/real/stories260K-f32.gguf"));
}

static void test_draws_quantised(void **state) {
    (void)state;
    check_draws(pm__reference_path("models/real/babyllama-tok105-Q4_0.gguf"));
}

static void test_draws_pebble(void **state) {
    (void)state;
    check_draws(pm__source_path("models/pebble/pebble.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_alike_cpu),
        cmocka_unit_test(test_alike_experts),
        cmocka_unit_test(test_draws_stories),
        cmocka_unit_test(test_draws_quantised),
        cmocka_unit_test(test_draws_pebble),
        cmocka_unit_test(test_fused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
