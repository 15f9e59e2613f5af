#include "arch.h"

#include "base/file_map.h"
#include "format/gguf.h"
#include "reference.h"
#include "whole.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_SEQ = 3, MOST_TOKENS = 64, N_GREEDY = 32, MOST_INSTANCES = 128 };

static const pm__arch_run *run;

/* ---- an instance ----------------------------------------------------------------------------- */

typedef struct instance {
    const char *name;
    cJSON *json;
    pm__file_map file, expected_file;
    pm__gguf gguf;
    pm__model_def def;
    pm__graph graph;
    pm__limits limits;
    void *weights, *context;
    uint32_t tokens[MOST_TOKENS], greedy[N_GREEDY];
    uint32_t n_token;
    const float *expected; /* [n_token, n_vocab] */
    float *logits;         /* the same */
    double worst_nmse, worst_difference;
    uint32_t n_greedy;
    bool encoder;
    uint32_t source[MOST_TOKENS]; /* what a model with two sides answers to */
    uint32_t n_source;
} instance;

static const char *path_of(const instance *i, const char *file) {
    char relative[128];
    snprintf(relative, sizeof relative, "reference/arch/%s/%s", i->name, file);
    const char *path = pm__reference_path(relative);
    assert_non_null(path);
    return path;
}

static uint32_t read_ids(const cJSON *list, uint32_t *ids, uint32_t most) {
    uint32_t n = 0;
    assert_non_null(list);
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        assert_true(n < most);
        ids[n++] = (uint32_t)item->valuedouble;
    }
    return n;
}

/* Pages of the sequences interleave. */
static void give_pages(const instance *i) {
    const pm__backend *b = run->device->backend;
    uint32_t pages[64];
    const uint32_t n = pm__limits_pages(&i->limits) / N_SEQ;
    assert_true(n <= PM__COUNT(pages));
    for (uint32_t seq = 0; seq < N_SEQ; seq++) {
        for (uint32_t k = 0; k < n; k++)
            pages[k] = k * N_SEQ + (N_SEQ - 1 - seq);
        pm__expect_ok(b->set_pages(i->context, seq, 0, n, pages));
    }
}

static void open_context(instance *i) {
    const pm__backend *b = run->device->backend;
    const uint32_t n_ctx = (uint32_t)cJSON_GetObjectItem(i->json, "n_ctx")->valuedouble;
    i->limits = (pm__limits){
        .n_ctx = n_ctx < i->def.n_ctx_train ? n_ctx : i->def.n_ctx_train,
        .n_batch = N_SEQ * MOST_TOKENS,
        .n_out = N_SEQ * MOST_TOKENS,
        .n_seq = N_SEQ,
    };
    const pm__build_desc build = {.n_ctx = i->limits.n_ctx};
    pm__expect_ok(pm__model_def_build(&i->def, &build, &i->graph));
    pm__expect_ok(b->weights_create(run->device->device, &i->def, NULL, NULL, &i->weights));
    pm__expect_ok(b->context_create(i->weights, &i->graph, &i->limits, &i->context));
    give_pages(i);
}

static void open_file(instance *i, const char *name) {
    *i = (instance){.name = name};
    i->json = pm__whole_json(path_of(i, "ref.json"));
    pm__expect_ok(pm__file_map_init(&i->file, path_of(i, "model.gguf")));
    pm__expect_ok(pm__gguf_init(&i->gguf, i->file.data, i->file.size));
    pm__expect_ok(pm__model_def_init(&i->def, &i->gguf));
}

