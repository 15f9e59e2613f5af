/* pumice embed: a vector for each text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

enum { MOST_COMPARED = 64 }; /* each with each */

/* Lines of the input with their vectors. */
typedef struct texts {
    const pm__cli *cli;
    uint32_t n_embd;
    pm_pooling pooling;
    char *all; /* lines, each closed by a zero */
    const char **lines;
    size_t *n_token;
    float *vectors; /* [n, n_embd] */
    size_t n;
} texts;

static const char *const pooling_names[] = {"", "mean", "cls", "last"};

static int read_pooling(const char *name, pm_pooling *out) {
    if (name == NULL)
        return 0;
    for (int i = PM_POOLING_MEAN; i <= PM_POOLING_LAST; i++) {
        *out = (pm_pooling)i;
        if (strcmp(name, pooling_names[i]) == 0)
            return 0;
    }
    return pm__cli_error(PM__EXIT_ARGUMENT, "--pooling is '%s', it must be mean, cls or last",
                         name);
}

/* Cuts the text into its lines that are not empty. */
static int split_lines(texts *t, size_t n_byte) {
    size_t n_line = 1;
    for (size_t i = 0; i < n_byte; i++)
        n_line += t->all[i] == '\n';
    t->lines = calloc(n_line, sizeof *t->lines);
    t->n_token = calloc(n_line, sizeof *t->n_token);
    if (t->lines == NULL || t->n_token == NULL)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "embed: no memory for %zu lines", n_line);
    for (char *line = t->all, *end; line <= t->all + n_byte; line = end + 1) {
        end = memchr(line, '\n', (size_t)(t->all + n_byte - line));
        if (end == NULL)
            end = t->all + n_byte;
        *end = '\0';
        if (end > line)
            t->lines[t->n++] = line;
    }
    if (t->n == 0)
        return pm__cli_error(PM__EXIT_ARGUMENT, "embed: the text is empty");
    t->vectors = calloc(t->n, t->n_embd * sizeof *t->vectors);
    return t->vectors != NULL
               ? 0
               : pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "embed: no memory for %zu vectors", t->n);
}

static int embed_line(texts *t, size_t i) {
    const pm__options *options = t->cli->options;
    const pm_tokenize_desc desc = {.text = t->lines[i],
                                   .n_byte = strlen(t->lines[i]),
                                   .add_special = !options->no_bos,
                                   .parse_special = options->parse_special};
    int32_t *ids = NULL;
    PM__CHECK(pm__cli_tokenize(t->cli->model, &desc, &ids, &t->n_token[i]));
    const pm_embed_desc embed = {
        .ids = ids, .n = t->n_token[i], .pooling = t->pooling, .raw = options->no_normalise};
    const int code = pm__cli_status(pm_embed(t->cli->session, &embed, t->vectors + i * t->n_embd));
    free(ids);
    return code;
}

static int embed_lines(texts *t) {
    pm__progress progress = {0};
    int code = 0;
    for (size_t i = 0; i < t->n && code == 0; i++) {
        code = embed_line(t, i);
        if (t->n > 1)
            pm__report_progress(&progress, "embedding", i + 1, t->n);
        if (code == 0 && pm__interrupts())
            code = PM__EXIT_CANCELLED;
    }
    pm__report_progress_end(&progress);
    return code;
}

