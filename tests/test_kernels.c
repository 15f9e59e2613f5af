/* Every kernel of kernels.def against the CPU reference, on every Vulkan device there is: the cases
 * of `pumice check`, and what lowering refuses.
 * ctest: gpu
 *
 *   PUMICE_TEST_ONLY  runs only cases whose name contains it ("matvec_subgroup/Q8_0"), or "pieces"
 *   PUMICE_TEST_SEED  another seed for all data (default 1)
 *   PUMICE_TEST_LIST  names each case on stdout before it runs
 *
 * What is tried where, on top of test_quant_gpu, which has kernels for products read all types on
 * every driver, those that read by the same lines once:
 *   kernels for such a device                all cases and types
 *   kernels for devices of another kind      all cases over telling types (pm__case_is_telling)
 *   variants                                 cases of a quick check over telling types
 *   with PUMICE_TEST_SECOND, beside a driver of the same kind that does all that: the first like
 *   those for other devices, and those like variants */
#include "runtime/engine/check.h"
#include "runtime/engine/internal.h"
#include "runtime/gpu/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* One test: a kernel on a device. */
typedef struct suite {
    pm_device *device;
    pm__kernel_info kernel;
    unsigned index;
} suite;

static unsigned n_case_all;

static uint64_t seed(void) {
    const char *text = getenv("PUMICE_TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

/* How much of it is left out. */
static unsigned how_few(const suite *s) {
    const unsigned few = s->kernel.variant ? 2 : !s->kernel.at_home;
    return few + (getenv("PUMICE_TEST_SECOND") != NULL);
}

static bool on_case(void *user, const pm_check_case *c) {
    const suite *s = user;
    if (!c->done && getenv("PUMICE_TEST_LIST") != NULL)
        printf("device%u/%s\n", s->index, c->name);
    if (c->done && c->status != PM_OK)
        printf("device%u/%s: %s\n  again: PUMICE_TEST_SEED=%llu PUMICE_TEST_ONLY='%s' "
               "tests/test_kernels\n",
               s->index, c->name, c->why, (unsigned long long)seed(), c->name);
    return true;
}

static void test_kernel(void **context) {
    suite *s = *context;
    const char *only = getenv("PUMICE_TEST_ONLY");
    if (!s->kernel.available) {
        printf("device %u has no such tier: %s is not tested\n", s->index, s->kernel.name);
        skip();
    }
    if (only != NULL && strncmp(only, s->kernel.name, strcspn(only, "/")) != 0)
        skip();
    const pm_check_desc desc = {.level = how_few(s) >= 2 ? PM_CHECK_QUICK : PM_CHECK_STANDARD,
                                .only = only != NULL ? only : s->kernel.name,
                                .seed = seed(),
                                .few_types = how_few(s) >= 1,
                                .on_case = on_case,
                                .user = s};
    pm_check_summary summary;
    const clock_t started = clock();
    const pm_status status = pm_check(s->device, NULL, &desc, &summary);
    if (status != PM_OK)
        print_message("%s\n", pm_last_error());
    printf("%s: %u cases, %.1f s of processor time\n", s->kernel.name, summary.n_case,
           (double)(clock() - started) / CLOCKS_PER_SEC);
    assert_int_equal(status, PM_OK);
    assert_true(summary.n_case >= (how_few(s) >= 2 ? 2 : 6) || only != NULL);
    assert_int_equal(summary.n_unchecked, 0);
    n_case_all += summary.n_case;
}

/* Kernels of subgroups take chunks in smaller pieces where subgroups are wide: no driver at hand
 * has such. */
static void test_pieces(void **context) {
    static const char *const kernels[] = {"matvec_rows", "experts_rows"};
    const suite *s = *context;
    pm__caps *caps = &((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    const uint32_t width = caps->subgroup_max;
    const char *only = getenv("PUMICE_TEST_ONLY");
    if ((only != NULL && strcmp(only, "pieces") != 0) || !caps->tiers[PM__TIER_SUBGROUP])
        skip();
    caps->subgroup_max = 128;
    for (size_t i = 0; i < PM__COUNT(kernels); i++) {
        const pm_check_desc desc = {
            .level = PM_CHECK_QUICK, .only = kernels[i], .seed = seed(), .few_types = true};
        pm_check_summary summary;
        const pm_status status = pm_check(s->device, NULL, &desc, &summary);
        if (status != PM_OK)
            print_message("%s\n", pm_last_error());
        assert_int_equal(status, PM_OK);
        assert_true(summary.n_case > 2);
    }
    caps->subgroup_max = width;
}

/* ---- what lowering refuses ------------------------------------------------------------------- */

static void case_init(pm__check_case *c) {
    *c = (pm__check_case){.n_row = 1, .n_out = 1, .n_token = 100, .outlier = 1};
    c->limits = (pm__limits){.n_ctx = 97, .n_batch = 1, .n_out = 3, .n_seq = 3};
    pm__graph_init(&c->graph);
}

static pm__t input(pm__check_case *c, const char *name, pm__tensor_kind kind, pm__type type,
                   uint32_t n_col) {
    const bool fixed = kind == PM__WEIGHT;
    c->tensors[c->n_tensor] = (pm__tensor){.name = name,
                                           .kind = kind,
                                           .type = type,
                                           .rows = fixed ? PM__ROWS_FIXED : PM__ROWS_BATCH,
                                           .n_row = fixed ? 1 : 0,
                                           .n_col = n_col,
                                           .index = 8 + c->n_tensor};
    return &c->tensors[c->n_tensor++];
}

static pm__t activation(pm__check_case *c, uint32_t n_col) {
    return input(c, "x", PM__ACTIVATION, PM__TYPE_F32, n_col);
}

static void expect_refusal(const suite *s, pm__check_case *c, pm_status status, const char *part) {
    pm__trial trial;
    pm__runner *runner;
    assert_int_equal(pm__trial_init(&trial, c, 1, "refusal"), PM_OK);
    assert_int_equal(pm__runner_create(&s->device->handle, &runner), PM_OK);
    assert_int_equal(pm__runner_run(runner, &trial, 1), status);
    assert_non_null(strstr(pm_last_error(), part));
    pm__runner_destroy(runner);
    pm__trial_finish(&trial);
    pm__graph_finish(&c->graph);
}

static void test_refused_shapes(void **context) {
    const suite *s = *context;
    pm__check_case c;
    case_init(&c);
    pm__t x = activation(&c, 64);
    pm__rmsnorm(&c.graph, "norm", x, input(&c, "half", PM__WEIGHT, PM__TYPE_F16, 64), 1e-5f);
    expect_refusal(s, &c, PM_UNSUPPORTED, "'half' is F16");

    case_init(&c);
    const pm__attention_desc odd = {.n_head = 1, .n_head_kv = 1, .head_dim = 7, .scale = 1};
    x = activation(&c, 7);
    const pm__t cache = pm__cache(&c.graph, "k", PM__TYPE_F32, 7);
    pm__attention(&c.graph, "attention", x, cache, cache, &odd);
    expect_refusal(s, &c, PM_UNSUPPORTED, "heads of 7 columns");

    case_init(&c);
    const pm__rope_desc slow = {8, 8, PM__ROPE_PAIRS, 0.5f, 1, NULL, 1};
    pm__rope(&c.graph, "rope", activation(&c, 8), &slow);
    expect_refusal(s, &c, PM_UNSUPPORTED, "base 0.5");
}

static void test_refused_devices(void **context) {
    const suite *s = *context;
    pm__caps *caps = &((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    const pm__caps all = *caps;
    pm__check_case c;
    caps->most_range = 4096;
    case_init(&c);
    pm__t x = activation(&c, 1024);
    pm__add(&c.graph, "add", x, x);
    expect_refusal(s, &c, PM_OUT_OF_MEMORY, "'add'");
    *caps = all;

    caps->most_turns = 65535;
    case_init(&c);
    c.limits.n_ctx = 1 << 20;
    const pm__attention_desc deep = {.n_head = 1, .n_head_kv = 1, .head_dim = 8, .scale = 1};
    x = activation(&c, 8);
    const pm__t cache = pm__cache(&c.graph, "k", PM__TYPE_F32, 8);
    pm__attention(&c.graph, "attention", x, cache, cache, &deep);
    expect_refusal(s, &c, PM_UNSUPPORTED, "a context of 1048576 positions");
    *caps = all;

    memset(caps->quarantined, true, sizeof caps->quarantined);
    case_init(&c);
    x = activation(&c, 5);
    pm__add(&c.graph, "add", x, x);
    expect_refusal(s, &c, PM_UNSUPPORTED, "add failed a check with this driver");
    *caps = all;

    for (int tier = 0; tier < PM__TIER_COUNT; tier++)
        caps->tiers[tier] = false;
    case_init(&c);
    x = activation(&c, 5);
    pm__add(&c.graph, "add", x, x);
    expect_refusal(s, &c, PM_UNSUPPORTED, "no add kernel on");
    *caps = all;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static const char *chosen(const suite *s, uint32_t n_row) {
    pm__kernel_info info;
    const int kernel = pm__gpu_choose(&s->device->handle, PM__OP_MATMUL, NULL, n_row);
    return pm__gpu_kernel(&s->device->handle, kernel, &info) ? info.name : "none";
}

/* Whether kernels whose name has `part`, and not `but`, are in quarantine. */
static void set_quarantined(const suite *s, const char *part, const char *but, bool quarantined) {
    pm__caps *caps = &((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    pm__kernel_info info;
    for (int k = 0; pm__gpu_kernel(&s->device->handle, k, &info); k++)
        if (strstr(info.name, part) != NULL && (but == NULL || strstr(info.name, but) == NULL))
            caps->quarantined[k] = quarantined;
}

/* Whatever is left serves any rows. */
static void test_choice(void **context) {
    const suite *s = *context;
    pm__caps *caps = &((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    const pm__caps all = *caps;
    for (int tier = 0; tier < PM__TIER_COUNT; tier++)
        caps->tiers[tier] = tier <= PM__TIER_SUBGROUP;
    caps->software = true;
    assert_string_equal(chosen(s, 4), "matvec_lanes");
    assert_string_equal(chosen(s, 5), "matmul_lanes");
    caps->software = false;
    assert_string_equal(chosen(s, 1), "matvec_rows");
    assert_string_equal(chosen(s, 8), "matvec_rows");
    assert_string_equal(chosen(s, 9), "matmul");
    set_quarantined(s, "matvec_rows", NULL, true);
    assert_string_equal(chosen(s, 8), "matvec_subgroup");
    set_quarantined(s, "matvec", NULL, true);
    assert_string_equal(chosen(s, 1), "matmul");
    set_quarantined(s, "matvec", NULL, false);
    set_quarantined(s, "matmul", NULL, true);
    assert_string_equal(chosen(s, 512), "matvec_rows");
    set_quarantined(s, "matvec", NULL, true);
    assert_string_equal(chosen(s, 512), "none");
    *caps = all;
}

/* Products of blocks of integers take the units that the device has for them; gated ones only what
 * takes rows one by one. */
static void test_choice_of_integers(void **context) {
    static const struct {
        pm__tier most;
        uint32_t n_row;
        bool gated;
        const char *name;
    } choices[] = {
        {PM__TIER_COOP8, 8, false, "matvec_dot8"},
        {PM__TIER_COOP8, 9, false, "matmul_coop8"},
        {PM__TIER_COOP, 9, false, "matmul_dot8"},
        {PM__TIER_COOP8, 65, false, "matmul_coop8_large"},
        {PM__TIER_COOP, 65, false, "matmul_dot8"},
        {PM__TIER_COOP8, 65, true, "matvec_dot8"},
    };
    const suite *s = *context;
    pm__caps caps = ((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    pm__tensor w = {.kind = PM__WEIGHT, .type = PM__TYPE_Q4_K};
    pm__node node = {.op = PM__OP_MATMUL, .in = {NULL, &w}, .params.matmul.dot8 = true};
    memset(caps.quarantined, 0, sizeof caps.quarantined);
    caps.software = false;
    for (size_t i = 0; i < PM__COUNT(choices); i++) {
        for (int tier = 0; tier < PM__TIER_COUNT; tier++)
            caps.tiers[tier] = tier <= (int)choices[i].most;
        node.params.matmul.gated = choices[i].gated;
        const pm__kernel *kernel =
            pm__kernel_default(&caps, PM__OP_MATMUL, &node, choices[i].n_row);
        assert_non_null(kernel);
        assert_string_equal(kernel->name, choices[i].name);
    }
    w.type = PM__TYPE_F16; /* weights without levels have none */
    assert_null(pm__kernel_default(&caps, PM__OP_MATMUL, &node, 65));
}

/* The kernel that nine rows of one expert take. */
static void expect_experts(const suite *s, const char *name) {
    pm__check_case c;
    pm__trial trial;
    pm__runner *runner;
    pm__kernel_info info;
    case_init(&c);
    c.n_row = c.limits.n_batch = 9;
    c.n_expert = 1;
    const pm__t w = input(&c, "w", PM__WEIGHT, PM__TYPE_F32, 8), x = activation(&c, 8);
    c.route = activation(&c, 2);
    assert_non_null(pm__experts_matmul(&c.graph, "experts", x, w, NULL, c.route, 1));
    c.graph.nodes[0] = c.graph.nodes[1];
    c.graph.n_node = 1;
    assert_int_equal(pm__trial_init(&trial, &c, 1, "experts"), PM_OK);
    assert_int_equal(pm__runner_create(&s->device->handle, &runner), PM_OK);
    assert_int_equal(pm__runner_run(runner, &trial, 1), PM_OK);
    assert_true(pm__gpu_kernel(&s->device->handle, trial.kernel, &info));
    assert_int_equal(strncmp(info.name, name, strlen(name)), 0);
    pm__runner_destroy(runner);
    pm__trial_finish(&trial);
    pm__graph_finish(&c.graph);
}

/* Without lists of the rows of experts, rows look for their experts one by one. */
static void test_choice_of_experts(void **context) {
    const suite *s = *context;
    pm__caps *caps = &((pm__gpu_device *)s->device->handle.device)->gpu->caps;
    const pm__caps all = *caps;
    set_quarantined(s, "", NULL, false);
    caps->software = true;
    expect_experts(s, "experts_matmul_lanes");
    caps->software = false;
    expect_experts(s, "experts_matmul");
    set_quarantined(s, "group", "subgroup", true);
    caps->tiers[PM__TIER_SUBGROUP] = false;
    expect_experts(s, "experts_matvec");
    *caps = all;
}

/* ---- all devices ----------------------------------------------------------------------------- */

enum { MOST_DEVICES = 16, MOST_TESTS = MOST_DEVICES * 96 };

typedef struct plan {
    pm_device *devices[MOST_DEVICES];
    suite suites[MOST_TESTS];
    struct CMUnitTest tests[MOST_TESTS];
    char names[MOST_TESTS][96];
    size_t n_device, n_test;
} plan;

static void plan_add(plan *p, const suite *s, const char *name, CMUnitTestFunction run) {
    p->suites[p->n_test] = *s;
    snprintf(p->names[p->n_test], sizeof p->names[0], "%s on device %u", name, s->index);
    p->tests[p->n_test] = (struct CMUnitTest){
        .name = p->names[p->n_test], .test_func = run, .initial_state = &p->suites[p->n_test]};
    p->n_test++;
}

static bool plan_add_device(plan *p, const pm_device_info *info) {
    char name[16], cache_dir[4096];
    const char *build = getenv("PUMICE_BUILD"); /* else pipelines are compiled in every run */
    snprintf(name, sizeof name, "%u", info->index);
    snprintf(cache_dir, sizeof cache_dir, "%s%s", build != NULL ? build : "",
             build != NULL ? "/kernel-cache" : "");
    const pm_device_desc desc = {.name = name, .cache_dir = cache_dir};
    suite s = {.index = info->index};
    if (pm_device_open(&desc, &s.device) != PM_OK) {
        printf("device %u, %s: %s\n", info->index, info->name, pm_last_error());
        return false;
    }
    p->devices[p->n_device++] = s.device;
    printf("device %u: %s, %s\n", info->index, info->name, info->driver);
    plan_add(p, &s, "refused shapes", test_refused_shapes);
    plan_add(p, &s, "refused devices", test_refused_devices);
    plan_add(p, &s, "choice", test_choice);
    plan_add(p, &s, "choice of integers", test_choice_of_integers);
    plan_add(p, &s, "choice of experts", test_choice_of_experts);
    plan_add(p, &s, "pieces", test_pieces);
    for (int k = 0; pm__gpu_kernel(&s.device->handle, k, &s.kernel); k++)
        plan_add(p, &s, s.kernel.name, test_kernel);
    return true;
}

static int run_devices(plan *p, const pm_device_info *list, size_t n) {
    bool opened = true;
    for (size_t i = 0; i + 1 < n && p->n_device < MOST_DEVICES && opened; i++)
        opened = !list[i].usable || plan_add_device(p, &list[i]); /* the last is the CPU path */
    const int failed =
        opened ? _cmocka_run_group_tests("kernels", p->tests, p->n_test, NULL, NULL) : 1;
    for (size_t i = 0; i < p->n_device; i++)
        pm_device_close(p->devices[i]);
    printf("%u cases on %zu devices\n", n_case_all, p->n_device);
    return failed;
}

int main(void) {
    static plan p;
    pm_device_info *list = NULL;
    size_t n = 0;
    const char *note = "";
    if (pm_device_list(&list, &n, &note) != PM_OK) {
        printf("%s\n", pm_last_error());
        return 1;
    }
    int code = 77;
    if (n > 1)
        code = run_devices(&p, list, n);
    else
        printf("no Vulkan device (%s): kernels are not tested\n", note);
    pm_device_list_free(list);
    return code;
}