static void open_instance(instance *i, const char *name) {
    open_file(i, name);
    open_context(i);
    i->n_token = read_ids(cJSON_GetObjectItem(i->json, "tokens"), i->tokens, MOST_TOKENS);
    i->encoder = i->def.arch->encoder;
    if (i->graph.has_encoder) {
        i->n_source = i->n_token;
        memcpy(i->source, i->tokens, sizeof i->source);
        i->n_token =
            read_ids(cJSON_GetObjectItem(i->json, "decoder_tokens"), i->tokens, MOST_TOKENS);
    }
    pm__expect_ok(
        pm__file_map_init(&i->expected_file, path_of(i, i->encoder ? "embd.f32" : "logits.f32")));
    const size_t n_logit = (size_t)i->n_token * i->graph.logits->n_col;
    assert_int_equal(i->expected_file.size, n_logit * sizeof(float));
    i->expected = (const float *)(const void *)i->expected_file.data;
    i->logits = calloc(n_logit, sizeof *i->logits);
    assert_non_null(i->logits);
}

static void close_instance(instance *i) {
    const pm__backend *b = run->device->backend;
    free(i->logits);
    if (i->context != NULL)
        b->context_destroy(i->context);
    if (i->weights != NULL)
        b->weights_destroy(i->weights);
    pm__graph_finish(&i->graph);
    pm__model_def_finish(&i->def);
    pm__gguf_finish(&i->gguf);
    pm__file_map_finish(&i->file);
    pm__file_map_finish(&i->expected_file);
    cJSON_Delete(i->json);
}

/* ---- ways to run the prompt ------------------------------------------------------------------ */

/* Tokens [first, end) of the prompt as positions [first, end) of a sequence. */
typedef struct piece {
    uint32_t seq, first, end;
} piece;

/* One step of some pieces, an output a row. */
static uint32_t step(const instance *i, const piece *pieces, uint32_t n_piece) {
    const pm__backend *b = run->device->backend;
    static struct pm_step_row rows[N_SEQ * MOST_TOKENS];
    static uint32_t outs[N_SEQ * MOST_TOKENS];
    static struct pm_step_drawn drawn[N_SEQ * MOST_TOKENS];
    uint32_t n = 0;
    for (const piece *p = pieces; p < pieces + n_piece; p++)
        for (uint32_t pos = p->first; pos < p->end; pos++, n++) {
            rows[n] = (struct pm_step_row){
                .token = i->tokens[pos], .seq = p->seq, .pos = pos, .n_pos = i->n_source};
            outs[n] = n;
        }
    const pm__step all = {.rows = rows, .n_row = n, .outs = outs, .n_out = n};
    pm__expect_ok(b->begin(i->context, &all));
    pm__expect_ok(b->submit(i->context));
    pm__expect_ok(b->collect(i->context, drawn));
    return n;
}

/* All sequences in one step. */
static void encode(const instance *i) {
    const pm__backend *b = run->device->backend;
    struct pm_step_row rows[N_SEQ * MOST_TOKENS] = {0};
    const uint32_t n = N_SEQ * i->n_source;
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t pos = r % i->n_source;
        rows[r] = (struct pm_step_row){
            .token = i->source[pos], .seq = N_SEQ - 1 - r / i->n_source, .pos = pos};
    }
    const pm__step all = {.rows = rows, .n_row = n, .among = PM__TOGETHER, .encode = true};
    pm__expect_ok(b->begin(i->context, &all));
    pm__expect_ok(b->submit(i->context));
    pm__expect_ok(b->collect(i->context, NULL));
}

static void compare(instance *i, const char *way, const float *expected, uint32_t n_row) {
    const size_t n = (size_t)n_row * i->graph.logits->n_col;
    double error = 0, power = 0, most = 0;
    for (size_t k = 0; k < n; k++) {
        const double difference = (double)i->logits[k] - (double)expected[k];
        error += difference * difference;
        power += (double)expected[k] * (double)expected[k];
        most = fmax(most, isfinite(difference) ? fabs(difference) : INFINITY);
    }
    if (!(error <= run->nmse * power) || !(most <= run->difference))
        fail_msg("%s, %s: NMSE %.2g, largest difference %.2g", i->name, way, error / power, most);
    i->worst_nmse = fmax(i->worst_nmse, error / power);
    i->worst_difference = fmax(i->worst_difference, most);
}