static double cosine(const texts *t, size_t a, size_t b) {
    const float *x = t->vectors + a * t->n_embd, *y = t->vectors + b * t->n_embd;
    double xy = 0, xx = 0, yy = 0;
    for (uint32_t c = 0; c < t->n_embd; c++) {
        xy += (double)x[c] * (double)y[c];
        xx += (double)x[c] * (double)x[c];
        yy += (double)y[c] * (double)y[c];
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

static void print_vectors(const texts *t) {
    for (size_t i = 0; i < t->n; i++)
        for (uint32_t c = 0; c < t->n_embd; c++)
            printf("%.7g%c", (double)t->vectors[i * t->n_embd + c], c + 1 < t->n_embd ? ' ' : '\n');
}

static void print_matrix(const texts *t) {
    fputs("cosine similarity\n", stderr);
    for (size_t a = 0; a < t->n; a++) {
        for (size_t b = 0; b < t->n; b++)
            fprintf(stderr, " %7.4f", cosine(t, a, b));
        fprintf(stderr, "  %.40s\n", t->lines[a]);
    }
}

static cJSON *json_texts(const texts *t) {
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < t->n; i++) {
        cJSON *text = cJSON_CreateObject(), *vector = cJSON_CreateArray();
        cJSON_AddNumberToObject(text, "index", (double)i);
        cJSON_AddNumberToObject(text, "n_token", (double)t->n_token[i]);
        for (uint32_t c = 0; c < t->n_embd; c++)
            cJSON_AddItemToArray(vector, cJSON_CreateNumber((double)t->vectors[i * t->n_embd + c]));
        cJSON_AddItemToObject(text, "embedding", vector);
        cJSON_AddItemToArray(list, text);
    }
    return list;
}

static cJSON *json_matrix(const texts *t) {
    cJSON *rows = cJSON_CreateArray();
    for (size_t a = 0; a < t->n; a++) {
        cJSON *row = cJSON_CreateArray();
        for (size_t b = 0; b < t->n; b++)
            cJSON_AddItemToArray(row, cJSON_CreateNumber(cosine(t, a, b)));
        cJSON_AddItemToArray(rows, row);
    }
    return rows;
}

static int print_json(const texts *t) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "embeddings", json_texts(t));
    if (t->n <= MOST_COMPARED)
        cJSON_AddItemToObject(document, "cosine", json_matrix(t));
    cJSON_AddStringToObject(document, "pooling", pooling_names[t->pooling]);
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(t->cli->device)));
    return pm__json_print(document);
}

static int embed_text(texts *t, size_t n_byte) {
    const pm_model_info *model = pm_model_get_info(t->cli->model);
    t->n_embd = model->n_embd;
    if (t->pooling == PM_POOLING_MODEL)
        t->pooling = model->pooling;
    PM__CHECK(split_lines(t, n_byte));
    PM__CHECK(embed_lines(t));
    if (t->cli->options->json)
        return print_json(t);
    print_vectors(t);
    if (t->n > 1 && t->n <= MOST_COMPARED)
        print_matrix(t);
    return 0;
}

static int embed(pm__options *options) {
    pm__cli cli = {0};
    texts t = {.cli = &cli};
    size_t n_byte = 0;
    options->embeddings = true;
    pm__interrupt_catch();
    int code = read_pooling(options->pooling, &t.pooling);
    if (code == 0)
        code = pm__cli_read_text(options, true, &t.all, &n_byte);
    if (code == 0)
        code = pm__cli_open(&cli, options, PM__NEED_SESSION);
    if (code == 0)
        code = embed_text(&t, n_byte);
    free(t.all);
    free(t.lines);
    free(t.n_token);
    free(t.vectors);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,         PM__OPT_PROMPT,       PM__OPT_FILE,         PM__OPT_POOLING,
    PM__OPT_NO_NORMALISE,  PM__OPT_CTX,          PM__OPT_CACHE_TYPE_K, PM__OPT_CACHE_TYPE_V,
    PM__OPT_BATCH,         PM__OPT_THREADS,      PM__OPT_NO_BOS,       PM__OPT_PARSE_SPECIAL,
    PM__OPT_DEVICE,        PM__OPT_LIST_DEVICES, PM__OPT_REQUIRE_GPU,  PM__OPT_MAX_VRAM,
    PM__OPT_DETERMINISTIC, PM__OPT_NO_FUSE,      PM__OPT_INT8,         PM__OPT_ONE_DISPATCH,
    PM__OPT_SUBMIT_MS,     PM__OPT_CACHE_DIR,    PM__OPT_NO_CACHE,     PM__OPT_NO_CHECK,
    PM__OPT_JSON,          PM__OPT_VERBOSE};

const pm__spec pm__spec_embed = {
    options_taken, sizeof options_taken, embed,
    "Each line that is not empty is a text. Its numbers are one line of the output, scaled to "
    "length "
    "1; of 2 to 64 texts the cosine similarities follow on standard error."};
