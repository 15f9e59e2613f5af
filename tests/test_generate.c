/* test_generate.c: whole models through the public API, against ids and logits made by another
 * implementation.
 * PUMICE_TEST_DEVICE names the device (as --device), else the CPU path.
 * ctest: model */
#include "pumice.h"

#include "base/file_map.h"
#include "format/json.h"
#include "reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 512 };

typedef struct ids {
    int32_t data[MOST];
    uint32_t n;
} ids;

static pm_device *device;
static bool exact; /* the device computes as the reference does, row by row */

static void expect_ok(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s: %s", pm_status_text(status), pm_last_error());
}

static int set_up(void **state) {
    (void)state;
    const char *name = getenv("PUMICE_TEST_DEVICE");
    const pm_device_desc desc = {.name = name != NULL ? name : "cpu"};
    expect_ok(pm_device_open(&desc, &device));
    const pm_device_info *info = pm_device_get_info(device);
    exact = strcmp(info->kind, "cpu") == 0;
    printf("device: %s, %s\n", info->name, info->driver);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm_device_close(device);
    return 0;
}

/* NULL where the model is not there. */
static pm_model *open_model(const char *relative) {
    const char *path = pm__reference_path(relative);
    if (path == NULL)
        return NULL;
    pm_model *model = NULL;
    const pm_model_desc desc = {.path = path};
    expect_ok(pm_model_open(device, &desc, &model));
    return model;
}

static pm_session *open_session(pm_model *model, uint32_t n_ctx, uint32_t n_batch, uint32_t n_seq) {
    pm_session *session = NULL;
    const pm_session_desc desc = {.n_ctx = n_ctx,
                                  .int8 = "off",
                                  .n_batch = n_batch,
                                  .n_seq = n_seq,
                                  .cache_type_k = "f32", /* as those of the references */
                                  .cache_type_v = "f32"};
    expect_ok(pm_session_open(model, &desc, &session));
    return session;
}

static cJSON *read_json(const char *path) {
    pm__file_map file;
    cJSON *out = NULL;
    expect_ok(pm__file_map_init(&file, path));
    expect_ok(pm__json_parse(path, (const char *)file.data, file.size, &out));
    pm__file_map_finish(&file);
    return out;
}

static ids read_ids(const cJSON *object, const char *name) {
    ids out = {.n = 0};
    for (const cJSON *item = cJSON_GetObjectItem(object, name)->child; item; item = item->next) {
        assert_true(out.n < MOST);
        out.data[out.n++] = (int32_t)item->valuedouble;
    }
    return out;
}

/* ---- against the reference ------------------------------------------------------------------- */

static pm_generation *generate(pm_session *session, const ids *prompt, uint32_t n_predict,
                               const pm_sampling *sampling, uint32_t n_answer) {
    const pm_generate_desc desc = {.prompt = prompt->data,
                                   .n_prompt = prompt->n,
                                   .sampling = sampling,
                                   .n_predict = n_predict,
                                   .n_answer = n_answer,
                                   .ignore_eos = true};
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    return generation;
}

static pm_sampling greedy_sampling(void) {
    pm_sampling sampling = pm_sampling_default();
    sampling.temperature = 0;
    return sampling;
}

static void check_greedy(pm_session *session, const cJSON *prompt) {
    const ids tokens = read_ids(prompt, "tokens");
    const ids greedy = read_ids(prompt, "greedy");
    const pm_sampling sampling = greedy_sampling();
    pm_generation *generation = generate(session, &tokens, greedy.n, &sampling, 1);
    assert_int_equal(generation->answers[0].n_token, greedy.n);
    assert_memory_equal(generation->answers[0].tokens, greedy.data, greedy.n * sizeof(int32_t));
    assert_int_equal(generation->answers[0].stop, PM_STOP_LENGTH);
    assert_int_equal(pm_session_length(session, 0), tokens.n + greedy.n);
    assert_true(generation->bytes_per_step > 100000);
    pm_generation_free(generation);
    /* Half of it again, from the middle. */
    expect_ok(pm_session_rewind(session, 0, tokens.n + greedy.n / 2));
    const ids none = {.n = 0};
    generation = generate(session, &none, greedy.n - greedy.n / 2, &sampling, 1);
    assert_memory_equal(generation->answers[0].tokens, greedy.data + greedy.n / 2,
                        (greedy.n - greedy.n / 2) * sizeof(int32_t));
    pm_generation_free(generation);
    expect_ok(pm_session_rewind(session, 0, 0));
}

