/* pumice synth: a model of a named shape with random weights, for benchmarks and tests. */
#include "model_file.h"

static int synth(pm__options *options) {
    pm__interrupt_catch();
    pm__model_file out;
    PM__CHECK(pm__model_file_open(&out, "synth", options->arguments[1], options->force));
    const pm_synth_desc desc = {.shape = options->arguments[0],
                                .type = options->tensor_type,
                                .tokenizer = options->tokenizer,
                                .seed = options->given[PM__OPT_SEED] ? options->sampling.seed : 1,
                                .n_layer = options->n_layer,
                                .n_ctx = options->n_ctx_train,
                                .write = pm__model_file_write,
                                .progress = pm__model_file_progress,
                                .user = &out};
    return pm__model_file_close(&out, pm_synth(&desc));
}

static const unsigned char options_taken[] = {PM__OPT_TYPE,   PM__OPT_TOKENIZER, PM__OPT_SEED,
                                              PM__OPT_LAYERS, PM__OPT_CTX_TRAIN, PM__OPT_FORCE,
                                              PM__OPT_VERBOSE};

const pm__spec pm__spec_synth = {
    options_taken, sizeof options_taken, synth,
    "SHAPE is llama-1b, llama-3b, llama-8b, llama-70b, llama2-7b, mixtral-8x7b, qwen3-0.6b, "
    "qwen3-8b, qwen3-30b-a3b, gemma3-4b, llama-110m, llama-134m, moe-134m, or, for tests, "
    "llama-tiny, qwen3-tiny, moe-tiny or gemma3-tiny. OUT is a GGUF file, which appears whole or "
    "not at all. Such a model has the sizes of the real one and takes the same time, and says "
    "nothing. The same shape, type and seed give the same bytes."};
