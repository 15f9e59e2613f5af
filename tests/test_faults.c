/* ctest: long */
/* test_faults.c: a life with a device, in acts; in each act every call of Vulkan that can fail is
 * made to fail, at each of its places, with every result that it may give. Each time the status is
 * the right one, the sentence helps, nothing is left behind, nothing hangs, and afterwards the
 * right logits come out. A table at the end says what was done. */
#include "devices.h"
#include "faults.h"
#include "tiny_model.h"

#include "engine/internal.h"
#include "gpu/queue.h"
#include "gpu/weights.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { N_CTX = 64, N_BATCH = 12, N_PROMPT = 7, N_TOKEN = 3, N_ID = 40 };

static char cache[PM__FOLDER_SIZE], folder[PM__FOLDER_SIZE], model_path[2 * PM__FOLDER_SIZE];
static int32_t ids[N_ID];
static char present[200]; /* what is being done, for the watchdog */

static void watchdog(int signal) {
    static const char text[] = "\ntest_faults: hangs in ";
    (void)signal;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0 ||
        write(STDERR_FILENO, present, strlen(present)) < 0)
        _exit(3);
    _exit(2);
}

static void ignore_log(void *user, pm_log_level level, const char *line) {
    (void)line;
    *(uint32_t *)user += level <= PM_LOG_WARN;
}

static uint32_t n_warning;

static int set_up(void **state) {
    (void)state;
    pm__faults_install();
    pm__folder_init(cache);
    pm__folder_init(folder);
    pm__tiny_model tiny;
    pm__tiny_model_init(&tiny, 1);
    snprintf(model_path, sizeof model_path, "%s/tiny.gguf", folder);
    pm__tiny_model_write(&tiny, model_path);
    pm__tiny_model_finish(&tiny);
    for (int32_t i = 0; i < N_ID; i++)
        ids[i] = 3 + (i * 37 + i * i * 5) % (PM__TINY_VOCAB - 3);
    const struct sigaction action = {.sa_handler = watchdog};
    sigaction(SIGALRM, &action, NULL);
    pm_set_log(PM_LOG_WARN, ignore_log, &n_warning);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    alarm(0);
    pm__folder_finish(folder);
    pm__folder_finish(cache);
    return 0;
}

static void must(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s: %s: %s", present, pm_status_text(status), pm_last_error());
}

/* ---- the life of a device -------------------------------------------------------------------- */

/* What an act needs is opened before; a discrete GPU is one whose memory the host cannot see. */
typedef struct life {
    char name[256]; /* an index would be the CPU path's where there is no Vulkan */
    bool discrete;
    pm_device *device;
    pm_model *model;
} life;

typedef enum way { FAILS, FAILS_FROM, HANGS } way;

/* The order that the next arm() gives; nth 0: none. */
static struct {
    way way;
    pm__fault_call call;
    uint32_t nth;
    VkResult result;
} next_fault;

static void give_order(void) {
    if (next_fault.nth == 0)
        return;
    switch (next_fault.way) {
    case FAILS:
        pm__faults_fail(next_fault.call, next_fault.nth, next_fault.result);
        break;
    case FAILS_FROM:
        pm__faults_fail_from(next_fault.call, next_fault.nth, next_fault.result);
        break;
    case HANGS:
        pm__faults_hang(next_fault.nth);
        break;
    }
}

static const pm__fake_memory discrete_memory = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 2,
    .heaps = {{256 << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, 0}, {256 << 20, 0, 0}},
    .n_type = 2,
    .types = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0},
              {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, 1}},
    .budget = true,
};

static void arm(const life *l) {
    pm__faults_reset();
    pm__faults_set_memory(l->discrete ? &discrete_memory : NULL);
    give_order();
}

static void disarm(const life *l) {
    next_fault.nth = 0;
    arm(l);
}

/* So long a budget that a run is cut alike whatever the clock says. */
static pm_status open_device(const life *l, pm_device **out) {
    const pm_device_desc desc = {
        .name = l->name, .cache_dir = cache, .n_thread = 2, .submit_ms = 1000000};
    return pm_device_open(&desc, out);
}

static pm_status open_session(const life *l, pm_session **out) {
    return pm_session_open(l->model,
                           &(pm_session_desc){.n_ctx = N_CTX, .n_batch = N_BATCH, .n_seq = 2}, out);
}

