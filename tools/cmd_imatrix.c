/* pumice imatrix: how much each column of each weight matrix matters, measured over a text. */
#include <stdlib.h>
#include <string.h>

#include "model_file.h"

static int measure(const pm__cli *cli, const char *text, size_t n_byte) {
    const pm__options *options = cli->options;
    pm__model_file out;
    PM__CHECK(pm__model_file_open(&out, "imatrix", options->output, options->force));
    const pm_imatrix_desc desc = {.text = text,
                                  .n_byte = n_byte,
                                  .dataset = options->file,
                                  .n_ctx = options->n_ctx,
                                  .n_chunk = options->n_chunk,
                                  .write = pm__model_file_write,
                                  .progress = pm__model_file_progress,
                                  .user = &out};
    return pm__model_file_close(&out, pm_imatrix(cli->model, &desc));
}

static int check_options(const pm__options *options) {
    if (!options->output)
        return pm__cli_error(PM__EXIT_ARGUMENT, "imatrix: needs -o FILE; see pumice help imatrix");
    if (options->device && strcmp(options->device, "cpu") != 0)
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "imatrix: --device %s: importances are collected on the CPU path",
                             options->device);
    return 0;
}

static int imatrix(pm__options *options) {
    pm__cli cli = {0};
    char *text = NULL;
    size_t n_byte = 0;
    PM__CHECK(check_options(options));
    pm__interrupt_catch();
    options->device = "cpu";
    int code = pm__cli_read_text(options, false, &text, &n_byte);
    if (code == 0)
        code = pm__cli_open(&cli, options, PM__NEED_MODEL);
    if (code == 0)
        code = measure(&cli, text, n_byte);
    free(text);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {PM__OPT_MODEL,  PM__OPT_PROMPT,  PM__OPT_FILE,
                                              PM__OPT_CTX,    PM__OPT_THREADS, PM__OPT_DEVICE,
                                              PM__OPT_CHUNKS, PM__OPT_OUTPUT,  PM__OPT_MAX_VRAM,
                                              PM__OPT_FORCE,  PM__OPT_VERBOSE};

const pm__spec pm__spec_imatrix = {
    options_taken, sizeof options_taken, imatrix,
    "The text is evaluated in chunks of -c tokens (512 unless told otherwise), each beginning with "
    "BOS where the model wants it; a text like those the model will see is best, some hundred "
    "kilobytes of it. The sums of squares go to a GGUF file for quantize --imatrix."};
