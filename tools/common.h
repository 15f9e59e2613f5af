/* common.h: what subcommands share: opening things as the options say, reading texts, saying what
 * failed. Functions that give an int give an exit code; what is not 0 has been said on stderr. */
#ifndef PM_TOOLS_COMMON_H
#define PM_TOOLS_COMMON_H

#include "args.h"

#include <sys/types.h>

#if defined(__GNUC__)
#define PM__TOOL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PM__TOOL_PRINTF(fmt, args)
#endif

/* PM__EXIT_BAD_FILE and so on, as pumice.h lists them. */
#define PM__EXIT_ROW(name, value, exit_code, text) PM__EXIT_##name = exit_code,
enum { PM_STATUS_LIST(PM__EXIT_ROW) PM__EXIT_END };
#undef PM__EXIT_ROW

/* Forwards an exit code that is not 0. */
#define PM__CHECK(expr)                                                                            \
    do {                                                                                           \
        const int pm__check_code = (expr);                                                         \
        if (pm__check_code != 0)                                                                   \
            return pm__check_code;                                                                 \
    } while (0)

/* Says the sentence on stderr and returns exit_code. */
int pm__cli_error(int exit_code, const char *fmt, ...) PM__TOOL_PRINTF(2, 3);
/* 0 for PM_OK, else says pm_last_error() and gives the status's exit code. */
int pm__cli_status(pm_status status);

/* Room for one more of n items. array  address of the pointer to them, malloc'ed or NULL */
int pm__cli_grow(const char *who, void *array, size_t n, size_t *capacity, size_t size);

#define PM__PATH_SIZE 4096

/* What a run holds; zeros before, pm__cli_close afterwards in every case. */
typedef struct pm__cli {
    const pm__options *options;
    pm_device *device;
    pm_model *model;
    pm_session *session;
    char model_path[PM__PATH_SIZE]; /* of the opened model */
    char *chat_template;            /* text of a file; NULL: none was read */
    char now[32];                   /* of the first prompt, for templates that ask; "": not yet */
} pm__cli;

typedef enum pm__cli_need {
    PM__NEED_INFO,   /* metadata, whether or not the model can be used; no device */
    PM__NEED_VOCAB,  /* metadata and tokenizer, no device */
    PM__NEED_DEVICE, /* a device alone */
    PM__NEED_PLAN,   /* a device and a model without weights */
    PM__NEED_MODEL,  /* a device and a model */
    PM__NEED_SESSION /* all */
} pm__cli_need;

/* A device alone, as the options say, without a word. */
int pm__cli_open_device(pm__cli *cli, const pm__options *options);
/* Opens what is needed, saying which device, driver and tier, and why. */
int pm__cli_open(pm__cli *cli, const pm__options *options, pm__cli_need need);
/* What --synthetic names, "llama-8b:q4_0". */
typedef struct pm__synthetic {
    char shape[64];
    pm_synth_desc desc; /* points into it */
} pm__synthetic;
int pm__cli_synthetic(const char *text, pm__synthetic *out);
/* The model alone, on the device that is open. */
int pm__cli_open_model(pm__cli *cli, pm__cli_need need);
void pm__cli_close(pm__cli *cli);
pm_session_desc pm__cli_session_desc(const pm__options *options);

/* The text of -p, -f or standard input, malloc'ed, closed by a zero beyond n_byte.
 * trim  leaves out one newline at the end of a file or of standard input */
int pm__cli_read_text(const pm__options *options, bool trim, char **text, size_t *n_byte);
/* A whole file, or standard input for NULL. */
int pm__cli_read_file(const char *path, char **text, size_t *n_byte);

/* ids malloc'ed, at least one element. */
int pm__cli_tokenize(const pm_model *model, const pm_tokenize_desc *desc, int32_t **ids,
                     size_t *n_id);
/* What the options say about chat templates, but for messages. Reads the file once, and the clock
 * once, so that a conversation keeps its beginning. */
int pm__cli_chat_desc(pm__cli *cli, pm_chat_desc *out);
/* The same as pm__cli_tokenize for messages in the chat template, with the answer opened. */
int pm__cli_tokenize_chat(pm__cli *cli, const pm_message *messages, size_t n, int32_t **ids,
                          size_t *n_id);

/* Fills in a random seed where none was given. */
void pm__cli_seed(pm__options *options);

/* A generation with the options' sampling, limits and stop texts. */
pm_generate_desc pm__cli_generate_desc(const pm__options *options, const int32_t *prompt,
                                       size_t n_prompt);

/* ---- interruption ---------------------------------------------------------------------------- */

/* From now on SIGINT and SIGTERM are counted; the third kills. SIGPIPE becomes a write error. */
void pm__interrupt_catch(void);
/* Times interrupted since the last pm__interrupt_take; SIGTERM counts as two. */
int pm__interrupts(void);
/* The same, and counting starts anew. */
int pm__interrupt_take(void);
/* read() that ends with EINTR when interrupted, before it or while it waits, and else goes on. */
ssize_t pm__interruptible_read(int fd, void *bytes, size_t n);

#endif
