/* test_llama_cpu.c: whole models on the reference executor against logits and texts made by
 * another implementation.
 * ctest: model */
#include "base/file_map.h"
#include "cpu/cpu.h"
#include "format/gguf.h"
#include "reference.h"
#include "whole.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_CTX = 512 };

/* A model with one sequence on the reference executor. */
typedef struct runner {
    pm__file_map file;
    pm__gguf gguf;
    pm__model_def def;
    pm__graph graph;
    pm__device_handle cpu;
    void *weights, *context;
    pm__limits limits;
    uint32_t n_past;
} runner;

static void runner_open(runner *r, const char *path, uint32_t n_thread, uint32_t n_batch) {
    memset(r, 0, sizeof *r);
    r->limits = (pm__limits){.n_ctx = N_CTX, .n_batch = n_batch, .n_out = n_batch, .n_seq = 1};
    assert_int_equal(pm__file_map_init(&r->file, path), PM_OK);
    assert_int_equal(pm__gguf_init(&r->gguf, r->file.data, r->file.size), PM_OK);
    if (pm__model_def_init(&r->def, &r->gguf) != PM_OK)
        fail_msg("%s", pm_last_error());
    const pm__build_desc build = {.n_ctx = N_CTX};
    assert_int_equal(pm__model_def_build(&r->def, &build, &r->graph), PM_OK);
    assert_int_equal(pm__cpu_open(n_thread, 0, &r->cpu), PM_OK);
    const pm__backend *b = r->cpu.backend;
    assert_int_equal(b->weights_create(r->cpu.device, &r->def, NULL, NULL, &r->weights), PM_OK);
    if (b->context_create(r->weights, &r->graph, &r->limits, &r->context) != PM_OK)
        fail_msg("%s", pm_last_error());
    uint32_t pages[N_CTX / PM_PAGE];
    for (uint32_t i = 0; i < PM__COUNT(pages); i++) /* in an order of their own */
        pages[i] = (uint32_t)PM__COUNT(pages) - 1 - i;
    assert_int_equal(b->set_pages(r->context, 0, 0, PM__COUNT(pages), pages), PM_OK);
}

static void runner_close(runner *r) {
    r->cpu.backend->context_destroy(r->context);
    r->cpu.backend->weights_destroy(r->weights);
    r->cpu.backend->close(r->cpu.device);
    pm__graph_finish(&r->graph);
    pm__model_def_finish(&r->def);
    pm__gguf_finish(&r->gguf);
    pm__file_map_finish(&r->file);
}

/* Appends tokens, in steps of the batch; logits  out, [n, n_vocab] or NULL; gives the token drawn
 * after the last. */
static uint32_t runner_eval(runner *r, const uint32_t *tokens, uint32_t n, float *logits) {
    const pm__backend *b = r->cpu.backend;
    struct pm_step_row rows[64];
    struct pm_step_drawn drawn[64];
    uint32_t outs[64], last = 0;
    for (uint32_t first = 0; first < n; first += r->limits.n_batch) {
        const uint32_t some = n - first < r->limits.n_batch ? n - first : r->limits.n_batch;
        for (uint32_t i = 0; i < some; i++) {
            rows[i] = (struct pm_step_row){.token = tokens[first + i], .pos = r->n_past++};
            outs[i] = i;
        }
        const pm__step step = {
            .rows = rows, .n_row = some, .outs = outs, .n_out = some, .sample = true};
        if (b->begin(r->context, &step) != PM_OK || b->submit(r->context) != PM_OK)
            fail_msg("%s", pm_last_error());
        assert_int_equal(b->collect(r->context, drawn), PM_OK);
        last = drawn[some - 1].token;
        if (logits != NULL)
            assert_int_equal(
                b->read_logits(r->context, 0, some, logits + (size_t)first * r->def.n_vocab),
                PM_OK);
    }
    return last;
}

static uint32_t read_ids(const cJSON *list, uint32_t *ids, uint32_t most) {
    uint32_t n = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        assert_true(n < most);
        ids[n++] = (uint32_t)item->valuedouble;
    }
    return n;
}

/* ---- logits and greedy texts ----------------------------------------------------------------- */

typedef struct tally {
    double most, error, power; /* largest difference; squares of differences and of references */
    uint32_t n_logit, n_greedy;
} tally;

static void compare(tally *t, double mine, double reference) {
    const double difference = fabs(mine - reference);
    if (difference > t->most)
        t->most = difference;
    t->error += difference * difference;
    t->power += reference * reference;
    t->n_logit++;
    assert_true(difference <= 1e-3);
}

static void print_tally(const char *name, const tally *t) {
    printf("%s: %u logits, largest difference %.2g, NMSE %.2g; %u greedy tokens equal\n", name,
           t->n_logit, t->most, t->error / t->power, t->n_greedy);
}

static void check_position(tally *t, const cJSON *position, const float *logits, uint32_t n_vocab) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        max = fmax(max, (double)logits[i]);
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - max);
    const double expected = cJSON_GetObjectItem(position, "logsumexp")->valuedouble;
    assert_true(fabs(max + log(sum) - expected) <= 1e-3);
    const cJSON *top = cJSON_GetObjectItem(position, "top");
    for (const cJSON *pair = top->child; pair != NULL; pair = pair->next)
        compare(t, (double)logits[(uint32_t)cJSON_GetArrayItem(pair, 0)->valuedouble],
                cJSON_GetArrayItem(pair, 1)->valuedouble);
}

