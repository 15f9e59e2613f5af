/* test_host_memory.c: memory runs out at every call that asks for some, and threads cannot be
 * started: parsers, tokenizers, chats, and whole models on the CPU path.
 * ctest: quick */
#include "host_faults.h"

#include "base/threads.h"
#include "folders.h"
#include "reference.h"
#include "scenes.h"
#include "small_vocabularies.h"
#include "splits.h"
#include "tools/conversation.h"
#include "vocabulary.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void quiet(void *user, pm_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

static void memory_fails(const char *name, pm_status (*run)(void *user), void *user) {
    const pm__fault_scenario scenario = {
        .name = name, .run = run, .user = user, .kind = PM__FAULT_MEMORY};
    pm__faults_everywhere(&scenario);
}

/* ---- tokenizers ------------------------------------------------------------------------------ */

typedef struct text_case {
    const uint8_t *file;
    size_t n_byte;
    const char *text;
} text_case;

/* Control pieces alone and the blank in front may be lost on the way. */
static pm_status there_and_back(const pm__tokenizer *tokenizer, const char *text, pm__ids *ids,
                                pm__detokenizer *back) {
    char got[256] = "";
    pm__span span = {"", 0};
    PM_TRY(pm__tokenizer_encode(tokenizer, text, strlen(text), true, true, ids));
    for (size_t i = 0; i < ids->n; i++) {
        PM_TRY(pm__detokenizer_push(back, ids->data[i], &span));
        strncat(got, span.data, span.size);
    }
    PM_TRY(pm__detokenizer_flush(back, &span));
    strncat(got, span.data, span.size);
    assert_string_equal(got, text);
    return PM_OK;
}

static pm_status tokenize_with(const pm__gguf *gguf, const char *text) {
    pm__tokenizer *tokenizer = NULL;
    pm__ids ids = {0};
    pm__detokenizer back = {0};
    PM_TRY(pm__tokenizer_create(gguf, &tokenizer));
    pm__detokenizer_init(&back, tokenizer, false, true);
    const pm_status status = there_and_back(tokenizer, text, &ids, &back);
    pm__detokenizer_finish(&back);
    pm__ids_finish(&ids);
    pm__tokenizer_destroy(tokenizer);
    return status;
}

static pm_status run_tokenizer(void *user) {
    const text_case *c = user;
    pm__gguf gguf;
    pm_status status = pm__gguf_init(&gguf, c->file, c->n_byte);
    if (status != PM_OK)
        return status;
    status = tokenize_with(&gguf, c->text);
    pm__gguf_finish(&gguf);
    return status;
}

/* The bytes of a vocabulary come into being with all memory there. */
static void tokenizer_fails(const char *name, pm__writer *out, const char *text) {
    pm__vocabulary written;
    if (pm__vocabulary_open_written(&written, out) != PM_OK)
        fail_msg("%s", pm_last_error());
    text_case c = {.file = written.written.data, .n_byte = written.written.size, .text = text};
    memory_fails(name, run_tokenizer, &c);
    pm__vocabulary_close(&written);
}

#define KEY(name) "tokenizer.ggml." name
#define BLANK     "\xe2\x96\x81"

static void sentencepiece(void **state) {
    (void)state;
    static const char *const pieces[] = {"<unk>",   "<s>", "</s>", BLANK, "a",
                                         BLANK "a", "b",   "ab",   "[X]", "<0x78>"};
    static const int32_t kinds[] = {2, 3, 3, 1, 1, 1, 1, 1, 4, 6};
    static const float scores[] = {0, 0, 0, -9, -9, -2, -9, -1, 0, 0};
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "llama");
    pm__write_texts(&out, KEY("tokens"), pieces, PM__COUNT(pieces));
    pm__write_i32s(&out, KEY("token_type"), kinds, PM__COUNT(kinds));
    pm__write_f32s(&out, KEY("scores"), scores, PM__COUNT(scores));
    tokenizer_fails("llama", &out, "ab abba a[X]");
}

