/* ctest: long */
/* wrap: malloc calloc realloc free */
/* test_memory.c: the plan is what is taken, to the byte, of every model there is, on every device
 * and on machines made up; after a session is open nothing more is taken, neither of the device
 * nor, from token to token, of the host. */
#include "devices.h"
#include "faults.h"
#include "reference.h"
#include "whole.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- memory of the host ---------------------------------------------------------------------- */

/* The linker gives our calls of malloc and the like to these; those inside drivers and libraries
 * are not seen. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t n);
void __real_free(void *block);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t n);
void __wrap_free(void *block);

enum { N_SLOT = 1 << 15 };

static atomic_uint n_taken; /* calls that gave memory */
static struct {
    void *block;
    size_t bytes;
} slots[N_SLOT]; /* of blocks taken while `follows` */
static bool follows;
static uint64_t live_bytes;
static atomic_flag slots_lock = ATOMIC_FLAG_INIT;

static void lock(void) {
    while (atomic_flag_test_and_set(&slots_lock))
        continue;
}

static void unlock(void) {
    atomic_flag_clear(&slots_lock);
}

static void *note(void *block, size_t bytes) {
    atomic_fetch_add(&n_taken, 1);
    lock();
    for (size_t i = 0; follows && block != NULL && i <= N_SLOT; i++) {
        if (i == N_SLOT)
            abort();
        if (slots[i].block != NULL)
            continue;
        slots[i].block = block;
        slots[i].bytes = bytes;
        live_bytes += bytes;
        break;
    }
    unlock();
    return block;
}

static void drop(const void *block) {
    lock();
    for (size_t i = 0; follows && block != NULL && i < N_SLOT; i++) {
        if (slots[i].block != block)
            continue;
        live_bytes -= slots[i].bytes;
        slots[i].block = NULL;
        break;
    }
    unlock();
}

void *__wrap_malloc(size_t n) {
    return note(__real_malloc(n), n);
}

void *__wrap_calloc(size_t n, size_t size) {
    return note(__real_calloc(n, size), n * size);
}

void *__wrap_realloc(void *block, size_t n) {
    drop(block);
    return note(__real_realloc(block, n), n);
}

void __wrap_free(void *block) {
    drop(block);
    __real_free(block);
}

static void follow(bool on) {
    lock();
    memset(slots, 0, sizeof slots);
    live_bytes = 0;
    follows = on;
    unlock();
}

/* ---- models ---------------------------------------------------------------------------------- */

enum { MOST_MODELS = 64, PATH_SIZE = 600 };

static char models[MOST_MODELS][PATH_SIZE];
static size_t n_model;
static char cache_dir[PM__FOLDER_SIZE];
static bool has_vulkan;

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Every GGUF file under ../shared/models/real, two models with states, and pebble. */
static void list_models(void) {
    const char *folder = pm__reference_path("models/real");
    const char *pebble = pm__source_path("models/pebble/pebble.gguf");
    DIR *dir = folder != NULL ? opendir(folder) : NULL;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        if (end == NULL || strcmp(end, ".gguf") != 0)
            continue;
        assert_true(n_model < MOST_MODELS - 3);
        snprintf(models[n_model++], PATH_SIZE, "%s/%s", folder, entry->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    static const char *const with_states[] = {"reference/arch/mamba/model.gguf",
                                              "reference/arch/qwen35/model.gguf"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = pm__reference_path(with_states[i]);
        if (path != NULL)
            snprintf(models[n_model++], PATH_SIZE, "%s", path);
    }
    qsort(models, n_model, sizeof models[0], by_name);
    if (pebble != NULL)
        snprintf(models[n_model++], PATH_SIZE, "%s", pebble);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- a plan and what was taken --------------------------------------------------------------- */

/* The first N_COMMON with every model, all of them with pebble, which comes last. */
enum { N_COMMON = 2 };
static const pm_session_desc shapes[] = {
    {.n_ctx = 0},
    {.n_ctx = 97, .n_batch = 65, .n_seq = 2},
    {.n_ctx = 33, .n_batch = 7},
    {.n_ctx = 100, .n_batch = 1, .n_seq = 3},
    {.n_ctx = PM_CTX_AUTO, .n_batch = 19},
};

typedef struct sums {
    uint32_t n;
    uint64_t heaps[VK_MAX_MEMORY_HEAPS];
} sums;

static uint64_t total(const sums *s) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++)
        all += s->heaps[i];
    return all;
}

