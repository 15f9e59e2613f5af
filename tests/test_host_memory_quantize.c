/* test_host_memory_quantize.c: memory runs out at every call while importances are read and
 * collected, and while a model is quantised by them.
 * ctest: quick */
#include "host_faults.h"

#include "format/imatrix.h"
#include "tests/folders.h"
#include "tests/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char TEXT[] = "Once upon a time there was a dog.";

typedef struct scene {
    const char *model;
    char imatrix[PM__FOLDER_SIZE]; /* a file */
    FILE *out;                     /* NULL: bytes are added up alone */
    uint64_t sum, whole;
} scene;

static bool take(void *user, const void *data, size_t n) {
    scene *s = user;
    for (size_t i = 0; i < n; i++)
        s->sum = s->sum * 31 + ((const uint8_t *)data)[i];
    return s->out == NULL || fwrite(data, 1, n, s->out) == n;
}

/* What is written is always the same. */
static pm_status compare(scene *s, pm_status status) {
    if (status != PM_OK)
        return status;
    if (s->whole == 0)
        s->whole = s->sum;
    assert_true(s->sum == s->whole);
    return PM_OK;
}

static pm_status collect(void *user) {
    scene *s = user;
    const pm_device_desc cpu = {.name = "cpu", .n_thread = 1};
    const pm_model_desc desc = {.path = s->model};
    const pm_imatrix_desc wanted = {.text = TEXT,
                                    .n_byte = sizeof TEXT - 1,
                                    .n_ctx = 8,
                                    .n_chunk = 1,
                                    .write = take,
                                    .user = s};
    pm_device *device = NULL;
    pm_model *model = NULL;
    s->sum = 0;
    PM_TRY(pm_device_open(&cpu, &device));
    pm_status status = pm_model_open(device, &desc, &model);
    if (status == PM_OK)
        status = pm_imatrix(model, &wanted);
    pm_model_close(model);
    pm_device_close(device);
    return compare(s, status);
}

static pm_status quantize(void *user) {
    static const char *const types[] = {"ffn_(up|gate)=Q5_1"};
    scene *s = user;
    const pm_quantize_desc desc = {.path = s->model,
                                   .type = "Q8_0",
                                   .imatrix = s->imatrix,
                                   .tensor_types = types,
                                   .n_tensor_type = 1,
                                   .n_thread = 1,
                                   .write = take,
                                   .user = s};
    s->sum = 0;
    return compare(s, pm_quantize(&desc));
}

static void memory_fails(const char *name, pm_status (*run)(void *), scene *s, uint32_t stride) {
    const pm__fault_scenario scenario = {
        .name = name, .run = run, .user = s, .kind = PM__FAULT_MEMORY, .stride = stride};
    s->whole = 0;
    pm__faults_everywhere(&scenario);
}

static void make_imatrix(scene *s) {
    s->out = fdopen(pm__scratch_file(s->imatrix), "w");
    assert_non_null(s->out);
    assert_int_equal(collect(s), PM_OK);
    assert_int_equal(fclose(s->out), 0);
    s->out = NULL;
}

static void quantizing(void **state) {
    (void)state;
    scene s = {.model = pm__reference_path("models/real/stories260K-f32.gguf")};
    if (s.model == NULL)
        skip();
    char path[1024];
    snprintf(path, sizeof path, "%s", s.model);
    s.model = path;
    make_imatrix(&s);
    memory_fails("importances", collect, &s, 3);
    memory_fails("quantize", quantize, &s, 1);
    unlink(s.imatrix);
}

/* An entry of the older format. */
static pm_status read_old(void *user) {
    static const uint8_t file[] = {1, 0, 0,   0,  1, 0, 0, 0,  'a', 1, 0, 0, 0, 2, 0, 0, 0,
                                   0, 0, 128, 63, 0, 0, 0, 64, 3,   0, 0, 0, 1, 0, 0, 0, 't'};
    pm__imatrix imatrix;
    (void)user;
    PM_TRY(pm__imatrix_init(&imatrix, file, sizeof file));
    assert_true(imatrix.n_entry == 1 && imatrix.entries[0].values[1] == 2);
    pm__imatrix_finish(&imatrix);
    return PM_OK;
}

static void reading(void **state) {
    (void)state;
    scene s = {0};
    memory_fails("importances of the older format", read_old, &s, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantizing), cmocka_unit_test(reading)};
    return cmocka_run_group_tests_name("host_memory_quantize", tests, NULL, NULL);
}
