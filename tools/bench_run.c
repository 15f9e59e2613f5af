/* bench_run.c: one test of `pumice bench`.
 *
 * A prompt is timed from the call that gives it to the device until the token drawn after it is on
 * the host; an answer from the call with the token before it until its last token is. So a test of
 * N tokens is N rows of the model in either case. Steps draw the likeliest token on the device,
 * which is what lets the host run ahead, and that small kernel is in the times; tokenising,
 * templates and filters of sampling are not. */
#include "bench.h"
#include "profile_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* ---- what is said of device and model -------------------------------------------------------- */

void pm__bench_place_init(pm__bench_place *place, pm_device *device) {
    const pm_device_info *info = pm_device_get_info(device);
    const pm_tier_info *tier = pm__report_tier(info);
    struct utsname os;
    pm_device_speed speed;
    *place = (pm__bench_place){.backend = "Vulkan", .info = *info, .since = pm__now()};
    if (strcmp(info->kind, "cpu") == 0)
        snprintf(place->backend, sizeof place->backend, "CPU");
    else if (pm_device_measure(device, &speed) != PM_OK)
        fprintf(stderr, "pumice: what the device copies is not known: %s\n", pm_last_error());
    else {
        place->copy_rate = speed.copy_bytes_per_second;
        place->flop_rate = speed.flops_per_second;
    }
    snprintf(place->device, sizeof place->device, "%s", info->name);
    snprintf(place->driver, sizeof place->driver, "%s", info->driver);
    snprintf(place->tier, sizeof place->tier, "%s", tier ? tier->tier : "");
    if (uname(&os) == 0)
        snprintf(place->os, sizeof place->os, "%.80s %.80s %.80s", os.sysname, os.release,
                 os.machine);
}

/* "8B", "1.2B", "110M" */
static void print_count(uint64_t n, char out[16]) {
    static const char units[] = "KMBT";
    double value = (double)n / 1e3;
    size_t unit = 0;
    while (value >= 999.5 && units[unit + 1] != '\0') {
        value /= 1e3;
        unit++;
    }
    const bool whole = value >= 9.95 || fabs(value - round(value)) < 0.05;
    snprintf(out, 16, whole ? "%.0f%c" : "%.1f%c", value, units[unit]);
}

/* The type that most of the model's bytes have. */
static const char *main_type(const pm_model *model) {
    enum { MOST_TYPES = 64 };
    struct {
        const char *name;
        uint64_t bytes;
    } types[MOST_TYPES] = {{.name = ""}};
    pm_tensor_info tensor;
    size_t n = 0, best = 0;
    for (uint64_t i = 0; pm_model_get_tensor(model, i, &tensor); i++) {
        size_t k = 0;
        while (k < n && strcmp(types[k].name, tensor.type) != 0)
            k++;
        if (k == MOST_TYPES)
            continue;
        types[k].name = tensor.type;
        types[k].bytes += tensor.bytes;
        n = k == n ? n + 1 : n;
        best = types[k].bytes > types[best].bytes ? k : best;
    }
    return types[best].name;
}

void pm__bench_model_init(pm__bench_model *about, const pm_model *model, const char *file) {
    const pm_model_info *info = pm_model_get_info(model);
    pm_tensor_info tensor;
    char count[16];
    *about = (pm__bench_model){.n_parameter = info->n_parameter,
                               .n_vocab = info->n_vocab,
                               .has_states = info->state_bytes > 0,
                               .bos = info->bos};
    for (uint64_t i = 0; pm_model_get_tensor(model, i, &tensor); i++)
        about->bytes += tensor.bytes;
    print_count(info->n_parameter, count);
    snprintf(about->file, sizeof about->file, "%s", file);
    snprintf(about->type, sizeof about->type, "%.40s %s %.20s", info->architecture, count,
             main_type(model));
    pm__make_plain(about->type);
}

/* ---- one test -------------------------------------------------------------------------------- */