static void close_life(life *l) {
    pm_model_close(l->model);
    pm_device_close(l->device);
    l->model = NULL;
    l->device = NULL;
}

static void open_life(life *l, bool with_model) {
    disarm(l);
    if (l->device == NULL)
        must(open_device(l, &l->device));
    if (l->model == NULL && with_model)
        must(pm_model_open(l->device, &(pm_model_desc){.path = model_path}, &l->model));
}

/* What is done without: caches, lists of what is only nice to have, times. */
static bool is_survived(void) {
    switch (next_fault.call) {
    case PM__CALL_EnumerateInstanceExtensionProperties:
    case PM__CALL_CreatePipelineCache:
    case PM__CALL_GetPipelineCacheData:
    case PM__CALL_DeviceWaitIdle:
    case PM__CALL_GetPhysicalDeviceCooperativeMatrixPropertiesKHR: /* the units are not used */
    case PM__CALL_GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV:
        return true;
    default:
        return next_fault.result > VK_SUCCESS;
    }
}

/* It names the part, and says what to try. */
static void check_sentence(void) {
    static const char *const hints[] = {"-c",      "--device",      "update", "smaller",
                                        "install", "close",         "other",  "vulkaninfo",
                                        "again",   "open a new one"};
    const char *sentence = pm_last_error();
    bool helps = false;
    for (size_t i = 0; i < PM__COUNT(hints); i++)
        helps = helps || strstr(sentence, hints[i]) != NULL;
    if (strchr(sentence, ':') == NULL || !helps)
        fail_msg("%s: the sentence is '%s'", present, sentence);
}

/* ---- acts ------------------------------------------------------------------------------------ */

/* What came out of a run: of its evaluations, and of two answers. */
typedef struct outcome {
    float logits[2][PM__TINY_VOCAB];
    int32_t tokens[2][N_TOKEN];
    uint32_t hashes[2];
} outcome;

static outcome right[2], got; /* right: of the device as it is, and as a discrete one */
static bool reached;          /* the fault was met before closing began */

static pm_status act_list(life *l) {
    pm_device_info *list;
    size_t n;
    const char *note;
    arm(l);
    PM_TRY(pm_device_list(&list, &n, &note));
    reached = pm__faults_injected() > 0;
    if (n == 1 && strlen(note) < 20)
        fail_msg("%s: no Vulkan device, and the note is '%s'", present, note);
    pm_device_list_free(list);
    return PM_OK;
}

static pm_status act_open(life *l) {
    pm_device *device;
    arm(l);
    const pm_status status = open_device(l, &device);
    reached = pm__faults_injected() > 0;
    if (status == PM_OK)
        pm_device_close(device);
    return status;
}

static pm_status act_load(life *l) {
    pm_model *model;
    arm(l);
    const pm_status status = pm_model_open(l->device, &(pm_model_desc){.path = model_path}, &model);
    reached = pm__faults_injected() > 0;
    if (status == PM_OK)
        pm_model_close(model);
    return status;
}

static pm_status act_plan(life *l) {
    pm_plan *plan;
    arm(l);
    const pm_status status = pm_session_plan(
        l->model, &(pm_session_desc){.n_ctx = N_CTX, .n_batch = N_BATCH, .n_seq = 2}, &plan);
    reached = pm__faults_injected() > 0;
    if (status == PM_OK)
        pm_plan_free(plan);
    return status;
}

static pm_status act_session(life *l) {
    pm_session *session;
    arm(l);
    const pm_status status = open_session(l, &session);
    reached = pm__faults_injected() > 0;
    if (status == PM_OK)
        pm_session_close(session);
    return status;
}

static pm_status eval(pm_session *session, uint32_t first, uint32_t n, float *out) {
    const float *logits;
    PM_TRY(pm_session_eval(session, 0, ids + first, n, &logits));
    memcpy(out, logits, sizeof got.logits[0]);
    return PM_OK;
}

/* A prompt, a step of one row after a rewind, and two answers that share pages and go ahead of the
 * host. */
