/* pumice plan: every buffer a run would allocate, and whether it fits. */
#include <inttypes.h>

#include "report.h"

static int print_json(const pm_plan *plan) {
    cJSON *document = cJSON_CreateObject();
    cJSON *buffers = cJSON_AddArrayToObject(document, "buffers");
    for (size_t i = 0; i < plan->n_buffer; i++) {
        cJSON *buffer = cJSON_CreateObject();
        cJSON_AddStringToObject(buffer, "name", plan->buffers[i].name);
        cJSON_AddNumberToObject(buffer, "bytes", (double)plan->buffers[i].bytes);
        cJSON_AddStringToObject(buffer, "heap", plan->buffers[i].heap);
        cJSON_AddItemToArray(buffers, buffer);
    }
    cJSON *heaps = cJSON_AddArrayToObject(document, "heaps");
    for (size_t i = 0; i < plan->n_heap; i++) {
        cJSON *heap = cJSON_CreateObject();
        cJSON_AddStringToObject(heap, "name", plan->heaps[i].name);
        cJSON_AddNumberToObject(heap, "needed", (double)plan->heaps[i].needed);
        cJSON_AddNumberToObject(heap, "free", (double)plan->heaps[i].free);
        cJSON_AddItemToArray(heaps, heap);
    }
    cJSON_AddBoolToObject(document, "fits", plan->fits);
    return pm__json_print(document);
}

static void print_table(const pm_plan *plan) {
    for (size_t i = 0; i < plan->n_buffer; i++) {
        printf("%16" PRIu64 "  %-12s %s\n", plan->buffers[i].bytes, plan->buffers[i].heap,
               plan->buffers[i].name);
    }
    for (size_t i = 0; i < plan->n_heap; i++) {
        printf("%16" PRIu64 "  %-12s needed of %" PRIu64 " free (%s of %s)\n",
               plan->heaps[i].needed, plan->heaps[i].name, plan->heaps[i].free,
               pm__report_bytes(plan->heaps[i].needed), pm__report_bytes(plan->heaps[i].free));
    }
    printf("%s\n", plan->fits ? "fits" : "does not fit");
}

static int plan_session(const pm__cli *cli) {
    const pm_session_desc desc = pm__cli_session_desc(cli->options);
    pm_plan *plan = NULL;
    PM__CHECK(pm__cli_status(pm_session_plan(cli->model, &desc, &plan)));
    int code = 0;
    if (cli->options->json)
        code = print_json(plan);
    else
        print_table(plan);
    if (code == 0 && !plan->fits) {
        code = pm__cli_error(PM__EXIT_OUT_OF_MEMORY,
                             "plan: it does not fit; try a smaller -c or -b, or a "
                             "smaller model");
    }
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
    PM__OPT_MODEL,     PM__OPT_CTX,       PM__OPT_BATCH,        PM__OPT_ANSWERS,
    PM__OPT_THREADS,   PM__OPT_DEVICE,    PM__OPT_LIST_DEVICES, PM__OPT_REQUIRE_GPU,
    PM__OPT_SUBMIT_MS, PM__OPT_CACHE_DIR, PM__OPT_NO_CACHE,     PM__OPT_JSON,
    PM__OPT_VERBOSE};

const pm__spec pm__spec_plan = {
    options_taken, sizeof options_taken, plan,
    "No weights are read. Sizes are in bytes. The exit code is 5 where the plan does not fit."};