static uint32_t most_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* Tokens of no text: the same ones in each run and for each model of a vocabulary. */
static void draw_ids(const pm__bench_model *about, int32_t *ids, uint32_t n) {
    uint64_t state = 1;
    for (uint32_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((state >> 33) % about->n_vocab);
    }
    if (about->bos >= 0)
        ids[0] = about->bos;
}

pm_session_desc pm__bench_session_desc(const pm__bench_job *job) {
    const pm__bench_case *what = &job->what;
    const uint64_t n_ctx = (uint64_t)what->n_depth + most_u32(what->n_prompt, 1) + what->n_gen + 1;
    pm_session_desc desc = job->session;
    desc.n_ctx = n_ctx > UINT32_MAX - 1 ? UINT32_MAX - 1 : (uint32_t)n_ctx;
    desc.n_batch = what->n_ubatch;
    desc.n_seq = what->n_answer;
    desc.cache_type_k = what->type_k;
    desc.cache_type_v = what->type_v;
    return desc;
}

int pm__bench_session_open(const pm__bench_job *job, const pm_session_desc *desc,
                           pm__bench_session *out) {
    *out = (pm__bench_session){.desc = *desc};
    PM__CHECK(pm__cli_status(pm_session_open(job->model, desc, &out->session)));
    out->ids = malloc(desc->n_ctx * sizeof *out->ids);
    if (!out->ids) {
        pm__bench_session_close(out);
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "bench: no memory for %" PRIu32 " token ids",
                             desc->n_ctx);
    }
    draw_ids(job->about, out->ids, desc->n_ctx);
    return 0;
}

void pm__bench_session_close(pm__bench_session *session) {
    pm_session_close(session->session);
    free(session->ids);
    *session = (pm__bench_session){0};
}

/* Puts n_depth tokens, and no more, into the context. */
static int go_to_depth(const pm__bench_job *job, pm__bench_session *in) {
    const uint32_t n_depth = job->what.n_depth, step = job->what.n_ubatch;
    const uint32_t length = pm_session_length(in->session, 0);
    uint32_t done = job->about->has_states ? 0 : in->n_filled;
    done = done < n_depth ? done : n_depth;
    done = done < length ? done : length;
    PM__CHECK(pm__cli_status(pm_session_rewind(in->session, 0, done)));
    in->n_filled = done;
    while (done < n_depth) {
        const uint32_t n = n_depth - done < step ? n_depth - done : step;
        PM__CHECK(pm__cli_status(pm_session_eval(in->session, 0, in->ids + done, n, NULL)));
        in->n_filled = done += n;
        if (pm__interrupts())
            return PM__EXIT_CANCELLED;
    }
    return 0;
}

static bool go_on(void *user, uint32_t answer, const char *text, size_t n_byte) {
    (void)user, (void)answer, (void)text, (void)n_byte;
    return !pm__interrupts();
}

static int take_generation(pm__bench_test *t, const pm_generation *generation,
                           pm__bench_sample sample) {
    const size_t n_token = generation->answers[0].n_token;
    PM__CHECK(pm__cli_grow("bench", &t->samples, t->n, &t->capacity, sizeof *t->samples));
    t->samples[t->n++] = sample;
    t->first_seconds += generation->first_token_seconds;
    t->host_seconds += n_token > 1 ? generation->host_seconds : 0;
    t->n_host_token += n_token > 1 ? (n_token - 1) * generation->n_answer : 0;
    t->bytes_per_step = generation->bytes_per_step;
    t->n_dispatch = generation->n_dispatch;
    t->n_barrier = generation->n_barrier;
    return 0;
}