static pm_status walk(pm_session *session, outcome *out) {
    pm_sampling sampling = pm_sampling_default();
    sampling.repeat_penalty = 1.1f;
    pm_generation *generation;
    PM_TRY(eval(session, 0, N_PROMPT, out->logits[0]));
    PM_TRY(pm_session_rewind(session, 0, 5));
    PM_TRY(eval(session, 9, 1, out->logits[1]));
    const pm_generate_desc desc = {.prompt = ids + 20,
                                   .n_prompt = 2,
                                   .sampling = &sampling,
                                   .n_predict = N_TOKEN,
                                   .n_answer = 2,
                                   .ignore_eos = true};
    PM_TRY(pm_generate(session, &desc, &generation));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(generation->answers[i].n_token, N_TOKEN);
        memcpy(out->tokens[i], generation->answers[i].tokens, sizeof out->tokens[i]);
        out->hashes[i] = generation->answers[i].logits_hash;
    }
    pm_generation_free(generation);
    return PM_OK;
}

/* A device that passes for a discrete one takes the kernels that are made for GPUs. */
static bool is_discrete(const life *l) {
    return strcmp(pm_device_get_info(l->device)->kind, "discrete") == 0;
}

static void check_outcome(const life *l) {
    if (memcmp(&got, &right[is_discrete(l)], sizeof got) != 0)
        fail_msg("%s: other bits than undisturbed", present);
}

static pm_status act_run(life *l) {
    pm_session *session;
    must(open_session(l, &session));
    arm(l);
    const pm_status status = walk(session, &got);
    reached = pm__faults_injected() > 0;
    if (status == PM_OK)
        check_outcome(l);
    if (status != PM_OK)
        check_sentence();
    /* What failed has ended the session, or a later call works. */
    const float *logits;
    const pm_status again = status != PM_OK ? pm_session_eval(session, 1, ids, 1, &logits) : PM_OK;
    if (again != PM_OK && again != status)
        fail_msg("%s: %s, then %s", present, pm_status_text(status), pm_status_text(again));
    pm_session_close(session);
    return status;
}

static pm_status act_check(life *l) {
    pm_check_summary summary;
    pm_device *device; /* what fails a check is not used again */
    must(open_device(l, &device));
    arm(l);
    const pm_status status = pm_check(device, NULL, &(pm_check_desc){.only = "add/"}, &summary);
    reached = pm__faults_injected() > 0;
    const bool unchecked = reached && status == PM_OK && !is_survived();
    if (unchecked != (status == PM_OK && summary.n_unchecked == 1))
        fail_msg("%s: %u cases were not checked", present, summary.n_unchecked);
    pm_device_close(device);
    return status;
}

typedef struct act {
    const char *name;
    pm_status (*run)(life *l);
    bool needs_device, needs_model;
    bool discrete;
} act;

static const act acts[] = {
    {"list", act_list, false, false, false}, {"open", act_open, false, false, false},
    {"load", act_load, true, false, false},  {"load, staged", act_load, true, false, true},
    {"plan", act_plan, true, true, false},   {"session", act_session, true, true, false},
    {"run", act_run, true, true, false},     {"check", act_check, false, false, false},
};

/* ---- what may happen ------------------------------------------------------------------------- */

enum { MOST_RESULTS = 7 };

#define HOST    VK_ERROR_OUT_OF_HOST_MEMORY
#define DEVICE  VK_ERROR_OUT_OF_DEVICE_MEMORY
#define LOST    VK_ERROR_DEVICE_LOST
#define INVALID VK_ERROR_INITIALIZATION_FAILED

