/* pumice bench: tokens per second of prompts and answers. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "bench_list.h"
#include "checker.h"
#include "kernel_times.h"
#include "new_file.h"
#include "sweep.h"

enum {
    DEFAULT_PROMPT = 512,
    DEFAULT_GEN = 128,
    DEFAULT_BATCH = 512,
    DEFAULT_REPEAT = 5,
    SWEEP_REPEAT = 3
};
enum { MOST_TOKENS = 1 << 19, MOST_BATCH = 16384, MOST_THREADS = 4096, MOST_ANSWERS = 1024 };

typedef struct pair {
    uint32_t n_prompt, n_gen;
} pair;

/* The lists, read. */
typedef struct lists {
    pm__numbers prompts, gens, answers, depths, batches, ubatches, threads;
    pm__words types_k, types_v;
    pair pairs[PM__MOST_TEXTS];
    size_t n_pair;
} lists;

/* A run of the command. */
typedef struct bench {
    const pm__options *options;
    const lists *lists;
    pm__bench_printer printer;
    uint32_t n_repeat;
    pm__cli cli;      /* the device, and the model whose turn it is */
    pm__options open; /* what it is opened with */
    pm__bench_place place;
    pm__bench_model about;
    pm__energy energy;
    pm__curves curves;
    pm__sweeper sweeper;
    double bytes_per_token; /* of the present model, as far as a row has told; 0: none has */
} bench;

/* ---- what is asked for ----------------------------------------------------------------------- */

static int read_pairs(const pm__texts *texts, lists *out) {
    for (size_t i = 0; i < texts->n; i++) {
        const pm__texts one = {.items = {texts->items[i]}, .n = 1};
        pair *to = &out->pairs[out->n_pair++];
        pm__numbers two; /* 4096 numbers; a list leaves out what comes twice */
        PM__CHECK(pm__numbers_read(&two, &one, "-pg", 1, MOST_TOKENS));
        if (two.n > 2 || !strchr(texts->items[i], ','))
            return pm__cli_error(PM__EXIT_ARGUMENT,
                                 "bench: -pg: '%.60s' is not two numbers such as 512,128",
                                 texts->items[i]);
        *to = (pair){.n_prompt = two.items[0], .n_gen = two.items[two.n - 1]};
    }
    return 0;
}

static int read_lists(const pm__bench_options *b, lists *out) {
    static const uint32_t tokens[] = {0, MOST_TOKENS}, rows[] = {1, MOST_BATCH},
                          processors[] = {0, MOST_THREADS}, sequences[] = {1, MOST_ANSWERS};
    const bool alone = b->pairs.n > 0; /* then nothing else comes by default */
    PM__CHECK(
        pm__numbers_read_or(&out->prompts, &b->prompts, "-p", tokens, alone ? 0 : DEFAULT_PROMPT));
    PM__CHECK(pm__numbers_read_or(&out->gens, &b->gens, "-n", tokens, alone ? 0 : DEFAULT_GEN));
    PM__CHECK(pm__numbers_read_or(&out->answers, &b->answers, "-a", sequences, 1));
    PM__CHECK(pm__numbers_read_or(&out->depths, &b->depths, "-d", tokens, 0));
    PM__CHECK(pm__numbers_read_or(&out->threads, &b->threads, "-t", processors, 0));
    PM__CHECK(pm__numbers_read_or(&out->batches, &b->batches, "-b", rows, 0));
    PM__CHECK(pm__numbers_read_or(&out->ubatches, &b->ubatches, "-ub", rows, 0));
    PM__CHECK(pm__words_read(&out->types_k, &b->types_k, "-ctk", "f16"));
    PM__CHECK(pm__words_read(&out->types_v, &b->types_v, "-ctv", "f16"));
    return read_pairs(&b->pairs, out);
}

