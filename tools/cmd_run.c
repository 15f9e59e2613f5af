/* pumice run: one prompt in, text out. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "profile_table.h"

typedef struct output {
    bool stream; /* text goes out as it comes */
    bool broken; /* standard output takes no more */
    char last;
} output;

static bool on_text(void *user, uint32_t answer, const char *text, size_t n_byte) {
    output *out = user;
    (void)answer;
    if (out->stream && n_byte > 0) {
        out->broken |= fwrite(text, 1, n_byte, stdout) != n_byte || fflush(stdout) != 0;
        out->last = text[n_byte - 1];
    }
    return !out->broken && !pm__interrupts();
}

static int plain_ids(const pm__cli *cli, const char *text, size_t n_byte, int32_t **ids,
                     size_t *n_id) {
    const pm__options *options = cli->options;
    const pm_tokenize_desc desc = {.text = text,
                                   .n_byte = n_byte,
                                   .add_special = !options->no_bos,
                                   .parse_special = options->parse_special};
    if (options->system) {
        return pm__cli_error(PM__EXIT_ARGUMENT, "run: --system needs a chat template, and %s",
                             options->raw ? "--raw uses none" : "the model has none");
    }
    if (!options->raw)
        fputs("pumice: the model has no chat template; completing the plain text\n", stderr);
    return pm__cli_tokenize(cli->model, &desc, ids, n_id);
}

/* The text as the model is to see it: a conversation of one message, or plain. */
static int prompt_ids(pm__cli *cli, const char *text, size_t n_byte, int32_t **ids, size_t *n_id) {
    const pm__options *options = cli->options;
    const bool chosen = options->chat_template || options->chat_template_file;
    if (options->raw || !(chosen || pm_model_get_info(cli->model)->chat_template))
        return plain_ids(cli, text, n_byte, ids, n_id);
    if (options->no_bos || options->parse_special) {
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "run: %s needs --raw: the model has a chat template, and all special "
                             "tokens come from it",
                             options->no_bos ? "--no-bos" : "--parse-special");
    }
    if (strlen(text) != n_byte) {
        return pm__cli_error(
            PM__EXIT_BAD_FILE,
            "run: the text has a zero byte at %zu; chat templates render text only", strlen(text));
    }
    const pm_message messages[] = {{.role = "system", .content = options->system},
                                   {.role = "user", .content = text}};
    const size_t first = options->system ? 0 : 1;
    return pm__cli_tokenize_chat(cli, messages + first, 2 - first, ids, n_id);
}

static void add_answer(cJSON *object, const pm_answer *answer, uint64_t seed) {
    char hash[9];
    snprintf(hash, sizeof hash, "%08x", (unsigned)answer->logits_hash);
    cJSON_AddItemToObject(object, "text", pm__json_text(answer->text, answer->n_byte));
    cJSON_AddItemToObject(object, "tokens", pm__json_ids(answer->tokens, answer->n_token));
    cJSON_AddStringToObject(object, "stop", pm__report_stop(answer->stop));
    cJSON_AddNumberToObject(object, "seed", (double)seed);
    cJSON_AddStringToObject(object, "logits_hash", hash);
}

static int print_json(const pm__cli *cli, const pm_generate_desc *desc,
                      const pm_generation *generation) {
    const uint64_t seed = cli->options->sampling.seed;
    size_t n_token = 0;
    cJSON *document = cJSON_CreateObject();
    add_answer(document, &generation->answers[0], seed);
    if (generation->n_answer > 1) {
        cJSON *answers = cJSON_AddArrayToObject(document, "answers");
        for (size_t i = 0; i < generation->n_answer; i++) {
            cJSON *answer = cJSON_CreateObject();
            add_answer(answer, &generation->answers[i], seed + i);
            cJSON_AddItemToArray(answers, answer);
        }
    }
    for (size_t i = 0; i < generation->n_answer; i++)
        n_token += generation->answers[i].n_token;
    cJSON_AddItemToObject(document, "prompt_tokens", pm__json_ids(desc->prompt, desc->n_prompt));
    cJSON_AddNumberToObject(document, "prompt_seconds", generation->prompt_seconds);
    cJSON_AddNumberToObject(document, "generate_seconds", generation->generate_seconds);
    cJSON_AddNumberToObject(document, "first_token_seconds", generation->first_token_seconds);
    cJSON_AddNumberToObject(document, "host_us_per_token",
                            n_token ? 1e6 * generation->host_seconds / (double)n_token : 0);
    cJSON_AddNumberToObject(document, "bytes_per_step", (double)generation->bytes_per_step);
    cJSON_AddNumberToObject(document, "context", pm_session_n_ctx(cli->session));
    cJSON_AddNumberToObject(document, "dispatches", generation->n_dispatch);
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(cli->device)));
    cJSON_AddItemToObject(document, "start", pm__json_start(cli->session));
    const int code = pm__profile_report(cli->session, cli->options, document);
    if (code != 0) {
        cJSON_Delete(document);
        return code;
    }
    return pm__json_print(document);
}

