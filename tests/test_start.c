/* ctest: gpu */
/* test_start.c: what a session runs is compiled while the weights of its model are read, and the
 * bits are those of one that nobody expected. No time is asserted: what began when is counted. */
#include "devices.h"
#include "reference.h"
#include "whole.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char pebble[600],
    folder[PM__FOLDER_SIZE]; /* model; caches, so that texts are compiled once */

static const pm_session_desc usual = {.n_ctx = 96, .n_batch = 17};

static pm_device *open_device(void) {
    const pm_device_desc desc = {.name = getenv("PUMICE_TEST_DEVICE"), .cache_dir = folder};
    pm_device *device = NULL;
    pm__expect_ok(pm_device_open(&desc, &device));
    return device;
}

static pm_model *open_model(pm_device *device, const pm_session_desc *expected, bool check_first) {
    const pm_model_desc desc = {.path = pebble, .session = expected, .check_first = check_first};
    pm_model *model = NULL;
    pm__expect_ok(pm_model_open(device, &desc, &model));
    return model;
}

/* Hash of the logits after an answer, which is as good as all of its bits. */
static uint32_t answer(pm_session *session, const pm_model *model) {
    pm__id_list prompt;
    pm__whole_tokenize(model, "Once upon a time there was", &prompt);
    pm_generation *generation = pm__whole_answer(session, &prompt, 5, 0, 0);
    const uint32_t hash = generation->answers[0].logits_hash;
    assert_int_equal(generation->answers[0].n_token, 5);
    pm_generation_free(generation);
    return hash;
}

/* A session of a model that expects one, or none. */
static uint32_t run(const pm_session_desc *expected, const pm_session_desc *desc, pm_start *start) {
    pm_device *device = open_device();
    pm_model *model = open_model(device, expected, false);
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, desc, &session));
    pm_session_get_start(session, start);
    const uint32_t hash = answer(session, model);
    pm_session_close(session);
    pm_model_close(model);
    pm_device_close(device);
    return hash;
}

static void test_kernels_are_begun_before_the_weights(void **state) {
    (void)state;
    pm_start alone, ahead;
    const uint32_t want = run(NULL, &usual, &alone);
    assert_int_equal(run(&usual, &usual, &ahead), want);
    assert_true(alone.n_pipeline > 5);
    assert_int_equal(alone.n_ahead, 0);
    assert_int_equal(ahead.n_pipeline, alone.n_pipeline);
    assert_int_equal(ahead.n_ahead, ahead.n_pipeline);
    assert_true(ahead.weights_bytes > 3000000 && ahead.weights_bytes == alone.weights_bytes);
    assert_true(ahead.compile_seconds > 0 && ahead.shader_seconds > 0 && ahead.driver_seconds > 0);
    assert_true(ahead.device_seconds > 0 && ahead.model_seconds > 0 && ahead.weights_seconds > 0);
    assert_true(ahead.session_seconds >= ahead.wait_seconds);
}

/* What was expected and does not come costs nothing but time. */
static void test_another_session_than_expected(void **state) {
    (void)state;
    static const pm_session_desc other = {
        .n_ctx = 96, .n_batch = 17, .no_fuse = true, .cache_type_k = "f32", .cache_type_v = "f32"};
    pm_start alone, ahead;
    const uint32_t want = run(NULL, &other, &alone);
    assert_int_equal(run(&usual, &other, &ahead), want);
    assert_true(ahead.n_ahead > 0 && ahead.n_ahead < ahead.n_pipeline);
}

static void test_no_session_comes(void **state) {
    (void)state;
    pm_device *device = open_device();
    pm_model *first = open_model(device, &usual, false);
    pm_model *second = open_model(device, &usual, false);
    pm_model_close(first);
    pm_session *session = NULL;
    pm_start start;
    pm__expect_ok(pm_session_open(second, &usual, &session));
    pm_session_get_start(session, &start);
    assert_int_equal(start.n_ahead, start.n_pipeline);
    pm_session_close(session);
    pm__expect_ok(pm_session_open(second, &usual, &session));
    pm_session_get_start(session, &start);
    assert_int_equal(start.n_ahead, 0); /* the first one has them */
    pm_session_close(session);
    pm_model *third = open_model(device, &usual, false);
    pm_model_close(third);
    pm_model_close(second);
    pm_device_close(device);
}

/* A driver may crash over a kernel, so that those to be checked are left to the check. */
static void test_a_check_comes_first(void **state) {
    (void)state;
    pm_device *device = open_device();
    for (int checked = 0; checked < 2; checked++) {
        pm_model *model = open_model(device, &usual, true);
        pm_session *session = NULL;
        pm_start start;
        assert_int_equal(pm_check_is_due(device, model), !checked);
        pm__expect_ok(pm_session_open(model, &usual, &session));
        pm_session_get_start(session, &start);
        assert_int_equal(start.n_ahead, checked ? start.n_pipeline : 0);
        pm_check_note(device, model);
        pm_session_close(session);
        pm_model_close(model);
    }
    pm_device_close(device);
}

static void test_cpu_path(void **state) {
    (void)state;
    pm_device *device = pm__whole_cpu();
    pm_model *model = open_model(device, &usual, false);
    pm_session *session = NULL;
    pm_start start;
    pm__expect_ok(pm_session_open(model, &usual, &session));
    pm_session_get_start(session, &start);
    assert_int_equal(start.n_pipeline, 0);
    assert_int_equal(start.n_ahead, 0);
    assert_true(start.session_seconds > 0 && start.weights_bytes > 3000000);
    pm_session_close(session);
    pm_model_close(model);
    pm_device_close(device);
}

int main(void) {
    const struct CMUnitTest on_gpu[] = {
        cmocka_unit_test(test_kernels_are_begun_before_the_weights),
        cmocka_unit_test(test_another_session_than_expected),
        cmocka_unit_test(test_no_session_comes),
        cmocka_unit_test(test_a_check_comes_first),
    };
    const struct CMUnitTest on_cpu[] = {cmocka_unit_test(test_cpu_path)};
    const char *path = pm__source_path("models/pebble/pebble.gguf");
    if (path == NULL)
        return 77;
    snprintf(pebble, sizeof pebble, "%s", path);
    pm__keep_drivers();
    pm_device *device = pm__whole_device();
    pm_device_close(device);
    pm__folder_init(folder);
    const int failed = device != NULL ? cmocka_run_group_tests(on_gpu, NULL, NULL) : 0;
    pm__folder_finish(folder);
    return failed + cmocka_run_group_tests(on_cpu, NULL, NULL);
}