int pm__bench_once(pm__bench_test *test, pm__bench_session *in, bool keep) {
    const pm__bench_case *what = &test->job.what;
    const pm_sampling likeliest = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};
    /* The token that follows the prompt comes with the prompt's last step. */
    const bool both = what->n_prompt > 0 && what->n_gen > 0;
    const pm_generate_desc desc = {.prompt = in->ids,
                                   .n_prompt = most_u32(what->n_prompt, 1),
                                   .sampling = &likeliest,
                                   .n_predict = most_u32(what->n_gen + both, 1),
                                   .n_answer = what->n_gen > 0 ? what->n_answer : 1,
                                   .ignore_eos = true,
                                   .run_ahead = test->job.run_ahead,
                                   .on_text = go_on};
    pm_generation *generation = NULL;
    PM__CHECK(go_to_depth(&test->job, in));
    const double joules = pm__energy_joules(test->job.energy);
    const double start = pm__now();
    PM__CHECK(pm__cli_status(pm_generate(in->session, &desc, &generation)));
    const pm__bench_sample sample = {.at = start, .seconds = pm__now() - start};
    bool whole = true;
    int code = 0;
    for (size_t i = 0; i < generation->n_answer; i++)
        whole = whole && generation->answers[i].n_token == desc.n_predict;
    if (whole && keep) {
        code = take_generation(test, generation, sample);
        test->joules += pm__energy_joules(test->job.energy) - joules;
    }
    pm_generation_free(generation);
    if (code == 0 && pm__interrupts())
        return PM__EXIT_CANCELLED;
    return whole ? code : pm__cli_error(PM__EXIT_FAILURE, "bench: an answer ended too early");
}

int pm__bench_rest(const pm__bench_job *job) {
    const double end = pm__now() + job->delay;
    static const struct timespec moment = {.tv_nsec = 50000000};
    while (pm__now() < end && !pm__interrupts())
        nanosleep(&moment, NULL);
    return pm__interrupts() ? PM__EXIT_CANCELLED : 0;
}

static int run_all(pm__bench_test *test, pm__bench_session *in) {
    const pm__bench_job *job = &test->job;
    const pm_session_desc desc = pm__bench_session_desc(job);
    pm__progress progress = {0};
    char name[64];
    pm__bench_name(&job->what, name);
    PM__CHECK(pm__bench_rest(job));
    int code = pm__bench_session_open(job, &desc, in);
    if (code == 0 && job->warmup)
        code = pm__bench_once(test, in, false);
    for (uint32_t i = 0; i < job->n_repeat && code == 0; i++) {
        code = pm__bench_once(test, in, true);
        if (!job->quiet && !pm__report_progress(&progress, name, i + 1, job->n_repeat))
            code = PM__EXIT_CANCELLED;
    }
    pm__report_progress_end(&progress);
    return code;
}

/* ---- what came out --------------------------------------------------------------------------- */

double pm__bench_tokens(const pm__bench_case *what) {
    return (double)what->n_prompt + (double)what->n_gen * what->n_answer;
}

void pm__bench_name(const pm__bench_case *what, char out[64]) {
    int n = 0;
    if (what->n_prompt > 0)
        n = snprintf(out, 64, "pp%" PRIu32, what->n_prompt);
    if (what->n_gen > 0)
        n += snprintf(out + n, 64 - (size_t)n, "%stg%" PRIu32, n > 0 ? "+" : "", what->n_gen);
    if (what->n_answer > 1 && what->n_gen > 0)
        n += snprintf(out + n, 64 - (size_t)n, " x%" PRIu32, what->n_answer);
    if (what->n_depth > 0)
        snprintf(out + n, 64 - (size_t)n, " @ d%" PRIu32, what->n_depth);
}

/* Mean, and standard deviation of a sample. */
static void summarise(const double *x, uint32_t n, double *mean, double *deviation) {
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
}

static void fill_times(pm__bench_row *row, double *scratch) {
    const double n_token = pm__bench_tokens(&row->what);
    for (uint32_t i = 0; i < row->n; i++)
        scratch[i] = 1e9 * row->samples[i].seconds;
    summarise(scratch, row->n, &row->avg_ns, &row->stddev_ns);
    for (uint32_t i = 0; i < row->n; i++)
        scratch[i] = n_token / row->samples[i].seconds;
    summarise(scratch, row->n, &row->avg_ts, &row->stddev_ts);
    for (uint32_t i = 0; i < row->n; i++)
        row->best_ts = fmax(row->best_ts, scratch[i]);
}