typedef struct position_reader {
    const cJSON *position;
    uint32_t n_vocab, n;
    double most;
} position_reader;

static pm_status read_position(void *user, size_t i, const float *logits) {
    position_reader *r = user;
    assert_int_equal(i, r->n++);
    double max = -INFINITY, sum = 0;
    for (uint32_t id = 0; id < r->n_vocab; id++)
        max = fmax(max, (double)logits[id]);
    for (uint32_t id = 0; id < r->n_vocab; id++)
        sum += exp((double)logits[id] - max);
    const double wanted = cJSON_GetObjectItem(r->position, "logsumexp")->valuedouble;
    r->most = fmax(r->most, fabs(max + log(sum) - wanted));
    const cJSON *top = cJSON_GetObjectItem(r->position, "top");
    for (const cJSON *pair = top->child; pair != NULL; pair = pair->next) {
        const uint32_t id = (uint32_t)cJSON_GetArrayItem(pair, 0)->valuedouble;
        assert_true(id < r->n_vocab);
        r->most =
            fmax(r->most, fabs((double)logits[id] - cJSON_GetArrayItem(pair, 1)->valuedouble));
    }
    r->position = r->position->next;
    return PM_OK;
}

static double check_logits(pm_session *session, const cJSON *prompt, uint32_t n_vocab) {
    const ids tokens = read_ids(prompt, "tokens");
    position_reader r = {.position = cJSON_GetObjectItem(prompt, "positions")->child,
                         .n_vocab = n_vocab};
    expect_ok(pm_session_eval_all(session, 0, tokens.data, tokens.n, read_position, &r));
    assert_int_equal(r.n, tokens.n);
    assert_null(r.position);
    assert_true(r.most <= 1e-3);
    expect_ok(pm_session_rewind(session, 0, 0));
    return r.most;
}

static void check_tokenizer(const pm_model *model, const cJSON *prompt) {
    const char *text = cJSON_GetObjectItem(prompt, "prompt")->valuestring;
    const ids tokens = read_ids(prompt, "tokens");
    const pm_tokenize_desc desc = {.text = text, .n_byte = strlen(text), .add_special = true};
    int32_t got[MOST];
    size_t n = 0;
    expect_ok(pm_tokenize(model, &desc, got, MOST, &n));
    assert_int_equal(n, tokens.n);
    assert_memory_equal(got, tokens.data, n * sizeof *got);
    if (n > 1)
        assert_int_equal(pm_tokenize(model, &desc, got, n - 1, &n), PM_FAILURE);
    expect_ok(pm_tokenize(model, &desc, NULL, 0, &n));
    assert_int_equal(n, tokens.n);
}

static void check_model(const char *file, const char *name, uint32_t n_batch) {
    char relative[128];
    snprintf(relative, sizeof relative, "models/real/%s.gguf", file);
    pm_model *model = open_model(relative);
    snprintf(relative, sizeof relative, "reference/real/%s.json", name);
    const char *path = pm__reference_path(relative);
    if (model == NULL || path == NULL) {
        pm_model_close(model);
        skip();
    }
    cJSON *json = read_json(path);
    double most = 0;
    pm_session *session = open_session(model, 300, n_batch, 1);
    const cJSON *prompt = cJSON_GetObjectItem(json, "prompts")->child;
    for (; prompt != NULL; prompt = prompt->next) {
        check_tokenizer(model, prompt);
        check_greedy(session, prompt);
        most = fmax(most, check_logits(session, prompt, pm_model_get_info(model)->n_vocab));
    }
    pm_session_close(session);
    printf("%s: largest difference of a logit %.2g\n", file, most);
    cJSON_Delete(json);
    pm_model_close(model);
}

