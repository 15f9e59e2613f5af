/* pumice quantize: a model file with its matrices in another type. */
#include <inttypes.h>
#include <string.h>

#include "model_file.h"

enum { MOST_KIND = 64 };

/* Tensors that became one type, for one reason. */
typedef struct kind {
    const char *to, *instead_of;
    uint64_t n;
} kind;

typedef struct quantizing {
    pm__model_file file; /* first: the library's callbacks know it alone */
    const pm__options *options;
    kind kinds[MOST_KIND];
    size_t n_kind;
    uint64_t from_bytes, to_bytes, n_element;
} quantizing;

static void count(quantizing *q, const pm_quantized *t) {
    size_t i = 0;
    while (i < q->n_kind && (strcmp(q->kinds[i].to, t->to) != 0 ||
                             strcmp(q->kinds[i].instead_of, t->instead_of) != 0))
        i++;
    if (i == MOST_KIND)
        return;
    if (i == q->n_kind)
        q->kinds[q->n_kind++] = (kind){.to = t->to, .instead_of = t->instead_of};
    q->kinds[i].n++;
}

static void print_tensor(FILE *to, const pm_quantized *t) {
    char shape[96];
    int at = snprintf(shape, sizeof shape, "%" PRIu64, t->shape[0]);
    for (int d = 1; d < 4 && (t->shape[d] > 1 || (d < 3 && t->shape[d + 1] > 1)); d++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, " x %" PRIu64, t->shape[d]);
    fprintf(to, "%-40s %-20s %-6s -> %-8s %12" PRIu64 "%s%s%s\n", t->name, shape, t->from, t->to,
            t->to_bytes, t->weighted ? "  by importance" : "",
            t->instead_of[0] ? "  instead of " : "", t->instead_of);
}

static void on_tensor(void *user, const pm_quantized *t) {
    quantizing *q = user;
    count(q, t);
    q->from_bytes += t->from_bytes;
    q->to_bytes += t->to_bytes;
    q->n_element += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    if (q->options->dry_run)
        print_tensor(stdout, t);
    else if (q->options->verbose)
        print_tensor(stderr, t);
}

static void print_sum(const quantizing *q) {
    for (size_t i = 0; i < q->n_kind; i++)
        if (q->kinds[i].instead_of[0]) {
            fprintf(stderr,
                    "pumice: %" PRIu64
                    " tensors became %s instead of %s, whose blocks do not divide "
                    "their rows\n",
                    q->kinds[i].n, q->kinds[i].to, q->kinds[i].instead_of);
        }
    fprintf(stderr, "pumice: tensors %s", pm__report_bytes(q->from_bytes));
    fprintf(stderr, " -> %s, %.2f bits an element\n", pm__report_bytes(q->to_bytes),
            q->n_element ? 8 * (double)q->to_bytes / (double)q->n_element : 0);
}

static pm_status quantize_with(quantizing *q, bool write) {
    const pm__options *options = q->options;
    const pm_quantize_desc desc = {.path = options->arguments[0],
                                   .type = options->arguments[2],
                                   .imatrix = options->imatrix,
                                   .output_type = options->output_type,
                                   .embedding_type = options->embedding_type,
                                   .tensor_types = options->tensor_types.items,
                                   .n_tensor_type = options->tensor_types.n,
                                   .pure = options->pure,
                                   .requantize = options->requantize,
                                   .n_thread = options->n_thread,
                                   .write = write ? pm__model_file_write : NULL,
                                   .on_tensor = on_tensor,
                                   .progress = pm__model_file_progress,
                                   .user = q};
    return pm_quantize(&desc);
}

static int write_file(quantizing *q) {
    PM__CHECK(
        pm__model_file_open(&q->file, "quantize", q->options->arguments[1], q->options->force));
    return pm__model_file_close(&q->file, quantize_with(q, true));
}

static int quantize(pm__options *options) {
    quantizing q = {.options = options};
    pm__interrupt_catch();
    const int code = options->dry_run ? pm__cli_status(quantize_with(&q, false)) : write_file(&q);
    if (code == 0)
        print_sum(&q);
    return code;
}

static const unsigned char options_taken[] = {
    PM__OPT_THREADS,     PM__OPT_IMATRIX, PM__OPT_OUTPUT_TENSOR_TYPE, PM__OPT_TOKEN_EMBEDDING_TYPE,
    PM__OPT_TENSOR_TYPE, PM__OPT_PURE,    PM__OPT_ALLOW_REQUANTIZE,   PM__OPT_DRY_RUN,
    PM__OPT_FORCE,       PM__OPT_VERBOSE};

const pm__spec pm__spec_quantize = {
    options_taken, sizeof options_taken, quantize,
    "IN is a model file or folder, OUT a GGUF file, which appears whole or not at all. TYPE is "
    "F32, "
    "F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, IQ4_NL, IQ4_XS, Q4_1, "
    "Q4_0, "
    "MXFP4, MXFP4_MOE, Q3_K_L, Q3_K_M, Q3_K_S, Q2_K, Q2_K_S or TQ2_0; Q4_K_M is the usual choice. "
    "Norms and other small tensors keep their type. A matrix whose rows a block does not divide "
    "gets a type that fits, and that is said."};
