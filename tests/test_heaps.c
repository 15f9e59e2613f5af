/* ctest: gpu */
/* test_heaps.c: plans and loading on machines made up of heaps that are small, divided, shared with
 * other programs or full against expectation; limits, and the largest context that fits. */
#include "devices.h"
#include "faults.h"
#include "reference.h"
#include "whole.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    H = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    DEVICE_HEAP = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT,
    MIB = 1 << 20
};

/* ---- machines -------------------------------------------------------------------------------- */

static const pm__fake_memory discrete = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 2,
    .heaps = {{8192ull * MIB, DEVICE_HEAP, 0}, {16384ull * MIB, 0, 0}},
    .n_type = 3,
    .types = {{L, 0}, {H, 1}, {H | C, 1}},
};

static const pm__fake_memory small_window = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 3,
    .heaps = {{8192ull * MIB, DEVICE_HEAP, 0}, {16384ull * MIB, 0, 0}, {256 * MIB, DEVICE_HEAP, 0}},
    .n_type = 4,
    .types = {{L, 0}, {H, 1}, {H | C, 1}, {L | H, 2}},
};

static const pm__fake_memory whole_window = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 2,
    .heaps = {{8192ull * MIB, DEVICE_HEAP, 0}, {16384ull * MIB, 0, 0}},
    .n_type = 4,
    .types = {{L, 0}, {H, 1}, {L | H, 0}, {H | C, 1}},
};

static const pm__fake_memory shared = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
    .n_heap = 1,
    .heaps = {{2048u * MIB, DEVICE_HEAP, 0}},
    .n_type = 2,
    .types = {{L | H, 0}, {L | H | C, 0}},
};

/* ---- a device and a model without weights ---------------------------------------------------- */

typedef struct rig {
    pm_device *device;
    pm_model *model;
} rig;

static char pebble[600], index_text[16], warning[512];

static void keep_warning(void *user, pm_log_level level, const char *line) {
    (void)user;
    if (level == PM_LOG_WARN)
        snprintf(warning, sizeof warning, "%s", line);
}

static pm_status open_weights(const rig *r, const pm_session_desc *session, pm_model **out) {
    const pm_model_desc desc = {.path = pebble, .session = session};
    return pm_model_open(r->device, &desc, out);
}

/* Taken when the device was opened: the canaries of its queue. */
static pm__fault_memory held;

/* "5000 are left", of so many bytes before the device was opened. */
static const char *left_of(uint64_t bytes) {
    static char text[64];
    snprintf(text, sizeof text, "%" PRIu64 " are left", bytes - held.live_bytes);
    return text;
}

/* most  of device memory; 0: no limit */
static rig open_rig(const pm__fake_memory *machine, uint64_t most) {
    rig r = {0};
    pm__faults_set_memory(machine);
    const pm_device_desc desc = {.name = index_text, .cache_dir = "", .max_memory_bytes = most};
    const pm_model_desc no_weights = {.path = pebble, .no_weights = true};
    pm__expect_ok(pm_device_open(&desc, &r.device));
    held = pm__faults_memory();
    pm__expect_ok(pm_model_open(r.device, &no_weights, &r.model));
    warning[0] = '\0';
    return r;
}

static void close_rig(rig *r) {
    pm_model_close(r->model);
    pm_device_close(r->device);
    pm__faults_reset();
}

static pm_plan *plan_of(const rig *r, uint32_t n_ctx) {
    const pm_session_desc desc = {.n_ctx = n_ctx, .n_batch = 33};
    pm_plan *plan;
    pm__expect_ok(pm_session_plan(r->model, &desc, &plan));
    return plan;
}

static const pm_plan_heap *heap_of(const pm_plan *plan, const char *name) {
    for (size_t i = 0; i < plan->n_heap; i++)
        if (strcmp(plan->heaps[i].name, name) == 0)
            return &plan->heaps[i];
    fail_msg("no heap %s", name);
    return NULL;
}