static void test_stories_f32(void **state) {
    (void)state;
    check_model("stories260K-f32", "stories260K-f32", 0);
    check_model("stories260K-f32", "stories260K-f32", 7);
}

static void test_stories_f16(void **state) {
    (void)state;
    check_model("stories260K-f16", "stories260K-f16", 64);
}

static void test_babyllama_f32(void **state) {
    (void)state;
    check_model("babyllama-tok105-f32", "babyllama-tok105-f32", 7);
}

static void test_babyllama_f16(void **state) {
    (void)state;
    check_model("babyllama-tok105-F16", "babyllama-tok105-f16", 0);
}

/* ---- sampled answers ------------------------------------------------------------------------- */

static ids tokenize(const pm_model *model, const char *text) {
    const pm_tokenize_desc desc = {.text = text, .n_byte = strlen(text), .add_special = true};
    ids out = {.n = 0};
    size_t n = 0;
    expect_ok(pm_tokenize(model, &desc, out.data, MOST, &n));
    out.n = (uint32_t)n;
    return out;
}

static void expect_same(const pm_answer *a, const pm_answer *b, bool same_hash) {
    assert_int_equal(a->n_token, b->n_token);
    assert_memory_equal(a->tokens, b->tokens, a->n_token * sizeof(int32_t));
    assert_string_equal(a->text, b->text);
    if (same_hash)
        assert_int_equal(a->logits_hash, b->logits_hash);
}

/* One seed gives one text, alone, again, and among the answers of a neighbour's seed. */
static void check_seeds(pm_model *model, const char *text, const pm_sampling *base) {
    const ids prompt = tokenize(model, text);
    pm_session *several = open_session(model, 128, 0, 3);
    pm_generation *all = generate(several, &prompt, 40, base, 3);
    assert_int_equal(all->n_answer, 3);
    for (uint32_t i = 0; i < 3; i++) {
        pm_sampling sampling = *base;
        sampling.seed += i;
        pm_session *alone = open_session(model, 128, 0, 1);
        pm_generation *one = generate(alone, &prompt, 40, &sampling, 1);
        expect_same(&all->answers[i], &one->answers[0], exact);
        expect_ok(pm_session_rewind(alone, 0, 0));
        pm_generation *again = generate(alone, &prompt, 40, &sampling, 1);
        expect_same(&one->answers[0], &again->answers[0], true);
        pm_generation_free(again);
        pm_generation_free(one);
        pm_session_close(alone);
    }
    assert_string_not_equal(all->answers[0].text, all->answers[1].text);
    pm_generation_free(all);
    pm_session_close(several);
}

