/* pumice tokenize: text to token ids and back. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static int print_json(const pm_model *model, const int32_t *ids, size_t n) {
    const pm_model_info *info = pm_model_get_info(model);
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "tokenizer",
                          pm__json_text(info->tokenizer, strlen(info->tokenizer)));
    cJSON_AddStringToObject(document, "tokenizer_kind", info->tokenizer_kind);
    cJSON_AddStringToObject(document, "pre_tokenizer", info->pre_tokenizer);
    cJSON_AddItemToObject(document, "tokens", pm__json_ids(ids, n));
    cJSON *pieces = cJSON_AddArrayToObject(document, "pieces");
    for (size_t i = 0; i < n; i++) {
        const char *text = "";
        size_t n_byte = 0;
        const int code = pm__cli_status(pm_token_text(model, ids[i], true, &text, &n_byte));
        if (code != 0) {
            cJSON_Delete(document);
            return code;
        }
        cJSON_AddItemToArray(pieces, pm__json_text(text, n_byte));
    }
    return pm__json_print(document);
}

/* A piece on one line: what is not printable UTF-8 is written as \xNN. */
static void print_piece(const char *text, size_t n_byte) {
    for (size_t i = 0, n; i < n_byte; i += n) {
        n = pm__printable(text + i, n_byte - i);
        if (n == 0 && text[i] == '\n')
            fputs("\\n", stdout);
        else if (n == 0)
            printf("\\x%02x", (unsigned char)text[i]);
        else if (text[i] == '\'' || text[i] == '\\')
            printf("\\%c", text[i]);
        else
            fwrite(text + i, 1, n, stdout);
        n = n ? n : 1;
    }
}

static int print_table(const pm_model *model, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *text = "";
        size_t n_byte = 0;
        PM__CHECK(pm__cli_status(pm_token_text(model, ids[i], true, &text, &n_byte)));
        printf("%8" PRId32 "  '", ids[i]);
        print_piece(text, n_byte);
        fputs("'\n", stdout);
    }
    return 0;
}

static int encode(const pm__cli *cli, const char *text, size_t n_byte) {
    const pm__options *options = cli->options;
    const pm_tokenize_desc desc = {.text = text,
                                   .n_byte = n_byte,
                                   .add_special = !options->no_bos,
                                   .parse_special = options->parse_special};
    int32_t *ids = NULL;
    size_t n_id = 0;
    PM__CHECK(pm__cli_tokenize(cli->model, &desc, &ids, &n_id));
    int code = 0;
    if (options->json) {
        code = print_json(cli->model, ids, n_id);
    } else if (options->ids) {
        for (size_t i = 0; i < n_id; i++)
            printf(i ? " %" PRId32 : "%" PRId32, ids[i]);
        putchar('\n');
    } else {
        code = print_table(cli->model, ids, n_id);
    }
    free(ids);
    return code;
}

/* Ids separated by spaces, commas or lines, to the bytes they stand for. */
static int decode(const pm__cli *cli, const char *text, size_t n_byte) {
    const uint32_t n_vocab = pm_model_get_info(cli->model)->n_vocab;
    const char *end = text + n_byte;
    while (text < end) {
        if (isspace((unsigned char)*text) || *text == ',') {
            text++;
            continue;
        }
        char *after = NULL;
        errno = 0;
        const unsigned long id = isdigit((unsigned char)*text) ? strtoul(text, &after, 10) : 0;
        if (!after || errno == ERANGE || id >= n_vocab) {
            return pm__cli_error(PM__EXIT_FAILURE,
                                 "tokenize: '%.20s' is no token id from 0 to %" PRIu32, text,
                                 n_vocab ? n_vocab - 1 : 0);
        }
        const char *piece = "";
        size_t n_piece = 0;
        PM__CHECK(pm__cli_status(
            pm_token_text(cli->model, (int32_t)id, cli->options->parse_special, &piece, &n_piece)));
        fwrite(piece, 1, n_piece, stdout);
        text = after;
    }
    return 0;
}

static int tokenize(pm__options *options) {
    pm__cli cli = {0};
    char *text = NULL;
    size_t n_byte = 0;
    int code = pm__cli_read_text(options, false, &text, &n_byte);
    if (code == 0)
        code = pm__cli_open(&cli, options, PM__NEED_VOCAB);
    if (code == 0)
        code = options->decode ? decode(&cli, text, n_byte) : encode(&cli, text, n_byte);
    free(text);
    pm__cli_close(&cli);
    if (code == 0 && fflush(stdout) != 0)
        code = pm__cli_error(PM__EXIT_FAILURE, "tokenize: standard output cannot be written");
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,  PM__OPT_PROMPT,        PM__OPT_FILE, PM__OPT_IDS,    PM__OPT_DECODE,
    PM__OPT_NO_BOS, PM__OPT_PARSE_SPECIAL, PM__OPT_JSON, PM__OPT_VERBOSE};

const pm__spec pm__spec_tokenize = {
    options_taken, sizeof options_taken, tokenize,
    "The text is taken byte for byte. Files that hold a vocabulary alone will do. With --decode, "
    "control tokens have no text unless --parse-special is given."};