static const char *heap_of_buffer(const pm_plan *plan, const char *name) {
    for (size_t i = 0; i < plan->n_buffer; i++)
        if (strcmp(plan->buffers[i].name, name) == 0)
            return plan->buffers[i].heap;
    return "";
}

/* What the plan says of weights and of loading them is what is taken. */
static void expect_weights_as_planned(const rig *r, const pm_plan *plan) {
    uint64_t heaps[VK_MAX_MEMORY_HEAPS] = {0}, all = 0;
    for (size_t i = 0; i < plan->n_buffer; i++) {
        const pm_plan_buffer *buffer = &plan->buffers[i];
        if (buffer->part == PM_PLAN_SESSION)
            continue;
        all += buffer->bytes;
        if (buffer->part == PM_PLAN_WEIGHTS)
            heaps[strtoul(strrchr(buffer->heap, ' ') + 1, NULL, 10)] += buffer->bytes;
    }
    const uint64_t before = pm__faults_memory().allocated_bytes;
    pm_model *model;
    pm__expect_ok(open_weights(r, NULL, &model));
    const pm__fault_memory memory = pm__faults_memory();
    assert_int_equal(memory.allocated_bytes - before, all);
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++)
        assert_int_equal(memory.live_heap_bytes[i], held.live_heap_bytes[i] + heaps[i]);
    pm_model_close(model);
}

/* ---- where buffers go ------------------------------------------------------------------------ */

static void check_places(const pm__fake_memory *machine, const char *weights, const char *staging,
                         const char *upload) {
    rig r = open_rig(machine, 0);
    pm_plan *plan = plan_of(&r, 64);
    assert_true(plan->fits && plan->limit == UINT64_MAX);
    assert_string_equal(plan->why, "");
    assert_string_equal(heap_of_buffer(plan, "weights"), weights);
    assert_string_equal(heap_of_buffer(plan, "cache"), weights);
    assert_string_equal(heap_of_buffer(plan, "activations"), weights);
    assert_string_equal(heap_of_buffer(plan, "staging"), staging);
    assert_string_equal(heap_of_buffer(plan, "step upload"), upload);
    assert_string_equal(heap_of_buffer(plan, "logits readback"), upload);
    assert_string_equal(heap_of_buffer(plan, "tables"), "system memory");
    assert_true(heap_of(plan, weights)->limited);
    assert_false(heap_of(plan, "system memory")->limited);
    if (strcmp(upload, weights) != 0)
        assert_false(heap_of(plan, upload)->limited);
    expect_weights_as_planned(&r, plan);
    assert_string_equal(warning, "");
    pm_plan_free(plan);
    close_rig(&r);
}

static void places(void) {
    check_places(&discrete, "device 0", "host 1", "host 1");
    check_places(&small_window, "device 0", "host 1", "host 1");
    check_places(&whole_window, "device 0", "", "host 1");
    check_places(&shared, "device 0", "", "device 0");
}

/* ---- too little ------------------------------------------------------------------------------ */

/* Weights that are asked for with a session that does not fit beside them are not even begun. */
static void expect_refusal(const rig *r, const pm_session_desc *desc, const char *says) {
    const uint32_t n_before = pm__faults_memory().n_allocation;
    pm_model *model;
    assert_int_equal(open_weights(r, desc, &model), PM_OUT_OF_MEMORY);
    if (strstr(pm_last_error(), says) == NULL)
        fail_msg("'%s' is not in: %s", says, pm_last_error());
    assert_non_null(strstr(pm_last_error(), "try "));
    assert_int_equal(pm__faults_memory().n_allocation, n_before);
}

/* says  NULL: that 24 MiB are left */
static void expect_shortage(const pm__fake_memory *machine, uint64_t most, const char *says) {
    const pm_session_desc desc = {.n_ctx = 8192, .n_batch = 33};
    rig r = open_rig(machine, most);
    pm_plan *plan = plan_of(&r, desc.n_ctx);
    says = says != NULL ? says : left_of(24 * MIB);
    assert_false(plan->fits);
    assert_non_null(strstr(plan->why, says));
    expect_refusal(&r, &desc, says);
    pm_plan_free(plan);
    close_rig(&r);
}

