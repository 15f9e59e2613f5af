/* pumice convert: a Hugging Face folder, or a model in several files, as one GGUF file. */
#include <string.h>
#include <strings.h>

#include "model_file.h"

static int convert(pm__options *options) {
    const char *type = options->outtype ? options->outtype : "auto";
    static const char *const types[] = {"auto", "f32", "f16", "bf16", "q8_0"};
    size_t i = 0;
    while (i < sizeof types / sizeof types[0] && strcasecmp(types[i], type) != 0)
        i++;
    if (i == sizeof types / sizeof types[0]) {
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "convert: --outtype is auto, f32, f16, bf16 or q8_0, not '%s'; pumice "
                             "quantize knows more",
                             type);
    }
    pm__interrupt_catch();
    pm__model_file out;
    PM__CHECK(pm__model_file_open(&out, "convert", options->arguments[1], options->force));
    const pm_quantize_desc desc = {.path = options->arguments[0],
                                   .type = i > 0 ? types[i] : NULL,
                                   .n_thread = options->n_thread,
                                   .write = pm__model_file_write,
                                   .progress = pm__model_file_progress,
                                   .user = &out};
    return pm__model_file_close(&out, pm_quantize(&desc));
}

static const unsigned char options_taken[] = {PM__OPT_OUTTYPE, PM__OPT_THREADS, PM__OPT_FORCE,
                                              PM__OPT_VERBOSE};

const pm__spec pm__spec_convert = {
    options_taken, sizeof options_taken, convert,
    "IN is a folder with config.json, safetensors and a tokenizer, as models are published on "
    "Hugging Face, or the first of several GGUF files (-00001-of-00003.gguf). OUT is one GGUF "
    "file, which appears whole or not at all. Such folders can be used as they are, too: -m DIR."};
