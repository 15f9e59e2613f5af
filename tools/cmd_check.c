/* pumice check: every kernel of a device, and a model node by node, against the CPU reference. */
#include <inttypes.h>

#include "checker.h"
#include "report.h"

static const char *level_name(const pm__options *options) {
    return options->deep ? "deep" : options->quick ? "quick" : "standard";
}

/* ---- for programs ---------------------------------------------------------------------------- */

static cJSON *kernels_json(const pm__check_results *results) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < results->n_kernel; i++) {
        const pm__checked_kernel *k = &results->kernels[i];
        cJSON *kernel = cJSON_CreateObject();
        cJSON_AddStringToObject(kernel, "name", k->name);
        cJSON_AddNumberToObject(kernel, "cases", k->n_case);
        cJSON_AddNumberToObject(kernel, "failed", k->n_failed);
        cJSON_AddNumberToObject(kernel, "unchecked", k->n_unchecked);
        cJSON_AddNumberToObject(kernel, "worst_nmse", k->worst); /* null: not a number */
        cJSON_AddNumberToObject(kernel, "allowed_nmse", k->bound);
        cJSON_AddNumberToObject(kernel, "seconds", k->seconds);
        cJSON_AddItemToArray(array, kernel);
    }
    return array;
}

static cJSON *failures_json(const pm__check_results *results) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < results->n_failure; i++) {
        const pm__check_failure *f = &results->failures[i];
        cJSON *failure = cJSON_CreateObject();
        cJSON_AddStringToObject(failure, "case", f->name);
        cJSON_AddStringToObject(failure, "kernel", f->kernel);
        cJSON_AddStringToObject(failure, "status", pm_status_text(f->status));
        cJSON_AddStringToObject(failure, "why", f->why);
        cJSON_AddItemToArray(array, failure);
    }
    return array;
}

static cJSON *quarantine_json(const pm_device *device) {
    cJSON *array = cJSON_CreateArray();
    pm_quarantined q;
    for (size_t i = 0; pm_device_get_quarantined(device, i, &q); i++) {
        cJSON *kernel = cJSON_CreateObject();
        cJSON_AddStringToObject(kernel, "kernel", q.kernel);
        cJSON_AddStringToObject(kernel, "why", q.why);
        cJSON_AddItemToObject(kernel, "instead",
                              q.instead ? cJSON_CreateString(q.instead) : cJSON_CreateNull());
        cJSON_AddItemToArray(array, kernel);
    }
    return array;
}

static int print_json(const pm__cli *cli, const pm__check_results *results) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(cli->device)));
    cJSON_AddStringToObject(document, "level", level_name(cli->options));
    cJSON_AddNumberToObject(document, "cases", results->n_case);
    cJSON_AddNumberToObject(document, "failed", results->n_failed);
    cJSON_AddNumberToObject(document, "unchecked", results->n_unchecked);
    cJSON_AddNumberToObject(document, "seconds", results->seconds);
    cJSON_AddItemToObject(document, "kernels", kernels_json(results));
    cJSON_AddItemToObject(document, "failures", failures_json(results));
    cJSON_AddItemToObject(document, "quarantined", quarantine_json(cli->device));
    return pm__json_print(document);
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_kernel(const pm__checked_kernel *k) {
    char worst[24] = "the same bits", allowed[24] = "";
    if (k->bound > 0) {
        snprintf(worst, sizeof worst, "NMSE %.2g", k->worst);
        snprintf(allowed, sizeof allowed, "of %.2g", k->bound);
    }
    printf("%-22s %6" PRIu32 "  %-13s %-10s %7.2f s  ", k->name, k->n_case,
           k->n_failed && k->bound <= 0 ? "other bits" : worst, allowed, k->seconds);
    if (k->n_failed > 0)
        printf("%" PRIu32 " FAILED\n", k->n_failed);
    else if (k->n_unchecked > 0)
        printf("ok, %" PRIu32 " not checked\n", k->n_unchecked);
    else
        puts("ok");
}

