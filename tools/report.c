#include "report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double pm__now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- the device ------------------------------------------------------------------------------ */

const pm_tier_info *pm__report_tier(const pm_device_info *info) {
    for (size_t i = info->n_tier; i > 0; i--)
        if (info->tiers[i - 1].used)
            return &info->tiers[i - 1];
    return NULL;
}

void pm__report_device(const pm_device_info *info) {
    const pm_tier_info *tier = pm__report_tier(info);
    fprintf(stderr, "pumice: device %s (%s)", info->name, info->kind);
    if (info->driver[0])
        fprintf(stderr, ", driver %s", info->driver);
    if (tier)
        fprintf(stderr, ", tier %s (%s)", tier->tier, tier->why);
    fprintf(stderr, "; %s\n", info->why);
}

void pm__report_quarantine(const pm_device *device) {
    pm_quarantined q;
    for (size_t i = 0; pm_device_get_quarantined(device, i, &q); i++) {
        fprintf(stderr, "pumice: kernel %s: quarantined on this driver (check failed: %s); ",
                q.kernel, q.why);
        if (q.instead)
            fprintf(stderr, "%s is used\n", q.instead);
        else
            fputs("there is no other: it cannot be run\n", stderr);
    }
}

size_t pm__count_tuned(const pm_device *device) {
    pm_tuned tuned;
    size_t n = 0;
    while (pm_device_get_tuned(device, n, &tuned))
        n++;
    return n;
}

void pm__report_tuning(const pm_device *device) {
    const size_t n = pm__count_tuned(device);
    if (n > 0)
        fprintf(stderr,
                "pumice: a tuning is in use: kernels measured on this device for %zu shape%s "
                "(pumice tune --clear forgets it)\n",
                n, n == 1 ? "" : "s");
}

void pm__report_auto(const pm_model *model, uint32_t n_ctx) {
    const uint32_t trained = pm_model_get_info(model)->n_ctx_train;
    if (n_ctx == trained) {
        fprintf(stderr, "pumice: -c auto: all %" PRIu32 " positions the model was trained for\n",
                n_ctx);
        return;
    }
    fprintf(stderr, "pumice: -c auto: %" PRIu32 " positions", n_ctx);
    if (trained)
        fprintf(stderr, " of the %" PRIu32 " the model was trained for", trained);
    fprintf(stderr,
            " fit into memory; of what was free, a part in %d is left to the driver and other "
            "programs\n",
            PM_AUTO_SPARE);
}

void pm__report_start(const pm_session *session) {
    pm_start start;
    pm_session_get_start(session, &start);
    fprintf(stderr,
            "pumice: start: device %.1f ms, model %.1f ms, weights %.1f ms (%.1f MB, %.0f MB/s), "
            "session %.1f ms",
            1e3 * start.device_seconds, 1e3 * start.model_seconds, 1e3 * start.weights_seconds,
            1e-6 * (double)start.weights_bytes,
            start.weights_seconds > 0 ? 1e-6 * (double)start.weights_bytes / start.weights_seconds
                                      : 0.0,
            1e3 * start.session_seconds);
    if (start.n_pipeline > 0) {
        fprintf(stderr,
                "; %" PRIu32 " kernels in %.1f ms, %" PRIu32
                " begun before the weights, waited for %.1f ms (shaders %.1f, driver %.1f, of all "
                "threads)",
                start.n_pipeline, 1e3 * start.compile_seconds, start.n_ahead,
                1e3 * start.wait_seconds, 1e3 * start.shader_seconds, 1e3 * start.driver_seconds);
    }
    fputc('\n', stderr);
}

/* ---- progress -------------------------------------------------------------------------------- */

static void show_progress(pm__progress *progress, const char *what, uint64_t done, uint64_t total) {
    const double time = pm__now();
    const bool terminal = isatty(STDERR_FILENO);
    if (progress->shown_at <= 0)
        progress->shown_at = time;
    /* Work that ends before anybody wonders is not worth a bar. */
    if (time - progress->shown_at < (terminal ? 0.1 : 5.0))
        return;
    progress->shown_at = time;
    const double part = total ? (double)done / (double)total : 0;
    if (!terminal) {
        fprintf(stderr, "pumice: %s %.0f%%\n", what, 100 * part);
        return;
    }
    char bar[31];
    for (int i = 0; i < 30; i++)
        bar[i] = part * 30 > i ? '#' : '.';
    bar[30] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %3.0f%%", what, bar, 100 * part);
    progress->on_screen = true;
}

bool pm__report_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    show_progress(user, what, done, total);
    return !pm__interrupts();
}

void pm__report_progress_end(pm__progress *progress) {
    if (progress->on_screen)
        fputs("\r\033[K", stderr);
    *progress = (pm__progress){0};
}

/* ---- generations ----------------------------------------------------------------------------- */

const char *pm__report_stop(pm_stop stop) {
    static const char *const names[] = {"eos", "length", "stop", "cancelled"};
    return names[stop];
}

double pm__report_rate(const pm_generation *generation) {
    /* The first token belongs to the prompt's time; an end token took a step too. */
    size_t n_drawn = 0;
    for (size_t i = 0; i < generation->n_answer; i++) {
        const pm_answer *answer = &generation->answers[i];
        n_drawn += answer->n_token + (answer->stop == PM_STOP_EOS);
        n_drawn -= n_drawn > 0;
    }
    return generation->generate_seconds > 0 ? (double)n_drawn / generation->generate_seconds : 0;
}

