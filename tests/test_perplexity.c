/* ctest: model */
/* test_perplexity.c: a long text in windows, as the field counts perplexity, against llama.cpp's
 * figure.
 *
 * The text is tokenised once, with BOS. Windows of N_CTX tokens lie end to end; the first token of
 * each is replaced by BOS, and the second half is scored: positions N_CTX / 2 .. N_CTX - 2 each
 * predict the token after them. The part of a window at the end is left out.
 *
 * All windows take minutes on two cores, so they are scored where PUMICE_TEST_FULL is in the
 * environment (PUMICE_TEST_ONLY: models whose name contains it); else the device under test is
 * compared with the CPU path over the first few. */
#include "base/file_map.h"
#include "reference.h"
#include "whole.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_BYTE = 60000, N_CTX = 256, FIRST_WINDOWS = 3 };

static const char *const MODEL = "models/real/stories260K-f32.gguf";

/* llama.cpp's figures on its CPU path, from the models' README. It brings activations to eight bits
 * for quantised weights, pumice does not. */
static const struct {
    const char *model;
    double perplexity;
} figures[] = {
    {"models/real/stories260K-f32.gguf", 150.9130},
    {"models/real/bitllama-1M-f32.gguf", 134.7936},
    {"models/real/bitllama-3M-F16.gguf", 112.2186},
    {"models/real/bitllama-3M-Q8_0.gguf", 112.0507},
    {"models/real/bitllama-3M-Q6_K.gguf", 113.4191},
    {"models/real/bitllama-3M-Q4_K_M.gguf", 112.3278},
    {"models/real/bitllama-3M-Q4_0.gguf", 107.5723},
    {"models/real/bitllama-3M-IQ4_XS.gguf", 109.3431},
    {"models/real/bitllama-3M-TQ2_0.gguf", 112.0229},
};

typedef struct score {
    const int32_t *ids; /* of the window */
    uint32_t n_vocab, n;
    double nll;
} score;

static pm_status add(void *user, size_t i, const float *logits) {
    score *s = user;
    if (i < N_CTX / 2 || i == N_CTX - 1)
        return PM_OK;
    s->nll += pm__logsumexp(logits, s->n_vocab) - (double)logits[s->ids[i + 1]];
    s->n++;
    return PM_OK;
}

static int32_t *tokenize(const pm_model *model, size_t *n) {
    const char *path = pm__reference_path("models/text/wikitext-2-raw.test.txt");
    if (path == NULL)
        return NULL;
    pm__file_map file;
    pm__expect_ok(pm__file_map_init(&file, path));
    assert_true(file.size >= N_BYTE);
    const pm_tokenize_desc desc = {
        .text = (const char *)file.data, .n_byte = N_BYTE, .add_special = true};
    int32_t *ids = calloc(N_BYTE + 1, sizeof *ids);
    assert_non_null(ids);
    pm__expect_ok(pm_tokenize(model, &desc, ids, N_BYTE + 1, n));
    pm__file_map_finish(&file);
    return ids;
}

static pm_session *open_session(pm_model *model, const char *cache_type) {
    const pm_session_desc desc = {
        .n_ctx = N_CTX, .n_batch = N_CTX, .cache_type_k = cache_type, .cache_type_v = cache_type};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

/* Perplexity of the first `most` windows; 0: all. */
static double measure(pm_device *device, const char *path, size_t most, const char *cache_type) {
    pm_model *model = pm__whole_model(device, path);
    if (model == NULL)
        skip();
    size_t n = 0;
    int32_t *ids = tokenize(model, &n);
    if (ids == NULL)
        skip();
    const pm_model_info *info = pm_model_get_info(model);
    pm_session *session = open_session(model, cache_type);
    size_t n_window = n / N_CTX;
    assert_true(n_window > FIRST_WINDOWS);
    if (most != 0)
        n_window = most;
    score s = {.n_vocab = info->n_vocab};
    for (size_t w = 0; w < n_window; w++) {
        s.ids = ids + w * N_CTX;
        ids[w * N_CTX] = info->bos;
        pm__expect_ok(pm_session_rewind(session, 0, 0));
        pm__expect_ok(pm_session_eval_all(session, 0, s.ids, N_CTX, add, &s));
    }
    assert_int_equal(s.n, n_window * (N_CTX / 2 - 1));
    const double perplexity = exp(s.nll / s.n);
    printf("%s, %s, %s: %zu windows, perplexity %.4f\n", path, pm_device_get_info(device)->name,
           cache_type, n_window, perplexity);
    pm_session_close(session);
    pm_model_close(model);
    free(ids);
    return perplexity;
}

static void assert_within(double mine, double expected, double part) {
    if (!(fabs(mine - expected) <= part * expected))
        fail_msg("perplexity %.4f, expected %.4f", mine, expected);
}

static void need_full(void) {
    if (getenv("PUMICE_TEST_FULL") != NULL)
        return;
    printf("PUMICE_TEST_FULL is not set: the whole text is skipped\n");
    skip();
}

static bool is_wanted(const char *model) {
    const char *only = getenv("PUMICE_TEST_ONLY");
    return only == NULL || strstr(model, only) != NULL;
}

static void test_whole(void **state) {
    (void)state;
    need_full();
    if (!is_wanted(MODEL))
        skip();
    pm_device *devices[] = {pm__whole_device(), pm__whole_cpu()};
    for (size_t i = 0; i < 2; i++) {
        if (devices[i] != NULL) {
            assert_within(measure(devices[i], MODEL, 0, "f32"), figures[0].perplexity, 2e-3);
            assert_within(measure(devices[i], MODEL, 0, "f16"), figures[0].perplexity, 2e-3);
        }
        pm_device_close(devices[i]);
    }
}

static void test_types(void **state) {
    (void)state;
    need_full();
    pm_device *device = pm__whole_device();
    if (device == NULL)
        skip();
    size_t n = is_wanted(MODEL);
    for (size_t k = 1; k < PM__COUNT(figures); k++)
        if (is_wanted(figures[k].model)) {
            assert_within(measure(device, figures[k].model, 0, "f32"), figures[k].perplexity, 3e-3);
            n++;
        }
    assert_true(n > 0); /* PUMICE_TEST_ONLY names one */
    pm_device_close(device);
}

static void test_first_windows(void **state) {
    (void)state;
    pm_device *device = pm__whole_device();
    if (device == NULL)
        skip();
    pm_device *cpu = pm__whole_cpu();
    const double expected = measure(cpu, MODEL, FIRST_WINDOWS, "f32");
    assert_within(measure(device, MODEL, FIRST_WINDOWS, "f32"), expected, 1e-5);
    assert_within(measure(device, MODEL, FIRST_WINDOWS, "f16"), expected, 1e-3);
    assert_within(measure(cpu, MODEL, FIRST_WINDOWS, "f16"), expected, 1e-3);
    pm_device_close(device);
    pm_device_close(cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_first_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
