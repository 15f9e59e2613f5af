/* pumice score: per-token log-probabilities and perplexity of a text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

typedef struct candidate {
    int32_t id;
    float logit;
} candidate;

/* A text under way through its windows. */
typedef struct scoring {
    const pm__cli *cli;
    uint32_t n_vocab, n_top;
    candidate *top;     /* [n_top], best first */
    const int32_t *ids; /* the window, [n_id] */
    size_t n_id,
        first;     /* positions before `first` are context only: they predict, and do not count */
    uint64_t done; /* positions of earlier windows */
    double nll, nll_squared;
    uint64_t n_scored;
    cJSON *positions, *logprobs; /* NULL without --json */
} scoring;

static double log_sum_exp(const float *logits, uint32_t n) {
    float most = logits[0];
    for (uint32_t i = 1; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)most);
    return (double)most + log(sum);
}

/* The n_top best, equal ones by their id: insertion into a short sorted list. */
static void find_top(scoring *s, const float *logits) {
    uint32_t n = 0;
    for (uint32_t id = 0; id < s->n_vocab; id++) {
        if (n == s->n_top && logits[id] <= s->top[n - 1].logit)
            continue;
        uint32_t at = n < s->n_top ? n++ : n - 1;
        for (; at > 0 && s->top[at - 1].logit < logits[id]; at--)
            s->top[at] = s->top[at - 1];
        s->top[at] = (candidate){(int32_t)id, logits[id]};
    }
}

static void print_quoted(const char *text, size_t n_byte) {
    cJSON *quoted = pm__json_text(text, n_byte);
    char *shown = quoted ? cJSON_PrintUnformatted(quoted) : NULL;
    printf("  %s", shown ? shown : "");
    cJSON_free(shown);
    cJSON_Delete(quoted);
}

/* The token at position i + 1, and what was expected there; behind the last token only the latter.
 */
static void print_position(const scoring *s, size_t i, bool scored, double logprob) {
    const char *text = "";
    size_t n_byte = 0;
    printf("%8" PRIu64 " ", s->done + i + 1);
    if (i + 1 == s->n_id) {
        fputs("     end            -", stdout);
    } else {
        printf("%8" PRId32 " ", s->ids[i + 1]);
        printf(scored ? "%12.5f" : "           -", logprob);
        if (pm_token_text(s->cli->model, s->ids[i + 1], true, &text, &n_byte) == PM_OK)
            print_quoted(text, n_byte);
    }
    putchar('\n');
    for (uint32_t k = 0; k < s->n_top; k++)
        printf("    best %8" PRId32 " %12.5f\n", s->top[k].id, (double)s->top[k].logit);
}

static void add_position(const scoring *s, double logsumexp) {
    cJSON *position = cJSON_CreateObject();
    cJSON_AddNumberToObject(position, "logsumexp", logsumexp);
    cJSON *top = cJSON_AddArrayToObject(position, "top");
    for (uint32_t k = 0; k < s->n_top; k++) {
        cJSON *pair = cJSON_CreateArray();
        cJSON_AddItemToArray(pair, cJSON_CreateNumber(s->top[k].id));
        cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)s->top[k].logit));
        cJSON_AddItemToArray(top, pair);
    }
    cJSON_AddItemToArray(s->positions, position);
}

/* The logits after token i: what they say of token i + 1. */
static pm_status on_logits(void *user, size_t i, const float *logits) {
    scoring *s = user;
    const double logsumexp = log_sum_exp(logits, s->n_vocab);
    const bool scored = i + 1 < s->n_id && i >= s->first;
    const double logprob = i + 1 < s->n_id ? (double)logits[s->ids[i + 1]] - logsumexp : 0;
    if (scored) {
        s->nll -= logprob;
        s->nll_squared += logprob * logprob;
        s->n_scored++;
    }
    if (s->n_top)
        find_top(s, logits);
    if (s->positions) {
        add_position(s, logsumexp);
        if (i + 1 < s->n_id) {
            cJSON_AddItemToArray(s->logprobs,
                                 scored ? cJSON_CreateNumber(logprob) : cJSON_CreateNull());
        }
    } else {
        print_position(s, i, scored, logprob);
    }
    return pm__interrupts() ? PM_CANCELLED : PM_OK;
}

static int score_window(scoring *s, const int32_t *ids, size_t n_id, size_t first) {
    s->ids = ids;
    s->n_id = n_id;
    s->first = first;
    if (s->positions && s->done > 0)
        cJSON_AddItemToArray(s->logprobs, cJSON_CreateNull()); /* the first token of a window */
    pm_status status = pm_session_rewind(s->cli->session, 0, 0);
    if (status == PM_OK)
        status = pm_session_eval_all(s->cli->session, 0, ids, n_id, on_logits, s);
    s->done += n_id;
    return status == PM_CANCELLED ? PM__EXIT_CANCELLED : pm__cli_status(status);
}

/* The field's usual perplexity: full windows, each beginning with BOS in place of its first token;
 * the first half is context. A tail shorter than a window is left out. A text that fits is scored
 * whole.
 * n_kept  out, ids that were evaluated */
