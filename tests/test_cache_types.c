/* ctest: long */
/* test_cache_types.c: what narrower caches do to a model: logits, perplexity and greedy texts,
 * against the same model over f32 caches, on the device under test and on the CPU path. The bounds
 * are some three times what was measured (bench/results/measure.md).
 *
 * On the device f16 alone: test_kernels has every pair of types.
 *
 * pebble has heads of 64 and takes every type; stories260K has heads of 8, which f16 alone fits. */
#include "base/status.h"
#include "reference.h"
#include "whole.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKEN = 256, N_ANSWER = 64, MOST_CTX = 512 };

static const char *const PEBBLE = "models/pebble/pebble.gguf";
static const char *const STORIES = "models/real/stories260K-f32.gguf";

typedef struct kinds {
    const char *k, *v;
    double nmse, perplexity; /* most: of logits; change, as a part */
    uint32_t n_same;         /* least: greedy tokens before the first other one */
} kinds;

/* What one model says over caches of some types. */
typedef struct sheet {
    float *logits; /* [N_TOKEN, n_vocab] */
    double perplexity;
    int32_t answer[N_ANSWER];
} sheet;

/* One model on one device. */
typedef struct subject {
    pm_model *model;
    const int32_t *ids; /* [N_TOKEN] */
    sheet exact;
} subject;

static pm_session *open_session(pm_model *model, const char *k, const char *v) {
    const pm_session_desc desc = {
        .n_ctx = MOST_CTX, .n_batch = 37, .cache_type_k = k, .cache_type_v = v};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

/* Ids of a text that the model itself wrote over f32 caches, at a temperature that makes it ramble
 * and never repeat itself. */
static void write_text(pm_model *model, int32_t ids[N_TOKEN]) {
    static pm__id_list prompt;
    pm__whole_tokenize(model, "Once upon a time", &prompt);
    const pm_sampling sampling = {.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 20241};
    const pm_generate_desc desc = {.prompt = prompt.data,
                                   .n_prompt = prompt.n,
                                   .sampling = &sampling,
                                   .n_predict = N_TOKEN - prompt.n,
                                   .ignore_eos = true};
    pm_session *session = open_session(model, "f32", "f32");
    pm_generation *g = NULL;
    pm__expect_ok(pm_generate(session, &desc, &g));
    assert_int_equal(g->answers[0].n_token, N_TOKEN - prompt.n);
    memcpy(ids, prompt.data, prompt.n * sizeof *ids);
    memcpy(ids + prompt.n, g->answers[0].tokens, g->answers[0].n_token * sizeof *ids);
    pm_generation_free(g);
    pm_session_close(session);
}

/* Over the second half of the tokens, as perplexity is counted. */
static double perplexity_of(const float *logits, uint32_t n_vocab, const int32_t *ids) {
    double nll = 0;
    for (uint32_t i = N_TOKEN / 2; i < N_TOKEN - 1; i++) {
        const float *row = logits + (size_t)i * n_vocab;
        nll += pm__logsumexp(row, n_vocab) - (double)row[ids[i + 1]];
    }
    return exp(nll / (N_TOKEN / 2 - 1));
}

static void fill(sheet *s, const subject *of, const char *k, const char *v) {
    static pm__id_list prompt;
    const uint32_t n_vocab = pm_model_get_info(of->model)->n_vocab;
    pm_session *session = open_session(of->model, k, v);
    s->logits = pm__whole_logits(session, n_vocab, of->ids, N_TOKEN);
    s->perplexity = perplexity_of(s->logits, n_vocab, of->ids);
    pm__whole_tokenize(of->model, "Once upon a time there was a little stone", &prompt);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    pm_generation *g = pm__whole_answer(session, &prompt, N_ANSWER, 0, 1);
    assert_int_equal(g->answers[0].n_token, N_ANSWER);
    memcpy(s->answer, g->answers[0].tokens, sizeof s->answer);
    pm_generation_free(g);
    pm_session_close(session);
}

static uint32_t n_alike(const sheet *a, const sheet *b) {
    uint32_t n = 0;
    while (n < N_ANSWER && a->answer[n] == b->answer[n])
        n++;
    return n;
}

static void check_kinds(const subject *of, const kinds *most) {
    const size_t n = (size_t)N_TOKEN * pm_model_get_info(of->model)->n_vocab;
    const sheet *exact = &of->exact;
    sheet s;
    fill(&s, of, most->k, most->v);
    const double error = pm__nmse(s.logits, exact->logits, n);
    const double change = s.perplexity / exact->perplexity - 1;
    const uint32_t same = n_alike(&s, exact);
    printf("  %-4s %-4s: NMSE %.2g, perplexity %.4f (%+.2g), %u of %d greedy tokens\n", most->k,
           most->v, error, s.perplexity, change, same, N_ANSWER);
    assert_true(error > 0 && error <= most->nmse);
    assert_true(fabs(change) <= most->perplexity);
    assert_true(same >= most->n_same);
    free(s.logits);
}

static void check_model(pm_device *device, const char *path, const kinds *list, size_t n,
                        int32_t ids[N_TOKEN]) {
    subject of = {.model = pm__whole_model_at(device, path), .ids = ids};
    if (ids[0] < 0)
        write_text(of.model, ids);
    fill(&of.exact, &of, "f32", "f32");
    printf("%s, %s: perplexity %.4f\n", pm_device_get_info(device)->name,
           pm_model_get_info(of.model)->name, of.exact.perplexity);
    for (size_t i = 0; i < n; i++)
        check_kinds(&of, &list[i]);
    free(of.exact.logits);
    pm_model_close(of.model);
}

/* The same text on every device. */
static void check_devices(const char *path, const kinds *list, size_t n, size_t n_on_device) {
    pm_device *devices[] = {pm__whole_cpu(), pm__whole_device()};
    char copy[4096];
    int32_t ids[N_TOKEN] = {-1};
    snprintf(copy, sizeof copy, "%s", path);
    for (size_t i = 0; i < 2; i++) {
        if (devices[i] != NULL)
            check_model(devices[i], copy, list, i == 0 ? n : n_on_device, ids);
        pm_device_close(devices[i]);
    }
}

static void test_every_type(void **state) {
    (void)state;
    static const kinds list[] = {
        {"f16", "f16", 5e-7, 3e-4, 32},   {"q8_0", "q8_0", 2e-4, 5e-3, 32},
        {"q4_0", "q4_0", 5e-2, 0.15, 16}, {"q8_0", "f16", 2e-4, 5e-3, 32},
        {"f16", "q8_0", 6e-5, 5e-3, 32},  {"f16", "q4_0", 2e-2, 0.08, 16},
        {"q8_0", "q4_0", 2e-2, 0.08, 16},
    };
    check_devices(pm__source_path(PEBBLE), list, PM__COUNT(list), 1);
}

static void test_f16(void **state) {
    (void)state;
    static const kinds list[] = {{"f16", "f16", 5e-7, 1e-3, 32}};
    const char *path = pm__reference_path(STORIES);
    if (path == NULL)
        skip();
    check_devices(path, list, PM__COUNT(list), PM__COUNT(list));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_f16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
