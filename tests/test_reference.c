/* ctest: model */
/* test_reference.c: small real models through pumice.h: the device under test and the CPU path
 * against logits and texts made by another implementation, and against each other. */
#include "reference.h"
#include "whole.h"

#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GPU, CPU, N_DEVICE };

static pm_device *devices[N_DEVICE]; /* NULL: there is none */

static int set_up(void **state) {
    (void)state;
    devices[GPU] = pm__whole_device();
    devices[CPU] = pm__whole_cpu();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < N_DEVICE; i++)
        pm_device_close(devices[i]);
    return 0;
}

/* ---- against the reference
 * ------------------------------------------------------------------------ */

typedef struct tally {
    double most, error, power; /* largest difference; squares of differences and of references */
    uint32_t n_logit, n_greedy, n_close;
} tally;

static void check_position(tally *t, const cJSON *position, const float *logits, uint32_t n_vocab) {
    const double expected = cJSON_GetObjectItem(position, "logsumexp")->valuedouble;
    assert_true(fabs(pm__logsumexp(logits, n_vocab) - expected) <= 1e-3);
    const cJSON *top = cJSON_GetObjectItem(position, "top");
    assert_int_equal(cJSON_GetArraySize(top), 8);
    for (const cJSON *pair = top->child; pair != NULL; pair = pair->next) {
        const uint32_t id = (uint32_t)cJSON_GetArrayItem(pair, 0)->valuedouble;
        const double reference = cJSON_GetArrayItem(pair, 1)->valuedouble;
        const double difference = fabs((double)logits[id] - reference);
        if (!(difference <= 1e-3))
            fail_msg("logit %u is %.6f, the reference %.6f", id, (double)logits[id], reference);
        t->most = fmax(t->most, difference);
        t->error += difference * difference;
        t->power += reference * reference;
        t->n_logit++;
    }
}

/* Goes on from the prompt the session holds. After a step where two tokens are as good as equal the
 * texts may part. */
static void check_greedy(tally *t, pm_session *session, const cJSON *prompt) {
    pm__id_list greedy;
    pm__whole_ids(cJSON_GetObjectItem(prompt, "greedy"), &greedy);
    assert_int_equal(greedy.n, 64);
    const cJSON *margin = cJSON_GetObjectItem(prompt, "greedy_margin")->child;
    static const pm__id_list none = {.n = 0};
    pm_generation *generation = pm__whole_answer(session, &none, greedy.n, 0.0f, 0);
    const pm_answer *answer = &generation->answers[0];
    assert_int_equal(answer->n_token, greedy.n);
    for (uint32_t i = 0; i < greedy.n; i++, margin = margin->next) {
        if (answer->tokens[i] != greedy.data[i]) {
            assert_true(margin->valuedouble < 1e-3);
            t->n_close++;
            break;
        }
        t->n_greedy++;
    }
    pm_generation_free(generation);
}

/* A model on one device. */
typedef struct side {
    pm_model *model;
    pm_session *session;
    tally tally;
} side;

/* What the tokens of the prompt cost, each given those before it. */
static void check_nll(const cJSON *expected, const pm__id_list *ids, const float *logits,
                      uint32_t n_vocab) {
    double nll = 0;
    for (uint32_t i = 0; i + 1 < ids->n; i++, logits += n_vocab)
        nll += pm__logsumexp(logits, n_vocab) - (double)logits[ids->data[i + 1]];
    if (ids->n > 1)
        assert_true(fabs(nll / (ids->n - 1) - expected->valuedouble) <= 1e-4);
}

/* Gives the logits of the prompt, [n, n_vocab]. */
static float *check_prompt(side *on, const cJSON *prompt) {
    pm__id_list expected, ids;
    pm__whole_ids(cJSON_GetObjectItem(prompt, "tokens"), &expected);
    pm__whole_tokenize(on->model, cJSON_GetObjectItem(prompt, "prompt")->valuestring, &ids);
    assert_int_equal(ids.n, expected.n);
    assert_memory_equal(ids.data, expected.data, ids.n * sizeof ids.data[0]);
    const uint32_t n_vocab = pm_model_get_info(on->model)->n_vocab;
    float *logits = pm__whole_logits(on->session, n_vocab, ids.data, ids.n);
    const cJSON *positions = cJSON_GetObjectItem(prompt, "positions");
    assert_int_equal(cJSON_GetArraySize(positions), ids.n);
    uint32_t i = 0;
    for (const cJSON *position = positions->child; position != NULL; position = position->next)
        check_position(&on->tally, position, logits + (size_t)i++ * n_vocab, n_vocab);
    check_nll(cJSON_GetObjectItem(prompt, "nll_per_token"), &ids, logits, n_vocab);
    check_greedy(&on->tally, on->session, prompt);
    return logits;
}

/* Both devices on one prompt, each against the reference, and the one against the other. */
static void check_both(side sides[N_DEVICE], const char *name, const cJSON *prompt) {
    float *logits[N_DEVICE] = {NULL};
    for (int i = 0; i < N_DEVICE; i++)
        if (devices[i] != NULL)
            logits[i] = check_prompt(&sides[i], prompt);
    if (devices[GPU] != NULL) {
        const size_t n = (size_t)cJSON_GetArraySize(cJSON_GetObjectItem(prompt, "positions")) *
                         pm_model_get_info(sides[CPU].model)->n_vocab;
        const double nmse = pm__nmse(logits[GPU], logits[CPU], n);
        printf("%-22s %zu logits, NMSE against the CPU path %.2g\n", name, n, nmse);
        assert_true(nmse <= 1e-8);
    }
    for (int i = 0; i < N_DEVICE; i++)
        free(logits[i]);
}

