/* pumice tune: which kernels are fastest here, for the shapes of a model. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_times.h"
#include "new_file.h"

typedef struct tuning {
    const pm__options *options;
    pm_device_speed speed;
    pm__progress progress;
    cJSON *times;
} tuning;

/* ---- measuring ------------------------------------------------------------------------------- */

static bool on_time(void *user, const pm_kernel_time *time) {
    tuning *t = user;
    if (t->options->verbose)
        pm__kernel_times_print(stderr, time, &t->speed);
    if (t->times)
        cJSON_AddItemToArray(t->times, pm__kernel_times_json(time, &t->speed));
    return t->options->verbose ? !pm__interrupts()
                               : pm__report_progress(&t->progress, "tune", time->index, time->n);
}

static void on_shape(void *user, const pm_tuned *tuned) {
    tuning *t = user;
    if (!tuned)
        return;
    pm__report_progress_end(&t->progress);
    fputs("pumice: ", stderr);
    pm__tuned_print(stderr, tuned);
}

static int measure(pm__cli *cli, tuning *t, pm_tune_summary *summary) {
    const pm_tune_desc desc = {
        .seconds = t->options->seconds, .on_time = on_time, .on_shape = on_shape, .user = t};
    PM__CHECK(pm__cli_status(pm_device_measure(cli->device, &t->speed)));
    if (t->options->verbose)
        pm__kernel_times_head(stderr);
    const pm_status status = pm_tune(cli->model, &desc, summary);
    pm__report_progress_end(&t->progress);
    fprintf(stderr,
            "pumice: %" PRIu32 " shapes measured in %.1f s; for %" PRIu32
            " another kernel than the default is used from now on",
            summary->n_shape, summary->seconds, summary->n_changed);
    if (summary->n_left > 0)
        fprintf(stderr, "; %" PRIu32 " were left as they are, --seconds gives more time",
                summary->n_left);
    fputc('\n', stderr);
    return pm__cli_status(status);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void on_unused(void *user, unsigned line, const char *why) {
    fprintf(stderr, "pumice: %s, line %u is not used: %s\n", (const char *)user, line, why);
}

static int read_tuning(pm__cli *cli, const char *path) {
    char *text = NULL, shown[PM__PATH_SIZE];
    size_t n_byte = 0;
    PM__CHECK(pm__cli_read_file(path, &text, &n_byte));
    snprintf(shown, sizeof shown, "%s", path);
    pm__make_plain(shown);
    int code = 0;
    if (strlen(text) != n_byte)
        code = pm__cli_error(PM__EXIT_BAD_FILE, "tune: %s is no text", shown);
    else
        code = pm__cli_status(pm_device_set_tuning(cli->device, text, on_unused, shown));
    free(text);
    return code;
}

static int write_tuning(const pm__cli *cli, const char *path) {
    pm__new_file file;
    char *text = NULL;
    PM__CHECK(pm__cli_status(pm_device_get_tuning(cli->device, &text)));
    bool written = pm__new_file_open(&file, path);
    if (written) {
        const bool whole = fputs(text, file.stream) >= 0;
        written = pm__new_file_close(&file, whole);
    }
    pm_text_free(text);
    return written ? 0
                   : pm__cli_error(PM__EXIT_FAILURE, "tune: the output cannot be written: %s",
                                   strerror(errno));
}

/* ---- the command ----------------------------------------------------------------------------- */

static cJSON *choices_json(const pm_device *device) {
    cJSON *array = cJSON_CreateArray();
    pm_tuned tuned;
    for (size_t i = 0; pm_device_get_tuned(device, i, &tuned); i++)
        cJSON_AddItemToArray(array, pm__tuned_json(&tuned));
    return array;
}

static int print_json(const pm__cli *cli, tuning *t, const pm_tune_summary *summary) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(cli->device)));
    cJSON_AddNumberToObject(document, "copy_bytes_per_second", t->speed.copy_bytes_per_second);
    cJSON_AddNumberToObject(document, "flops_per_second", t->speed.flops_per_second);
    cJSON_AddNumberToObject(document, "shapes", summary->n_shape);
    cJSON_AddNumberToObject(document, "changed", summary->n_changed);
    cJSON_AddNumberToObject(document, "left", summary->n_left);
    cJSON_AddNumberToObject(document, "seconds", summary->seconds);
    cJSON_AddItemToObject(document, "choices", choices_json(cli->device));
    cJSON_AddItemToObject(document, "times", t->times);
    t->times = NULL;
    return pm__json_print(document);
}

/* Interrupted, what was found by then is shown and written like the rest. */
static int tune_model(pm__cli *cli, tuning *t) {
    pm_tune_summary summary = {0};
    t->times = t->options->json ? cJSON_CreateArray() : NULL;
    int code = measure(cli, t, &summary);
    if (t->options->output && (code == 0 || code == PM__EXIT_CANCELLED)) {
        const int written = write_tuning(cli, t->options->output);
        code = code ? code : written;
    }
    if (t->options->json && (code == 0 || code == PM__EXIT_CANCELLED)) {
        const int printed = print_json(cli, t, &summary);
        code = code ? code : printed;
    }
    cJSON_Delete(t->times);
    return code;
}

/* Without measuring: takes a file, or forgets. */
static int replace(pm__cli *cli, const pm__options *options) {
    if (options->clear) {
        PM__CHECK(pm__cli_status(pm_device_forget_tuning(cli->device)));
        fputs("pumice: the tuning of this device is forgotten\n", stderr);
        return 0;
    }
    PM__CHECK(read_tuning(cli, options->input));
    pm_tuned tuned;
    size_t n = 0;
    while (pm_device_get_tuned(cli->device, n, &tuned))
        n++;
    fprintf(stderr, "pumice: %zu choices of the file are used from now on\n", n);
    return options->output ? write_tuning(cli, options->output) : 0;
}

static int tune(pm__options *options) {
    const bool measures = !options->input && !options->clear;
    tuning t = {.options = options};
    pm__cli cli = {0};
    if (options->input && options->clear)
        return pm__cli_error(PM__EXIT_ARGUMENT, "tune: --input and --clear are two things to do");
    if (options->json && !measures)
        return pm__cli_error(PM__EXIT_ARGUMENT, "tune: --json is of what is measured");
    pm__interrupt_catch();
    int code = measures ? pm__kernel_times_open(&cli, options)
                        : pm__cli_open(&cli, options, PM__NEED_DEVICE);
    if (code == 0)
        code = measures ? tune_model(&cli, &t) : replace(&cli, options);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,       PM__OPT_SYNTHETIC, PM__OPT_SECONDS, PM__OPT_OUTPUT,
    PM__OPT_INPUT,       PM__OPT_CLEAR,     PM__OPT_DEVICE,  PM__OPT_LIST_DEVICES,
    PM__OPT_REQUIRE_GPU, PM__OPT_MAX_VRAM,  PM__OPT_THREADS, PM__OPT_SUBMIT_MS,
    PM__OPT_CACHE_DIR,   PM__OPT_NO_CACHE,  PM__OPT_JSON,    PM__OPT_VERBOSE};

const pm__spec pm__spec_tune = {
    options_taken, sizeof options_taken, tune,
    "Measures every kernel that can do what the model's nodes want, at their sizes, and uses the "
    "fastest from then on with this device and driver. The weights are not read: with --synthetic "
    "no model is needed. A kernel replaces the default only if it is more than 3 % faster in turns "
    "with it, gives the same output and passes its check. The tuning is a text file, which "
    "--output writes for others and --input takes. The last bits of logits may differ from those "
    "without it; with one tuning they are the same in every run."};