static void check_pieces(instance *i, const char *way, const piece *pieces, uint32_t n_piece) {
    step(i, pieces, n_piece);
    uint32_t first = 0;
    for (const piece *p = pieces; p < pieces + n_piece; p++) {
        const uint32_t n = p->end - p->first;
        pm__expect_ok(run->device->backend->read_logits(i->context, first, n, i->logits));
        compare(i, way, i->expected + (size_t)p->first * i->graph.logits->n_col, n);
        first += n;
    }
}

/* A sequence of an encoder comes whole. */
static void check_encoder(instance *i) {
    const piece whole = {0, 0, i->n_token};
    const piece together[] = {{2, 0, i->n_token}, {0, 0, i->n_token}, {1, 0, i->n_token}};
    check_pieces(i, "whole", &whole, 1);
    check_pieces(i, "three sequences", together, PM__COUNT(together));
}

static void check_ways(instance *i) {
    const uint32_t n = i->n_token, cut = n / 2 - 3;
    const piece whole = {0, 0, n}, left = {1, 0, cut}, right = {1, cut, n};
    check_pieces(i, "whole", &whole, 1);
    check_pieces(i, "first chunk", &left, 1);
    check_pieces(i, "second chunk", &right, 1);
    for (uint32_t pos = 0; pos < n; pos++) {
        const piece token = {2, pos, pos + 1};
        check_pieces(i, "token by token", &token, 1);
    }
    const piece together[] = {{0, 0, n - 5}, {1, 0, n}, {2, 0, n / 3}};
    check_pieces(i, "three sequences", together, PM__COUNT(together));
    const piece onward[] = {{2, n / 3, n}, {0, n - 5, n}};
    check_pieces(i, "three sequences go on", onward, PM__COUNT(onward));
}

/* ---- greedy ---------------------------------------------------------------------------------- */

/* Where two tokens are nearly as likely the texts may part. */
static void check_greedy(instance *i) {
    const pm__backend *b = run->device->backend;
    const cJSON *margin = cJSON_GetObjectItem(i->json, "greedy_margin")->child;
    const uint32_t n = read_ids(cJSON_GetObjectItem(i->json, "greedy"), i->greedy, N_GREEDY);
    const struct pm_step_sampler greedy = {.repeat_penalty = 1.0f, .top_p = 1.0f};
    pm__expect_ok(b->set_sampler(i->context, 0, &greedy));
    /* Of two sides from the start token on, else from the end of the prompt. */
    const uint32_t last = i->n_source > 0 ? 0 : i->n_token - 1;
    struct pm_step_row row = {.token = i->tokens[last], .pos = last, .n_pos = i->n_source};
    const piece rest = {0, 0, last};
    if (last > 0)
        step(i, &rest, 1);
    for (; i->n_greedy < n; i->n_greedy++, margin = margin->next) {
        struct pm_step_drawn drawn;
        const uint32_t out = 0;
        const pm__step one = {.rows = &row, .n_row = 1, .outs = &out, .n_out = 1, .sample = true};
        pm__expect_ok(b->begin(i->context, &one));
        pm__expect_ok(b->submit(i->context));
        pm__expect_ok(b->collect(i->context, &drawn));
        if (drawn.token != i->greedy[i->n_greedy]) {
            if (!(margin->valuedouble < run->difference))
                fail_msg("%s: greedy token %u is %u, the reference %u by %.4f", i->name,
                         i->n_greedy, drawn.token, i->greedy[i->n_greedy], margin->valuedouble);
            return;
        }
        row.token = drawn.token;
        row.pos++;
    }
}

/* ---- what is new in one ---------------------------------------------------------------------- */