static void too_little(void) {
    pm__fake_memory small = discrete;
    small.heaps[0].bytes = 24 * MIB;
    expect_shortage(&small, 0, "device 0: ");
    small = shared;
    small.heaps[0].bytes = 24 * MIB;
    expect_shortage(&small, 0, "device 0: ");
    small.heaps[0].bytes = 1024 * MIB;
    small.heaps[0].others_bytes = 1000 * MIB;
    small.budget = true;
    expect_shortage(&small, 0, NULL);
    expect_shortage(&discrete, 24 * MIB, "a larger --max-vram");
    expect_shortage(&shared, 24 * MIB, NULL);
}

/* Another program takes memory between the plan and the weights, and between those and a
 * session. */
static void shrinking(void) {
    pm__fake_memory machine = shared;
    machine.budget = true;
    rig r = open_rig(&machine, 0);
    const pm_session_desc desc = {.n_ctx = 64, .n_batch = 33};
    pm_plan *plan = plan_of(&r, desc.n_ctx);
    assert_true(plan->fits);
    pm_model *model;
    pm_session *session;
    pm__expect_ok(open_weights(&r, &desc, &model));
    machine.heaps[0].others_bytes = machine.heaps[0].bytes - plan->needed + 1;
    pm__faults_set_memory(&machine);
    const uint32_t n_before = pm__faults_memory().n_allocation;
    assert_int_equal(pm_session_open(model, &desc, &session), PM_OUT_OF_MEMORY);
    assert_non_null(strstr(pm_last_error(), "the session needs"));
    assert_int_equal(pm__faults_memory().n_allocation, n_before);
    pm_model_close(model);
    assert_int_equal(open_weights(&r, &desc, &model), PM_OUT_OF_MEMORY);
    pm_plan_free(plan);
    close_rig(&r);
}

/* The budget says there is room, and the driver has none: across the bus nothing goes, and where
 * memory is shared the other heap is taken and that is said. */
static void full_against_expectation(void) {
    pm__fake_memory machine = discrete;
    machine.heaps[0].others_bytes = machine.heaps[0].bytes - MIB;
    rig r = open_rig(&machine, 0);
    pm_model *model;
    assert_int_equal(open_weights(&r, NULL, &model), PM_OUT_OF_MEMORY);
    assert_non_null(strstr(pm_last_error(), "gives none"));
    assert_non_null(strstr(pm_last_error(), "'weights'"));
    assert_int_equal(pm__faults_memory().n_live, held.n_live);
    close_rig(&r);
    machine.kind = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    r = open_rig(&machine, 0);
    pm__expect_ok(open_weights(&r, NULL, &model));
    assert_true(pm__faults_memory().live_heap_bytes[1] > 0);
    assert_int_equal(pm__faults_memory().live_heap_bytes[0], held.live_heap_bytes[0]);
    assert_non_null(strstr(warning, "'device 0' has no room"));
    assert_non_null(strstr(warning, "'host 1'"));
    pm_model_close(model);
    close_rig(&r);
}

/* ---- the largest context --------------------------------------------------------------------- */

/* One part in PM_AUTO_SPARE of every heap stays free, a limit is used to the end. */
static bool has_spare(const pm_plan *plan) {
    bool fits = plan->needed <= plan->limit;
    for (size_t i = 0; i < plan->n_heap; i++) {
        const pm_plan_heap *heap = &plan->heaps[i];
        fits = fits && heap->needed <= heap->free - heap->free / PM_AUTO_SPARE;
    }
    return fits;
}