static void print_table(const pm__check_results *results) {
    for (size_t i = 0; i < results->n_kernel; i++)
        print_kernel(&results->kernels[i]);
    for (size_t i = 0; i < results->n_failure; i++) {
        const pm__check_failure *f = &results->failures[i];
        printf("%s: %s\n", f->name, f->why);
    }
    printf("%" PRIu32 " cases, %" PRIu32 " failed, %" PRIu32 " not checked, %.1f s\n",
           results->n_case, results->n_failed, results->n_unchecked, results->seconds);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int forget(const pm__cli *cli) {
    PM__CHECK(pm__cli_status(pm_device_forget_checks(cli->device)));
    fputs("pumice: what checks found out about this device is forgotten\n", stderr);
    return 0;
}

/* A model that was checked needs no short check at its first use. */
static void note(const pm__cli *cli) {
    pm_model *model = NULL;
    pm__synthetic synthetic;
    const bool is_synthetic =
        cli->options->synthetic && pm__cli_synthetic(cli->options->synthetic, &synthetic) == 0;
    const pm_model_desc desc = {.path = cli->options->model,
                                .synth = is_synthetic ? &synthetic.desc : NULL,
                                .no_weights = true};
    if ((desc.path || desc.synth) && !cli->options->kernel &&
        pm_model_open(cli->device, &desc, &model) == PM_OK) {
        pm_check_note(cli->device, model);
        pm_model_close(model);
    }
}

static int check_device(const pm__cli *cli) {
    static pm__check_results results;
    const pm__check_job job = {.options = cli->options,
                               .device = cli->device,
                               .model = cli->options->model,
                               .label = "check"};
    PM__CHECK(pm__check_supervise(&job, &results));
    if (cli->options->json)
        PM__CHECK(print_json(cli, &results));
    else
        print_table(&results);
    pm__report_quarantine(cli->device);
    note(cli);
    if (results.n_failed == 0)
        return 0;
    return pm__cli_error(pm_status_exit_code(PM_CHECK_FAILED),
                         "check: %" PRIu32 " of %" PRIu32 " cases failed", results.n_failed,
                         results.n_case);
}

static int check(pm__options *options) {
    if (options->child)
        return pm__check_child(options);
    if (options->quick && options->deep)
        return pm__cli_error(PM__EXIT_ARGUMENT, "check: --quick and --deep are two levels");
    if (options->model && options->synthetic)
        return pm__cli_error(PM__EXIT_ARGUMENT, "check: -m and --synthetic are two models");
    pm__cli cli = {0};
    pm__interrupt_catch();
    int code = pm__cli_open(&cli, options, PM__NEED_DEVICE);
    if (code == 0)
        code = options->clear ? forget(&cli) : check_device(&cli);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,        PM__OPT_SYNTHETIC, PM__OPT_CACHE_TYPE_K, PM__OPT_CACHE_TYPE_V,
    PM__OPT_KERNEL,       PM__OPT_QUICK,     PM__OPT_DEEP,         PM__OPT_CLEAR,
    PM__OPT_TIME_LIMIT,   PM__OPT_SEED,      PM__OPT_DEVICE,       PM__OPT_LIST_DEVICES,
    PM__OPT_REQUIRE_GPU,  PM__OPT_MAX_VRAM,  PM__OPT_THREADS,      PM__OPT_SUBMIT_MS,
    PM__OPT_ONE_DISPATCH, PM__OPT_CACHE_DIR, PM__OPT_NO_CACHE,     PM__OPT_JSON,
    PM__OPT_VERBOSE,      PM__OPT_CHILD};

const pm__spec pm__spec_check = {
    options_taken, sizeof options_taken, check,
    "Without -m or --synthetic the kernels alone are checked; with one of them also every node of "
    "the model's graph. -s is "
    "the seed of the inputs. Checks run in a process of their own, so that a driver that crashes "
    "or "
    "hangs costs one kernel. A kernel that fails is quarantined: runs with this device and driver "
    "use "
    "another one and say so, until --clear. The exit code is 7 where something failed."};