static void byte_pairs(void **state) {
    (void)state;
    pm_set_log(PM_LOG_WARN, quiet, NULL);
    static const char *const pieces[] = {"a", "b",  "\xc4\xa0",         "1",
                                         ".", "ab", "\xc4\xa0\x61\x62", "<|x|>"};
    static const int32_t kinds[] = {1, 1, 1, 1, 1, 1, 1, 3};
    static const char *const merges[] = {"a b", "\xc4\xa0 ab"};
    for (size_t i = 0; i < PM__COUNT(splits); i++) {
        if (strcmp(splits[i].name, "gemma4") == 0) /* its pieces are written otherwise */
            continue;
        pm__writer out = {0};
        pm__write_text(&out, KEY("model"), "gpt2");
        pm__write_text(&out, KEY("pre"), splits[i].name);
        pm__write_texts(&out, KEY("tokens"), pieces, PM__COUNT(pieces));
        pm__write_i32s(&out, KEY("token_type"), kinds, PM__COUNT(kinds));
        pm__write_texts(&out, KEY("merges"), merges, PM__COUNT(merges));
        tokenizer_fails(splits[i].name, &out, "ab abba 11. ab");
    }
    pm_set_log(PM_LOG_WARN, NULL, NULL);
}

static void other_kinds(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(small_vocabularies); i++) {
        pm__writer out = {0};
        pm__write_small(&out, &small_vocabularies[i]);
        if (strcmp(small_vocabularies[i].model, "bert") == 0) {
            pm__write_u32(&out, KEY("cls_token_id"), 2);
            pm__write_u32(&out, KEY("seperator_token_id"), 3);
        }
        tokenizer_fails(small_vocabularies[i].model, &out, "the king");
    }
    static const char *const pieces[] = {"<s>", "a", "\\x62", "ab"};
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "rwkv");
    pm__write_texts(&out, KEY("tokens"), pieces, PM__COUNT(pieces));
    pm__write_u32(&out, KEY("unknown_token_id"), 0);
    tokenizer_fails("rwkv", &out, "aabab");
}

/* ---- files ----------------------------------------------------------------------------------- */

static pm_status look_at(const pm_model *model) {
    const pm_tokenize_desc text = {.text = "Hello world", .n_byte = 11, .parse_special = true};
    int32_t ids[16];
    size_t n_id = 0;
    const char *key;
    char value[80];
    pm_tensor_info tensor;
    for (uint64_t i = 0; pm_model_get_key(model, i, &key, value, sizeof value); i++)
        assert_true(strlen(key) > 0 && strlen(value) < sizeof value);
    for (uint64_t i = 0; pm_model_get_tensor(model, i, &tensor); i++)
        assert_true(tensor.bytes > 0);
    PM_TRY(pm_tokenize(model, &text, ids, PM__COUNT(ids), &n_id));
    assert_true(n_id > 0);
    return PM_OK;
}

static pm_status run_file(void *user) {
    const pm_model_desc desc = {.path = user, .vocab_only = true};
    pm_model *model = NULL;
    PM_TRY(pm_model_open(NULL, &desc, &model));
    const pm_status status = look_at(model);
    pm_model_close(model);
    return status;
}

static char bundled[4096]; /* path of the model in the tree */

static void bundled_file(void **state) {
    (void)state;
    memory_fails("pebble.gguf", run_file, bundled);
}

/* The large one is read at some calls only; the bundled model, of its kind, is at all. */
static void vocabulary_files(void **state) {
    (void)state;
    static const char *const names[] = {"ggml-vocab-llama-spm", "ggml-vocab-gpt-2"};
    for (uint32_t i = 0; i < PM__COUNT(names); i++) {
        char relative[128], path[4096];
        snprintf(relative, sizeof relative, "models/vocab/%s.gguf", names[i]);
        const char *found = pm__reference_path(relative);
        if (found == NULL) {
            skip();
            return; /* which compilers do not know */
        }
        snprintf(path, sizeof path, "%s", found);
        const pm__fault_scenario scenario = {.name = names[i],
                                             .run = run_file,
                                             .user = path,
                                             .kind = PM__FAULT_MEMORY,
                                             .stride = 1 + 4 * i};
        pm__faults_everywhere(&scenario);
    }
}

/* ---- a whole model on the CPU path ----------------------------------------------------------- */

static const pm_device_desc cpu = {.name = "cpu", .n_thread = 2};

static pm__scene all;

static int set_up(void **state) {
    (void)state;
    const char *found = pm__source_path("models/pebble/pebble.gguf");
    if (found == NULL)
        return -1;
    snprintf(bundled, sizeof bundled, "%s", found);
    all.path = bundled;
    const pm_model_desc desc = {.path = all.path};
    return pm_device_open(&cpu, &all.device) == PM_OK &&
                   pm_model_open(all.device, &desc, &all.model) == PM_OK &&
                   pm_session_open(all.model, &pm__scene_desc, &all.session) == PM_OK
               ? 0
               : -1;
}

