/* test_host_memory_gpu.c: memory runs out at every call between a device, its kernels and an
 * answer; threads cannot be started; processes begin together with one cold cache.
 * ctest: long */
#include "host_faults.h"

#include "devices.h"
#include "gpu/kernels.h"
#include "gpu/pipeline.h"
#include "reference.h"
#include "scenes.h"

#include <dirent.h>
#include <setjmp.h>
#include <shaderc/shaderc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static pm__scene all;
static char cache[PM__FOLDER_SIZE], model_path[4096];

static void quiet(void *user, pm_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

/* ---- from a device to an answer -------------------------------------------------------------- */

static pm_status open_device(uint32_t n_thread, pm_device **out) {
    const pm_device_desc desc = {.cache_dir = cache, .n_thread = n_thread};
    return pm_device_open(&desc, out);
}

static pm_status run_list(void *user) {
    (void)user;
    pm_device_info *list = NULL;
    size_t n = 0;
    PM_TRY(pm_device_list(&list, &n, NULL));
    assert_true(n >= 2);
    pm_device_list_free(list);
    return PM_OK;
}

static pm_status run_device(void *user) {
    (void)user;
    pm_device *device = NULL;
    PM_TRY(open_device(1, &device));
    pm_device_close(device);
    return PM_OK;
}

/* From nothing: what a program does. */
static pm_status run_all(uint32_t n_thread, char answers[sizeof all.answers]) {
    pm__scene own = {.path = all.path};
    const pm_model_desc desc = {.path = own.path};
    pm_status status = open_device(n_thread, &own.device);
    if (status == PM_OK)
        status = pm_model_open(own.device, &desc, &own.model);
    if (status == PM_OK)
        status = pm_session_open(own.model, &pm__scene_desc, &own.session);
    if (status == PM_OK)
        status = pm__scene_answers(&own);
    pm_session_close(own.session);
    pm_model_close(own.model);
    pm_device_close(own.device);
    snprintf(answers, sizeof own.answers, "%s", own.answers);
    return status;
}

static pm_status run_with_threads(void *user) {
    (void)user;
    char answers[sizeof all.answers];
    PM_TRY(run_all(4, answers));
    assert_string_equal(answers, all.answers);
    return PM_OK;
}

/* ---- a cold start in many processes ---------------------------------------------------------- */

enum { N_PROCESS = 3 };

/* Before this process has talked to a driver: drivers do not survive a fork. */
static pid_t start_process(void) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        char text[sizeof all.answers];
        const pm_status status = run_all(1, text);
        if (status == PM_OK && strcmp(text, all.answers) == 0)
            _exit(0);
        fprintf(stderr, "%s: %s; '%s', not '%s'\n", pm_status_text(status), pm_last_error(), text,
                all.answers);
        _exit(1);
    }
    assert_true(child > 0);
    return child;
}

static void processes_begin_together(void **state) {
    (void)state;
    pid_t children[N_PROCESS];
    const struct timespec moment = {.tv_nsec = 700000000};
    for (int i = 0; i < N_PROCESS; i++)
        children[i] = start_process();
    nanosleep(&moment, NULL);
    kill(children[0], SIGKILL); /* in the midst of it; another comes */
    int result;
    assert_int_equal(waitpid(children[0], &result, 0), children[0]);
    children[0] = start_process();
    for (int i = 0; i < N_PROCESS; i++) {
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    }
}

/* ---- shaders --------------------------------------------------------------------------------- */

static pm_status compile_shader(pm__gpu *gpu) {
    static const char *const defines[] = {"ANY=1"};
    const pm__shader_desc desc = {.file = "rope.comp", .defines = defines, .n_define = 1};
    uint32_t *words = NULL;
    size_t n_word = 0;
    PM_TRY(pm__shader_compile(gpu, &desc, &words, &n_word));
    assert_true(n_word > 20 && words[0] == 0x07230203u);
    free(words);
    return PM_OK;
}

static pm_status run_shader(void *user) {
    pm__gpu *gpu = user;
    PM_TRY(pm__shader_cache_create("", &gpu->shaders));
    const pm_status status = compile_shader(gpu);
    pm__shader_cache_destroy(gpu->shaders);
    gpu->shaders = NULL;
    return status;
}

static pm_status run_compiler(void *user) {
    (void)user;
    pm__gpu gpu = {.compiler = shaderc_compiler_initialize()};
    if (gpu.compiler == NULL)
        return pm__fail_memory("compiler", 0);
    const pm_status status = run_shader(&gpu);
    shaderc_compiler_release(gpu.compiler);
    return status;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Every kernel but `advance`, which has the fewest cases. */
static const char *other_kernels(void) {
    static char list[2048];
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    list[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, "advance") == 0)
            continue;
        strncat(list, table[i].name, sizeof list - strlen(list) - 1);
        strncat(list, ",", sizeof list - strlen(list) - 1);
    }
    assert_true(strlen(list) < sizeof list - 1);
    return list;
}

static bool after_one(void *user, const pm_check_case *at) {
    (void)user;
    return !at->done;
}

