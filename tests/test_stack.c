/* test_stack.c: layers as one launch (--one-dispatch) against the launches that it stands for: the
 * same bits, whether workgroups meet, are found not to, or fail to in the midst of an answer.
 *
 * ctest: model */
#include "engine/internal.h"
#include "gpu/weights.h"
#include "reference.h"
#include "whole.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const PEBBLE = "models/pebble/pebble.gguf";

enum { N_PROMPT = 7, N_STEP = 9, N_ANSWER = 21, MOST_SAID = 2048 };

static char said[MOST_SAID];

static void hear(void *user, pm_log_level level, const char *line) {
    (void)user;
    (void)level;
    const size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", line);
}

/* ---- a model on a device --------------------------------------------------------------------- */

typedef struct setting {
    bool one_dispatch;
    uint32_t most_meeting; /* as pm__gpu has it */
    bool believes;
    uint32_t most_shared; /* bytes of shared memory that the device says it has; 0: the truth */
} setting;

typedef struct outcome {
    float *logits; /* [N_STEP, n_vocab] of steps of one row */
    uint32_t n_vocab, n_dispatch;
    int32_t tokens[N_ANSWER];
} outcome;

static pm_device *open_device(const setting *s) {
    const pm_device_desc desc = {.name = getenv("PUMICE_TEST_DEVICE"),
                                 .one_dispatch = s->one_dispatch};
    pm_device *device = NULL;
    const pm_status status = pm_device_open(&desc, &device);
    if (status == PM_NO_DEVICE && desc.name == NULL) {
        printf("no Vulkan device: %s\n", pm_last_error());
        skip();
    }
    pm__expect_ok(status);
    if (strcmp(pm_device_get_info(device)->name, "cpu") == 0)
        skip();
    pm__gpu *gpu = ((pm__gpu_device *)device->handle.device)->gpu;
    gpu->most_meeting = s->most_meeting;
    gpu->believes = s->believes;
    if (s->most_shared > 0)
        gpu->properties.limits.maxComputeSharedMemorySize = s->most_shared;
    return device;
}

static bool on_software(void) {
    const setting s = {.one_dispatch = false};
    pm_device *device = open_device(&s);
    const bool software = ((pm__gpu_device *)device->handle.device)->gpu->caps.software;
    pm_device_close(device);
    return software;
}

static void take_steps(pm_session *session, outcome *out) {
    int32_t prompt[N_PROMPT];
    const float *row;
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + 11 * i;
    pm__expect_ok(pm_session_eval(session, 0, prompt, N_PROMPT, &row));
    for (int i = 0; i < N_STEP; i++) {
        const int32_t token = 5 + 7 * i;
        pm__expect_ok(pm_session_eval(session, 0, &token, 1, &row));
        memcpy(out->logits + (size_t)i * out->n_vocab, row, out->n_vocab * sizeof *row);
    }
}

static void take_answer(pm_session *session, outcome *out) {
    pm__id_list prompt = {.data = {5, 9, 2, 14}, .n = 4};
    pm_generation *answer = pm__whole_answer(session, &prompt, N_ANSWER, 0.7f, 4);
    assert_int_equal(answer->answers[0].n_token, N_ANSWER);
    memcpy(out->tokens, answer->answers[0].tokens, sizeof out->tokens);
    out->n_dispatch = answer->n_dispatch;
    pm_generation_free(answer);
}

static void run(const char *path, const setting *s, outcome *out) {
    pm_device *device = open_device(s);
    pm_model *model = pm__whole_model_at(device, path);
    said[0] = '\0';
    pm_set_log(PM_LOG_INFO, hear, NULL);
    pm_session *session = pm__whole_session(model, 96, 32, 1);
    out->n_vocab = pm_model_get_info(model)->n_vocab;
    out->logits = calloc((size_t)N_STEP * out->n_vocab, sizeof *out->logits);
    assert_non_null(out->logits);
    take_steps(session, out);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    take_answer(session, out);
    pm_set_log(PM_LOG_WARN, NULL, NULL);
    pm_session_close(session);
    pm_model_close(model);
    pm_device_close(device);
}

/* Runs as `s` says, and as launches. What was said remains. Compilers of real GPUs may make other
 * code of the same kernel in the midst of others, and on some drivers kernels that add up together
 * are narrower there: then it is not the bits that are compared. */
