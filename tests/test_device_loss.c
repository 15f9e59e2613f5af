/* test_device_loss.c: whole models on a real driver, with the device lost at many moments: text,
 * tokens and the hash of the logits are those of an undisturbed run, and nothing is left behind.
 * PUMICE_TEST_DEVICE and VK_ICD_FILENAMES as in whole.h; PUMICE_TEST_EVERY loses it at every
 * submission, not at some.
 * ctest: long */
#include "faults.h"
#include "reference.h"
#include "whole.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const pebble = PUMICE_SOURCE_DIR "/models/pebble/pebble.gguf";

static uint32_t n_warning;

static void count_warnings(void *user, pm_log_level level, const char *line) {
    (void)user;
    if (level > PM_LOG_WARN)
        return;
    n_warning += strstr(line, "opened again") != NULL || strstr(line, "recovery: done") != NULL;
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* A question, and after it another one whose answer is cut at n tokens. */
typedef struct talk {
    const char *path;
    const char *first, *second;
    uint32_t n;
    float temperature;
    uint32_t n_answer;
    double repeat_penalty;
    bool fine; /* steps cut finely: how finely is measured, so submissions differ from run to run */
} talk;

enum { MOST_TEXT = 8192, MOST_HEARD = 4 };

typedef struct outcome {
    pm_status status;
    char sentence[1024];
    char heard[MOST_HEARD][MOST_TEXT]; /* of each answer to the second question */
    size_t n_heard[MOST_HEARD];
    char text[MOST_TEXT]; /* all answers */
    int32_t tokens[2048];
    bool fine;
    uint32_t n_token, hash, n_submit, n_submit_before;
} outcome;

static bool hear(void *user, uint32_t answer, const char *text, size_t n) {
    outcome *out = user;
    assert_true(answer < MOST_HEARD && out->n_heard[answer] + n < MOST_TEXT);
    memcpy(out->heard[answer] + out->n_heard[answer], text, n);
    out->n_heard[answer] += n;
    return true;
}

static pm_status ask(pm_session *session, const talk *t, const pm__id_list *ids, bool second,
                     outcome *out) {
    pm_sampling sampling = pm_sampling_default();
    sampling.temperature = t->temperature;
    sampling.repeat_penalty = (float)t->repeat_penalty;
    sampling.seed = 31;
    const pm_generate_desc desc = {.prompt = ids->data,
                                   .n_prompt = ids->n,
                                   .sampling = &sampling,
                                   .n_predict = second ? t->n : 9,
                                   .n_answer = second ? t->n_answer : 1,
                                   .ignore_eos = true,
                                   .on_text = second ? hear : NULL,
                                   .user = out};
    pm_generation *generation = NULL;
    const pm_status status = pm_generate(session, &desc, &generation);
    if (status != PM_OK)
        return status;
    for (size_t i = 0; i < generation->n_answer; i++) {
        const pm_answer *answer = &generation->answers[i];
        assert_true(strlen(out->text) + answer->n_byte < MOST_TEXT);
        strncat(out->text, answer->text, answer->n_byte);
        assert_true(out->n_token + answer->n_token <= PM__COUNT(out->tokens));
        memcpy(out->tokens + out->n_token, answer->tokens, answer->n_token * sizeof(int32_t));
        out->n_token += (uint32_t)answer->n_token;
        out->hash = out->hash * 31 + answer->logits_hash;
    }
    pm_generation_free(generation);
    return PM_OK;
}

static pm_status run_on(pm_device *device, const talk *t, outcome *out) {
    static pm__id_list first, second;
    pm_model *model = NULL;
    pm_session *session = NULL;
    const pm_model_desc model_desc = {.path = t->path};
    const pm_session_desc session_desc = {.n_ctx = 400, .n_batch = 16, .n_seq = 3};
    pm_status status = pm_model_open(device, &model_desc, &model);
    if (status == PM_OK)
        status = pm_session_open(model, &session_desc, &session);
    out->n_submit_before = pm__faults_count(PM__CALL_QueueSubmit);
    if (status == PM_OK) {
        pm__whole_tokenize(model, t->first, &first);
        pm__whole_tokenize(model, t->second, &second);
        status = ask(session, t, &first, false, out);
    }
    if (status == PM_OK)
        status = ask(session, t, &second, true, out);
    if (status != PM_OK)
        snprintf(out->sentence, sizeof out->sentence, "%s", pm_last_error());
    out->n_submit = pm__faults_count(PM__CALL_QueueSubmit);
    pm_session_close(session);
    pm_model_close(model);
    return status;
}

/* Faults are set before; what the run leaves is looked at. */
static outcome *run_talk(const talk *t) {
    outcome *out = calloc(1, sizeof *out);
    assert_non_null(out);
    n_warning = 0;
    out->fine = t->fine;
    const pm_device_desc desc = {.name = getenv("PUMICE_TEST_DEVICE"),
                                 .submit_ms = t->fine ? 1 : 100000};
    pm_device *device = NULL;
    pm__expect_ok(pm_device_open(&desc, &device));
    out->status = run_on(device, t, out);
    pm_device_close(device);
    pm__faults_check_clean();
    return out;
}

static outcome *run_quietly(const talk *t) {
    pm__faults_reset();
    outcome *out = run_talk(t);
    if (out->status != PM_OK)
        fail_msg("%s", out->sentence);
    assert_int_equal(n_warning, 0);
    return out;
}

static void expect_same(const outcome *quiet, outcome *out, uint32_t at) {
    if (out->status != PM_OK)
        fail_msg("disturbed at submission %u: %s", at, out->sentence);
    const uint32_t n = pm__faults_injected();
    assert_true(n == 1 || (n == 0 && quiet->fine));
    assert_int_equal(n_warning, 2 * n);
    assert_int_equal(out->n_token, quiet->n_token);
    assert_memory_equal(out->tokens, quiet->tokens, quiet->n_token * sizeof *quiet->tokens);
    assert_int_equal(out->hash, quiet->hash);
    assert_string_equal(out->text, quiet->text);
    for (size_t i = 0; i < MOST_HEARD; i++)
        assert_string_equal(out->heard[i], quiet->heard[i]); /* nothing is heard twice */
    free(out);
}

static void lose_at(const talk *t, const outcome *quiet, uint32_t at) {
    pm__faults_reset();
    pm__faults_fail(PM__CALL_QueueSubmit, at, VK_ERROR_DEVICE_LOST);
    expect_same(quiet, run_talk(t), at);
}

static void kill_at(const talk *t, const outcome *quiet, uint32_t at) {
    pm__faults_reset();
    pm__faults_kill_job(at);
    expect_same(quiet, run_talk(t), at);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static int set_up(void **state) {
    (void)state;
    const char *name = getenv("PUMICE_TEST_DEVICE");
    if (!pm__faults_install() || (name != NULL && strcmp(name, "cpu") == 0)) {
        print_message("no Vulkan device: skipped\n");
        exit(77);
    }
    pm_set_log(PM_LOG_WARN, count_warnings, NULL);
    return 0;
}

static const char *stories(void) {
    const char *path = pm__reference_path("models/real/stories260K-f32.gguf");
    if (path == NULL)
        skip();
    return path;
}

static const char *instance(const char *relative) {
    const char *path = pm__reference_path(relative);
    if (path == NULL)
        skip();
    return path;
}

/* Losses and killed jobs spread over all submissions, of loading too. */
static void small_talk_everywhere(void **state) {
    (void)state;
    const talk talks[] = {
        {stories(), "Once upon a time there was a cat.", " It saw a bird in the tall old tree and",
         40, 0, 1, 1, false},
        {instance("reference/arch/qwen35/model.gguf"), "Once upon a time",
         " there was a token that knew all before it", 12, 0.9f, 3, 1.3, false},
        {instance("reference/arch/t5/model.gguf"), "In the spring", "a tall bird", 12, 0.9f, 3, 1.3,
         false},
        {stories(), "One day", " the sun was very hot, so the children went to the river", 24, 0.9f,
         3, 1.3, false},
        {stories(), "Then he", " saw that the big red ball was gone and", 12, 0.9f, 2, 1, true},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < PM__COUNT(talks); i++) {
        outcome *quiet = run_quietly(&talks[i]);
        const uint32_t step = getenv("PUMICE_TEST_EVERY") != NULL ? 1 : quiet->n_submit / 6 + 1;
        for (uint32_t at = 1; at <= quiet->n_submit; at += step, n++)
            lose_at(&talks[i], quiet, at);
        lose_at(&talks[i], quiet, quiet->n_submit);
        for (uint32_t at = 2; at <= quiet->n_submit; at += step, n++)
            kill_at(&talks[i], quiet, at);
        free(quiet);
    }
    print_message("%u losses and killed jobs\n", n);
}

static void long_answers(void **state) {
    (void)state;
    const talk greedy = {
        pebble, "How do I list devices?", "Tell me a story about a small stone.", 200, 0, 1, 1,
        false};
    const talk drawn = {
        pebble, "What is Vulkan?", "Write about the sea and its ships.", 200, 0.8f, 1, 1, false};
    outcome *quiet = run_quietly(&greedy);
    lose_at(&greedy, quiet, (quiet->n_submit_before + quiet->n_submit) / 2);
    free(quiet);
    quiet = run_quietly(&drawn);
    lose_at(&drawn, quiet, quiet->n_submit_before + 1); /* in the first chunk of a prompt */
    lose_at(&drawn, quiet, quiet->n_submit);            /* with the last tokens */
    print_message("200 tokens: \"%.60s...\"\n", quiet->text);
    free(quiet);
}

/* Every device that is opened is lost: one recovery, and a clear end. */
static void lost_again(void **state) {
    (void)state;
    const talk t = {stories(), "Once upon a time", " there was a dog and", 30, 0.8f, 1, 1, false};
    outcome *quiet = run_quietly(&t);
    const uint32_t at = (quiet->n_submit_before + quiet->n_submit) / 2;
    free(quiet);
    pm__faults_reset();
    pm__faults_fail_from(PM__CALL_QueueSubmit, at, VK_ERROR_DEVICE_LOST);
    outcome *out = run_talk(&t);
    assert_int_equal(out->status, PM_DEVICE_LOST);
    assert_non_null(strstr(out->sentence, "given up"));
    assert_non_null(strstr(out->sentence, "--submit-ms"));
    free(out);
    pm__faults_reset();
    pm__faults_fail(PM__CALL_QueueSubmit, at, VK_ERROR_DEVICE_LOST);
    pm__faults_fail(PM__CALL_CreateDevice, 2, VK_ERROR_INITIALIZATION_FAILED);
    out = run_talk(&t);
    assert_int_equal(out->status, PM_DEVICE_LOST);
    assert_non_null(strstr(out->sentence, "could not be brought back"));
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_talk_everywhere),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(lost_again),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