/* What of its parameters decides between pieces of kernels, not about sizes. */
static uint32_t kind_of_params(const pm__node *node) {
    const pm__op_params *p = &node->params;
    switch (node->op) {
    case PM__OP_EMBED:
        return p->embed.positions;
    case PM__OP_ROPE:
        return (uint32_t)p->rope.style * 2 + (p->rope.n_rot < p->rope.head_dim);
    case PM__OP_ATTENTION: {
        const bool is[] = {
            p->attention.window > 0,    p->attention.softcap > 0, p->attention.max_alibi_bias > 0,
            p->attention.bidirectional, p->attention.chunked,     p->attention.head_dim % 8 != 0};
        uint32_t kind = 0;
        for (size_t k = 0; k < PM__COUNT(is); k++)
            kind = 2 * kind + is[k];
        return kind;
    }
    case PM__OP_UNARY:
        return (uint32_t)p->unary.kind;
    case PM__OP_GLU:
        return (uint32_t)p->glu.kind;
    case PM__OP_CONV:
        return p->conv.silu;
    case PM__OP_DELTA_NET:
        return p->delta_net.tiled;
    case PM__OP_ROUTE:
        return (uint32_t)p->route.gating * 4 + p->route.renorm * 2u + (p->route.n_group > 1);
    case PM__OP_ADVANCE:
        return p->advance.keeps_n_pos;
    default:
        return 0;
    }
}

static uint32_t kind_of(const pm__node *node) {
    const int matrix = pm__op_get(node->op)->matrix;
    uint32_t inputs = 0;
    for (uint32_t k = 0; k < PM__MOST_INPUTS; k++)
        inputs |= (node->in[k] != NULL ? 1u : 0u) << k;
    const uint32_t type = matrix >= 0 ? (uint32_t)node->in[matrix]->type : 0;
    return (uint32_t)node->op | inputs << 6 | type << 14 | kind_of_params(node) << 20;
}

/* Whether it has a node of a kind that none before it had. */
static bool is_new(const char *name) {
    enum { MOST_KINDS = 1024 };
    static uint32_t kinds[MOST_KINDS], n_kind;
    const uint32_t n_before = n_kind;
    instance i;
    open_file(&i, name);
    const pm__build_desc build = {.n_ctx = i.def.n_ctx_train};
    pm__expect_ok(pm__model_def_build(&i.def, &build, &i.graph));
    for (uint32_t n = 0; n < i.graph.n_node; n++) {
        const uint32_t kind = kind_of(&i.graph.nodes[n]);
        uint32_t k = 0;
        while (k < n_kind && kinds[k] != kind)
            k++;
        assert_true(k < MOST_KINDS);
        kinds[k] = kind;
        n_kind += k == n_kind;
    }
    close_instance(&i);
    return n_kind > n_before;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void test_instance(void **state) {
    instance i;
    if (run->new_only && !is_new(*state)) {
        print_message("%-24s has no node of a new kind\n", (const char *)*state);
        skip();
    }
    open_instance(&i, *state);
    if (i.encoder) {
        check_encoder(&i);
    } else {
        if (i.n_source > 0)
            encode(&i);
        check_ways(&i);
        check_greedy(&i);
    }
    print_message("%-24s NMSE %.2g, largest difference %.2g, %u greedy tokens\n", i.name,
                  i.worst_nmse, i.worst_difference, i.n_greedy);
    close_instance(&i);
}

static int is_instance(const struct dirent *entry) {
    return entry->d_name[0] != '.' && strchr(entry->d_name, '.') == NULL;
}

/* PUMICE_TEST_ARCH names the only one to run. */
int pm__arch_tests(const pm__arch_run *how) {
    run = how;
    const char *folder = pm__reference_path("reference/arch"), *only = getenv("PUMICE_TEST_ARCH");
    struct dirent **entries = NULL;
    struct CMUnitTest tests[MOST_INSTANCES];
    const int n_entry = folder != NULL ? scandir(folder, &entries, is_instance, alphasort) : 0;
    size_t n = 0;
    for (int k = 0; k < n_entry && n < MOST_INSTANCES; k++)
        if (only == NULL || strcmp(only, entries[k]->d_name) == 0)
            tests[n++] = (struct CMUnitTest){.name = entries[k]->d_name,
                                             .test_func = test_instance,
                                             .initial_state = entries[k]->d_name};
    const int failed = n > 0 ? _cmocka_run_group_tests("arch", tests, n, NULL, NULL) : 77;
    for (int k = 0; k < n_entry; k++)
        free(entries[k]);
    free(entries);
    return failed;
}
