/* ctest: model */
/* test_repeat.c: the same model, device, settings and seed give the same bits, however far the host
 * runs ahead and whatever the clock says; and the CPU path draws the same tokens. */
#include "reference.h"
#include "whole.h"

#include "base/status.h"

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

/* ---- twenty runs
 * ---------------------------------------------------------------------------------- */

/* One run in a session of its own. */
static pm_generation *run_once(pm_model *model, uint32_t n_batch, float temperature,
                               uint32_t run_ahead) {
    pm_session *session = pm__whole_session(model, 160, n_batch, 1);
    pm__id_list ids;
    pm__whole_tokenize(model, PROMPT, &ids);
    pm_generation *out = pm__whole_answer(session, &ids, 18, temperature, run_ahead);
    assert_int_equal(out->answers[0].n_token, 18);
    assert_int_not_equal(out->answers[0].logits_hash, 0);
    pm_session_close(session);
    return out;
}

static void test_runs(void **state) {
    (void)state;
    enum { N_RUN = 20 };
    static const uint32_t aheads[] = {1, 4, 8}, batches[] = {7, 16, 512};
    if (device == NULL)
        skip();
    pm_model *model = pm__whole_model(device, "models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    for (int warm = 0; warm < 2; warm++) {
        pm_generation *first[PM__COUNT(batches)] = {NULL};
        for (uint32_t i = 0; i < N_RUN; i++) {
            const uint32_t b = i % PM__COUNT(batches);
            pm_generation *again =
                run_once(model, batches[b], warm ? 0.8f : 0.0f, aheads[i / 3 % PM__COUNT(aheads)]);
            if (first[b] == NULL) {
                first[b] = again;
                continue;
            }
            assert_same(again, first[b]);
            pm_generation_free(again);
        }
        for (uint32_t b = 0; b < PM__COUNT(batches); b++)
            pm_generation_free(first[b]);
    }
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
        answers[i] = run_once(model, 64, 0.8f, 4);
        assert_same(answers[i], answers[0]);
        pm_model_close(model);
        pm_device_close(own);
    }
    for (uint32_t i = 0; i < PM__COUNT(budgets); i++)
        pm_generation_free(answers[i]);
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
        cmocka_unit_test(test_runs),          cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_draws_stories), cmocka_unit_test(test_draws_quantised),
        cmocka_unit_test(test_draws_pebble),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
