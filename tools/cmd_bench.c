/* pumice bench: tokens per second of prompts and answers. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "bench_list.h"
#include "checker.h"

enum { DEFAULT_PROMPT = 512, DEFAULT_GEN = 128, DEFAULT_BATCH = 512, DEFAULT_REPEAT = 5 };
enum { MOST_TOKENS = 1 << 19, MOST_BATCH = 16384, MOST_THREADS = 4096 };

typedef struct pair {
    uint32_t n_prompt, n_gen;
} pair;

/* The lists, read. */
typedef struct lists {
    pm__numbers prompts, answers, depths, batches, ubatches, threads;
    pm__words types_k, types_v;
    pair pairs[PM__MOST_TEXTS];
    size_t n_pair;
} lists;

/* A run of the command. */
typedef struct bench {
    const pm__options *options;
    const lists *lists;
    pm__bench_printer printer;
    double *seconds; /* [n_repeat] */
    uint32_t n_repeat;
    pm__cli cli;      /* the device, and the model whose turn it is */
    pm__options open; /* what it is opened with */
    pm__bench_place place;
    pm__bench_model about;
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
                          processors[] = {0, MOST_THREADS};
    const bool alone = b->pairs.n > 0; /* then nothing else comes by default */
    PM__CHECK(
        pm__numbers_read_or(&out->prompts, &b->prompts, "-p", tokens, alone ? 0 : DEFAULT_PROMPT));
    PM__CHECK(
        pm__numbers_read_or(&out->answers, &b->answers, "-n", tokens, alone ? 0 : DEFAULT_GEN));
    PM__CHECK(pm__numbers_read_or(&out->depths, &b->depths, "-d", tokens, 0));
    PM__CHECK(pm__numbers_read_or(&out->threads, &b->threads, "-t", processors, 0));
    PM__CHECK(pm__numbers_read_or(&out->batches, &b->batches, "-b", rows, 0));
    PM__CHECK(pm__numbers_read_or(&out->ubatches, &b->ubatches, "-ub", rows, 0));
    PM__CHECK(pm__words_read(&out->types_k, &b->types_k, "-ctk", "f16"));
    PM__CHECK(pm__words_read(&out->types_v, &b->types_v, "-ctv", "f16"));
    return read_pairs(&b->pairs, out);
}

static int read_format(const char *name, pm__bench_format *out) {
    if (!name || pm__bench_format_find(name, out))
        return 0;
    return pm__cli_error(PM__EXIT_ARGUMENT, "bench: -o: '%.40s' is none of md, csv, json, jsonl",
                         name);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static int rest(uint32_t seconds) {
    const double end = pm__now() + seconds;
    static const struct timespec moment = {.tv_nsec = 50000000};
    while (pm__now() < end && !pm__interrupts())
        nanosleep(&moment, NULL);
    return pm__interrupts() ? PM__EXIT_CANCELLED : 0;
}

static int run_case(bench *b, const pm__bench_case *what) {
    if (what->n_prompt == 0 && what->n_gen == 0)
        return 0;
    const pm__bench_job job = {.model = b->cli.model,
                               .place = &b->place,
                               .about = &b->about,
                               .what = *what,
                               .n_repeat = b->n_repeat,
                               .run_ahead = b->options->run_ahead,
                               .warmup = !b->options->bench.no_warmup,
                               .deterministic = b->options->deterministic};
    pm__bench_row row;
    PM__CHECK(rest(b->options->bench.delay));
    const int code = pm__bench_run(&job, b->seconds, &row);
    const int printed = row.n > 0 ? pm__bench_print(&b->printer, &row) : 0;
    return code ? code : printed;
}

/* All tests of one setting: prompts, answers, then both together. */
static int run_setting(bench *b, const pm__bench_case *setting) {
    const lists *l = b->lists;
    pm__bench_case what = *setting;
    for (size_t i = 0; i < l->prompts.n; i++) {
        what.n_prompt = l->prompts.items[i];
        PM__CHECK(run_case(b, &what));
    }
    what.n_prompt = 0;
    for (size_t i = 0; i < l->answers.n; i++) {
        what.n_gen = l->answers.items[i];
        PM__CHECK(run_case(b, &what));
    }
    for (size_t i = 0; i < l->n_pair; i++) {
        what.n_prompt = l->pairs[i].n_prompt;
        what.n_gen = l->pairs[i].n_gen;
        PM__CHECK(run_case(b, &what));
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
    for (size_t i = 0; i < l->depths.n; i++) {
        pm__bench_case setting = {.n_depth = l->depths.items[i], .n_thread = n_thread};
        PM__CHECK(run_batches(b, &setting));
    }
    return 0;
}

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
        close_model(b);
    }
    return code;
}

static int run_device(bench *b, uint32_t n_thread) {
    b->open = *b->options;
    b->open.n_thread = n_thread;
    int code = pm__cli_open(&b->cli, &b->open, PM__NEED_DEVICE);
    if (code == 0) {
        pm__bench_place_init(&b->place, b->cli.device);
        code = run_models(b, n_thread);
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

static int bench_run(pm__options *options) {
    const pm__bench_options *asked = &options->bench;
    static lists l;
    static bench b;
    pm__interrupt_catch();
    PM__CHECK(read_format(asked->format, &b.printer.format));
    PM__CHECK(read_lists(asked, &l));
    b.options = options;
    b.lists = &l;
    b.n_repeat = asked->n_repeat ? asked->n_repeat : DEFAULT_REPEAT;
    b.printer.threads = asked->threads.n > 0;
    b.printer.batches = asked->batches.n + asked->ubatches.n > 0;
    b.printer.types_k = asked->types_k.n > 0;
    b.printer.types_v = asked->types_v.n > 0;
    b.seconds = malloc(b.n_repeat * sizeof *b.seconds);
    if (!b.seconds)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "bench: no memory for %" PRIu32 " times",
                             b.n_repeat);
    const int code = run_all(&b);
    free(b.seconds);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_BENCH_MODEL,  PM__OPT_BENCH_SYNTHETIC, PM__OPT_BENCH_PROMPT,  PM__OPT_BENCH_GEN,
    PM__OPT_BENCH_PAIR,   PM__OPT_BENCH_DEPTH,     PM__OPT_BENCH_BATCH,   PM__OPT_BENCH_UBATCH,
    PM__OPT_BENCH_TYPE_K, PM__OPT_BENCH_TYPE_V,    PM__OPT_BENCH_THREADS, PM__OPT_BENCH_REPEAT,
    PM__OPT_BENCH_DELAY,  PM__OPT_BENCH_NO_WARMUP, PM__OPT_BENCH_OUTPUT,  PM__OPTS_DEVICE,
    PM__OPT_VERBOSE};

const pm__spec pm__spec_bench = {
    options_taken, sizeof options_taken, bench_run,
    "LIST is 512, 128,256, 1-8, 0-4096+512 or 1-64*2, and may be given several times; each list "
    "forms a cross product with the others. Rows: ppN is a prompt of N tokens, tgN an answer of N, "
    "'@ dN' behind N tokens that are in the context already. Times are those of the model's steps "
    "with the choice of the likeliest token on the device; tokenising and filters of sampling are "
    "not in them. Each test runs once before it is measured."};
