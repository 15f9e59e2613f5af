/* test_host_memory_source.c: memory runs out at every call while a folder is opened, converted and
 * used on the CPU path, and while a synthetic model is written, or made in memory and used.
 * ctest: quick */
#include "host_faults.h"

#include "source/source.h"
#include "tests/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void memory_fails(const char *name, pm_status (*run)(void *), void *user, uint32_t stride) {
    const pm__fault_scenario scenario = {
        .name = name, .run = run, .user = user, .kind = PM__FAULT_MEMORY, .stride = stride};
    pm__faults_everywhere(&scenario);
}

static pm_status open_folder(void *user) {
    pm__source source;
    PM_TRY(pm__source_init(&source, user));
    assert_int_equal(source.gguf.n_tensor, 47);
    pm__source_finish(&source);
    return PM_OK;
}

/* The sum of all bytes that are written. */
static bool add_up(void *user, const void *data, size_t n) {
    uint64_t *sum = user;
    for (size_t i = 0; i < n; i++)
        *sum = *sum * 31 + ((const uint8_t *)data)[i];
    return true;
}

static pm_status convert(void *user) {
    static uint64_t whole;
    uint64_t sum = 0;
    const pm_quantize_desc desc = {
        .path = user, .type = "Q8_0", .n_thread = 1, .write = add_up, .user = &sum};
    PM_TRY(pm_quantize(&desc));
    whole = whole == 0 ? sum : whole;
    assert_true(whole == sum);
    return PM_OK;
}

static pm_status evaluate(pm_model *model) {
    const pm_session_desc desc = {.n_ctx = 16};
    const int32_t ids[] = {1, 403, 407};
    const float *logits = NULL;
    pm_session *session = NULL;
    pm_status status = pm_session_open(model, &desc, &session);
    if (status == PM_OK)
        status = pm_session_eval(session, 0, ids, PM__COUNT(ids), &logits);
    if (status == PM_OK)
        assert_true(logits[0] == logits[0]);
    pm_session_close(session);
    return status;
}

static pm_status use(const pm_model_desc *desc) {
    const pm_device_desc cpu = {.name = "cpu", .n_thread = 1};
    pm_device *device = NULL;
    pm_model *model = NULL;
    PM_TRY(pm_device_open(&cpu, &device));
    pm_status status = pm_model_open(device, desc, &model);
    if (status == PM_OK)
        status = evaluate(model);
    pm_model_close(model);
    pm_device_close(device);
    return status;
}

/* Rows of queries and keys are gathered. */
static pm_status use_folder(void *user) {
    return use(&(pm_model_desc){.path = user});
}

static void folder(void **state) {
    (void)state;
    const char *found = pm__reference_path("models/real/stories260K-hf");
    if (found == NULL)
        skip();
    char path[1024];
    snprintf(path, sizeof path, "%s", found);
    memory_fails("folder", open_folder, path, 1);
    memory_fails("conversion", convert, path, 1);
    memory_fails("use", use_folder, path, 3);
}

static pm_status synthesise(void *user) {
    uint64_t sum = 0;
    const pm_synth_desc desc = {
        .shape = "moe-tiny", .type = user, .n_layer = 1, .write = add_up, .user = &sum};
    return pm_synth(&desc);
}

static pm_status open_synthetic(void *user) {
    const pm_synth_desc synth = {.shape = "moe-tiny", .type = user, .n_layer = 1};
    return use(&(pm_model_desc){.synth = &synth});
}

static void synth(void **state) {
    (void)state;
    memory_fails("synthetic", open_synthetic, "q4_k_m", 4);
    memory_fails("synth", synthesise, "q4_0", 1);
    memory_fails("synth of random blocks", synthesise, "iq2_xs", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folder), cmocka_unit_test(synth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
