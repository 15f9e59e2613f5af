/* pumice template: what a chat template makes of a conversation. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

/* A template of its own needs no model; BOS and EOS are then variables like others. */
static int open_model(pm__cli *cli, const pm__options *options) {
    cli->options = options;
    if (options->chat_template_file && !options->model)
        return 0;
    return pm__cli_open(cli, options, PM__NEED_VOCAB);
}

static int render(pm__cli *cli, const char *context) {
    pm_chat_desc desc;
    char *text = NULL;
    size_t n_byte = 0;
    PM__CHECK(pm__cli_chat_desc(cli, &desc));
    desc.open_answer = false; /* add_generation_prompt is one of the variables */
    desc.variables = context;
    PM__CHECK(pm__cli_status(pm_chat_render(cli->model, &desc, &text, &n_byte)));
    const bool written = fwrite(text, 1, n_byte, stdout) == n_byte && fflush(stdout) == 0;
    pm_text_free(text);
    return written ? 0
                   : pm__cli_error(PM__EXIT_FAILURE, "template: standard output cannot be written");
}

static int run(pm__options *options) {
    pm__cli cli = {0};
    char *context = NULL;
    size_t n_byte = 0;
    int code = pm__cli_read_file(options->context, &context, &n_byte);
    if (code == 0 && strlen(context) != n_byte)
        code = pm__cli_error(PM__EXIT_BAD_FILE, "template: a zero byte in the context at %zu",
                             strlen(context));
    if (code == 0)
        code = open_model(&cli, options);
    if (code == 0)
        code = render(&cli, context);
    free(context);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {PM__OPT_MODEL,   PM__OPT_TEMPLATE_FILE,
                                              PM__OPT_CONTEXT, PM__OPT_CHAT_TEMPLATE,
                                              PM__OPT_NOW,     PM__OPT_VERBOSE};

const pm__spec pm__spec_template = {
    options_taken, sizeof options_taken, run,
    "The text goes to standard output as it is, without a newline of its own. Where the template "
    "refuses the conversation, or cannot be brought to an end, the reason goes to standard error "
    "and the exit code is 1; a template or context that cannot be read gives 3. bos_token and "
    "eos_token are the model's, unless the context has them."};
