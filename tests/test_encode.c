/* test_encode.c: models with an encoder beside the decoder, through pumice.h.
 * ctest: model */
#include "reference.h"
#include "whole.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static pm_device *devices[2]; /* the CPU path, and the device under test or NULL */
static pm__id_list source, greedy;

static int set_up(void **state) {
    (void)state;
    devices[0] = pm__whole_cpu();
    devices[1] = pm__whole_device();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_device_close(devices[0]);
    pm_device_close(devices[1]);
    return 0;
}

/* NULL where the references are absent; else its text and greedy answer are read as well. */
static pm_model *open_t5(pm_device *device) {
    const char *path = pm__reference_path("reference/arch/t5/ref.json");
    if (path == NULL)
        return NULL;
    cJSON *json = pm__whole_json(path);
    pm__whole_ids(cJSON_GetObjectItem(json, "tokens"), &source);
    pm__whole_ids(cJSON_GetObjectItem(json, "greedy"), &greedy);
    cJSON_Delete(json);
    return pm__whole_model(device, "reference/arch/t5/model.gguf");
}

static void expect_greedy(const pm_answer *answer) {
    assert_int_equal(answer->n_token, greedy.n);
    assert_memory_equal(answer->tokens, greedy.data, greedy.n * sizeof greedy.data[0]);
}

/* Texts answered in turn, the first one again: nothing of a text is left for the next. */
static void check_answers(pm_device *device) {
    pm_model *model = open_t5(device);
    if (model == NULL)
        skip();
    pm_session *session = pm__whole_session(model, 128, 64, 3);
    pm__id_list other = source;
    other.n = 17;
    other.data[3] = other.data[9];
    pm_generation *first = pm__whole_answer(session, &source, greedy.n, 0.0f, 0);
    pm_generation *between = pm__whole_answer(session, &other, greedy.n, 0.0f, 4);
    pm_generation *again = pm__whole_answer(session, &source, greedy.n, 0.0f, 1);
    expect_greedy(&first->answers[0]);
    expect_greedy(&again->answers[0]);
    assert_memory_not_equal(between->answers[0].tokens, greedy.data, greedy.n * 4);
    pm_generation_free(first);
    pm_generation_free(between);
    pm_generation_free(again);

    /* The rest of an answer, three times. */
    pm__expect_ok(pm_session_encode(session, 0, source.data, source.n));
    pm__expect_ok(pm_session_eval(session, 0, greedy.data, 5, NULL));
    pm_sampling sampling = pm_sampling_default();
    sampling.temperature = 0;
    const pm_generate_desc desc = {
        .sampling = &sampling, .n_predict = greedy.n - 5, .n_answer = 3, .ignore_eos = true};
    pm_generation *three = NULL;
    pm__expect_ok(pm_generate(session, &desc, &three));
    for (int i = 0; i < 3; i++)
        assert_memory_equal(three->answers[i].tokens, greedy.data + 5, (greedy.n - 5) * 4);
    pm_generation_free(three);
    pm_session_close(session);
    pm_model_close(model);
}

static void test_answers(void **state) {
    (void)state;
    for (size_t d = 0; d < PM__COUNT(devices); d++)
        if (devices[d] != NULL)
            check_answers(devices[d]);
}

static void test_refusals(void **state) {
    (void)state;
    pm_model *model = open_t5(devices[0]);
    if (model == NULL)
        skip();
    pm_session *session = pm__whole_session(model, 64, 20, 1);
    assert_int_equal(pm_session_eval(session, 0, greedy.data, 1, NULL), PM_ARGUMENT);
    assert_int_equal(pm_session_encode(session, 0, source.data, source.n), PM_CONTEXT_FULL);
    assert_int_equal(pm_session_encode(session, 0, source.data, 0), PM_ARGUMENT);
    const int32_t none[] = {1 << 20};
    assert_int_equal(pm_session_encode(session, 0, none, 1), PM_ARGUMENT);
    assert_int_equal(pm_session_length(session, 0), 0);
    pm_session_close(session);
    pm_model_close(model);
    model = pm__whole_model(devices[0], "reference/arch/llama3/model.gguf");
    session = pm__whole_session(model, 64, 20, 1);
    assert_int_equal(pm_session_encode(session, 0, source.data, 3), PM_UNSUPPORTED);
    pm_session_close(session);
    pm_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