static void close_side(side *on, const char *name, const char *kind) {
    const tally *t = &on->tally;
    const double nmse = t->error / t->power;
    printf("%-22s %-8s %u logits, largest difference %.2g, NMSE %.2g; %u greedy tokens equal, %u "
           "texts part where the margin is below 1e-3\n",
           name, kind, t->n_logit, t->most, nmse, t->n_greedy, t->n_close);
    assert_true(t->n_logit > 0 && nmse <= 1e-8);
    pm_session_close(on->session);
    pm_model_close(on->model);
}

static void check_reference(const char *file, const char *name) {
    char relative[128];
    snprintf(relative, sizeof relative, "models/real/%s.gguf", file);
    const char *path = pm__reference_path(relative);
    snprintf(relative, sizeof relative, "reference/real/%s.json", name);
    const char *reference = pm__reference_path(relative);
    if (path == NULL || reference == NULL)
        skip();
    cJSON *json = pm__whole_json(reference);
    side sides[N_DEVICE] = {0};
    for (int i = 0; i < N_DEVICE; i++) {
        if (devices[i] == NULL)
            continue;
        sides[i].model = pm__whole_model_at(devices[i], path);
        sides[i].session = pm__whole_session(sides[i].model, 288, 64, 1);
    }
    const cJSON *prompts = cJSON_GetObjectItem(json, "prompts");
    for (const cJSON *prompt = prompts->child; prompt != NULL; prompt = prompt->next)
        check_both(sides, name, prompt);
    for (int i = 0; i < N_DEVICE; i++)
        if (devices[i] != NULL)
            close_side(&sides[i], name, pm_device_get_info(devices[i])->kind);
    cJSON_Delete(json);
}

static void test_stories_f32(void **state) {
    (void)state;
    check_reference("stories260K-f32", "stories260K-f32");
}

static void test_stories_f16(void **state) {
    (void)state;
    check_reference("stories260K-f16", "stories260K-f16");
}

static void test_babyllama_f32(void **state) {
    (void)state;
    check_reference("babyllama-tok105-f32", "babyllama-tok105-f32");
}

static void test_babyllama_f16(void **state) {
    (void)state;
    check_reference("babyllama-tok105-F16", "babyllama-tok105-f16");
}

/* ---- files without a reference against the CPU path
 * ------------------------------------------------------------------------- */

enum { N_ANSWER = 48 };

static const char PROMPT[] = "Once upon a time, there was a little dog";

typedef struct outcome {
    float *logits; /* [n, n_vocab] of the prompt */
    pm_generation *greedy;
    uint32_t n, n_vocab;
} outcome;

static outcome run_on(pm_device *device, const char *path) {
    pm_model *model = pm__whole_model_at(device, path);
    pm_session *session = pm__whole_session(model, 128, 32, 1);
    pm__id_list ids;
    pm__whole_tokenize(model, PROMPT, &ids);
    assert_true(ids.n > 1 && ids.n + N_ANSWER <= 128);
    outcome o = {.n = ids.n, .n_vocab = pm_model_get_info(model)->n_vocab};
    o.logits = pm__whole_logits(session, o.n_vocab, ids.data, ids.n);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    o.greedy = pm__whole_answer(session, &ids, N_ANSWER, 0.0f, 0);
    pm_session_close(session);
    pm_model_close(model);
    return o;
}

static void test_same_as_cpu(void **state) {
    (void)state;
    static const char *const files[] = {
        "stories260Ktok512",
        "babyllama-tok105-Q8_0",
        "babyllama-tok105-Q4_0",
        "bitllama-1M-f32",
    };
    if (devices[GPU] == NULL)
        skip();
    for (size_t i = 0; i < PM__COUNT(files); i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "models/real/%s.gguf", files[i]);
        const char *path = pm__reference_path(relative);
        if (path == NULL)
            skip();
        outcome gpu = run_on(devices[GPU], path), cpu = run_on(devices[CPU], path);
        const double nmse = pm__nmse(gpu.logits, cpu.logits, (size_t)cpu.n * cpu.n_vocab);
        printf("%-22s %u x %u logits, NMSE against the CPU path %.2g\n", files[i], cpu.n,
               cpu.n_vocab, nmse);
        assert_true(nmse <= 1e-8);
        assert_int_equal(gpu.greedy->answers[0].n_token, N_ANSWER);
        assert_memory_equal(gpu.greedy->answers[0].tokens, cpu.greedy->answers[0].tokens,
                            N_ANSWER * sizeof(int32_t));
        assert_string_equal(gpu.greedy->answers[0].text, cpu.greedy->answers[0].text);
        free(gpu.logits);
        free(cpu.logits);
        pm_generation_free(gpu.greedy);
        pm_generation_free(cpu.greedy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_f32),   cmocka_unit_test(test_stories_f16),
        cmocka_unit_test(test_babyllama_f32), cmocka_unit_test(test_babyllama_f16),
        cmocka_unit_test(test_same_as_cpu),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