/* Buffers of one part by heap; "device 0" and "host 1" end in the heap's index. */
static sums planned(const pm_plan *plan, pm_plan_part part) {
    sums out = {0};
    for (size_t i = 0; i < plan->n_buffer; i++) {
        const pm_plan_buffer *buffer = &plan->buffers[i];
        const char *space = strrchr(buffer->heap, ' ');
        if (buffer->part != part || strcmp(buffer->heap, "system memory") == 0)
            continue;
        assert_non_null(space);
        out.heaps[strtoul(space + 1, NULL, 10)] += buffer->bytes;
        out.n++;
    }
    return out;
}

static uint64_t planned_on_host(const pm_plan *plan, pm_plan_part part) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->n_buffer; i++)
        if (plan->buffers[i].part == part && strcmp(plan->buffers[i].heap, "system memory") == 0)
            bytes += plan->buffers[i].bytes;
    return bytes;
}

/* Taken when the device was opened: the canaries of its queue. */
static pm__fault_memory held;

static void expect_live(const sums *weights, const sums *session) {
    const pm__fault_memory memory = pm__faults_memory();
    assert_int_equal(memory.n_live, held.n_live + weights->n + session->n);
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++)
        assert_int_equal(memory.live_heap_bytes[i],
                         held.live_heap_bytes[i] + weights->heaps[i] + session->heaps[i]);
}

static void expect_same_plan(const pm_plan *a, const pm_plan *b) {
    assert_int_equal(a->n_buffer, b->n_buffer);
    assert_int_equal(a->n_ctx, b->n_ctx);
    assert_int_equal(a->needed, b->needed);
    for (size_t i = 0; i < a->n_buffer; i++) {
        assert_string_equal(a->buffers[i].name, b->buffers[i].name);
        assert_string_equal(a->buffers[i].heap, b->buffers[i].heap);
        assert_int_equal(a->buffers[i].bytes, b->buffers[i].bytes);
        assert_int_equal(a->buffers[i].part, b->buffers[i].part);
    }
}

/* ---- use of a session ------------------------------------------------------------------------ */

enum { N_TOKEN = 12, N_SETTLED = 2 };

typedef struct watch {
    uint32_t n_call, n_first; /* calls for the first tokens of all answers */
    uint32_t n_before;
} watch;

static bool on_text(void *user, uint32_t answer, const char *text, size_t n_byte) {
    watch *w = user;
    (void)answer, (void)text, (void)n_byte;
    if (w->n_call++ == w->n_first)
        w->n_before = atomic_load(&n_taken);
    return true;
}

/* From the third token to the last nothing is taken of the host. Names fails where it is. */
static void generate(pm_session *session, uint32_t n_answer, const char *where) {
    static const int32_t prompt[] = {1, 7, 11, 5, 60};
    const pm_sampling greedy = {.top_p = 1, .repeat_penalty = 1};
    watch w = {.n_first = N_SETTLED * n_answer};
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = PM__COUNT(prompt),
                                   .sampling = &greedy,
                                   .n_predict = N_TOKEN,
                                   .n_answer = n_answer,
                                   .ignore_eos = true,
                                   .on_text = on_text,
                                   .user = &w};
    pm_generation *generation = NULL;
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    pm__expect_ok(pm_generate(session, &desc, &generation));
    const uint32_t n = atomic_load(&n_taken) - w.n_before;
    if (n != 0)
        fail_msg("%s: %u blocks of host memory for %u tokens", where, n, w.n_call - w.n_first);
    assert_int_equal(generation->answers[0].n_token, N_TOKEN);
    pm_generation_free(generation);
}