static int tear_down(void **state) {
    (void)state;
    pm_session_close(all.session);
    pm_model_close(all.model);
    pm_device_close(all.device);
    return 0;
}

static pm_status run_device(void *user) {
    (void)user;
    pm_device *device = NULL;
    PM_TRY(pm_device_open(&cpu, &device));
    pm_device_close(device);
    return PM_OK;
}

static pm_status run_chat(void *user) {
    const pm__scene *scene = user;
    static const pm_message messages[] = {{.role = "system", .content = "Be <|im_end|> kind."},
                                          {.role = "user", .content = "Hello"}};
    static const pm_chat_desc chat = {.messages = messages, .n_message = 2, .open_answer = true};
    int32_t ids[64];
    size_t n_id = 0;
    PM_TRY(pm_chat_tokenize(scene->model, &chat, ids, PM__COUNT(ids), &n_id));
    assert_true(n_id > 10 && n_id < PM__COUNT(ids));
    return PM_OK;
}

/* A template that has one of everything that asks for memory. */
static pm_status run_template(void *user) {
    const pm__scene *scene = user;
    static const char source[] =
        "{%- macro m(a, b=[1, 2.5]) -%}{{ a | upper }}{{ b | tojson(indent=2) }}{{ caller }}{%- "
        "endmacro -%}"
        "{%- set ns = namespace(n=0) -%}{%- for x in list | sort -%}{%- set ns.n = ns.n + 1 -%}"
        "{{ m(x, b=x.split(' ')) }}{{ loop.length }}{%- endfor -%}"
        "{{ '%s-{}' % ns.n }}{{ 'a{}'.format(deep) }}{{ deep.a | dictsort }}{{ 'aXb'[::-1] }}"
        "{{ list | map('replace', 'a', 'bb') | join(', ') }}{{ range(40) | list | length }}"
        "{%- set block | trim -%} text {%- endset -%}{{ block }}{{ strftime_now('%Y') }}"
        "{%- call m('c') -%}{%- endcall -%}{{ dict(a=1, b=2, c=3, d=4, e=5, f=6, g=7, h=8, i=9) }}";
    static const char variables[] = "{\"list\": [\"a b\", \"Ba c\"], \"deep\": {\"a\": {\"z\": "
                                    "[null, 1e3], \"y\": \"\\u00e9\"}}}";
    const pm_chat_desc chat = {
        .variables = variables, .chat_template = source, .now = "2026-01-31T09:30:00"};
    char *text = NULL;
    size_t n_byte = 0;
    PM_TRY(pm_chat_render(scene->model, &chat, &text, &n_byte));
    assert_true(n_byte > 100);
    pm_text_free(text);
    return PM_OK;
}