static uint32_t count_threads(uint32_t asked) {
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return asked ? asked : n > 0 ? (uint32_t)n : 1;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static int run_job(bench *b, const pm__bench_job *job) {
    pm__bench_test test = {.job = *job};
    pm__bench_row row;
    const int code = pm__bench_run(&test, &row);
    if (row.n > 0 && isfinite(row.bytes_per_token))
        b->bytes_per_token = row.bytes_per_token;
    const int said = row.n > 0 ? pm__bench_print(&b->printer, &row) : 0;
    cJSON_Delete(row.profile);
    pm__bench_test_finish(&test);
    return code ? code : said;
}

static int run_case(bench *b, const pm__bench_case *what) {
    if (what->n_prompt == 0 && what->n_gen == 0)
        return 0;
    const pm__bench_job job = {.model = b->cli.model,
                               .place = &b->place,
                               .about = &b->about,
                               .what = *what,
                               .energy = &b->energy,
                               .n_repeat = b->n_repeat,
                               .delay = b->options->bench.delay,
                               .run_ahead = b->options->run_ahead,
                               .warmup = !b->options->bench.no_warmup,
                               .profile_nodes = b->options->verbose,
                               .session = pm__cli_session_desc(b->options)};
    return b->curves.kind != PM__SWEEP_NONE ? pm__sweep_add(&b->sweeper, &job) : run_job(b, &job);
}

static int run_prompts(bench *b, pm__bench_case what) {
    const pm__numbers *prompts = &b->lists->prompts;
    what.n_answer = 1;
    for (size_t i = 0; i < prompts->n; i++) {
        what.n_prompt = prompts->items[i];
        PM__CHECK(run_case(b, &what));
    }
    return 0;
}

static int run_answers(bench *b, pm__bench_case what) {
    const lists *l = b->lists;
    for (size_t i = 0; i < l->gens.n; i++) {
        what.n_gen = l->gens.items[i];
        PM__CHECK(run_case(b, &what));
    }
    for (size_t i = 0; i < l->n_pair; i++) {
        what.n_prompt = l->pairs[i].n_prompt;
        what.n_gen = l->pairs[i].n_gen;
        PM__CHECK(run_case(b, &what));
    }
    return 0;
}

/* All tests of one setting: prompts, answers, then both together. */
static int run_setting(bench *b, pm__bench_case *setting) {
    const pm__numbers *answers = &b->lists->answers;
    PM__CHECK(run_prompts(b, *setting));
    for (size_t i = 0; i < answers->n; i++) {
        setting->n_answer = answers->items[i];
        PM__CHECK(run_answers(b, *setting));
    }
    return 0;
}

static int run_types(bench *b, pm__bench_case *setting) {
    const lists *l = b->lists;
    for (size_t k = 0; k < l->types_k.n; k++) {
        for (size_t v = 0; v < l->types_v.n; v++) {
            setting->type_k = l->types_k.items[k];
            setting->type_v = l->types_v.items[v];
            PM__CHECK(run_setting(b, setting));
        }
    }
    return 0;
}

/* Either of the two names alone says both; of both the smaller one is what a step has. */
static void set_batch(pm__bench_case *setting, uint32_t batch, uint32_t ubatch) {
    const uint32_t n_batch = batch ? batch : ubatch ? ubatch : DEFAULT_BATCH;
    setting->n_batch = n_batch;
    setting->n_ubatch = ubatch && ubatch < n_batch ? ubatch : n_batch;
}

/* Whether a step of as many rows was there before. */
static bool is_again(const lists *l, size_t at, uint32_t n_ubatch) {
    for (size_t i = 0; i < at; i++) {
        pm__bench_case before;
        set_batch(&before, l->batches.items[i / l->ubatches.n],
                  l->ubatches.items[i % l->ubatches.n]);
        if (before.n_ubatch == n_ubatch)
            return true;
    }
    return false;
}

static int run_batches(bench *b, pm__bench_case *setting) {
    const lists *l = b->lists;
    for (size_t i = 0; i < l->batches.n * l->ubatches.n; i++) {
        set_batch(setting, l->batches.items[i / l->ubatches.n],
                  l->ubatches.items[i % l->ubatches.n]);
        if (!is_again(l, i, setting->n_ubatch))
            PM__CHECK(run_types(b, setting));
    }
    return 0;
}

static int run_model(bench *b, uint32_t n_thread) {
    const lists *l = b->lists;
    PM__CHECK(pm__cli_open_model(&b->cli, PM__NEED_MODEL));
    PM__CHECK(pm__check_first_use(&b->cli));
    pm__report_quarantine(b->cli.device);
    pm__bench_model_init(&b->about, b->cli.model, b->cli.model_path);
    b->bytes_per_token = 0;
    for (size_t i = 0; i < l->depths.n; i++) {
        pm__bench_case setting = {.n_depth = l->depths.items[i],
                                  .n_thread = count_threads(n_thread)};
        PM__CHECK(run_batches(b, &setting));
    }
    return pm__sweep_run(&b->sweeper, &b->printer);
}

/* ---- the CPU reference ----------------------------------------------------------------------- */

static const double REFERENCE_SECONDS = 2.0;      /* of each of its two rows, about */
static const double MOST_REFERENCE_SECONDS = 8.0; /* a token */
static const double PARAMETER_SECONDS = 2.5e-9;   /* of one thread */

/* Seconds that a token may take, before anything is known of the machine. */
static double guess_reference(const bench *b) {
    const double part = b->bytes_per_token > 0 ? b->bytes_per_token / (double)b->about.bytes : 1.0;
    return PARAMETER_SECONDS * (double)b->about.n_parameter * (part < 1 ? part : 1) /
           count_threads(b->open.n_thread);
}

/* Tokens that take about REFERENCE_SECONDS, if that is not more than was asked for, in a list or in
 * a pair. */
static uint32_t fit_tokens(const pm__numbers *asked, uint32_t least, double token_seconds) {
    uint32_t most = least;
    for (size_t i = 0; i < asked->n; i++)
        most = asked->items[i] > most ? asked->items[i] : most;
    const double fit = REFERENCE_SECONDS / token_seconds;
    return fit < 1 ? most > 0 : fit < most ? (uint32_t)fit : most;
}

static int time_token(const pm__bench_job *job, double *seconds) {
    pm__bench_test test = {.job = *job};
    pm__bench_row row;
    const int code = pm__bench_run(&test, &row);
    *seconds = 1e-9 * row.avg_ns;
    pm__bench_test_finish(&test);
    return code;
}

/* A prompt and an answer, as long as a few seconds allow. */
static int run_reference(bench *b) {
    const lists *l = b->lists;
    pm__bench_job job = {.model = b->cli.model,
                         .place = &b->place,
                         .about = &b->about,
                         .energy = &b->energy,
                         .session = pm__cli_session_desc(b->options),
                         .n_repeat = 1,
                         .quiet = true,
                         .what = {.n_gen = 1,
                                  .n_answer = 1,
                                  .n_batch = DEFAULT_BATCH,
                                  .n_ubatch = DEFAULT_BATCH,
                                  .n_thread = count_threads(b->open.n_thread),
                                  .type_k = l->types_k.items[0],
                                  .type_v = l->types_v.items[0]}};
    job.session.profile = false;
    double token_seconds;
    PM__CHECK(time_token(&job, &token_seconds));
    const pair both = l->n_pair ? l->pairs[0] : (pair){0, 0};
    const uint32_t n_prompt = fit_tokens(&l->prompts, both.n_prompt, token_seconds);
    const uint32_t n_gen = fit_tokens(&l->gens, both.n_gen, token_seconds);
    for (int i = 0; i < 2; i++) {
        job.what.n_prompt = i == 0 ? n_prompt : 0;
        job.what.n_gen = i == 1 ? n_gen : 0;
        if (job.what.n_prompt + job.what.n_gen == 0)
            continue;
        PM__CHECK(run_job(b, &job));
    }
    return 0;
}

/* On the CPU path, in a device of its own; nothing else of the command needs the model any more. */
static int add_reference(bench *b) {
    const double guess = guess_reference(b);
    if (b->options->bench.no_cpu || strcmp(b->place.backend, "CPU") == 0)
        return 0;
    if (guess > MOST_REFERENCE_SECONDS) {
        fprintf(stderr,
                "pumice: the CPU reference is left out: a token may take it %.0f s; --device cpu "
                "measures it\n",
                guess);
        return 0;
    }
    bench cpu = *b;
    cpu.cli = (pm__cli){0};
    cpu.open.device = "cpu";
    cpu.open.require_gpu = false;
    int code = pm__cli_open_device(&cpu.cli, &cpu.open);
    if (code == 0)
        code = pm__cli_open_model(&cpu.cli, PM__NEED_MODEL);
    if (code == 0) {
        pm__bench_place_init(&cpu.place, cpu.cli.device);
        pm__energy_init(&cpu.energy, &cpu.place.info, "");
        code = run_reference(&cpu);
        pm__energy_finish(&cpu.energy);
    }
    b->printer = cpu.printer;
    pm__cli_close(&cpu.cli);
    return code == PM__EXIT_OUT_OF_MEMORY ? 0 : code; /* it has said so, and is left out */
}

/* ---- devices and models ---------------------------------------------------------------------- */

static void close_model(bench *b) {
    pm_model_close(b->cli.model);
    b->cli.model = NULL;
}

static int run_models(bench *b, uint32_t n_thread) {
    const pm__texts *files = &b->options->bench.models, *synthetics = &b->options->bench.synthetics;
    const size_t n = files->n + synthetics->n;
    int code = 0;
    for (size_t i = 0; i < (n ? n : 1) && code == 0; i++) {
        b->open.model = i < files->n ? files->items[i] : NULL;
        b->open.synthetic = i >= files->n && n ? synthetics->items[i - files->n] : NULL;
        code = run_model(b, n_thread);
        pm__sweep_finish(&b->sweeper);
        close_model(b);
        if (code == 0)
            code = add_reference(b);
    }
    return code;
}

static int run_device(bench *b, uint32_t n_thread) {
    b->open = *b->options;
    b->open.n_thread = n_thread;
    int code = pm__cli_open(&b->cli, &b->open, PM__NEED_DEVICE);
    if (code == 0) {
        pm__bench_place_init(&b->place, b->cli.device);
        pm__energy_init(&b->energy, &b->place.info, "");
        code = run_models(b, n_thread);
        pm__energy_finish(&b->energy);
    }
    pm__cli_close(&b->cli);
    return code;
}

static int run_all(bench *b) {
    const lists *l = b->lists;
    int code = 0;
    for (size_t i = 0; i < l->threads.n && code == 0; i++)
        code = run_device(b, l->threads.items[i]);
    if (code != 0 && code != PM__EXIT_CANCELLED && !b->printer.begun)
        return code;
    const int ended = pm__bench_print_end(&b->printer);
    return code ? code : ended;
}

/* ---- sweeps ---------------------------------------------------------------------------------- */

/* What is measured where nobody says. */
static const struct {
    const char *prompts, *gens, *depths, *answers, *ubatches;
} sweeps[] = {
    [PM__SWEEP_BATCH] = {"0", "16", "0", "1-16,18-32+2,36-64+4", "512"},
    [PM__SWEEP_DEPTH] = {"0", "16", "0-8192+512", "1", "512"},
    [PM__SWEEP_UBATCH] = {"512", "0", "0", "1", "1-512*2"},
};

static void set_default(pm__texts *texts, const char *text) {
    if (texts->n == 0)
        *texts = (pm__texts){.items = {text}, .n = 1};
}

static int begin_sweep(bench *b, pm__bench_options *asked) {
    if (!asked->sweep)
        return asked->plot ? pm__cli_error(PM__EXIT_ARGUMENT, "bench: --plot draws a --sweep") : 0;
    if (!pm__sweep_find(asked->sweep, &b->curves.kind))
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "bench: --sweep: '%.40s' is none of batch, depth, ubatch",
                             asked->sweep);
    const pm__sweep kind = b->curves.kind;
    if (b->options->profile)
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "bench: --profile is of a session, and points of a --sweep share "
                             "them; profile one point");
    b->sweeper.curves = &b->curves;
    set_default(&asked->prompts, asked->pairs.n ? "0" : sweeps[kind].prompts);
    set_default(&asked->gens, sweeps[kind].gens);
    set_default(&asked->depths, sweeps[kind].depths);
    set_default(&asked->answers, sweeps[kind].answers);
    if (asked->batches.n == 0)
        set_default(&asked->ubatches, sweeps[kind].ubatches);
    if (asked->n_repeat == 0)
        asked->n_repeat = SWEEP_REPEAT;
    asked->no_cpu = true;
    b->printer.cliffs = true;
    return 0;
}

