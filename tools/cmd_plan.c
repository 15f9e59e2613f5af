/* pumice plan: every buffer a run would allocate, and whether it fits. */
#include <inttypes.h>

#include "report.h"

static const char *const parts[] = {"weights", "loading", "session"};

static cJSON *buffers_json(const pm_plan *plan) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < plan->n_buffer; i++) {
        cJSON *buffer = cJSON_CreateObject();
        cJSON_AddStringToObject(buffer, "name", plan->buffers[i].name);
        cJSON_AddNumberToObject(buffer, "bytes", (double)plan->buffers[i].bytes);
        cJSON_AddStringToObject(buffer, "heap", plan->buffers[i].heap);
        cJSON_AddStringToObject(buffer, "part", parts[plan->buffers[i].part]);
        cJSON_AddItemToArray(array, buffer);
    }
    return array;
}

static cJSON *heaps_json(const pm_plan *plan) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < plan->n_heap; i++) {
        cJSON *heap = cJSON_CreateObject();
        cJSON_AddStringToObject(heap, "name", plan->heaps[i].name);
        cJSON_AddNumberToObject(heap, "needed", (double)plan->heaps[i].needed);
        cJSON_AddNumberToObject(heap, "free", (double)plan->heaps[i].free);
        cJSON_AddBoolToObject(heap, "limited", plan->heaps[i].limited);
        cJSON_AddItemToArray(array, heap);
    }
    return array;
}

static int print_json(const pm__cli *cli, const pm_plan *plan) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "buffers", buffers_json(plan));
    cJSON_AddItemToObject(document, "heaps", heaps_json(plan));
    cJSON_AddNumberToObject(document, "needed", (double)plan->needed);
    cJSON_AddItemToObject(document, "limit",
                          plan->limit == UINT64_MAX ? cJSON_CreateNull()
                                                    : cJSON_CreateNumber((double)plan->limit));
    cJSON_AddNumberToObject(document, "context", plan->n_ctx);
    cJSON_AddBoolToObject(document, "fits", plan->fits);
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(cli->device)));
    return pm__json_print(document);
}

static void print_row(const char *name, const char *part, const char *heap, uint64_t bytes) {
    printf("%-22s %-8s %-14s %16" PRIu64 "  %10s\n", name, part, heap, bytes,
           pm__report_bytes(bytes));
}

static void print_sum(const char *name, uint64_t needed, uint64_t most) {
    printf("%-22s %16" PRIu64 " %16" PRIu64 "  %10s of %10s  %s\n", name, needed, most,
           pm__report_bytes(needed), pm__report_bytes(most),
           needed <= most ? "fits" : "DOES NOT FIT");
}

static void print_table(const pm_plan *plan) {
    printf("%-22s %-8s %-14s %16s\n", "buffer", "for", "heap", "bytes");
    for (size_t i = 0; i < plan->n_buffer; i++) {
        const pm_plan_buffer *buffer = &plan->buffers[i];
        print_row(buffer->name, parts[buffer->part], buffer->heap, buffer->bytes);
    }
    printf("\n%-22s %16s %16s\n", "heap", "needed", "free");
    for (size_t i = 0; i < plan->n_heap; i++)
        print_sum(plan->heaps[i].name, plan->heaps[i].needed, plan->heaps[i].free);
    if (plan->limit != UINT64_MAX)
        print_sum("limit (--max-vram)", plan->needed, plan->limit);
    printf("\ncontext %" PRIu32 " positions: %s\n", plan->n_ctx,
           plan->fits ? "fits" : "does not fit");
}

static int plan_session(const pm__cli *cli) {
    const pm_session_desc desc = pm__cli_session_desc(cli->options);
    pm_plan *plan = NULL;
    PM__CHECK(pm__cli_status(pm_session_plan(cli->model, &desc, &plan)));
    int code = 0;
    if (cli->options->json)
        code = print_json(cli, plan);
    else
        print_table(plan);
    if (code == 0 && desc.n_ctx == PM_CTX_AUTO)
        pm__report_auto(cli->model, plan->n_ctx);
    if (code == 0 && !plan->fits)
        code = pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "%s", plan->why);
    pm_plan_free(plan);
    return code;
}

static int plan(pm__options *options) {
    pm__cli cli = {0};
    int code = pm__cli_open(&cli, options, PM__NEED_PLAN);
    if (code == 0)
        code = plan_session(&cli);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,        PM__OPT_SYNTHETIC,    PM__OPT_CTX,         PM__OPT_CACHE_TYPE_K,
    PM__OPT_CACHE_TYPE_V, PM__OPT_BATCH,        PM__OPT_ANSWERS,     PM__OPT_THREADS,
    PM__OPT_DEVICE,       PM__OPT_LIST_DEVICES, PM__OPT_REQUIRE_GPU, PM__OPT_MAX_VRAM,
    PM__OPT_SUBMIT_MS,    PM__OPT_ONE_DISPATCH, PM__OPT_CACHE_DIR,   PM__OPT_NO_CACHE,
    PM__OPT_JSON,         PM__OPT_VERBOSE};

const pm__spec pm__spec_plan = {
    options_taken, sizeof options_taken, plan,
    "No weights are read. Sizes are in bytes; those of a heap are what it holds at most at one "
    "time: "
    "the weights, and what loading them or the session takes. The exit code is 5 where the plan "
    "does not fit."};