static void cpu_path(void **state) {
    (void)state;
    pm_set_log(PM_LOG_WARN, quiet, NULL);
    memory_fails("device", run_device, &all);
    const pm__fault_scenario no_proc = {.name = "device without /proc",
                                        .run = run_device,
                                        .kind = PM__FAULT_FILE,
                                        .error = ENOMEM,
                                        .may_survive = true};
    pm__faults_everywhere(&no_proc);
    memory_fails("model", pm__scene_model, &all);
    memory_fails("plan", pm__scene_plan, &all);
    memory_fails("session", pm__scene_session, &all);
    memory_fails("chat", run_chat, &all);
    memory_fails("chat template", run_template, &all);
    memory_fails("answers", pm__scene_answers, &all);
    pm_set_log(PM_LOG_WARN, NULL, NULL);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static const char all_operations[] =
#define PM_OP(NAME, name, ...) "cpu_" #name ","
#include "graph/ops.def"
#undef PM_OP
    "";

typedef struct check_case {
    const char *skip;
    pm_device *device;
    pm_model *model;
    uint32_t n_most; /* cases, then it is cancelled */
    uint32_t n_done;
} check_case;

static bool count_case(void *user, const pm_check_case *at) {
    check_case *c = user;
    c->n_done += at->done;
    return c->n_done < c->n_most;
}

/* What gets no memory is counted as not checked, never as passed or failed. The first pass only
 * counts, for the progress bar, and needs none. */
static pm_status run_check(void *user) {
    check_case *c = user;
    const pm_check_desc desc = {
        .level = PM_CHECK_QUICK, .skip = c->skip, .on_case = count_case, .user = c};
    pm_check_summary summary = {0};
    c->n_done = 0;
    const pm_status status = pm_check(c->device, c->model, &desc, &summary);
    assert_int_equal(summary.n_failed, 0);
    if (status != PM_CANCELLED)
        return status;
    assert_int_equal(summary.n_case, c->n_most);
    return summary.n_unchecked > 0 ? pm__fail(PM_OUT_OF_MEMORY, "no memory for a case") : PM_OK;
}

static void check_fails(const char *name, check_case *c) {
    const pm__fault_scenario scenario = {
        .name = name, .run = run_check, .user = c, .kind = PM__FAULT_MEMORY, .may_survive = true};
    pm__faults_everywhere(&scenario);
}

static void checks(void **state) {
    (void)state;
    char others[sizeof all_operations];
    snprintf(others, sizeof others, "%s", all_operations);
    *strstr(others, "cpu_advance") = '\0'; /* the last, with the fewest cases */
    check_case kernel = {.skip = others, .device = all.device, .n_most = 1};
    check_case nodes = {
        .skip = all_operations, .device = all.device, .model = all.model, .n_most = 3};
    check_fails("check of a kernel", &kernel);
    check_fails("check of nodes", &nodes);
}

/* ---- a conversation -------------------------------------------------------------------------- */

static bool is_whole(const pm__conversation *c) {
    bool same = c->n == 21;
    for (size_t i = 1; i < c->n; i++)
        same = same && strcmp(c->messages[i].content, "words \xef\xbf\xbd\xef\xbf\xbd") == 0;
    return same;
}

/* A failure leaves what was loaded or saved before. */
static int save_and_load(const char *path) {
    pm__conversation c = {0}, loaded = {0};
    int code = pm__conversation_system(&c, "Be kind.");
    for (int i = 0; code == 0 && i < 20; i++)
        code = pm__conversation_add(&c, i % 2 ? "assistant" : "user", "words \xf0\x9f", 8);
    if (code == 0)
        code = pm__conversation_save(&c, path);
    if (code == 0)
        code = pm__conversation_load(&loaded, path);
    if (code == 0 && !is_whole(&loaded))
        code = PM__EXIT_FAILURE;
    pm__conversation_finish(&c);
    pm__conversation_finish(&loaded);
    return code;
}

/* What the program says goes into a file. */
static int said;

static pm_status run_conversation(void *user) {
    const int held = dup(STDERR_FILENO);
    assert_int_equal(ftruncate(said, 0), 0);
    dup2(said, STDERR_FILENO);
    const int code = save_and_load(user);
    dup2(held, STDERR_FILENO);
    close(held);
    char sentence[512] = "";
    assert_true(pread(said, sentence, sizeof sentence - 1, 0) >= 0);
    return code == 0 ? PM_OK
                     : pm__fail(code == PM__EXIT_OUT_OF_MEMORY ? PM_OUT_OF_MEMORY : PM_FAILURE,
                                "%s", sentence);
}

static void conversation(void **state) {
    (void)state;
    char folder[PM__FOLDER_SIZE], path[2 * PM__FOLDER_SIZE];
    pm__folder_init(folder);
    pm__folder_path(folder, "said", path);
    said = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    assert_true(said >= 0);
    assert_int_equal(unlink(path), 0);
    pm__folder_path(folder, "chat.json", path);
    memory_fails("conversation", run_conversation, path);
    close(said);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing else is left in it */
}

/* ---- threads --------------------------------------------------------------------------------- */

static void count_job(void *user, size_t i) {
    atomic_fetch_add(&((atomic_int *)user)[i], 1);
}

static pm_status run_parallel(void *user) {
    (void)user;
    atomic_int runs[97] = {0};
    pm__parallel(97, 7, count_job, runs);
    for (size_t i = 0; i < PM__COUNT(runs); i++)
        assert_int_equal(atomic_load(&runs[i]), 1);
    return PM_OK;
}

static void threads(void **state) {
    (void)state;
    const pm__fault_scenario scenario = {
        .name = "threads", .run = run_parallel, .kind = PM__FAULT_THREAD};
    pm__faults_everywhere(&scenario);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece),    cmocka_unit_test(byte_pairs),
        cmocka_unit_test(other_kinds),      cmocka_unit_test(bundled_file),
        cmocka_unit_test(vocabulary_files), cmocka_unit_test(cpu_path),
        cmocka_unit_test(checks),           cmocka_unit_test(threads),
        cmocka_unit_test(conversation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