static int score_ids(scoring *s, int32_t *ids, size_t n_id, size_t *n_kept) {
    const size_t n_ctx = pm_session_n_ctx(s->cli->session);
    *n_kept = n_id;
    if (n_id <= n_ctx)
        return n_id ? score_window(s, ids, n_id, 0) : 0;
    const int32_t bos = pm_model_get_info(s->cli->model)->bos;
    const bool has_bos = bos >= 0 && ids[0] == bos;
    const size_t n_window = n_id / n_ctx;
    fprintf(stderr, "pumice: %zu tokens in %zu windows of %zu, the second half of each is scored",
            n_id, n_window, n_ctx);
    fprintf(stderr, n_id % n_ctx ? "; the last %zu tokens are left out\n" : "\n", n_id % n_ctx);
    *n_kept = n_window * n_ctx;
    pm__progress progress = {0};
    int code = 0;
    for (size_t w = 0; w < n_window && code == 0; w++) {
        int32_t *window = ids + w * n_ctx;
        window[0] = has_bos ? bos : window[0];
        code = score_window(s, window, n_ctx, n_ctx / 2);
        pm__report_progress(&progress, "scoring", w + 1, n_window);
    }
    pm__report_progress_end(&progress);
    return code;
}

static int print_json(scoring *s, const int32_t *ids, size_t n_id) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddItemToObject(document, "tokens", pm__json_ids(ids, n_id));
    cJSON_AddItemToObject(document, "positions", s->positions);
    cJSON_AddItemToObject(document, "logprobs", s->logprobs);
    s->positions = NULL;
    s->logprobs = NULL;
    const double mean = s->n_scored ? s->nll / (double)s->n_scored : 0;
    cJSON_AddItemToObject(document, "nll_per_token",
                          s->n_scored ? cJSON_CreateNumber(mean) : cJSON_CreateNull());
    cJSON_AddItemToObject(document, "perplexity",
                          s->n_scored ? cJSON_CreateNumber(exp(mean)) : cJSON_CreateNull());
    cJSON_AddNumberToObject(document, "n_scored", (double)s->n_scored);
    cJSON_AddNumberToObject(document, "context", pm_session_n_ctx(s->cli->session));
    cJSON_AddItemToObject(document, "device", pm__json_device(pm_device_get_info(s->cli->device)));
    return pm__json_print(document);
}

static void print_sum(const scoring *s) {
    if (!s->n_scored) {
        fputs("pumice: one token or none: nothing to score\n", stderr);
        return;
    }
    const double n = (double)s->n_scored;
    const double mean = s->nll / n;
    const double variance = s->nll_squared / n - mean * mean;
    const double error = n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0;
    fprintf(stderr, "perplexity %.4f +- %.4f  nll/token %.5f  %" PRIu64 " tokens scored\n",
            exp(mean), exp(mean) * error, mean, s->n_scored);
}

static int score_text(const pm__cli *cli, const char *text, size_t n_byte) {
    const pm__options *options = cli->options;
    const pm_tokenize_desc desc = {.text = text,
                                   .n_byte = n_byte,
                                   .add_special = !options->no_bos,
                                   .parse_special = options->parse_special};
    int32_t *ids = NULL;
    size_t n_id = 0, n_kept = 0;
    PM__CHECK(pm__cli_tokenize(cli->model, &desc, &ids, &n_id));
    const uint32_t n_vocab = pm_model_get_info(cli->model)->n_vocab;
    scoring s = {
        .cli = cli, .n_vocab = n_vocab, .n_top = options->top < n_vocab ? options->top : n_vocab};
    s.top = calloc(s.n_top ? s.n_top : 1, sizeof *s.top);
    if (options->json) {
        s.positions = cJSON_CreateArray();
        s.logprobs = cJSON_CreateArray();
        if (s.logprobs && n_id)
            cJSON_AddItemToArray(s.logprobs, cJSON_CreateNull());
    }
    int code = s.top && (!options->json || (s.positions && s.logprobs))
                   ? score_ids(&s, ids, n_id, &n_kept)
                   : pm__cli_error(PM__EXIT_OUT_OF_MEMORY,
                                   "score: no memory for the %" PRIu32 " best tokens", s.n_top);
    if (code == 0 && options->json)
        code = print_json(&s, ids, n_kept);
    if (code == 0)
        print_sum(&s);
    cJSON_Delete(s.positions);
    cJSON_Delete(s.logprobs);
    free(s.top);
    free(ids);
    return code;
}

static int score(pm__options *options) {
    pm__cli cli = {0};
    char *text = NULL;
    size_t n_byte = 0;
    pm__interrupt_catch();
    int code = pm__cli_read_text(options, false, &text, &n_byte);
    if (code == 0)
        code = pm__cli_open(&cli, options, PM__NEED_SESSION);
    if (code == 0)
        code = score_text(&cli, text, n_byte);
    free(text);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_MODEL,        PM__OPT_PROMPT,       PM__OPT_FILE,          PM__OPT_TOP,
    PM__OPT_CTX,          PM__OPT_CACHE_TYPE_K, PM__OPT_CACHE_TYPE_V,  PM__OPT_BATCH,
    PM__OPT_THREADS,      PM__OPT_NO_BOS,       PM__OPT_PARSE_SPECIAL, PM__OPT_DEVICE,
    PM__OPT_LIST_DEVICES, PM__OPT_REQUIRE_GPU,  PM__OPT_MAX_VRAM,      PM__OPT_DETERMINISTIC,
    PM__OPT_NO_FUSE,      PM__OPT_INT8,         PM__OPT_ONE_DISPATCH,  PM__OPT_SUBMIT_MS,
    PM__OPT_CACHE_DIR,    PM__OPT_NO_CACHE,     PM__OPT_NO_CHECK,      PM__OPT_JSON,
    PM__OPT_VERBOSE};

const pm__spec pm__spec_score = {options_taken, sizeof options_taken, score,
                                 "The text is taken byte for byte. One that is longer than -c "
                                 "tokens is cut into windows of -c tokens, each "
                                 "beginning with BOS; the second half of each is scored. Lines are "
                                 "position, token id, log-probability (- where "
                                 "it is context only) and text."};