static void eval(pm_session *session, const char *where) {
    uint32_t n_before = 0;
    pm__expect_ok(pm_session_rewind(session, 0, 0));
    for (int32_t i = 0; i < N_TOKEN; i++) {
        const float *logits;
        pm__expect_ok(pm_session_eval(session, 0, &i, 1, &logits));
        if (i == N_SETTLED)
            n_before = atomic_load(&n_taken);
    }
    const uint32_t n = atomic_load(&n_taken) - n_before;
    if (n != 0)
        fail_msg("%s: %u blocks of host memory for %d evaluations", where, n, N_TOKEN - N_SETTLED);
}

/* ---- one model ------------------------------------------------------------------------------- */

static uint32_t n_plan;
static uint64_t planned_bytes;

static void check_session(pm_model *empty, pm_model *model, const pm_session_desc *desc,
                          const char *where) {
    pm_plan *plan, *again;
    pm_session *session;
    pm__expect_ok(pm_session_plan(empty, desc, &plan));
    pm__expect_ok(pm_session_plan(model, desc, &again));
    expect_same_plan(plan, again);
    assert_true(plan->fits);
    const sums none = {0}, weights = planned(plan, PM_PLAN_WEIGHTS);
    const sums taken = planned(plan, PM_PLAN_SESSION);
    expect_live(&weights, &none);
    const bool on_cpu = taken.n == 0;
    follow(on_cpu);
    pm__expect_ok(pm_session_open(model, desc, &session));
    if (on_cpu)
        assert_int_equal(live_bytes, planned_on_host(plan, PM_PLAN_SESSION));
    follow(false);
    assert_int_equal(pm_session_n_ctx(session), plan->n_ctx);
    expect_live(&weights, &taken);
    const uint32_t n_allocation = pm__faults_memory().n_allocation;
    generate(session, 1, where);
    eval(session, where);
    if (desc->n_seq > 1)
        generate(session, desc->n_seq, where);
    assert_int_equal(pm__faults_memory().n_allocation, n_allocation);
    expect_live(&weights, &taken);
    pm_session_close(session);
    expect_live(&weights, &none);
    n_plan++;
    planned_bytes +=
        total(&weights) + total(&taken) + (on_cpu ? planned_on_host(plan, PM_PLAN_SESSION) : 0);
    pm_plan_free(plan);
    pm_plan_free(again);
}

/* False where pumice cannot load it, which is said. */
static bool check_model(pm_device *device, const char *path) {
    const pm_model_desc no_weights = {.path = path, .no_weights = true};
    const pm_model_desc whole = {.path = path};
    pm_model *empty, *model;
    const pm_status status = pm_model_open(device, &no_weights, &empty);
    if (status == PM_UNSUPPORTED) {
        print_message("    %s: not loaded: %s\n", base_name(path), pm_last_error());
        return false;
    }
    pm__expect_ok(status);
    pm_plan *plan;
    pm__expect_ok(pm_session_plan(empty, NULL, &plan));
    held = pm__faults_memory();
    assert_true(held.n_live <= 1 && held.live_bytes <= 4096);
    const sums weights = planned(plan, PM_PLAN_WEIGHTS), loading = planned(plan, PM_PLAN_LOADING);
    const sums none = {0};
    const pm__fault_memory before = pm__faults_memory();
    pm__expect_ok(pm_model_open(device, &whole, &model));
    const pm__fault_memory after = pm__faults_memory();
    /* What loading takes comes behind the weights and goes at once: all together is the most. */
    assert_int_equal(after.n_allocation - before.n_allocation, weights.n + loading.n);
    assert_int_equal(after.allocated_bytes - before.allocated_bytes,
                     total(&weights) + total(&loading));
    expect_live(&weights, &none);
    const bool common = path != models[n_model - 1];
    for (size_t i = 0; i < (common ? (size_t)N_COMMON : PM__COUNT(shapes)); i++)
        check_session(empty, model, &shapes[i], base_name(path));
    pm_model_close(model);
    pm_model_close(empty);
    pm_plan_free(plan);
    assert_int_equal(pm__faults_memory().n_live, held.n_live);
    return true;
}