static void check_largest(const pm__fake_memory *machine, uint64_t most) {
    rig r = open_rig(machine, most);
    pm_plan *plan = plan_of(&r, PM_CTX_AUTO);
    const uint32_t n_ctx = plan->n_ctx;
    const uint32_t trained = pm_model_get_info(r.model)->n_ctx_train;
    assert_true(n_ctx >= 32 && n_ctx < trained && n_ctx % 32 == 0);
    assert_true(plan->fits && has_spare(plan));
    pm_plan *more = plan_of(&r, n_ctx + 32);
    assert_false(has_spare(more));
    const pm_session_desc desc = {.n_ctx = PM_CTX_AUTO, .n_batch = 33};
    pm_model *model;
    pm_session *session;
    pm__expect_ok(open_weights(&r, &desc, &model));
    pm__expect_ok(pm_session_open(model, &desc, &session));
    assert_int_equal(pm_session_n_ctx(session), n_ctx);
    assert_true(most == 0 || pm__faults_memory().live_heap_bytes[0] <= most);
    pm_session_close(session);
    pm_model_close(model);
    pm_plan_free(more);
    pm_plan_free(plan);
    close_rig(&r);
}

/* Bytes of device memory for a context. */
static uint64_t needed_for(const pm__fake_memory *machine, uint32_t n_ctx) {
    rig r = open_rig(machine, 0);
    pm_plan *plan = plan_of(&r, n_ctx);
    const uint64_t bytes = plan->needed;
    pm_plan_free(plan);
    close_rig(&r);
    return bytes;
}

static void largest(void) {
    pm__fake_memory machine = shared;
    const uint64_t middle = needed_for(&shared, 160);
    machine.heaps[0].bytes = middle * PM_AUTO_SPARE / (PM_AUTO_SPARE - 1) + 5000;
    check_largest(&machine, 0);
    machine.budget = true;
    machine.heaps[0].others_bytes = 100 * MIB;
    machine.heaps[0].bytes += 100 * MIB;
    check_largest(&machine, 0);
    check_largest(&shared, middle + 5000);
    check_largest(&discrete, needed_for(&discrete, 160) + 5000);
    rig r = open_rig(&shared, MIB);
    const pm_session_desc desc = {.n_ctx = PM_CTX_AUTO, .n_batch = 33};
    pm_plan *plan;
    assert_int_equal(pm_session_plan(r.model, &desc, &plan), PM_OUT_OF_MEMORY);
    assert_non_null(strstr(pm_last_error(), left_of(MIB)));
    expect_refusal(&r, &desc, left_of(MIB));
    close_rig(&r);
}

/* ---- on every device ------------------------------------------------------------------------- */

static void each_device(void (*check)(void)) {
    pm_device_info *list;
    size_t n, n_checked = 0;
    const char *note = "";
    const char *path = pm__source_path("models/pebble/pebble.gguf");
    if (!pm__faults_install() || path == NULL)
        skip();
    snprintf(pebble, sizeof pebble, "%s", path);
    pm__faults_reset();
    pm__expect_ok(pm_device_list(&list, &n, &note));
    pm_set_log(PM_LOG_WARN, keep_warning, NULL);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].kind, "cpu") == 0 || !list[i].usable)
            continue;
        print_message("  on %s (%s)\n", list[i].name, list[i].driver);
        snprintf(index_text, sizeof index_text, "%u", list[i].index);
        check();
        pm__faults_check_clean();
        n_checked++;
    }
    pm_set_log(PM_LOG_WARN, NULL, NULL);
    pm_device_list_free(list);
    if (n_checked == 0) {
        print_message("no usable Vulkan device: skipped. %s\n", note);
        skip();
    }
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state) {                                                        \
        (void)state;                                                                               \
        each_device(name);                                                                         \
    }
TEST(places)
TEST(too_little)
TEST(shrinking)
TEST(full_against_expectation)
TEST(largest)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),    cmocka_unit_test(test_too_little),
        cmocka_unit_test(test_shrinking), cmocka_unit_test(test_full_against_expectation),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
