/* test_embed.c: vectors of texts, pooled in every way, against another implementation.
 * ctest: model */
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

enum { MOST_EMBD = 256 };

static pm_device *devices[2]; /* the CPU path, and the device under test or NULL */

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

static pm_session *open_session(pm_model *model, uint32_t n_batch) {
    const pm_session_desc desc = {.n_ctx = 64,
                                  .n_batch = n_batch,
                                  .embeddings = true,
                                  .cache_type_k = "f32",
                                  .cache_type_v = "f32"};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

/* A model of reference/arch; NULL where it is not there. */
static pm_model *open_instance(pm_device *device, const char *name, cJSON **json) {
    char relative[128];
    snprintf(relative, sizeof relative, "reference/arch/%s/ref.json", name);
    const char *path = pm__reference_path(relative);
    if (path == NULL)
        return NULL;
    *json = pm__whole_json(path);
    snprintf(relative, sizeof relative, "reference/arch/%s/model.gguf", name);
    return pm__whole_model(device, relative);
}

static void compare(const char *name, const float *mine, const double *expected, uint32_t n) {
    double most = 0;
    for (uint32_t c = 0; c < n; c++)
        most = fmax(most, fabs((double)mine[c] - expected[c]));
    print_message("  %s: largest difference %.2g\n", name, most);
    assert_true(most <= 1e-5);
}

/* ---- encoders -------------------------------------------------------------------------------- */

static void check_pooled(pm_device *device, const char *name) {
    cJSON *json = NULL;
    pm_model *model = open_instance(device, name, &json);
    if (model == NULL)
        skip();
    pm__id_list ids;
    pm__whole_ids(cJSON_GetObjectItem(json, "tokens"), &ids);
    const pm_model_info *info = pm_model_get_info(model);
    assert_true(info->encoder && info->n_embd <= MOST_EMBD);
    double expected[MOST_EMBD], power = 0;
    const cJSON *pooled = cJSON_GetObjectItem(json, "pooled");
    assert_int_equal(cJSON_GetArraySize(pooled), info->n_embd);
    for (uint32_t c = 0; c < info->n_embd; c++) {
        expected[c] = cJSON_GetArrayItem(pooled, (int)c)->valuedouble;
        power += expected[c] * expected[c];
    }
    float out[MOST_EMBD];
    pm_session *session = open_session(model, 0);
    pm_embed_desc desc = {.ids = ids.data, .n = ids.n, .raw = true};
    pm__expect_ok(pm_embed(session, &desc, out));
    compare(name, out, expected, info->n_embd);
    for (uint32_t c = 0; c < info->n_embd; c++)
        expected[c] /= sqrt(power);
    desc.raw = false; /* and a second text in the same session */
    pm__expect_ok(pm_embed(session, &desc, out));
    compare(name, out, expected, info->n_embd);
    pm_session_close(session);
    pm_model_close(model);
    cJSON_Delete(json);
}

static void test_encoders(void **state) {
    (void)state;
    static const char *const names[] = {"bert-mean", "bert-cls", "nomic-bert", "gemma-embedding"};
    for (size_t i = 0; i < PM__COUNT(names); i++)
        for (size_t d = 0; d < PM__COUNT(devices); d++)
            if (devices[d] != NULL)
                check_pooled(devices[d], names[i]);
}

/* ---- decoders -------------------------------------------------------------------------------- */

static double cosine(const float *a, const float *b, uint32_t n) {
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (double)a[c] * (double)b[c];
    return sum;
}

/* The last token's state is the same however the text is cut into steps, and however many come
 * after the first one's. */
static void test_decoder(void **state) {
    (void)state;
    cJSON *json = NULL;
    pm_model *model = open_instance(devices[0], "llama3", &json);
    if (model == NULL)
        skip();
    pm__id_list ids;
    pm__whole_ids(cJSON_GetObjectItem(json, "tokens"), &ids);
    const uint32_t n = pm_model_get_info(model)->n_embd;
    float last[MOST_EMBD], cut[MOST_EMBD], first[MOST_EMBD], short_first[MOST_EMBD];
    pm_session *whole = open_session(model, 0), *cutting = open_session(model, 7);
    pm_embed_desc desc = {.ids = ids.data, .n = ids.n};
    pm__expect_ok(pm_embed(whole, &desc, last));
    pm__expect_ok(pm_embed(cutting, &desc, cut));
    assert_true(cosine(last, last, n) > 0.999999 && cosine(last, cut, n) > 0.999999);
    desc.pooling = PM_POOLING_FIRST;
    pm__expect_ok(pm_embed(whole, &desc, first));
    desc.n = 3;
    pm__expect_ok(pm_embed(whole, &desc, short_first));
    assert_true(cosine(first, short_first, n) > 0.999999 && cosine(first, last, n) < 0.99);
    pm_session_close(whole);
    pm_session_close(cutting);
    pm_model_close(model);
    cJSON_Delete(json);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refusals(void **state) {
    (void)state;
    cJSON *json = NULL;
    pm_model *model = open_instance(devices[0], "bert-mean", &json);
    if (model == NULL)
        skip();
    const pm_session_desc text = {.n_ctx = 64};
    pm_session *session = NULL;
    assert_int_equal(pm_session_open(model, &text, &session), PM_UNSUPPORTED);
    assert_non_null(strstr(pm_last_error(), "pumice embed"));
    pm__id_list ids;
    pm__whole_ids(cJSON_GetObjectItem(json, "tokens"), &ids);
    session = open_session(model, 11);
    float out[MOST_EMBD];
    const pm_embed_desc desc = {.ids = ids.data, .n = ids.n}, none = {.ids = ids.data};
    assert_int_equal(pm_embed(session, &desc, out), PM_CONTEXT_FULL);
    assert_non_null(strstr(pm_last_error(), "11 tokens"));
    assert_int_equal(pm_embed(session, &none, out), PM_ARGUMENT);
    const pm_generate_desc generate = {.prompt = ids.data, .n_prompt = 3};
    pm_generation *generation = NULL;
    assert_int_equal(pm_generate(session, &generate, &generation), PM_ARGUMENT);
    pm_session_close(session);
    pm_model_close(model);
    cJSON_Delete(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoders),
        cmocka_unit_test(test_decoder),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