void pm__report_generation(const pm_generation *generation, const pm_device *device) {
    size_t n_token = 0;
    for (size_t i = 0; i < generation->n_answer; i++)
        n_token += generation->answers[i].n_token;
    const double rate = pm__report_rate(generation);
    fprintf(stderr, "%zu token%s", n_token, n_token == 1 ? "" : "s");
    if (rate > 0) {
        /* Answers share a step, so its bytes count once for all of them. */
        const double steps_per_second = rate / (double)generation->n_answer;
        const double bytes = (double)generation->bytes_per_step * steps_per_second;
        pm_device_speed speed;
        fprintf(stderr, "  %.1f tok/s  %.3g ms/tok  %.3g GB/s", rate, 1e3 / rate, 1e-9 * bytes);
        if (pm_device_get_speed(device, &speed))
            fprintf(stderr, " (%.0f%% of copy)", 100 * bytes / speed.copy_bytes_per_second);
    }
    fprintf(stderr, "  first token %.3g ms  #%08x\n", 1e3 * generation->first_token_seconds,
            generation->n_answer ? (unsigned)generation->answers[0].logits_hash : 0u);
}

const char *pm__report_bytes(uint64_t n) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];
    double value = (double)n;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, sizeof texts[0], unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static bool starved;

static void *json_malloc(size_t n) {
    void *block = malloc(n);
    starved = starved || !block;
    return block;
}

void pm__json_begin(void) {
    cJSON_Hooks hooks = {json_malloc, free};
    cJSON_InitHooks(&hooks);
    starved = false;
}

bool pm__json_starved(void) {
    return starved;
}

/* Bytes of the UTF-8 character at text, 0 if there is none: overlong forms and surrogates are none.
 */
static size_t utf8_length(const unsigned char *text, size_t n) {
    static const struct {
        unsigned char lead_least, lead_most, second_least, second_most;
        size_t length;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (text[0] < forms[i].lead_least || text[0] > forms[i].lead_most)
            continue;
        if (forms[i].length > n || (forms[i].length > 1 && (text[1] < forms[i].second_least ||
                                                            text[1] > forms[i].second_most)))
            return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

size_t pm__printable(const char *text, size_t n_byte) {
    const unsigned char *at = (const unsigned char *)text;
    const size_t length = n_byte > 0 ? utf8_length(at, n_byte) : 0;
    const bool is_control =
        length == 1 ? at[0] < 0x20 || at[0] == 0x7f : length == 2 && at[0] == 0xc2 && at[1] < 0xa0;
    return is_control ? 0 : length;
}

void pm__make_plain(char *text) {
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        n = pm__printable(text, left);
        if (n == 0) {
            *text = '?';
            n = 1;
        }
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

cJSON *pm__json_text(const char *text, size_t n_byte) {
    static const char replacement[] = "\xef\xbf\xbd";
    char *clean = n_byte < SIZE_MAX / 4 ? json_malloc(3 * n_byte + 1) : NULL;
    if (!clean)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_byte;) {
        const size_t length = utf8_length((const unsigned char *)text + i, n_byte - i);
        memcpy(clean + n, length ? text + i : replacement, length ? length : 3);
        n += length ? length : 3;
        i += length ? length : 1;
    }
    clean[n] = '\0';
    cJSON *string = cJSON_CreateString(clean);
    free(clean);
    return string;
}

cJSON *pm__json_ids(const int32_t *ids, size_t n) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; array && i < n; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber(ids[i]));
    return array;
}

cJSON *pm__json_start(const pm_session *session) {
    pm_start start;
    pm_session_get_start(session, &start);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "device_seconds", start.device_seconds);
    cJSON_AddNumberToObject(object, "model_seconds", start.model_seconds);
    cJSON_AddNumberToObject(object, "weights_seconds", start.weights_seconds);
    cJSON_AddNumberToObject(object, "weights_bytes", (double)start.weights_bytes);
    cJSON_AddNumberToObject(object, "session_seconds", start.session_seconds);
    cJSON_AddNumberToObject(object, "kernels", start.n_pipeline);
    cJSON_AddNumberToObject(object, "kernels_ahead", start.n_ahead);
    cJSON_AddNumberToObject(object, "compile_seconds", start.compile_seconds);
    cJSON_AddNumberToObject(object, "wait_seconds", start.wait_seconds);
    cJSON_AddNumberToObject(object, "shader_seconds", start.shader_seconds);
    cJSON_AddNumberToObject(object, "driver_seconds", start.driver_seconds);
    return object;
}

cJSON *pm__json_device(const pm_device_info *info) {
    cJSON *device = cJSON_CreateObject();
    cJSON_AddItemToObject(device, "name", pm__json_text(info->name, strlen(info->name)));
    cJSON_AddStringToObject(device, "driver", info->driver);
    cJSON_AddStringToObject(device, "kind", info->kind);
    return device;
}

int pm__json_print(cJSON *document) {
    char *text = document && !starved ? cJSON_PrintUnformatted(document) : NULL;
    cJSON_Delete(document);
    if (!text)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory for the JSON document");
    const bool written = puts(text) >= 0 && fflush(stdout) == 0;
    cJSON_free(text);
    return written ? 0 : pm__cli_error(PM__EXIT_FAILURE, "standard output cannot be written");
}