/* By the specification; VK_SUCCESS ends a row. VK_ERROR_UNKNOWN may come from any of them. */
static const VkResult results[PM__CALL_COUNT][MOST_RESULTS + 1] = {
    [PM__CALL_EnumerateInstanceVersion] = {HOST},
    [PM__CALL_EnumerateInstanceExtensionProperties] = {HOST, DEVICE, VK_INCOMPLETE},
    [PM__CALL_CreateInstance] = {HOST, DEVICE, INVALID, VK_ERROR_LAYER_NOT_PRESENT,
                                 VK_ERROR_EXTENSION_NOT_PRESENT, VK_ERROR_INCOMPATIBLE_DRIVER},
    [PM__CALL_EnumeratePhysicalDevices] = {HOST, DEVICE, INVALID},
    [PM__CALL_EnumerateDeviceExtensionProperties] = {HOST, DEVICE, VK_INCOMPLETE},
    [PM__CALL_CreateDevice] = {HOST, DEVICE, INVALID, VK_ERROR_EXTENSION_NOT_PRESENT,
                               VK_ERROR_FEATURE_NOT_PRESENT, VK_ERROR_TOO_MANY_OBJECTS, LOST},
    [PM__CALL_AllocateCommandBuffers] = {HOST, DEVICE},
    [PM__CALL_AllocateDescriptorSets] = {HOST, DEVICE, VK_ERROR_OUT_OF_POOL_MEMORY,
                                         VK_ERROR_FRAGMENTED_POOL},
    [PM__CALL_AllocateMemory] = {HOST, DEVICE, VK_ERROR_TOO_MANY_OBJECTS, VK_ERROR_UNKNOWN},
    [PM__CALL_BeginCommandBuffer] = {HOST, DEVICE},
    [PM__CALL_BindBufferMemory] = {HOST, DEVICE},
    [PM__CALL_CreateBuffer] = {HOST, DEVICE, VK_ERROR_UNKNOWN},
    [PM__CALL_CreateCommandPool] = {HOST, DEVICE},
    [PM__CALL_CreateComputePipelines] = {HOST, DEVICE, VK_ERROR_INVALID_SHADER_NV,
                                         VK_ERROR_UNKNOWN},
    [PM__CALL_CreateDescriptorPool] = {HOST, DEVICE, VK_ERROR_FRAGMENTATION},
    [PM__CALL_CreateDescriptorSetLayout] = {HOST, DEVICE},
    [PM__CALL_CreatePipelineCache] = {HOST, INVALID, VK_ERROR_UNKNOWN},
    [PM__CALL_CreatePipelineLayout] = {HOST, DEVICE},
    [PM__CALL_CreateQueryPool] = {HOST, DEVICE},
    [PM__CALL_CreateSemaphore] = {HOST, DEVICE},
    [PM__CALL_CreateShaderModule] = {HOST, DEVICE, VK_ERROR_INVALID_SHADER_NV},
    [PM__CALL_DeviceWaitIdle] = {HOST, DEVICE, LOST},
    [PM__CALL_EndCommandBuffer] = {HOST, DEVICE},
    [PM__CALL_GetPipelineCacheData] = {HOST, DEVICE, VK_INCOMPLETE},
    [PM__CALL_GetQueryPoolResults] = {HOST, DEVICE, VK_NOT_READY, LOST},
    [PM__CALL_MapMemory] = {HOST, DEVICE, VK_ERROR_MEMORY_MAP_FAILED},
    [PM__CALL_QueueSubmit] = {HOST, DEVICE, LOST, VK_ERROR_UNKNOWN},
    [PM__CALL_WaitSemaphores] = {HOST, DEVICE, VK_TIMEOUT, LOST},
};

static pm_status status_of_result(VkResult result) {
    switch (result) {
    case HOST:
    case DEVICE:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_MEMORY_MAP_FAILED:
        return PM_OUT_OF_MEMORY;
    case LOST:
        return PM_DEVICE_LOST;
    default:
        return result > VK_SUCCESS ? PM_OK : PM_FAILURE;
    }
}

static pm_status expected_status(const act *a) {
    if (!reached || is_survived() || a->run == act_list)
        return PM_OK; /* closing has no status; a list is empty, with a note */
    if (next_fault.call <= PM__CALL_EnumerateDeviceExtensionProperties)
        return PM_NO_DEVICE;
    const pm_status status = status_of_result(next_fault.result);
    if (a->run != act_check)
        return status;
    return status == PM_FAILURE ? PM_CHECK_FAILED : status == PM_OUT_OF_MEMORY ? PM_OK : status;
}

/* ---- one fault ------------------------------------------------------------------------------- */

static struct {
    uint32_t n_place; /* where the call is made */
    uint32_t n_fault;
    uint32_t by_status[PM_STATUS_END];
} tally[PM__CALL_COUNT];

typedef struct counts {
    uint32_t live[PM__OBJECT_COUNT];
} counts;

static counts count_live(void) {
    counts all;
    for (int i = 0; i < PM__OBJECT_COUNT; i++)
        all.live[i] = pm__faults_alive((pm__fault_object)i);
    return all;
}

static void check_live(const counts *before) {
    const counts after = count_live();
    for (int i = 0; i < PM__OBJECT_COUNT; i++)
        if (after.live[i] != before->live[i])
            fail_msg("%s: %u %s, there were %u", present, after.live[i],
                     pm__fault_object_name((pm__fault_object)i), before->live[i]);
}