/* Only where steps of one row are all that was timed. */
static void fill_bandwidth(const pm__bench_test *b, pm__bench_row *row) {
    if (row->what.n_prompt > 0)
        return;
    /* Answers share a step, so its bytes count once for all of them. */
    row->bytes_per_token = (double)b->bytes_per_step / row->what.n_answer;
    row->bytes_per_second = row->bytes_per_token * row->avg_ts;
    if (row->place->copy_rate > 0)
        row->copy_percent = 100 * row->bytes_per_second / row->place->copy_rate;
    if (b->n_dispatch > 0 && row->what.n_answer == 1) {
        row->n_dispatch = b->n_dispatch;
        row->n_barrier = b->n_barrier;
    }
}

/* Counters move in steps of some tens of milliseconds: shorter tests say nothing. */
static void fill_energy(const pm__bench_test *b, pm__bench_row *row) {
    const double n_token = b->n * pm__bench_tokens(&row->what);
    if (1e-9 * row->avg_ns * b->n < 0.3 || !(b->joules > 0))
        return;
    row->joules = b->joules / n_token;
    row->energy_source = b->job.energy->source;
}

static void begin_row(const pm__bench_test *test, pm__bench_row *row) {
    const double ago = test->n > 0 ? pm__now() - test->samples[0].at : 0;
    const time_t begun = time(NULL) - (time_t)ago;
    struct tm parts;
    *row = (pm__bench_row){.place = test->job.place,
                           .model = test->job.about,
                           .what = test->job.what,
                           .samples = test->samples,
                           .n = test->n,
                           .bytes_per_second = NAN,
                           .bytes_per_token = NAN,
                           .copy_percent = NAN,
                           .n_dispatch = NAN,
                           .n_barrier = NAN,
                           .host_us = NAN,
                           .joules = NAN,
                           .energy_source = ""};
    pm__bench_name(&row->what, row->test);
    if (gmtime_r(&begun, &parts))
        strftime(row->time, sizeof row->time, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* As long as the session is open, whose names it has. */
static int take_profile(const pm__bench_test *test, const pm__bench_session *in,
                        pm__bench_row *row) {
    pm_profile *profile = NULL;
    PM__CHECK(pm__cli_status(pm_session_get_profile(in->session, &profile)));
    fprintf(stderr, "pumice: profile of %s\n", row->test);
    pm__report_start(in->session);
    pm__profile_print(profile, test->job.profile_nodes);
    row->profile = pm__profile_json(profile);
    pm_profile_free(profile);
    return 0;
}

int pm__bench_fill(const pm__bench_test *test, const pm__bench_session *in, pm__bench_row *row) {
    begin_row(test, row);
    if (row->n == 0)
        return 0;
    double *scratch = malloc(row->n * sizeof *scratch);
    if (!scratch) {
        row->n = 0;
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "bench: no memory for %" PRIu32 " times",
                             test->n);
    }
    fill_times(row, scratch);
    free(scratch);
    fill_bandwidth(test, row);
    row->first_token_ms = 1e3 * test->first_seconds / row->n;
    fill_energy(test, row);
    if (test->n_host_token > 0)
        row->host_us = 1e6 * test->host_seconds / (double)test->n_host_token;
    return in && in->desc.profile ? take_profile(test, in, row) : 0;
}

int pm__bench_run(pm__bench_test *test, pm__bench_row *row) {
    pm__bench_session in = {0};
    const int code = run_all(test, &in);
    const bool shown = code == 0 || code == PM__EXIT_CANCELLED;
    *row = (pm__bench_row){0};
    const int filled = shown ? pm__bench_fill(test, &in, row) : 0;
    pm__bench_session_close(&in);
    return filled ? filled : code;
}

void pm__bench_test_finish(pm__bench_test *test) {
    free(test->samples);
    *test = (pm__bench_test){0};
}
