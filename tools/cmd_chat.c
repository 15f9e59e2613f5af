/* pumice chat: turn by turn, with the model's own template. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conversation.h"
#include "line_reader.h"
#include "profile_table.h"

typedef struct chat {
    pm__cli cli;
    pm__options *options;
    pm__conversation conversation;
    pm__line_reader *reader;
    pm_generation *last; /* for /stats */
    size_t n_token;      /* of all answers */
    double seconds;
    uint64_t n_answer;
    bool leave, broken; /* broken: standard output takes no more */
} chat;

/* ---- answers --------------------------------------------------------------------------------- */

static bool on_text(void *user, uint32_t answer, const char *text, size_t n_byte) {
    chat *c = user;
    (void)answer;
    c->broken |= fwrite(text, 1, n_byte, stdout) != n_byte || fflush(stdout) != 0;
    return !c->broken && !pm__interrupts();
}

static void say_end(const chat *c, const pm_answer *answer) {
    const uint32_t n_ctx = pm_session_n_ctx(c->cli.session);
    const uint32_t length = pm_session_length(c->cli.session, 0);
    if (answer->stop == PM_STOP_CANCELLED && pm__interrupts()) {
        fputs("pumice: stopped; the conversation is kept\n", stderr);
    } else if (answer->stop == PM_STOP_LENGTH && length + 1 >= n_ctx) {
        fprintf(stderr,
                "pumice: the context of %" PRIu32
                " tokens is full and the answer cut short; /clear begins "
                "anew, /save FILE keeps the conversation, -c N gives more room\n",
                n_ctx);
    }
}

static int keep_answer(chat *c, pm_generation *generation, int32_t *ids, size_t n_id) {
    const pm_answer *answer = &generation->answers[0];
    pm_generation_free(c->last);
    c->last = generation;
    c->n_answer++;
    c->n_token += answer->n_token;
    c->seconds += generation->prompt_seconds + generation->generate_seconds;
    PM__CHECK(pm__conversation_hold(&c->conversation, ids, n_id, answer));
    /* A message is text: a zero byte would end it. */
    const char *zero = memchr(answer->text, '\0', answer->n_byte);
    const size_t n_byte = zero ? (size_t)(zero - answer->text) : answer->n_byte;
    PM__CHECK(pm__conversation_add(&c->conversation, "assistant", answer->text, n_byte));
    if (fputc('\n', stdout) == EOF || fflush(stdout) != 0 || c->broken)
        return pm__cli_error(PM__EXIT_FAILURE, "chat: standard output cannot be written");
    say_end(c, answer);
    return 0;
}