/* Opened before anything is measured: a folder that is not there costs no time then. */
static int open_plot(const bench *b, pm__new_file *plot) {
    const char *path = b->options->bench.plot;
    if (!path || pm__new_file_open(plot, path))
        return 0;
    return pm__cli_error(PM__EXIT_FAILURE, "bench: %s cannot be written: %s", path,
                         strerror(errno));
}

static int close_plot(const bench *b, pm__new_file *plot) {
    const char *path = b->options->bench.plot;
    if (!path)
        return 0;
    errno = 0;
    const bool some = b->curves.n > 0;
    const bool drawn = !some || pm__plot_write(&b->curves, plot->stream);
    const int error = errno;
    if (pm__new_file_close(plot, some && drawn) || (!some && drawn))
        return 0;
    return pm__cli_error(PM__EXIT_FAILURE, "bench: %s cannot be written: %s", path,
                         strerror(drawn ? errno : error));
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run_and_draw(bench *b) {
    pm__new_file plot;
    PM__CHECK(open_plot(b, &plot));
    const int code = run_all(b), drawn = close_plot(b, &plot);
    return code && code != PM__EXIT_CANCELLED ? code : drawn ? drawn : code;
}

static int bench_run(pm__options *options) {
    pm__bench_options *asked = &options->bench;
    static lists l;
    static bench b;
    if (asked->kernels && options->profile)
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "bench: --kernels and --profile are two kinds of measurement; give "
                             "one of them");
    if (asked->kernels)
        return pm__bench_kernels(options);
    pm__interrupt_catch();
    PM__CHECK(pm__bench_format_read(asked->format, &b.printer.format));
    b.options = options;
    b.lists = &l;
    b.printer.batches = asked->batches.n + asked->ubatches.n > 0;
    PM__CHECK(begin_sweep(&b, asked));
    PM__CHECK(read_lists(asked, &l));
    b.n_repeat = asked->n_repeat ? asked->n_repeat : DEFAULT_REPEAT;
    b.printer.threads = asked->threads.n > 0;
    b.printer.batches |= b.curves.kind == PM__SWEEP_UBATCH;
    b.printer.types_k = asked->types_k.n > 0;
    b.printer.types_v = asked->types_v.n > 0;
    const int code = run_and_draw(&b);
    pm__curves_finish(&b.curves);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_BENCH_MODEL,   PM__OPT_BENCH_SYNTHETIC, PM__OPT_BENCH_PROMPT,  PM__OPT_BENCH_GEN,
    PM__OPT_BENCH_PAIR,    PM__OPT_BENCH_DEPTH,     PM__OPT_BENCH_BATCH,   PM__OPT_BENCH_UBATCH,
    PM__OPT_BENCH_TYPE_K,  PM__OPT_BENCH_TYPE_V,    PM__OPT_BENCH_THREADS, PM__OPT_BENCH_REPEAT,
    PM__OPT_BENCH_DELAY,   PM__OPT_BENCH_NO_WARMUP, PM__OPT_BENCH_NO_CPU,  PM__OPT_BENCH_ANSWERS,
    PM__OPT_BENCH_KERNELS, PM__OPT_BENCH_SWEEP,     PM__OPT_BENCH_PLOT,    PM__OPT_BENCH_OUTPUT,
    PM__OPTS_DEVICE,       PM__OPT_PROFILE,         PM__OPT_VERBOSE};

const pm__spec pm__spec_bench = {
    options_taken, sizeof options_taken, bench_run,
    "LIST is 512, 128,256, 1-8, 0-4096+512 or 1-64*2, and may be given several times; each list "
    "forms a cross product with the others. Rows: ppN is a prompt of N tokens, tgN an answer of N, "
    "'@ dN' behind N tokens that are in the context already. Times are those of the model's steps "
    "with the choice of the likeliest token on the device; tokenising and filters of sampling are "
    "not in them. Each test runs once before it is measured."};
