/* args.h: the options of all subcommands (options.def), and how a command line becomes values. */
#ifndef PM_TOOLS_ARGS_H
#define PM_TOOLS_ARGS_H

#include <stdio.h>

#include "pumice.h"

enum {
#define PM_OPTION(id, letter, name, type, field, least, most, ask, value, help) PM__OPT_##id,
#include "options.def"
    PM__N_OPT
};

/* What generation, chat templates and running on a device take, in the order of the help. */
#define PM__OPTS_GENERATE                                                                          \
    PM__OPT_PREDICT, PM__OPT_CTX, PM__OPT_CACHE_TYPE_K, PM__OPT_CACHE_TYPE_V, PM__OPT_BATCH,       \
        PM__OPT_THREADS, PM__OPT_SEED, PM__OPT_TEMP, PM__OPT_TOP_K, PM__OPT_TOP_P, PM__OPT_MIN_P,  \
        PM__OPT_REPEAT_PENALTY, PM__OPT_PRESENCE_PENALTY, PM__OPT_FREQUENCY_PENALTY,               \
        PM__OPT_REPEAT_LAST_N, PM__OPT_STOP
#define PM__OPTS_TEMPLATE                                                                          \
    PM__OPT_CHAT_TEMPLATE, PM__OPT_CHAT_TEMPLATE_FILE, PM__OPT_CHAT_TEMPLATE_KWARGS
#define PM__OPTS_DEVICE                                                                            \
    PM__OPT_DEVICE, PM__OPT_LIST_DEVICES, PM__OPT_REQUIRE_GPU, PM__OPT_MAX_VRAM,                   \
        PM__OPT_DETERMINISTIC, PM__OPT_NO_FUSE, PM__OPT_INT8, PM__OPT_ONE_DISPATCH,                \
        PM__OPT_RUN_AHEAD, PM__OPT_SUBMIT_MS, PM__OPT_CACHE_DIR, PM__OPT_NO_CACHE,                 \
        PM__OPT_NO_CHECK

#define PM__MOST_TEXTS    32
#define PM__MOST_ARGUMENT 4

/* What an option that may be given several times was given. */
typedef struct pm__texts {
    const char *items[PM__MOST_TEXTS];
    size_t n;
} pm__texts;

/* Of `pumice bench`: lists are texts such as "1,2" and "16-64*2", which bench_list.h reads. */
typedef struct pm__bench_options {
    pm__texts models, synthetics;
    pm__texts prompts, gens, answers, pairs, depths, batches, ubatches, threads, types_k, types_v;
    uint32_t n_repeat, delay; /* 0: not given */
    bool no_warmup, no_cpu, kernels;
    const char *format, *sweep, *plot;
} pm__bench_options;

typedef struct pm__options {
    const char *program; /* argv[0] of the process */
    const char *synthetic, *input;
    const char *model, *prompt, *file, *system, *device, *cache_dir, *kernel, *child, *pooling;
    const char *cache_type_k, *cache_type_v, *int8;
    const char *chat_template, *chat_template_file, *chat_template_kwargs, *context, *now;
    uint32_t n_predict, n_ctx, n_batch, n_thread, n_answer; /* 0: not given */
    uint32_t run_ahead, submit_ms, top, time_limit, n_chunk, seconds;
    uint64_t max_vram; /* bytes; 0: not given */
    pm_sampling sampling;
    pm__texts stop, tensor_types;
    const char *imatrix, *output_type, *embedding_type, *outtype, *output, *tensor_type, *tokenizer;
    uint32_t n_layer, n_ctx_train;
    const char *arguments[PM__MOST_ARGUMENT]; /* as many as the command takes */
    bool raw, embeddings, no_normalise, ignore_eos, parse_special, no_bos, ids, decode, tensors,
        deterministic, no_fuse, one_dispatch, json, verbose, help;
    bool list_devices, require_gpu, no_cache, no_check, quick, deep, clear, profile;
    bool force, pure, dry_run, requantize;
    bool given[PM__N_OPT];
    pm__bench_options bench;
} pm__options;

/* What a subcommand's file defines, as pm__spec_<name>. */
typedef struct pm__spec {
    const unsigned char *options; /* [n_option] of PM__OPT_...; --help is taken by all */
    size_t n_option;
    int (*run)(pm__options *options); /* gives the exit code */
    const char *notes;                /* closing paragraph of its help, or NULL */
} pm__spec;

/* A row of commands.def. */
typedef struct pm__command {
    const char *name, *summary;
    const pm__spec *spec;
    const char *arguments; /* "IN OUT": words without a dash, all needed; "": none */
} pm__command;

#define PM__ARGS_MESSAGE 512

/* Reads argv[0..argc) (program and subcommand already taken off) into *out, which holds the
 * defaults.
 * message  out, one sentence if false is returned */
bool pm__args_parse(const pm__command *command, int argc, char **argv, pm__options *out,
                    char message[PM__ARGS_MESSAGE]);

void pm__args_help(const pm__command *command, FILE *to);

/* "--model --prompt -m -p ..." for shell completion. */
void pm__args_words(const pm__command *command, FILE *to);

#endif