static void compare(const char *path, const setting *s, bool exact, outcome *with) {
    const setting plain = {.one_dispatch = false};
    static outcome without; /* of the path that came last */
    static char last[600];
    if (strcmp(last, path) != 0) {
        free(without.logits);
        run(path, &plain, &without);
        snprintf(last, sizeof last, "%s", path);
    }
    run(path, s, with);
    assert_int_equal(with->n_vocab, without.n_vocab);
    for (uint32_t i = 0; i < N_STEP; i++) {
        const float *a = with->logits + (size_t)i * with->n_vocab;
        const float *b = without.logits + (size_t)i * with->n_vocab;
        const double nmse = pm__nmse(a, b, with->n_vocab);
        if (exact ? memcmp(a, b, with->n_vocab * sizeof *a) != 0 : !(nmse < 1e-9))
            fail_msg("%s: other logits at step %u, NMSE %g\n%s", path, i, nmse, said);
    }
    if (exact)
        assert_memory_equal(with->tokens, without.tokens, sizeof with->tokens);
    free(with->logits);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void check_model(const char *path, bool exact) {
    const setting s = {.one_dispatch = true};
    outcome with;
    compare(path, &s, exact && on_software(), &with);
    printf("%s: %u launches: %s", path, with.n_dispatch, said);
    assert_non_null(strstr(said, " launches as "));
    if (strstr(said, "did not meet") == NULL)
        assert_true(with.n_dispatch <= 7); /* drawing a token takes two */
}

static void check_reference(const char *name, bool exact) {
    char relative[64];
    snprintf(relative, sizeof relative, "reference/arch/%s/model.gguf", name);
    const char *path = pm__reference_path(relative);
    if (path != NULL)
        check_model(path, exact);
    else
        printf("%s is not there\n", relative);
}

static void one_launch_gives_what_many_give(void **state) {
    (void)state;
    check_model(pm__source_path(PEBBLE), true);
    check_reference("llama3", true);
    check_reference("phi2", false); /* norms of their own */
}

/* More workgroups than can run are taken on trust: the step is run again, and nobody else sees
 * it. */
static void a_wait_in_vain_ends(void **state) {
    (void)state;
    const setting s = {.one_dispatch = true, .most_meeting = 512, .believes = true};
    outcome with;
    if (!on_software())
        skip();
    compare(pm__source_path(PEBBLE), &s, true, &with);
    assert_non_null(strstr(said, "512 workgroups did not meet in time"));
    assert_null(strstr(strstr(said, "did not meet") + 1, "did not meet"));
    assert_true(with.n_dispatch > 7);
}

static void more_than_can_meet_are_not_taken(void **state) {
    (void)state;
    const setting s = {.one_dispatch = true, .most_meeting = 512};
    outcome with;
    if (!on_software())
        skip();
    compare(pm__source_path(PEBBLE), &s, true, &with);
    assert_non_null(strstr(said, " launches as "));
    assert_null(strstr(said, "of 512 workgroups"));
}

/* What its kernels share adds up in one launch. */
static void too_much_shared_memory_is_said(void **state) {
    (void)state;
    const setting s = {.one_dispatch = true, .most_shared = 64};
    outcome with;
    if (!on_software())
        skip();
    compare(pm__source_path(PEBBLE), &s, true, &with);
    const char *line = strstr(said, "one dispatch: pipeline: kernel 'stack': ");
    assert_non_null(line);
    assert_non_null(strstr(line, " bytes of shared memory, "));
    assert_non_null(strstr(line, " has 64; layers are launched kernel by kernel\n"));
    assert_true(with.n_dispatch > 7);
}

static void what_has_no_stack_says_so(void **state) {
    (void)state;
    const setting s = {.one_dispatch = true};
    pm_device *device = open_device(&s);
    pm_model *model = pm__whole_model_at(device, pm__source_path(PEBBLE));
    const pm_session_desc desc = {.n_ctx = 64, .profile = true};
    pm_session *session = NULL;
    said[0] = '\0';
    pm_set_log(PM_LOG_WARN, hear, NULL);
    pm__expect_ok(pm_session_open(model, &desc, &session));
    pm_set_log(PM_LOG_WARN, NULL, NULL);
    assert_string_equal(said, "one dispatch: launches are profiled; layers are launched kernel by "
                              "kernel\n");
    pm_session_close(session);
    pm_model_close(model);
    pm_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_launch_gives_what_many_give),
        cmocka_unit_test(a_wait_in_vain_ends),
        cmocka_unit_test(more_than_can_meet_are_not_taken),
        cmocka_unit_test(too_much_shared_memory_is_said),
        cmocka_unit_test(what_has_no_stack_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
