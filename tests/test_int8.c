/* ctest: model */
/* test_int8.c: with activations in blocks of eight-bit integers a whole model's logits are nearly
 * those of floats, for rows alone and for many together, on the kernels that are made for GPUs; and
 * "auto" goes by what the device says, and leaves a row alone to floats. */
#include "reference.h"
#include "whole.h"

#include "engine/internal.h"
#include "gpu/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Offsets, and scales of 32 and of 16 weights. */
static const char MODEL[] = "models/real/bitllama-3M-Q4_K_M.gguf";

static const char TEXT[] =
    "The war began in the north, and the king was not there to see it end. His brother had been "
    "sent to the sea with nine ships and the men of two towns";

static pm_device *device; /* NULL: there is none */
static pm__caps before;

/* The device passes for a GPU. */
static int set_up(void **state) {
    (void)state;
    device = pm__whole_device();
    if (device == NULL)
        return 0;
    pm__caps *caps = &((pm__gpu_device *)device->handle.device)->gpu->caps;
    before = *caps;
    caps->software = false;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    if (device != NULL)
        ((pm__gpu_device *)device->handle.device)->gpu->caps = before;
    pm_device_close(device);
    return 0;
}

static void set_accelerated(bool accelerated) {
    ((pm__gpu_device *)device->handle.device)->gpu->caps.dot8_accelerated = accelerated;
}

/* Of all positions, [n, n_vocab]; in a session of its own. */
static float *logits_of(pm_model *model, const pm__id_list *ids, const char *int8,
                        uint32_t n_batch) {
    const pm_session_desc desc = {.n_ctx = 128,
                                  .n_batch = n_batch,
                                  .n_seq = 1,
                                  .int8 = int8,
                                  .cache_type_k = "f32",
                                  .cache_type_v = "f32"};
    pm_session *session = NULL;
    pm__expect_ok(pm_session_open(model, &desc, &session));
    float *out = pm__whole_logits(session, pm_model_get_info(model)->n_vocab, ids->data, ids->n);
    pm_session_close(session);
    return out;
}

static void assert_near(pm_model *model, const pm__id_list *ids, uint32_t n_batch) {
    const size_t n = (size_t)ids->n * pm_model_get_info(model)->n_vocab;
    float *floats = logits_of(model, ids, "off", n_batch);
    float *blocks = logits_of(model, ids, "on", n_batch);
    float *again = logits_of(model, ids, "on", n_batch);
    const double nmse = pm__nmse(blocks, floats, n);
    print_message("  batches of %u: NMSE %.3g\n", n_batch, nmse);
    assert_true(nmse > 0 && nmse < 2e-4);
    assert_memory_equal(again, blocks, n * sizeof *blocks);
    free(floats);
    free(blocks);
    free(again);
}

static void test_logits(void **state) {
    (void)state;
    if (device == NULL || !before.tiers[PM__TIER_DOT8]) {
        printf("no device with integer dot products\n");
        skip();
    }
    pm_model *model = pm__whole_model(device, MODEL);
    if (model == NULL)
        skip();
    pm__id_list ids;
    pm__whole_tokenize(model, TEXT, &ids);
    assert_true(ids.n > 32 && ids.n <= 128);
    assert_near(model, &ids, 1);
    assert_near(model, &ids, 128);
    pm_model_close(model);
}

static void test_auto(void **state) {
    (void)state;
    if (device == NULL || !before.tiers[PM__TIER_DOT8])
        skip();
    pm_model *model = pm__whole_model(device, MODEL);
    if (model == NULL)
        skip();
    pm__id_list ids;
    pm__whole_tokenize(model, "The war began in the north.", &ids);
    const size_t size = (size_t)ids.n * pm_model_get_info(model)->n_vocab * sizeof(float);
    float *off = logits_of(model, &ids, "off", 128), *on = logits_of(model, &ids, "on", 128);
    float *alone = logits_of(model, &ids, "off", 1);
    for (int accelerated = 0; accelerated < 2; accelerated++) {
        set_accelerated(accelerated);
        float *chosen = logits_of(model, &ids, NULL, 128);
        assert_memory_equal(chosen, accelerated ? on : off, size);
        free(chosen);
        chosen = logits_of(model, &ids, NULL, 1);
        assert_memory_equal(chosen, alone, size);
        free(chosen);
    }
    set_accelerated(before.dot8_accelerated);
    assert_memory_not_equal(on, off, size);
    free(alone);
    free(off);
    free(on);
    pm_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_auto),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