static void print_answers(const pm__cli *cli, const pm_generation *generation, output *out) {
    for (size_t i = 0; i < generation->n_answer; i++) {
        const pm_answer *answer = &generation->answers[i];
        fflush(stdout);
        fprintf(stderr, "pumice: answer %zu of %zu, seed %" PRIu64 ", %zu tokens, %s\n", i + 1,
                generation->n_answer, cli->options->sampling.seed + i, answer->n_token,
                pm__report_stop(answer->stop));
        out->broken |= fwrite(answer->text, 1, answer->n_byte, stdout) != answer->n_byte ||
                       fputc('\n', stdout) == EOF;
    }
    out->broken |= fflush(stdout) != 0;
}

static int generate(const pm__cli *cli, const int32_t *ids, size_t n_id) {
    const pm__options *options = cli->options;
    output out = {.stream = !options->json && options->n_answer <= 1, .last = '\n'};
    pm_generate_desc desc = pm__cli_generate_desc(options, ids, n_id);
    desc.on_text = on_text;
    desc.user = &out;
    pm_generation *generation = NULL;
    const pm_status status = pm_generate(cli->session, &desc, &generation);
    if (out.last != '\n' && !out.broken)
        out.broken |= fputc('\n', stdout) == EOF || fflush(stdout) != 0;
    if (status != PM_OK)
        return pm__cli_status(status);
    int code = 0;
    if (options->json)
        code = print_json(cli, &desc, generation);
    else if (!out.stream)
        print_answers(cli, generation, &out);
    if (code == 0 && !options->json)
        code = pm__profile_report(cli->session, options, NULL);
    pm__report_generation(generation, cli->device);
    pm_generation_free(generation);
    if (code == 0 && out.broken)
        code = pm__cli_error(PM__EXIT_FAILURE, "run: standard output cannot be written");
    return pm__interrupts() ? PM__EXIT_CANCELLED : code;
}

static int run(pm__options *options) {
    pm__cli cli = {0};
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n_byte = 0, n_id = 0;
    pm__cli_seed(options);
    pm__interrupt_catch();
    int code = pm__cli_read_text(options, true, &text, &n_byte);
    if (code == 0)
        code = pm__cli_open(&cli, options, PM__NEED_SESSION);
    if (code == 0)
        code = prompt_ids(&cli, text, n_byte, &ids, &n_id);
    if (code == 0) {
        fprintf(stderr, "pumice: %zu prompt tokens, context %" PRIu32 ", seed %" PRIu64 "\n", n_id,
                pm_session_n_ctx(cli.session), options->sampling.seed);
        code = generate(&cli, ids, n_id);
    }
    free(ids);
    free(text);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,  PM__OPT_PROMPT,    PM__OPT_FILE,    PM__OPT_SYSTEM,     PM__OPTS_TEMPLATE,
    PM__OPT_RAW,    PM__OPTS_GENERATE, PM__OPT_ANSWERS, PM__OPT_IGNORE_EOS, PM__OPT_PARSE_SPECIAL,
    PM__OPT_NO_BOS, PM__OPTS_DEVICE,   PM__OPT_PROFILE, PM__OPT_JSON,       PM__OPT_VERBOSE};

const pm__spec pm__spec_run = {options_taken, sizeof options_taken, run,
                               "The text alone goes to standard output, everything else to "
                               "standard error. The model's chat template is "
                               "applied where it has one. One newline at the end of -f or standard "
                               "input is not part of the prompt."};