/* ---- devices --------------------------------------------------------------------------------- */

static void check_device(const char *name, size_t first_model) {
    const pm_device_desc desc = {.name = name, .cache_dir = cache_dir, .n_thread = 2};
    pm_device *device;
    pm__expect_ok(pm_device_open(&desc, &device));
    const pm_device_info *info = pm_device_get_info(device);
    uint32_t n_loaded = 0;
    n_plan = 0;
    planned_bytes = 0;
    for (size_t i = first_model; i < n_model; i++)
        n_loaded += check_model(device, models[i]);
    print_message("  %s (%s): %u of %zu models, %u plans, %llu bytes as planned\n", info->name,
                  info->kind, n_loaded, n_model - first_model, n_plan,
                  (unsigned long long)planned_bytes);
    assert_true(n_loaded > 0);
    pm_device_close(device);
}

static void each_vulkan_device(size_t first_model) {
    pm_device_info *list;
    size_t n, n_checked = 0;
    const char *note;
    pm__expect_ok(pm_device_list(&list, &n, &note));
    for (size_t i = 0; i < n; i++) {
        char index[16];
        if (strcmp(list[i].kind, "cpu") == 0 || !list[i].usable)
            continue;
        snprintf(index, sizeof index, "%u", list[i].index);
        check_device(index, first_model);
        n_checked++;
    }
    pm_device_list_free(list);
    if (n_checked == 0) {
        print_message("no usable Vulkan device: skipped. %s\n", note);
        skip();
    }
}

static void on_vulkan(void **state) {
    (void)state;
    if (!has_vulkan)
        skip();
    pm__faults_reset();
    each_vulkan_device(0);
    pm__faults_check_clean();
}

static void on_cpu(void **state) {
    (void)state;
    check_device("cpu", 0);
}

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    H = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    MIB = 1 << 20
};

static const pm__fake_memory discrete = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 3,
    .heaps = {{8192ull * MIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, 100 * MIB},
              {16384ull * MIB, 0, 0},
              {256 * MIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, 0}},
    .n_type = 4,
    .types = {{L, 0}, {H, 1}, {H | C, 1}, {L | H, 2}},
    .budget = true,
};

/* Memory is shared, and the heap that is called the device's holds less than the weights. */
static const pm__fake_memory divided = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
    .n_heap = 2,
    .heaps = {{3 * MIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, 0}, {2048u * MIB, 0, 0}},
    .n_type = 4,
    .types = {{L, 0}, {H, 1}, {L | H, 0}, {H | C, 1}},
};

/* With pebble alone: the machine changes, not the model. */
static void on_machine(const pm__fake_memory *machine) {
    if (!has_vulkan)
        skip();
    pm__faults_reset();
    pm__faults_set_memory(machine);
    each_vulkan_device(n_model - 1);
    pm__faults_reset();
    pm__faults_check_clean();
}

static void on_discrete(void **state) {
    (void)state;
    on_machine(&discrete);
}

static void on_divided(void **state) {
    (void)state;
    on_machine(&divided);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_cpu),
        cmocka_unit_test(on_vulkan),
        cmocka_unit_test(on_discrete),
        cmocka_unit_test(on_divided),
    };
    has_vulkan = pm__faults_install();
    list_models();
    pm__folder_init(cache_dir);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    pm__folder_finish(cache_dir);
    return n_failed;
}