/* Answers the conversation, whose last message is the user's. */
static int answer(chat *c) {
    int32_t *ids = NULL;
    size_t n_id = 0, n_keep = 0;
    int code = pm__conversation_prompt(&c->conversation, &c->cli, &ids, &n_id, &n_keep);
    if (code != 0)
        return code;
    pm_generate_desc desc = pm__cli_generate_desc(c->options, ids + n_keep, n_id - n_keep);
    desc.on_text = on_text;
    desc.user = c;
    pm_sampling sampling = c->options->sampling;
    sampling.seed += c->n_answer; /* the same question twice may have two answers */
    desc.sampling = &sampling;
    pm_generation *generation = NULL;
    const pm_status status = pm_generate(c->cli.session, &desc, &generation);
    if (status == PM_OK)
        return keep_answer(c, generation, ids, n_id);
    free(ids);
    code = pm__cli_status(status);
    if (status == PM_CONTEXT_FULL) {
        fputs("pumice: the message is not sent; /clear begins anew, /save FILE keeps the "
              "conversation, "
              "-c N gives more room\n",
              stderr);
        return PM__EXIT_FAILURE;
    }
    return code;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int do_help(chat *c, const char *argument);

static int do_clear(chat *c, const char *argument) {
    (void)argument;
    pm__conversation_clear(&c->conversation, true);
    fputs("pumice: a new conversation\n", stderr);
    return 0;
}

static int do_system(chat *c, const char *argument) {
    PM__CHECK(pm__conversation_system(&c->conversation, argument));
    fprintf(stderr, "pumice: system message %s\n", argument[0] ? "set" : "removed");
    return 0;
}

static int do_save(chat *c, const char *argument) {
    return argument[0] ? pm__conversation_save(&c->conversation, argument)
                       : pm__cli_error(PM__EXIT_ARGUMENT, "/save needs the name of a file");
}

static int do_load(chat *c, const char *argument) {
    return argument[0] ? pm__conversation_load(&c->conversation, argument)
                       : pm__cli_error(PM__EXIT_ARGUMENT, "/load needs the name of a file");
}

static int do_stats(chat *c, const char *argument) {
    (void)argument;
    fprintf(stderr,
            "pumice: %zu messages, %" PRIu32 " of %" PRIu32 " tokens of context, %" PRIu64
            " answers, %zu tokens in %.1f s\n",
            c->conversation.n, pm_session_length(c->cli.session, 0),
            pm_session_n_ctx(c->cli.session), c->n_answer, c->n_token, c->seconds);
    if (c->last)
        pm__report_generation(c->last, c->cli.device);
    return 0;
}

static int do_exit(chat *c, const char *argument) {
    (void)argument;
    c->leave = true;
    return 0;
}

static const struct {
    const char *name, *help;
    int (*run)(chat *c, const char *argument);
} slashes[] = {
    {"/help", "/help         this list", do_help},
    {"/clear", "/clear        forget the conversation, keep the system message", do_clear},
    {"/system", "/system TEXT  set the system message; without a text, remove it", do_system},
    {"/save", "/save FILE    write the conversation as JSON", do_save},
    {"/load", "/load FILE    replace the conversation by a saved one", do_load},
    {"/stats", "/stats        speed and room left", do_stats},
    {"/exit", "/exit         leave (so do Ctrl-D, and Ctrl-C twice)", do_exit},
};

static int do_help(chat *c, const char *argument) {
    (void)c;
    (void)argument;
    for (size_t i = 0; i < sizeof slashes / sizeof slashes[0]; i++)
        fprintf(stderr, "%s\n", slashes[i].help);
    fputs("Ctrl-C        stop the answer; a line that begins with a space is never a command\n",
          stderr);
    return 0;
}

static int do_slash(chat *c, const char *line) {
    const size_t n = strcspn(line, " ");
    for (size_t i = 0; i < sizeof slashes / sizeof slashes[0]; i++)
        if (strlen(slashes[i].name) == n && strncmp(slashes[i].name, line, n) == 0)
            return slashes[i].run(c, line + n + strspn(line + n, " "));
    return pm__cli_error(
        PM__EXIT_ARGUMENT,
        "unknown command '%.*s'; /help lists them, and a space before it sends it as text",
        (int)(n < 40 ? n : 40), line);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int take_line(chat *c, const char *line, size_t n_byte) {
    if (n_byte == 0)
        return 0;
    if (memchr(line, '\0', n_byte))
        return pm__cli_error(PM__EXIT_BAD_FILE, "chat: the message has a zero byte");
    /* libedit's line still has its newline behind n_byte. */
    char *text = malloc(n_byte + 1);
    if (!text)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "chat: no memory for a message of %zu bytes",
                             n_byte);
    memcpy(text, line, n_byte);
    text[n_byte] = '\0';
    int code = 0;
    if (text[0] == '/') {
        code = do_slash(c, text);
    } else {
        code = pm__conversation_add(&c->conversation, "user", text, n_byte);
        if (code == 0) {
            code = answer(c);
            if (code != 0 && c->conversation.messages[c->conversation.n - 1].content &&
                strcmp(c->conversation.messages[c->conversation.n - 1].role, "user") == 0)
                pm__conversation_drop(&c->conversation);
        }
    }
    free(text);
    return code;
}

/* After a line that failed: people may try again, unless the device is gone; a script must not go
 * on. */
static bool goes_on(const chat *c, int code) {
    return code == 0 ||
           (pm__line_reader_is_terminal(c->reader) && !c->broken && code <= PM__EXIT_BAD_FILE);
}

/* Ctrl-C twice in a row leaves; once stops an answer, or drops a line. */
static bool interrupted_twice(bool *once) {
    const bool twice = pm__interrupt_take() > 1 || *once;
    *once = true;
    if (!twice)
        fputs("pumice: once more Ctrl-C leaves\n", stderr);
    return twice;
}

static int loop(chat *c) {
    const bool terminal = pm__line_reader_is_terminal(c->reader);
    bool interrupted = false;
    while (!c->leave) {
        const char *line = NULL;
        size_t n_byte = 0;
        const pm__line kind = pm__line_reader_next(c->reader, &line, &n_byte);
        if (kind == PM__LINE_END)
            break;
        if (kind == PM__LINE_FAILED)
            return pm__cli_error(PM__EXIT_BAD_FILE, "chat: standard input cannot be read");
        if (kind == PM__LINE_INTERRUPTED) {
            if (!terminal || interrupted_twice(&interrupted))
                return PM__EXIT_CANCELLED;
            continue;
        }
        interrupted = false;
        const int code = take_line(c, line, n_byte);
        if (pm__interrupts()) {
            if (!terminal || interrupted_twice(&interrupted))
                return PM__EXIT_CANCELLED;
        } else if (!goes_on(c, code)) {
            return code;
        }
    }
    return 0;
}

/* A template that cannot be read is found before the first message. What it refuses may depend on
 * the messages. */
static int check_template(chat *c) {
    const pm_message message = {.role = "user", .content = "x"};
    pm_chat_desc desc;
    char *text = NULL;
    size_t n_byte = 0;
    PM__CHECK(pm__cli_chat_desc(&c->cli, &desc));
    desc.messages = &message;
    desc.n_message = 1;
    const pm_status status = pm_chat_render(c->cli.model, &desc, &text, &n_byte);
    pm_text_free(text);
    return status == PM_FAILURE ? 0 : pm__cli_status(status);
}

static int start(chat *c) {
    PM__CHECK(pm__line_reader_create(&c->reader));
    PM__CHECK(pm__cli_open(&c->cli, c->options, PM__NEED_SESSION));
    const pm_model_info *info = pm_model_get_info(c->cli.model);
    if (!info->chat_template && !c->options->chat_template && !c->options->chat_template_file) {
        return pm__cli_error(PM__EXIT_BAD_FILE,
                             "chat: the model has no chat template; --chat-template NAME takes a "
                             "known one, pumice run completes plain text");
    }
    PM__CHECK(check_template(c));
    if (c->options->system)
        PM__CHECK(pm__conversation_system(&c->conversation, c->options->system));
    fprintf(stderr, "pumice: %s, context %" PRIu32 ", seed %" PRIu64 "%s\n",
            info->name[0] ? info->name : info->architecture, pm_session_n_ctx(c->cli.session),
            c->options->sampling.seed,
            pm__line_reader_is_terminal(c->reader) ? "; /help lists commands, Ctrl-D leaves" : "");
    return 0;
}

static int run_chat(pm__options *options) {
    chat c = {.options = options};
    pm__cli_seed(options);
    pm__interrupt_catch();
    int code = start(&c);
    if (code == 0)
        code = loop(&c);
    if (c.last)
        pm__report_generation(c.last, c.cli.device);
    if (c.last && code == 0)
        code = pm__profile_report(c.cli.session, options, NULL);
    pm_generation_free(c.last);
    pm__conversation_finish(&c.conversation);
    pm__line_reader_destroy(c.reader);
    pm__cli_close(&c.cli);
    return code;
}

static const unsigned char options_taken[] = {PM__OPT_MODEL,     PM__OPT_SYSTEM,  PM__OPTS_TEMPLATE,
                                              PM__OPTS_GENERATE, PM__OPTS_DEVICE, PM__OPT_PROFILE,
                                              PM__OPT_VERBOSE};

const pm__spec pm__spec_chat = {
    options_taken, sizeof options_taken, run_chat,
    "In the chat, /help lists its commands; Ctrl-C stops an answer and keeps the conversation, "
    "twice leaves. "
    "From a pipe each line is a message, and answers alone go to standard output."};