static void test_seeds(void **state) {
    (void)state;
    pm_model *model = open_model("models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    pm_sampling sampling = pm_sampling_default();
    sampling.seed = 0x7fffffffffffffffu;
    check_seeds(model, "Once upon a time, there was a little cat who", &sampling);
    sampling.seed = 12;
    sampling.repeat_penalty = 1.3f;
    sampling.frequency_penalty = 0.2f;
    check_seeds(model,
                "The boy and the girl went to the park. They saw the big dog and the big bird "
                "and the",
                &sampling);
    pm_model_close(model);
}

/* ---- text ------------------------------------------------------------------------------------ */

static bool add_text(void *user, uint32_t answer, const char *text, size_t n) {
    char *all = user;
    assert_int_equal(answer, 0);
    strncat(all, text, n);
    return true;
}

static void test_stop_text(void **state) {
    (void)state;
    pm_model *model = open_model("models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    pm_session *session = open_session(model, 0, 0, 1);
    const ids prompt = tokenize(model, "");
    const pm_sampling sampling = greedy_sampling();
    char streamed[4096] = "";
    pm_generate_desc desc = {.prompt = prompt.data,
                             .n_prompt = prompt.n,
                             .sampling = &sampling,
                             .n_predict = 64,
                             .on_text = add_text,
                             .user = streamed};
    pm_generation *whole = NULL, *cut = NULL;
    expect_ok(pm_generate(session, &desc, &whole));
    assert_string_equal(streamed, whole->answers[0].text);
    assert_int_equal(strncmp(streamed, "Once upon a time", 16), 0); /* no blank before it */
    /* A text that begins and ends within words, so within tokens. */
    const char *stop = "on a ti";
    expect_ok(pm_session_rewind(session, 0, 0));
    streamed[0] = '\0';
    desc.stop = &stop;
    desc.n_stop = 1;
    expect_ok(pm_generate(session, &desc, &cut));
    assert_int_equal(cut->answers[0].stop, PM_STOP_STRING);
    assert_string_equal(cut->answers[0].text, "Once up");
    assert_string_equal(streamed, "Once up");
    assert_memory_equal(cut->answers[0].tokens, whole->answers[0].tokens,
                        cut->answers[0].n_token * sizeof(int32_t));
    pm_generation_free(whole);
    pm_generation_free(cut);
    pm_session_close(session);
    pm_model_close(model);
}

static void test_context_full(void **state) {
    (void)state;
    pm_model *model = open_model("models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    pm_session *session = open_session(model, 0, 0, 1);
    assert_int_equal(pm_session_n_ctx(session), pm_model_get_info(model)->n_ctx_train);
    int32_t *prompt = calloc(700, sizeof *prompt);
    assert_non_null(prompt);
    const pm_generate_desc desc = {.prompt = prompt, .n_prompt = 700};
    pm_generation *generation = NULL;
    assert_int_equal(pm_generate(session, &desc, &generation), PM_CONTEXT_FULL);
    assert_non_null(strstr(pm_last_error(), "700 tokens"));
    assert_non_null(strstr(pm_last_error(), "512 positions are free of 512"));
    assert_int_equal(pm_session_length(session, 0), 0);
    free(prompt);
    pm_session_close(session);
    pm_model_close(model);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void test_info(void **state) {
    (void)state;
    pm_model *model = open_model("models/real/stories260K-f32.gguf");
    if (model == NULL)
        skip();
    const pm_model_info *info = pm_model_get_info(model);
    assert_string_equal(info->architecture, "llama");
    assert_int_equal(info->n_vocab, 512);
    assert_int_equal(info->n_embd, 64);
    assert_int_equal(info->n_layer, 5);
    assert_int_equal(info->n_parameter, 260032);
    assert_null(info->chat_template);
    pm_tensor_info tensor;
    uint64_t n_parameter = 0;
    for (uint64_t i = 0; pm_model_get_tensor(model, i, &tensor); i++) {
        n_parameter += tensor.shape[0] * tensor.shape[1];
        assert_string_equal(tensor.type, "F32");
    }
    assert_int_equal(n_parameter, 260032);
    uint64_t n_key = 0;
    bool met = false;
    const char *key;
    char value[64];
    for (; pm_model_get_key(model, n_key, &key, value, sizeof value); n_key++)
        if (strcmp(key, "llama.block_count") == 0)
            met = strcmp(value, "5") == 0;
    assert_true(met);
    assert_int_equal(n_key, info->n_key);
    const pm_message message = {.role = "user", .content = "hello"};
    const pm_chat_desc chat = {.messages = &message, .n_message = 1, .open_answer = true};
    size_t n_id = 0;
    assert_int_equal(pm_chat_tokenize(model, &chat, NULL, 0, &n_id), PM_UNSUPPORTED);
    pm_model_close(model);
}

static void test_plan(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/stories260K-f32.gguf");
    if (path == NULL)
        skip();
    pm_model *model = NULL;
    pm_model_desc desc = {.path = path, .no_weights = true};
    expect_ok(pm_model_open(device, &desc, &model));
    pm_session *session = NULL;
    assert_int_equal(pm_session_open(model, NULL, &session), PM_ARGUMENT);
    uint64_t needed[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        const pm_session_desc session_desc = {.n_ctx = 128u << i};
        pm_plan *plan = NULL;
        expect_ok(pm_session_plan(model, &session_desc, &plan));
        assert_true(plan->fits && plan->n_heap > 0 && plan->n_buffer > 1);
        uint64_t buffers = 0;
        for (size_t k = 0; k < plan->n_buffer; k++)
            buffers += plan->buffers[k].bytes;
        for (size_t k = 0; k < plan->n_heap; k++)
            needed[i] += plan->heaps[k].needed;
        assert_int_equal(buffers, needed[i]);
        pm_plan_free(plan);
    }
    /* The caches: 5 layers, key and value, 4 heads of 8 floats a position. */
    assert_true(needed[1] - needed[0] >= 128 * 5 * 2 * 32 * 4);
    pm_model_close(model);
    desc = (pm_model_desc){.path = path, .vocab_only = true};
    expect_ok(pm_model_open(NULL, &desc, &model));
    pm_plan *plan = NULL;
    assert_int_equal(pm_session_plan(model, NULL, &plan), PM_ARGUMENT);
    pm_model_close(model);
    desc.vocab_only = false;
    assert_int_equal(pm_model_open(NULL, &desc, &model), PM_ARGUMENT);
}

static void test_vocabulary(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/vocab/ggml-vocab-llama-spm.gguf");
    if (path == NULL)
        skip();
    pm_model *model = NULL;
    const pm_model_desc desc = {.path = path, .vocab_only = true};
    expect_ok(pm_model_open(NULL, &desc, &model));
    assert_int_equal(pm_model_get_info(model)->n_vocab, 32000);
    const ids hello = tokenize(model, "Hello");
    assert_int_equal(hello.n, 2);
    assert_int_equal(hello.data[0], pm_model_get_info(model)->bos);
    const char *text = NULL;
    size_t n = 0;
    expect_ok(pm_token_text(model, hello.data[1], false, &text, &n));
    assert_true(n >= 5 && memcmp(text + n - 5, "Hello", 5) == 0);
    expect_ok(pm_token_text(model, hello.data[0], false, &text, &n));
    assert_int_equal(n, 0);
    assert_int_equal(pm_token_text(model, 32000, false, &text, &n), PM_ARGUMENT);
    pm_model_close(model);
}

/* Tensors are listed with their types. */
static void test_types_of_tensors(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/bitllama-3M-Q4_K_M.gguf");
    if (path == NULL)
        skip();
    pm_model *model = NULL;
    const pm_model_desc desc = {.path = path, .vocab_only = true};
    expect_ok(pm_model_open(NULL, &desc, &model));
    pm_tensor_info tensor;
    uint32_t n_q4_k = 0, n_q6_k = 0;
    for (uint64_t i = 0; pm_model_get_tensor(model, i, &tensor); i++) {
        n_q4_k += strcmp(tensor.type, "Q4_K") == 0;
        n_q6_k += strcmp(tensor.type, "Q6_K") == 0;
    }
    assert_int_equal(n_q4_k, 48);
    assert_int_equal(n_q6_k, 9);
    pm_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_f32),
        cmocka_unit_test(test_stories_f16),
        cmocka_unit_test(test_babyllama_f32),
        cmocka_unit_test(test_babyllama_f16),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_stop_text),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_vocabulary),
        cmocka_unit_test(test_types_of_tensors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