/* A fresh session of what is left gives what it always gave. */
static void check_afterwards(life *l) {
    open_life(l, true);
    pm_session *session;
    must(open_session(l, &session));
    must(walk(session, &got));
    check_outcome(l);
    pm_session_close(session);
}

static void inject(life *l, const act *a, pm__fault_call call, uint32_t nth, VkResult result) {
    open_life(l, a->needs_model);
    const counts before = count_live();
    snprintf(present, sizeof present, "act '%s', %s call %u gives %d", a->name,
             pm__fault_call_name(call), nth, (int)result);
    next_fault.way = FAILS;
    next_fault.call = call;
    next_fault.nth = nth;
    next_fault.result = result;
    reached = false;
    alarm(120);
    const pm_status status = a->run(l);
    const pm_status wanted = expected_status(a);
    /* A wait may be one of those that come before something is let go, which is tried again; after
     * a loss all may have been brought back. */
    const bool survives = call == PM__CALL_WaitSemaphores || result == LOST;
    if (status != wanted && !(survives && status == PM_OK))
        fail_msg("%s: %s, not %s: %s", present, pm_status_text(status), pm_status_text(wanted),
                 pm_last_error());
    if (pm__faults_injected() != 1)
        fail_msg("%s: happened %u times", present, pm__faults_injected());
    if (status != PM_OK && status != PM_CHECK_FAILED) /* of a case that failed, on_case hears why */
        check_sentence();
    tally[call].n_fault++;
    tally[call].by_status[status]++;
    if (result != LOST) {
        check_live(&before);
        return;
    }
    /* What stood on a lost device comes back when it is needed. */
    close_life(l);
    check_live(&(counts){{0}});
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Results that lead to the same end take turns from place to place, where there are places
 * enough. */
static bool is_turn(pm__fault_call call, uint32_t r, uint32_t n, uint32_t n_place) {
    uint32_t before = 0, all = 0;
    for (uint32_t i = 0; results[call][i] != VK_SUCCESS; i++) {
        if (status_of_result(results[call][i]) != status_of_result(results[call][r]))
            continue;
        before += i < r;
        all++;
    }
    return n_place < all || before == n % all;
}

static void inject_all(life *l, const act *a) {
    uint32_t n_call[PM__CALL_COUNT];
    l->discrete = a->discrete;
    snprintf(present, sizeof present, "act '%s'", a->name);
    if (a->needs_device)
        open_life(l, a->needs_model);
    must(a->run(l));
    for (int c = 0; c < PM__CALL_COUNT; c++)
        n_call[c] = pm__faults_count((pm__fault_call)c);
    for (int c = 0; c < PM__CALL_COUNT; c++) {
        tally[c].n_place += n_call[c];
        if (n_call[c] > 0 && results[c][0] == VK_SUCCESS)
            fail_msg("no results are known for %s", pm__fault_call_name((pm__fault_call)c));
        for (uint32_t n = 1; n <= n_call[c]; n++)
            for (uint32_t r = 0; results[c][r] != VK_SUCCESS; r++)
                if (is_turn((pm__fault_call)c, r, n, n_call[c]))
                    inject(l, a, (pm__fault_call)c, n, results[c][r]);
        if (n_call[c] > 0)
            check_afterwards(l);
    }
    close_life(l);
}

static void print_table(void) {
    static const pm_status columns[] = {
        PM_OK, PM_FAILURE, PM_NO_DEVICE, PM_OUT_OF_MEMORY, PM_DEVICE_LOST, PM_CHECK_FAILED};
    uint32_t n_place = 0, n_fault = 0;
    print_message("  %-40s %7s %7s | went on, failure, no device, out of memory, lost, check\n",
                  "call", "places", "faults");
    for (int c = 0; c < PM__CALL_COUNT; c++) {
        if (tally[c].n_place == 0)
            continue;
        char text[128];
        size_t n = 0;
        for (size_t i = 0; i < PM__COUNT(columns); i++)
            n +=
                (size_t)snprintf(text + n, sizeof text - n, " %6u", tally[c].by_status[columns[i]]);
        print_message("  %-40s %7u %7u |%s\n", pm__fault_call_name((pm__fault_call)c),
                      tally[c].n_place, tally[c].n_fault, text);
        n_place += tally[c].n_place;
        n_fault += tally[c].n_fault;
    }
    print_message("  %-40s %7u %7u | all survived\n", "all", n_place, n_fault);
}

static void check_all(life *l) {
    memset(tally, 0, sizeof tally);
    for (size_t i = 0; i < PM__COUNT(acts); i++)
        inject_all(l, &acts[i]);
    print_table();
}

/* What comes out undisturbed; later runs are compared with it. */
static void learn(life *l) {
    for (int i = 0; i < 2; i++) {
        pm_session *session;
        l->discrete = i == 1;
        open_life(l, true);
        must(open_session(l, &session));
        must(walk(session, &right[is_discrete(l)]));
        pm_session_close(session);
        close_life(l);
    }
    l->discrete = false;
}

static void each_device(void (*check)(life *l)) {
    pm_device_info *list;
    size_t n, n_usable = 0;
    const char *note;
    pm__faults_reset();
    must(pm_device_list(&list, &n, &note));
    for (size_t i = 0; i < n; i++) {
        if (!list[i].usable || strcmp(list[i].kind, "cpu") == 0)
            continue;
        print_message("  on %s (%s)\n", list[i].name, list[i].driver);
        life l = {.discrete = false};
        snprintf(l.name, sizeof l.name, "%s", list[i].name);
        learn(&l);
        check(&l);
        close_life(&l);
        pm__faults_reset();
        pm__faults_check_clean();
        n_usable++;
    }
    pm_device_list_free(list);
    if (n_usable == 0) {
        print_message("no usable Vulkan device: skipped. %s\n", note);
        skip();
    }
}

/* ---- for good -------------------------------------------------------------------------------- */

/* A run that meets it at places from the first submission to the last; gives the statuses. */
static uint32_t n_submission(life *l) {
    open_life(l, true);
    must(act_run(l));
    return pm__faults_count(PM__CALL_QueueSubmit);
}

static pm_status run_with(life *l, way how, pm__fault_call call, uint32_t nth, VkResult result) {
    open_life(l, true);
    snprintf(present, sizeof present, "a run, way %d, %s %u", (int)how, pm__fault_call_name(call),
             nth);
    next_fault.way = how;
    next_fault.call = call;
    next_fault.nth = nth;
    next_fault.result = result;
    alarm(300);
    const pm_status status = act_run(l);
    assert_true(pm__faults_injected() >= 1);
    return status;
}

/* Lost again and again: the run ends. */
static void check_lost(life *l) {
    const uint32_t n = n_submission(l);
    const uint32_t places[] = {1, n / 2, n};
    for (size_t i = 0; i < PM__COUNT(places); i++) {
        assert_int_equal(run_with(l, FAILS_FROM, PM__CALL_QueueSubmit, places[i], LOST),
                         PM_DEVICE_LOST);
        close_life(l);
    }
    assert_int_equal(run_with(l, FAILS_FROM, PM__CALL_WaitSemaphores, 2, HOST), PM_OUT_OF_MEMORY);
    check_afterwards(l);
}

static void lost_for_good(void **state) {
    (void)state;
    each_device(check_lost);
}

/* A device that never finishes is given up in time, and nothing of it is touched any more. */
static void check_hang(life *l) {
    const uint32_t n = n_submission(l);
    const uint32_t places[] = {1, n / 2, n};
    for (size_t i = 0; i < PM__COUNT(places); i++) {
        open_life(l, true);
        pm__gpu_device *device = l->device->handle.device;
        device->gpu->silence_seconds = 0.05;
        const pm_status status = run_with(l, HANGS, PM__CALL_QueueSubmit, places[i], VK_SUCCESS);
        assert_true(status == PM_DEVICE_LOST || status == PM_OK);
        if (status == PM_DEVICE_LOST)
            check_sentence();
        close_life(l);
        const char *complaint = pm__faults_complaint();
        if (strstr(complaint, "still alive") == NULL)
            fail_msg("%s: '%s'", present, complaint);
        check_afterwards(l);
    }
}

static void hangs(void **state) {
    (void)state;
    each_device(check_hang);
}

static void every_call(void **state) {
    (void)state;
    each_device(check_all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call),
        cmocka_unit_test(lost_for_good),
        cmocka_unit_test(hangs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
