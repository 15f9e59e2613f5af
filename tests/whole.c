#include "whole.h"

#include "base/file_map.h"
#include "format/json.h"
#include "reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void pm__expect_ok(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s: %s", pm_status_text(status), pm_last_error());
}

/* ---- devices, models, sessions
 * -------------------------------------------------------------------- */

pm_device *pm__whole_device(void) {
    const char *name = getenv("PUMICE_TEST_DEVICE");
    const pm_device_desc desc = {.name = name};
    pm_device *device = NULL;
    const pm_status status = pm_device_open(&desc, &device);
    if (status == PM_NO_DEVICE && name == NULL) {
        printf("no Vulkan device, what needs one is skipped: %s\n", pm_last_error());
        return NULL;
    }
    pm__expect_ok(status);
    const pm_device_info *info = pm_device_get_info(device);
    printf("device: %s, %s\n", info->name, info->driver);
    return device;
}

pm_device *pm__whole_cpu(void) {
    const pm_device_desc desc = {.name = "cpu"};
    pm_device *device = NULL;
    pm__expect_ok(pm_device_open(&desc, &device));
    return device;
}

pm_model *pm__whole_model_at(pm_device *device, const char *path) {
    const pm_model_desc desc = {.path = path};
    pm_model *model = NULL;
    pm__expect_ok(pm_model_open(device, &desc, &model));
    return model;
}

pm_model *pm__whole_model(pm_device *device, const char *relative) {
    const char *path = pm__reference_path(relative);
    return path != NULL ? pm__whole_model_at(device, path) : NULL;
}

pm_session *pm__whole_session(pm_model *model, uint32_t n_ctx, uint32_t n_batch, uint32_t n_seq) {
    const pm_session_desc desc = {.n_ctx = n_ctx,
                                  .int8 = "off",
                                  .n_batch = n_batch,
                                  .n_seq = n_seq,
                                  .cache_type_k = "f32",
                                  .cache_type_v = "f32"};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

/* ---- tokens and logits
 * ---------------------------------------------------------------------------- */

void pm__whole_tokenize(const pm_model *model, const char *text, pm__id_list *out) {
    const pm_tokenize_desc desc = {.text = text, .n_byte = strlen(text), .add_special = true};
    size_t n = 0;
    pm__expect_ok(pm_tokenize(model, &desc, out->data, PM__MOST_IDS, &n));
    out->n = (uint32_t)n;
}

typedef struct sheet {
    float *logits;
    uint32_t n_vocab;
} sheet;

static pm_status keep(void *user, size_t i, const float *logits) {
    const sheet *s = user;
    memcpy(s->logits + i * s->n_vocab, logits, s->n_vocab * sizeof *logits);
    return PM_OK;
}

float *pm__whole_logits(pm_session *session, uint32_t n_vocab, const int32_t *ids, uint32_t n) {
    sheet s = {.logits = calloc((size_t)n * n_vocab, sizeof(float)), .n_vocab = n_vocab};
    assert_non_null(s.logits);
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    pm__expect_ok(pm_session_eval_all(session, 0, ids, n, keep, &s));
    return s.logits;
}

pm_generation *pm__whole_answer(pm_session *session, const pm__id_list *prompt, uint32_t n,
                                float temperature, uint32_t run_ahead) {
    pm_sampling sampling = pm_sampling_default();
    sampling.temperature = temperature;
    sampling.seed = 20241;
    const pm_generate_desc desc = {
        .prompt = prompt->data,
        .n_prompt = prompt->n,
        .sampling = &sampling,
        .n_predict = n,
        .ignore_eos = true,
        .run_ahead = run_ahead,
    };
    pm_generation *out = NULL;
    pm__expect_ok(pm_generate(session, &desc, &out));
    return out;
}

/* ---- references
 * ----------------------------------------------------------------------------------- */

cJSON *pm__whole_json(const char *path) {
    pm__file_map file;
    cJSON *out = NULL;
    pm__expect_ok(pm__file_map_init(&file, path));
    pm__expect_ok(pm__json_parse(path, (const char *)file.data, file.size, &out));
    pm__file_map_finish(&file);
    return out;
}

void pm__whole_ids(const cJSON *list, pm__id_list *out) {
    assert_non_null(list);
    out->n = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        assert_true(out->n < PM__MOST_IDS);
        out->data[out->n++] = (int32_t)item->valuedouble;
    }
}

double pm__logsumexp(const float *logits, uint32_t n) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

double pm__nmse(const float *mine, const float *reference, size_t n) {
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        const double difference = (double)mine[i] - (double)reference[i];
        error += difference * difference;
        power += (double)reference[i] * (double)reference[i];
    }
    return error / power;
}