/* A case without memory is not checked: its kernel did nothing wrong and stays in use. */
static pm_status run_check(void *user) {
    const pm__scene *scene = user;
    const pm_check_desc desc = {
        .level = PM_CHECK_QUICK, .skip = other_kernels(), .on_case = after_one};
    pm_check_summary summary = {0};
    pm_quarantined q;
    const pm_status status = pm_check(scene->device, NULL, &desc, &summary);
    assert_true(summary.n_failed == 0 && !pm_device_get_quarantined(scene->device, 0, &q));
    if (status != PM_CANCELLED)
        return status;
    assert_int_equal(summary.n_case, 1);
    return summary.n_unchecked > 0 ? pm__fail(PM_OUT_OF_MEMORY, "no memory for a case") : PM_OK;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void fails(const char *name, pm_status (*run)(void *user), void *user, bool may_survive) {
    const pm__fault_scenario scenario = {.name = name,
                                         .run = run,
                                         .user = user,
                                         .kind = PM__FAULT_MEMORY,
                                         .may_survive = may_survive};
    pm__faults_everywhere(&scenario);
}

/* With sources from disk and without, and with a compiler for each run. Nothing is cached. */
static void shaders(void **state) {
    (void)state;
    pm__gpu gpu = {.compiler = shaderc_compiler_initialize()};
    const char *sources = pm__source_path("shaders");
    fails("shader", run_shader, &gpu, false);
    fails("compiler", run_compiler, NULL, false);
    assert_non_null(sources);
    setenv("PUMICE_SHADER_DIR", sources, 1);
    fails("shader from disk", run_shader, &gpu, false);
    unsetenv("PUMICE_SHADER_DIR");
    shaderc_compiler_release(gpu.compiler);
}

/* What was compiled is in the cache. A file of the cache for which there is no memory is a miss;
 * one that cannot be written is none. */
static void from_a_device_to_an_answer(void **state) {
    (void)state;
    const pm_model_desc desc = {.path = all.path};
    fails("device list", run_list, NULL, false);
    fails("device", run_device, NULL, true);
    assert_int_equal(open_device(1, &all.device), PM_OK);
    fails("model", pm__scene_model, &all, false);
    assert_int_equal(pm_model_open(all.device, &desc, &all.model), PM_OK);
    fails("plan", pm__scene_plan, &all, false);
    fails("session", pm__scene_session, &all, true);
    assert_int_equal(pm_session_open(all.model, &pm__scene_desc, &all.session), PM_OK);
    fails("answers", pm__scene_answers, &all, false);
}

/* Most of the calls make the graphs of cases that are counted and not run. */
static void check(void **state) {
    (void)state;
    const pm__fault_scenario scenario = {.name = "check",
                                         .run = run_check,
                                         .user = &all,
                                         .kind = PM__FAULT_MEMORY,
                                         .may_survive = true,
                                         .stride = 5};
    pm__faults_everywhere(&scenario);
}

static void threads(void **state) {
    (void)state;
    const pm__fault_scenario scenario = {
        .name = "threads", .run = run_with_threads, .kind = PM__FAULT_THREAD};
    pm__faults_everywhere(&scenario);
}

/* The right text comes from a process that is alone. */
static bool ask_alone(void) {
    int ends[2], result;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        const pm_status status = run_all(1, all.answers);
        if (status != PM_OK)
            fprintf(stderr, "%s\n", pm_last_error());
        const bool written =
            write(ends[1], all.answers, sizeof all.answers) == (ssize_t)sizeof all.answers;
        _exit(status == PM_NO_DEVICE ? 77 : status == PM_OK && written ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    close(ends[1]);
    assert_true(WIFEXITED(result));
    const bool there = WEXITSTATUS(result) == 0 && read(ends[0], all.answers, sizeof all.answers) ==
                                                       (ssize_t)sizeof all.answers;
    close(ends[0]);
    assert_true(there || WEXITSTATUS(result) == 77);
    return there;
}

static int set_up(void **state) {
    (void)state;
    const char *path = pm__source_path("models/pebble/pebble.gguf");
    if (path == NULL)
        return -1;
    snprintf(model_path, sizeof model_path, "%s", path);
    all.path = model_path;
    pm_set_log(PM_LOG_WARN, quiet, NULL);
    pm__folder_init(cache);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_session_close(all.session);
    pm_model_close(all.model);
    pm_device_close(all.device);
    pm__folder_finish(cache);
    return 0;
}

static void alone(void **state) {
    (void)state;
    char warm[PM__FOLDER_SIZE];
    snprintf(warm, sizeof warm, "%s", cache);
    if (!ask_alone()) {
        print_message("no usable Vulkan device: skipped\n");
        pm__folder_finish(warm);
        exit(77);
    }
    assert_true(strlen(all.answers) > 2);
    pm__folder_finish(warm); /* the next ones begin with nothing */
    assert_int_equal(mkdir(warm, 0700), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone), /* those that fork come before this process meets a driver */
        cmocka_unit_test(processes_begin_together),
        cmocka_unit_test(shaders),
        cmocka_unit_test(from_a_device_to_an_answer),
        cmocka_unit_test(check),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