static void check_prompt(tally *t, runner *r, const cJSON *prompt) {
    uint32_t tokens[N_CTX], greedy[N_CTX];
    const uint32_t n = read_ids(cJSON_GetObjectItem(prompt, "tokens"), tokens, N_CTX);
    const uint32_t n_greedy = read_ids(cJSON_GetObjectItem(prompt, "greedy"), greedy, N_CTX);
    const uint32_t n_vocab = r->def.n_vocab;
    float *logits = malloc((size_t)n * n_vocab * sizeof *logits);
    assert_non_null(logits);
    r->n_past = 0;
    uint32_t next = runner_eval(r, tokens, n, logits);
    const cJSON *positions = cJSON_GetObjectItem(prompt, "positions");
    assert_int_equal(cJSON_GetArraySize(positions), n);
    uint32_t i = 0;
    for (const cJSON *position = positions->child; position != NULL; position = position->next)
        check_position(t, position, logits + (size_t)i++ * n_vocab, n_vocab);
    for (i = 0; i < n_greedy; i++) {
        assert_int_equal(next, greedy[i]);
        next = runner_eval(r, &next, 1, NULL);
    }
    t->n_greedy += n_greedy;
    free(logits);
}

static void check_model(const char *file, const char *name) {
    char relative[128];
    snprintf(relative, sizeof relative, "models/real/%s.gguf", file);
    const char *model = pm__reference_path(relative);
    snprintf(relative, sizeof relative, "reference/real/%s.json", name);
    const char *reference = pm__reference_path(relative);
    if (model == NULL || reference == NULL)
        skip();
    cJSON *json = pm__whole_json(reference);
    runner r;
    runner_open(&r, model, 0, 7);
    tally t = {0};
    const cJSON *prompts = cJSON_GetObjectItem(json, "prompts");
    for (const cJSON *prompt = prompts->child; prompt != NULL; prompt = prompt->next)
        check_prompt(&t, &r, prompt);
    print_tally(name, &t);
    runner_close(&r);
    cJSON_Delete(json);
}

static void test_stories_f32(void **state) {
    (void)state;
    check_model("stories260K-f32", "stories260K-f32");
}

static void test_stories_f16(void **state) {
    (void)state;
    check_model("stories260K-f16", "stories260K-f16");
}

static void test_babyllama_f32(void **state) {
    (void)state;
    check_model("babyllama-tok105-f32", "babyllama-tok105-f32");
}

static void test_babyllama_f16(void **state) {
    (void)state;
    check_model("babyllama-tok105-F16", "babyllama-tok105-f16");
}

/* ---- the same bits --------------------------------------------------------------------------- */

/* Neither the number of threads nor the rows that share a step may show in the logits. */
static void test_same_bits(void **state) {
    (void)state;
    const char *model = pm__reference_path("models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    static const uint32_t ways[][2] = {{1, 1}, {3, 5}, {2, 37}}; /* threads, rows of a step */
    uint32_t tokens[37];
    float *logits[PM__COUNT(ways)];
    for (uint32_t i = 0; i < PM__COUNT(tokens); i++)
        tokens[i] = i == 0 ? 1 : 60 + i * 11;
    for (size_t w = 0; w < PM__COUNT(ways); w++) {
        runner r;
        runner_open(&r, model, ways[w][0], ways[w][1]);
        logits[w] = malloc(PM__COUNT(tokens) * r.def.n_vocab * sizeof(float));
        assert_non_null(logits[w]);
        runner_eval(&r, tokens, PM__COUNT(tokens), logits[w]);
        assert_memory_equal(logits[w], logits[0],
                            PM__COUNT(tokens) * r.def.n_vocab * sizeof(float));
        runner_close(&r);
    }
    for (size_t w = 0; w < PM__COUNT(ways); w++)
        free(logits[w]);
}

/* ---- hostile hyper-parameters ---------------------------------------------------------------- */

static pm_status load_file(const char *path) {
    pm__file_map file;
    pm__gguf gguf;
    pm__model_def def;
    pm_status status = pm__file_map_init(&file, path);
    assert_int_equal(status, PM_OK);
    status = pm__gguf_init(&gguf, file.data, file.size);
    assert_int_equal(status, PM_OK);
    status = pm__model_def_init(&def, &gguf);
    if (status == PM_OK)
        pm__model_def_finish(&def);
    pm__gguf_finish(&gguf);
    pm__file_map_finish(&file);
    return status;
}

static void test_absurd_keys(void **state) {
    (void)state;
    static const struct {
        const char *file, *key, *number;
    } cases[] = {
        {"blocks-u32max", "llama.block_count", "4294967295"},
        {"head-count-7", "llama.attention.head_count", "7"},
        {"kv-heads-0", "llama.attention.head_count_kv", "0"},
        {"rms-eps-nan", "llama.attention.layer_norm_rms_epsilon", "nan"},
        {"rope-dims-1e6", "llama.rope.dimension_count", "1000000"},
        {"embd-65-shape-mismatch", "llama.embedding_length", "65"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "models/malformed/gguf-model-%s.gguf", cases[i].file);
        const char *path = pm__reference_path(relative);
        if (path == NULL)
            skip();
        assert_int_equal(load_file(path), PM_BAD_FILE);
        printf("%s\n", pm_last_error());
        assert_non_null(strstr(pm_last_error(), cases[i].key));
        assert_non_null(strstr(pm_last_error(), cases[i].number));
    }
}

/* A vocabulary without a model. */
static void test_refused_vocabulary(void **state) {
    (void)state;
    const char *vocabulary = pm__reference_path("models/vocab/ggml-vocab-llama-spm.gguf");
    if (vocabulary == NULL)
        skip();
    assert_int_equal(load_file(vocabulary), PM_BAD_FILE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_f32),        cmocka_unit_test(test_stories_f16),
        cmocka_unit_test(test_babyllama_f32),      cmocka_unit_test(test_babyllama_f16),
        cmocka_unit_test(test_same_bits),          cmocka_unit_test(test_absurd_keys),
        cmocka_unit_test(test_refused_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
