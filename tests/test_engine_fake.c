/* The engine's logic over a device that runs no model (fake_backend.h).
 * ctest: quick */
#include "engine/answer.h"
#include "fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static pm__tokenizer *tokenizer;
static bool with_states; /* all tests run over either kind of model */

static void reset(void) {
    fake = (fake_settings){.most_ahead = PM_RING, .has_states = with_states};
    fake_seen = (fake_counts){.n_context = fake_seen.n_context};
}

static int set_up(void **state) {
    (void)state;
    reset();
    tokenizer = fake_tokenizer_create();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fake_tokenizer_destroy(tokenizer);
    return fake_seen.n_context == 0 ? 0 : -1;
}

static int before(void **state) {
    (void)state;
    reset();
    return 0;
}

static void expect_ok(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s: %s", pm_status_text(status), pm_last_error());
}

static void expect_failure(pm_status status, pm_status wanted, const char *part) {
    assert_int_equal(status, wanted);
    if (strstr(pm_last_error(), part) == NULL)
        fail_msg("'%s' lacks '%s'", pm_last_error(), part);
}

/* n tokens that differ from place to place. */
static void fill_prompt(int32_t *ids, uint32_t n, uint32_t salt) {
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(FAKE_BYTE + 'A' + (i * 7 + salt * 13 + i * i % 11) % 26);
}

/* ---- what should come out -------------------------------------------------------------------- */

enum { MOST = 512 };

typedef struct expected {
    int32_t tokens[MOST];
    uint32_t n;
    uint32_t hash;
    pm_stop stop;
} expected;

/* The answer to `prompt`, by asking the fake's rule token by token. */
static expected foretell(const int32_t *prompt, uint32_t n_prompt, uint32_t most, uint64_t seed,
                         uint32_t looks_back) {
    int32_t all[MOST];
    expected e = {.stop = PM_STOP_LENGTH};
    memcpy(all, prompt, n_prompt * sizeof *all);
    while (e.n < most) {
        uint32_t hash;
        const int32_t next = fake_next(all, n_prompt + e.n, seed, looks_back, &hash);
        if (next == FAKE_EOS) {
            e.stop = PM_STOP_EOS;
            break;
        }
        all[n_prompt + e.n] = next;
        e.tokens[e.n++] = next;
        e.hash = hash;
    }
    return e;
}

static void check_answer(const pm_answer *answer, const expected *e) {
    assert_int_equal(answer->n_token, e->n);
    assert_memory_equal(answer->tokens, e->tokens, e->n * sizeof *e->tokens);
    assert_int_equal(answer->stop, e->stop);
    assert_int_equal(answer->logits_hash, e->hash);
    assert_int_equal(answer->n_byte, e->n); /* every token of the fake is a letter */
    for (uint32_t i = 0; i < e->n; i++)
        assert_int_equal(fake_byte(answer->text[i]), e->tokens[i]);
    assert_int_equal(answer->text[answer->n_byte], 0);
}

static pm_sampling sampling_of(uint64_t seed, uint32_t looks_back) {
    pm_sampling sampling = pm_sampling_default();
    sampling.seed = seed;
    sampling.repeat_penalty = looks_back > 0 ? 2.0f : 1.0f;
    sampling.repeat_last_n = looks_back;
    return sampling;
}

/* ---- one answer ------------------------------------------------------------------------------ */

static void generate_one(uint32_t n_prompt, uint32_t n_batch, uint32_t ahead, uint32_t most_ahead,
                         uint32_t looks_back) {
    int32_t prompt[MOST];
    fill_prompt(prompt, n_prompt, n_batch);
    reset();
    fake.most_ahead = most_ahead;
    fake.end_one_in = ahead % 3 == 0 ? 40 : 0;
    pm_session *session = fake_session_open(tokenizer, 210, n_batch, 1);
    const pm_sampling sampling = sampling_of(ahead, looks_back);
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = n_prompt,
                                   .sampling = &sampling,
                                   .n_predict = 75,
                                   .run_ahead = ahead};
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    const expected e = foretell(prompt, n_prompt, 75, ahead, looks_back);
    assert_int_equal(generation->n_answer, 1);
    assert_int_equal(generation->n_prompt, n_prompt);
    check_answer(&generation->answers[0], &e);
    assert_int_equal(pm_session_length(session, 0), n_prompt + e.n);
    const uint32_t asked = with_states ? 1 : ahead != 0 ? ahead : 4;
    const uint32_t allowed = asked < most_ahead ? asked : most_ahead;
    assert_true(fake_seen.most_in_flight <= allowed);
    if (e.n > allowed + 1)
        assert_int_equal(fake_seen.most_in_flight, allowed);
    pm_generation_free(generation);
    pm_session_close(session);
}

static void test_generate(void **state) {
    (void)state;
    static const uint32_t prompts[] = {1, 2, 31, 32, 33, 64, 77, 130};
    static const uint32_t batches[] = {1, 7, 32, 200};
    for (uint32_t p = 0; p < PM__COUNT(prompts); p++)
        for (uint32_t b = 0; b < PM__COUNT(batches); b++) {
            generate_one(prompts[p], batches[b], (p + b) % 18, 16, 0);
            generate_one(prompts[p], batches[b], (p * 3 + b) % 6, 1 + p % 3, 5 + p);
        }
}

/* Two calls, the second without a prompt, give what one call gives. */
static void test_goes_on(void **state) {
    (void)state;
    int32_t prompt[MOST];
    fill_prompt(prompt, 50, 3);
    const pm_sampling sampling = sampling_of(11, 9);
    const expected e = foretell(prompt, 50, 100, 11, 9);
    pm_session *session = fake_session_open(tokenizer, 200, 16, 1);
    pm_generate_desc desc = {
        .prompt = prompt, .n_prompt = 50, .sampling = &sampling, .n_predict = 33, .run_ahead = 5};
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_memory_equal(generation->answers[0].tokens, e.tokens, 33 * sizeof(int32_t));
    assert_int_equal(pm_session_length(session, 0), 83);
    pm_generation_free(generation);
    desc.n_prompt = 0;
    desc.n_predict = 67;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_memory_equal(generation->answers[0].tokens, e.tokens + 33, 67 * sizeof(int32_t));
    assert_int_equal(generation->answers[0].logits_hash, e.hash);
    assert_int_equal(pm_session_length(session, 0), 150);
    pm_generation_free(generation);
    /* The same again after a rewind into the middle of a page. */
    expect_ok(pm_session_rewind(session, 0, 70));
    desc.n_predict = 40;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_memory_equal(generation->answers[0].tokens, e.tokens + 20, 40 * sizeof(int32_t));
    pm_generation_free(generation);
    expect_failure(pm_session_rewind(session, 0, 111), PM_ARGUMENT, "holds 110");
    pm_session_close(session);
}

static void test_until_full(void **state) {
    (void)state;
    int32_t prompt[MOST];
    fill_prompt(prompt, 41, 4);
    const pm_sampling sampling = sampling_of(1, 0);
    for (uint32_t n_ctx = 41; n_ctx < 75; n_ctx++) {
        const expected e = foretell(prompt, 41, n_ctx - 41, 1, 0);
        pm_session *session = fake_session_open(tokenizer, n_ctx, 0, 1);
        assert_int_equal(pm_session_n_ctx(session), n_ctx);
        const pm_generate_desc desc = {.prompt = prompt, .n_prompt = 41, .sampling = &sampling};
        pm_generation *generation = NULL;
        expect_ok(pm_generate(session, &desc, &generation));
        check_answer(&generation->answers[0], &e);
        assert_int_equal(pm_session_length(session, 0), n_ctx);
        pm_generation_free(generation);
        expect_failure(pm_generate(session, &desc, &generation), PM_CONTEXT_FULL,
                       "41 tokens, 0 positions are free");
        pm_session_close(session);
    }
}

static void test_context_full(void **state) {
    (void)state;
    int32_t prompt[MOST];
    fill_prompt(prompt, 100, 4);
    pm_session *session = fake_session_open(tokenizer, 90, 0, 1);
    const pm_generate_desc desc = {.prompt = prompt, .n_prompt = 100};
    pm_generation *generation = NULL;
    expect_failure(pm_generate(session, &desc, &generation), PM_CONTEXT_FULL,
                   "prompt has 100 tokens, 90 positions are free of 90");
    expect_failure(pm_session_eval(session, 0, prompt, 91, NULL), PM_CONTEXT_FULL, "-c");
    assert_int_equal(pm_session_length(session, 0), 0);
    assert_null(generation);
    expect_ok(pm_session_eval(session, 0, prompt, 90, NULL));
    assert_int_equal(pm_session_length(session, 0), 90);
    pm_session_close(session);
}

/* ---- several answers ------------------------------------------------------------------------- */

static void generate_several(uint32_t n_prompt, uint32_t n_answer, uint32_t ahead,
                             uint32_t looks_back) {
    int32_t prompt[MOST];
    fill_prompt(prompt, 150, ahead);
    reset();
    fake.end_one_in = 30;
    pm_session *session = fake_session_open(tokenizer, 180, 16, n_answer + 1);
    expect_ok(pm_session_eval(session, 1, prompt, 5, NULL)); /* will be emptied */
    expect_ok(pm_session_eval(session, n_answer, prompt, 40, NULL));
    const pm_sampling sampling = sampling_of(77, looks_back);
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = n_prompt,
                                   .sampling = &sampling,
                                   .n_predict = 60,
                                   .n_answer = n_answer,
                                   .run_ahead = ahead};
    pm_generation *generation = NULL;
    fake_seen.n_copy = 0;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_int_equal(generation->n_answer, n_answer);
    expected first = {.n = 0};
    for (uint32_t i = 0; i < n_answer; i++) {
        const expected e = foretell(prompt, n_prompt, 60, 77 + i, looks_back);
        check_answer(&generation->answers[i], &e);
        first = i == 0 ? e : first;
        const uint32_t left = i == 0 ? n_prompt + e.n : i == n_answer ? 40 : 0;
        assert_int_equal(pm_session_length(session, i), left);
    }
    /* Only a page that is partly filled is copied, and sequence 0 keeps the original. */
    assert_int_equal(fake_seen.n_copy, (n_prompt - 1) % PM_PAGE != 0 ? n_answer - 1 : 0);
    pm_generation_free(generation);
    /* Sequence 0 goes on as if it had been alone; the sequence of no answer was left as it was. */
    int32_t all[MOST];
    memcpy(all, prompt, n_prompt * sizeof *all);
    memcpy(all + n_prompt, first.tokens, first.n * sizeof *all);
    const float *logits = NULL;
    expect_ok(pm_session_eval(session, 0, NULL, 0, &logits));
    assert_float_equal(logits[5], fake_logit(all, n_prompt + first.n, 5), 0);
    expect_ok(pm_session_eval(session, n_answer, NULL, 0, &logits));
    assert_float_equal(logits[5], fake_logit(prompt, 40, 5), 0);
    pm_session_close(session);
}

static void test_several(void **state) {
    (void)state;
    static const uint32_t prompts[] = {1, 2, 32, 33, 40, 65, 100};
    for (uint32_t p = 0; p < PM__COUNT(prompts); p++)
        for (uint32_t n_answer = 2; n_answer < 6; n_answer++)
            generate_several(prompts[p], n_answer, 1 + (p * 5 + n_answer) % 16,
                             p % 2 == 0 ? 0 : 20 * p);
}

/* ---- text ------------------------------------------------------------------------------------ */

typedef struct listener {
    char text[4096];
    size_t n;
    uint32_t n_call, cancel_at;
    bool whole; /* every piece was whole UTF-8 */
    pm_session *session;
} listener;

static bool listen(void *user, uint32_t answer, const char *text, size_t n) {
    listener *l = user;
    assert_int_equal(answer, 0);
    assert_true(l->n + n < sizeof l->text);
    memcpy(l->text + l->n, text, n);
    l->n += n;
    l->text[l->n] = '\0';
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        const size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (c >= 0x80 && c < 0xc0)
            l->whole = false;
        i += size;
        if (i > n)
            l->whole = false;
    }
    if (l->session != NULL)
        expect_failure(pm_session_rewind(l->session, 0, 0), PM_ARGUMENT, "callback");
    return ++l->n_call != l->cancel_at;
}

/* Runs a script of bytes after a prompt of 3 tokens. */
static pm_generation *run_script(const char *script, const char *const *stops, size_t n_stop,
                                 uint32_t ahead, listener *l) {
    static const int32_t prompt[3] = {FAKE_BOS, FAKE_BYTE + 'x', FAKE_BYTE + 'y'};
    static int32_t ids[MOST];
    const uint32_t n = (uint32_t)strlen(script);
    for (uint32_t i = 0; i < n; i++)
        ids[3 + i] = script[i] == '\n' ? FAKE_EOS : fake_byte(script[i]);
    reset();
    fake.script = ids;
    fake.n_script = 3 + n;
    *l = (listener){.whole = true};
    pm_session *session = fake_session_open(tokenizer, 400, 2, 1);
    l->session = session;
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = 3,
                                   .stop = stops,
                                   .n_stop = n_stop,
                                   .run_ahead = ahead,
                                   .on_text = listen,
                                   .user = l};
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_int_equal(pm_session_length(session, 0), 3 + generation->answers[0].n_token);
    pm_session_close(session);
    return generation;
}

static void check_script(const char *script, const char *const *stops, size_t n_stop,
                         const char *text, pm_stop stop) {
    for (uint32_t ahead = 1; ahead <= 16; ahead += 5) {
        listener l;
        pm_generation *generation = run_script(script, stops, n_stop, ahead, &l);
        assert_string_equal(generation->answers[0].text, text);
        assert_string_equal(l.text, text);
        assert_int_equal(generation->answers[0].n_byte, strlen(text));
        assert_int_equal(generation->answers[0].stop, stop);
        assert_true(l.whole);
        pm_generation_free(generation);
    }
}

static void test_stop_texts(void **state) {
    (void)state;
    static const char *const user[] = {"User:", "\xe4\xb8\xad"};
    check_script("hello User: more", user, 2, "hello ", PM_STOP_STRING);
    check_script("hello Use Us UUser:", user, 2, "hello Use Us U", PM_STOP_STRING);
    check_script("hello Use", user, 2, "hello Use", PM_STOP_EOS);
    check_script("User:", user, 2, "", PM_STOP_STRING);
    check_script("", user, 2, "", PM_STOP_EOS);
    check_script("a\xe4\xb8\xad z", user, 2, "a", PM_STOP_STRING);
    check_script("a\xe4\xb8\xae z", user, 2, "a\xe4\xb8\xae z", PM_STOP_EOS);
    static const char *const nested[] = {"abcd", "bc"};
    check_script("xxabcdyy", nested, 2, "xx", PM_STOP_STRING);
    check_script("xxabcyy", nested, 2, "xxa", PM_STOP_STRING);
    check_script("xxabc", nested, 2, "xxa", PM_STOP_STRING); /* the end decides */
    static const char *const repeats[] = {"aab"};
    check_script("aaaab", repeats, 1, "aa", PM_STOP_STRING);
    check_script("aaaa", repeats, 1, "aaaa", PM_STOP_EOS);
}

static void test_characters(void **state) {
    (void)state;
    check_script("\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x99\x82!", NULL, 0,
                 "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x99\x82!", PM_STOP_EOS);
    check_script("a\xe4\xbd", NULL, 0, "a\xef\xbf\xbd", PM_STOP_EOS);
}

static void test_stop_arguments(void **state) {
    (void)state;
    char longest[PM__MOST_STOP_BYTES + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const bad[] = {"",
                               "\xbd"
                               "a",
                               longest, NULL};
    const int32_t prompt[] = {FAKE_BOS};
    pm_session *session = fake_session_open(tokenizer, 64, 0, 1);
    for (size_t i = 0; i < PM__COUNT(bad); i++) {
        const pm_generate_desc desc = {
            .prompt = prompt, .n_prompt = 1, .stop = &bad[i], .n_stop = 1};
        pm_generation *generation = NULL;
        expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, "stop text 0");
    }
    assert_int_equal(pm_session_length(session, 0), 0);
    pm_session_close(session);
}

static void test_ignore_eos(void **state) {
    (void)state;
    static const int32_t script[] = {0, FAKE_EOS, FAKE_BYTE + 'a', FAKE_EOS, FAKE_BYTE + 'b'};
    fake.script = script;
    fake.n_script = 5;
    const int32_t prompt[] = {FAKE_BYTE + 'x'};
    pm_session *session = fake_session_open(tokenizer, 64, 0, 1);
    const pm_generate_desc desc = {
        .prompt = prompt, .n_prompt = 1, .ignore_eos = true, .n_predict = 4};
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    assert_int_equal(generation->answers[0].n_token, 4);
    assert_memory_equal(generation->answers[0].tokens, script + 1, 4 * sizeof *script);
    assert_string_equal(generation->answers[0].text, "ab");
    assert_int_equal(generation->answers[0].stop, PM_STOP_LENGTH);
    pm_generation_free(generation);
    pm_session_close(session);
}

/* ---- cancelling and failing ------------------------------------------------------------------ */

static void test_cancel(void **state) {
    (void)state;
    int32_t prompt[MOST];
    fill_prompt(prompt, 64, 9);
    const pm_sampling sampling = sampling_of(3, 0);
    const expected e = foretell(prompt, 64, 60, 3, 0);
    pm_session *session = fake_session_open(tokenizer, 200, 16, 1);
    for (uint32_t at = 1; at < 20; at++) {
        listener l = {.cancel_at = at};
        pm_generate_desc desc = {.prompt = prompt,
                                 .n_prompt = 64,
                                 .sampling = &sampling,
                                 .n_predict = 60,
                                 .run_ahead = 7,
                                 .on_text = listen,
                                 .user = &l};
        pm_generation *generation = NULL;
        expect_ok(pm_generate(session, &desc, &generation));
        const uint32_t n = at > 3 ? at - 3 : 0; /* three calls fall between the four prompt steps */
        assert_int_equal(generation->answers[0].stop, PM_STOP_CANCELLED);
        assert_int_equal(generation->answers[0].n_token, n);
        assert_memory_equal(generation->answers[0].tokens, e.tokens, n * sizeof(int32_t));
        assert_int_equal(pm_session_length(session, 0), 64 + n);
        pm_generation_free(generation);
        /* What was cancelled can go on. */
        desc.n_prompt = 0;
        desc.on_text = NULL;
        desc.n_predict = 60 - n;
        expect_ok(pm_generate(session, &desc, &generation));
        assert_int_equal(generation->answers[0].n_token, 60 - n);
        assert_memory_equal(generation->answers[0].tokens, e.tokens + n,
                            (60 - n) * sizeof(int32_t));
        pm_generation_free(generation);
        expect_ok(pm_session_rewind(session, 0, 0));
    }
    pm_session_close(session);
}

static pm_status generate_plain(pm_session *session) {
    static const int32_t prompt[] = {FAKE_BOS, FAKE_BYTE + 'q'};
    const pm_generate_desc desc = {.prompt = prompt, .n_prompt = 2, .n_predict = 20};
    pm_generation *generation = NULL;
    const pm_status status = pm_generate(session, &desc, &generation);
    assert_true((generation != NULL) == (status == PM_OK));
    pm_generation_free(generation);
    return status;
}

/* A lost device, at any step, is told once with its cause and stays lost. */
static void check_lost(const char *part) {
    pm_session *session = fake_session_open(tokenizer, 64, 0, 1);
    expect_failure(generate_plain(session), PM_DEVICE_LOST, part);
    expect_failure(generate_plain(session), PM_DEVICE_LOST, "open a new one");
    expect_failure(pm_session_rewind(session, 0, 0), PM_DEVICE_LOST, "earlier");
    pm_session_close(session);
}

static void test_lost(void **state) {
    (void)state;
    for (uint32_t i = 1; i < 21; i++) {
        fake.fail_submit = i;
        check_lost("fake: lost");
        fake.fail_submit = 0;
        fake.stale_step = i;
        check_lost("work it did not do");
        fake.stale_step = 0;
        fake.wild_step = i;
        check_lost("token 300 of a vocabulary of 300");
        fake.wild_step = 0;
    }
}

static void test_arguments(void **state) {
    (void)state;
    pm_session *session = fake_session_open(tokenizer, 64, 0, 2);
    const int32_t ids[] = {5, FAKE_VOCAB, -1};
    pm_generation *generation = NULL;
    pm_generate_desc desc = {.n_prompt = 0};
    expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, "nothing to continue");
    desc = (pm_generate_desc){.prompt = ids, .n_prompt = 1, .n_answer = 3};
    expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, "2 sequences");
    desc = (pm_generate_desc){.prompt = ids, .n_prompt = 2};
    expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, "token 300 at place 1");
    expect_failure(pm_session_eval(session, 1, ids + 2, 1, NULL), PM_ARGUMENT, "token -1");
    expect_failure(pm_session_eval(session, 2, ids, 1, NULL), PM_ARGUMENT, "sequence 2 of 2");
    expect_failure(pm_session_eval(session, 0, ids, 0, NULL), PM_ARGUMENT, "empty");
    assert_int_equal(pm_session_length(session, 0), 0);
    assert_int_equal(fake_seen.n_begin, 0);
    pm_session_close(session);
    pm_session_close(NULL);
    pm_generation_free(NULL);
}

static void test_sampling_arguments(void **state) {
    (void)state;
    const float nan = strtof("nan", NULL), inf = strtof("inf", NULL);
    const struct {
        size_t field;
        float value;
        const char *name;
    } bad[] = {
        {offsetof(pm_sampling, temperature), nan, "temperature"},
        {offsetof(pm_sampling, temperature), -1, "temperature"},
        {offsetof(pm_sampling, temperature), inf, "temperature"},
        {offsetof(pm_sampling, temperature), 1e-9f, "temperature"},
        {offsetof(pm_sampling, top_p), 1.01f, "top_p"},
        {offsetof(pm_sampling, top_p), -0.1f, "top_p"},
        {offsetof(pm_sampling, min_p), nan, "min_p"},
        {offsetof(pm_sampling, min_p), 2, "min_p"},
        {offsetof(pm_sampling, repeat_penalty), 0, "repeat_penalty"},
        {offsetof(pm_sampling, repeat_penalty), -1, "repeat_penalty"},
        {offsetof(pm_sampling, presence_penalty), inf, "presence_penalty"},
        {offsetof(pm_sampling, frequency_penalty), nan, "frequency_penalty"},
    };
    const int32_t prompt[] = {FAKE_BOS};
    pm_session *session = fake_session_open(tokenizer, 64, 0, 1);
    pm_sampling sampling;
    const pm_generate_desc desc = {.prompt = prompt, .n_prompt = 1, .sampling = &sampling};
    pm_generation *generation = NULL;
    for (size_t i = 0; i < PM__COUNT(bad); i++) {
        sampling = pm_sampling_default();
        memcpy((char *)&sampling + bad[i].field, &bad[i].value, sizeof(float));
        expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, bad[i].name);
    }
    sampling = pm_sampling_default();
    sampling.repeat_last_n = PM_MOST_REPEAT + 1;
    expect_failure(pm_generate(session, &desc, &generation), PM_ARGUMENT, "repeat_last_n");
    pm_session_close(session);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

typedef struct reader {
    const int32_t *all; /* the sequence */
    uint32_t first;     /* place of ids[0] in it */
    uint32_t n;
    uint32_t end_at; /* returns CANCELLED at this index */
} reader;

static pm_status read_logits(void *user, size_t i, const float *logits) {
    reader *r = user;
    assert_int_equal(i, r->n);
    for (uint32_t id = 0; id < FAKE_VOCAB; id += 37)
        assert_float_equal(logits[id], fake_logit(r->all, r->first + (uint32_t)i + 1, id), 0);
    r->n++;
    return i == r->end_at ? PM_CANCELLED : PM_OK;
}

static void test_eval_all(void **state) {
    (void)state;
    int32_t all[MOST];
    fill_prompt(all, 150, 5);
    for (uint32_t n_batch = 1; n_batch < 40; n_batch += 6) {
        pm_session *session = fake_session_open(tokenizer, 150, n_batch, 2);
        reader r = {.all = all, .end_at = MOST};
        expect_ok(pm_session_eval_all(session, 1, all, 75, read_logits, &r));
        assert_int_equal(r.n, 75);
        const float *logits = NULL;
        expect_ok(pm_session_eval(session, 1, all + 75, 5, &logits));
        assert_float_equal(logits[9], fake_logit(all, 80, 9), 0);
        r = (reader){.all = all, .first = 80, .end_at = 33};
        assert_int_equal(pm_session_eval_all(session, 1, all + 80, 70, read_logits, &r),
                         PM_CANCELLED);
        const uint32_t held = pm_session_length(session, 1);
        assert_true(held >= 80 + 34 && held <= 80 + 34 + 15);
        r = (reader){.all = all, .first = held, .end_at = MOST};
        expect_ok(pm_session_eval_all(session, 1, all + held, 150 - held, read_logits, &r));
        assert_int_equal(r.n, 150 - held);
        assert_int_equal(pm_session_length(session, 1), 150);
        pm_session_close(session);
    }
}

/* Steps keep to the time budget, and its measurements do not show in the results: tokens that come
 * together are never evaluated alone. */
static void test_most_rows(void **state) {
    (void)state;
    int32_t all[MOST];
    fill_prompt(all, 61, 3);
    for (uint32_t most = 1; most < 40; most++) {
        reset();
        fake.most_rows = most;
        pm_session *session = fake_session_open(tokenizer, 150, 32, 1);
        const float *logits = NULL;
        for (uint32_t n = 2; n <= 61; n++) {
            expect_ok(pm_session_rewind(session, 0, 0));
            expect_ok(pm_session_eval(session, 0, all, n, &logits));
            assert_float_equal(logits[9], fake_logit(all, n, 9), 0);
        }
        assert_int_equal(fake_seen.most_rows, most < 32 ? most : 32);
        assert_int_equal(fake_seen.n_alone, 0);
        pm_session_close(session);
    }
}

/* ---- a long walk ----------------------------------------------------------------------------- */

enum { WALK_SEQ = 4, WALK_CTX = 140 };

typedef struct walk {
    pm_session *session;
    uint32_t random;
    int32_t tokens[WALK_SEQ][WALK_CTX];
    uint32_t n[WALK_SEQ];
} walk;

static uint32_t below(walk *w, uint32_t n) {
    w->random = w->random * 1664525u + 1013904223u;
    return (w->random >> 8) % n;
}

static void walk_eval(walk *w, uint32_t seq) {
    int32_t ids[WALK_CTX];
    const uint32_t n = below(w, 60);
    const float *logits = NULL;
    fill_prompt(ids, n, below(w, 1000));
    const bool fits = w->n[seq] + n <= WALK_CTX;
    const pm_status status = pm_session_eval(w->session, seq, ids, n, &logits);
    if (!fits || w->n[seq] + n == 0) {
        assert_int_equal(status, fits ? PM_ARGUMENT : PM_CONTEXT_FULL);
        return;
    }
    expect_ok(status);
    memcpy(w->tokens[seq] + w->n[seq], ids, n * sizeof *ids);
    w->n[seq] += n;
    assert_float_equal(logits[3], fake_logit(w->tokens[seq], w->n[seq], 3), 0);
}

static void walk_generate(walk *w) {
    int32_t ids[WALK_CTX];
    const uint32_t n = below(w, 50);
    const uint32_t looks_back = below(w, 2) * (1 + below(w, 90));
    const uint64_t seed = (uint64_t)below(w, 1000) << 31;
    const pm_sampling sampling = sampling_of(seed, looks_back);
    fill_prompt(ids, n, below(w, 1000));
    pm_generate_desc desc = {.prompt = ids,
                             .n_prompt = n,
                             .sampling = &sampling,
                             .n_predict = below(w, 40),
                             .n_answer = 1 + below(w, WALK_SEQ),
                             .run_ahead = below(w, 20)};
    pm_generation *generation = NULL;
    if (w->n[0] + n > WALK_CTX || w->n[0] + n == 0)
        return;
    expect_ok(pm_generate(w->session, &desc, &generation));
    memcpy(w->tokens[0] + w->n[0], ids, n * sizeof *ids);
    w->n[0] += n;
    const uint32_t room = WALK_CTX - w->n[0];
    const uint32_t most = desc.n_predict == 0 || desc.n_predict > room ? room : desc.n_predict;
    for (uint32_t i = 0; i < desc.n_answer; i++) {
        const expected e = foretell(w->tokens[0], w->n[0], most, seed + i, looks_back);
        check_answer(&generation->answers[i], &e);
        if (i > 0)
            w->n[i] = 0;
    }
    memcpy(w->tokens[0] + w->n[0], generation->answers[0].tokens,
           generation->answers[0].n_token * sizeof *ids);
    w->n[0] += (uint32_t)generation->answers[0].n_token;
    pm_generation_free(generation);
}

static void test_walk(void **state) {
    (void)state;
    fake.end_one_in = 25;
    walk w = {.session = fake_session_open(tokenizer, WALK_CTX, 9, WALK_SEQ), .random = 2026};
    for (uint32_t step = 0; step < 3000; step++) {
        const uint32_t seq = below(&w, WALK_SEQ);
        const uint32_t what = below(&w, 5);
        if (what == 0) {
            w.n[seq] = below(&w, w.n[seq] + 1);
            expect_ok(pm_session_rewind(w.session, seq, w.n[seq]));
        } else if (what < 3) {
            walk_eval(&w, seq);
        } else {
            walk_generate(&w);
        }
        for (uint32_t i = 0; i < WALK_SEQ; i++)
            assert_int_equal(pm_session_length(w.session, i), w.n[i]);
        if (w.n[seq] + 10 > WALK_CTX) {
            expect_ok(pm_session_rewind(w.session, seq, 0));
            w.n[seq] = 0;
        }
    }
    pm_session_close(w.session);
}

static void test_limits(void **state) {
    (void)state;
    pm__limits limits;
    uint32_t n_ctx;
    pm_session_desc desc = {0};
    expect_ok(pm__session_limits(&desc, 2048, &limits, &n_ctx));
    assert_int_equal(n_ctx, 2048);
    expect_ok(pm__session_limits(&desc, 131072, &limits, &n_ctx));
    assert_int_equal(n_ctx, 4096);
    assert_int_equal(limits.n_batch, 512);
    assert_int_equal(limits.n_out, 16);
    assert_int_equal(limits.n_seq, 1);
    desc = (pm_session_desc){.n_ctx = 33, .n_batch = 700, .n_seq = 50};
    expect_ok(pm__session_limits(&desc, 40, &limits, &n_ctx));
    assert_int_equal(n_ctx, 33);
    assert_int_equal(limits.n_ctx, 64);
    assert_int_equal(limits.n_batch, 50);
    assert_int_equal(limits.n_out, 50);
    desc = (pm_session_desc){.n_ctx = UINT32_MAX};
    expect_failure(pm__session_limits(&desc, 40, &limits, &n_ctx), PM_ARGUMENT, "n_ctx");
}

/* ---- states ---------------------------------------------------------------------------------- */

/* What cannot be cut is evaluated again, all of it and nothing else. */
static void test_cut(void **state) {
    (void)state;
    int32_t prompt[MOST];
    const float *logits = NULL;
    fill_prompt(prompt, 90, 5);
    fake.has_states = true;
    pm_session *session = fake_session_open(tokenizer, 150, 16, 2);
    expect_ok(pm_session_eval(session, 0, prompt, 70, &logits));
    assert_int_equal(fake_seen.n_row, 70);
    expect_ok(pm_session_rewind(session, 0, 70)); /* cuts nothing */
    expect_ok(pm_session_eval(session, 0, prompt + 70, 10, &logits));
    assert_int_equal(fake_seen.n_row, 80);
    expect_ok(pm_session_rewind(session, 0, 41));
    expect_ok(pm_session_rewind(session, 0, 40));
    assert_int_equal(fake_seen.n_row, 80);
    expect_ok(pm_session_eval(session, 0, prompt + 40, 3, &logits));
    assert_int_equal(fake_seen.n_row, 80 + 43);
    assert_true(logits[7] == fake_logit(prompt, 43, 7));
    expect_ok(pm_session_eval(session, 0, NULL, 0, &logits)); /* the last token once more */
    assert_int_equal(fake_seen.n_row, 80 + 2 * 43);
    assert_true(logits[9] == fake_logit(prompt, 43, 9));
    expect_ok(pm_session_eval(session, 1, prompt, 5, &logits));
    expect_ok(pm_session_rewind(session, 1, 0));
    expect_ok(pm_session_eval(session, 1, prompt + 1, 5, &logits));
    assert_int_equal(fake_seen.n_row, 80 + 2 * 43 + 10);
    assert_int_equal(fake_seen.n_copy_state, 0);
    pm_session_close(session);
}

/* The last token of an answer that ended by itself is evaluated; to go on from it takes all again.
 */
static void test_regenerate(void **state) {
    (void)state;
    int32_t prompt[MOST];
    fill_prompt(prompt, 20, 1);
    fake.has_states = true;
    fake.end_one_in = 30;
    const pm_sampling sampling = sampling_of(3, 0);
    const expected e = foretell(prompt, 20, 60, 3, 0);
    assert_int_equal(e.stop, PM_STOP_EOS);
    pm_session *session = fake_session_open(tokenizer, 150, 64, 3);
    pm_generate_desc desc = {
        .prompt = prompt, .n_prompt = 20, .sampling = &sampling, .n_predict = 60, .n_answer = 3};
    for (uint32_t i = 0; i < 3; i++) { /* again, as a chat does it: back to the prompt, and on */
        pm_generation *generation = NULL;
        expect_ok(pm_generate(session, &desc, &generation));
        check_answer(&generation->answers[0], &e);
        pm_generation_free(generation);
        assert_int_equal(fake_seen.n_copy_state, 2 * (i + 1));
        expect_ok(pm_session_rewind(session, 0, 20));
        desc.n_prompt = 0;
    }
    desc.n_answer = 1;
    pm_generation *generation = NULL;
    expect_ok(pm_generate(session, &desc, &generation));
    check_answer(&generation->answers[0], &e);
    pm_generation_free(generation);
    pm_session_close(session);
}

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_limits, before),
        cmocka_unit_test_setup(test_generate, before),
        cmocka_unit_test_setup(test_goes_on, before),
        cmocka_unit_test_setup(test_until_full, before),
        cmocka_unit_test_setup(test_context_full, before),
        cmocka_unit_test_setup(test_several, before),
        cmocka_unit_test_setup(test_stop_texts, before),
        cmocka_unit_test_setup(test_characters, before),
        cmocka_unit_test_setup(test_stop_arguments, before),
        cmocka_unit_test_setup(test_ignore_eos, before),
        cmocka_unit_test_setup(test_cancel, before),
        cmocka_unit_test_setup(test_lost, before),
        cmocka_unit_test_setup(test_arguments, before),
        cmocka_unit_test_setup(test_sampling_arguments, before),
        cmocka_unit_test_setup(test_eval_all, before),
        cmocka_unit_test_setup(test_most_rows, before),
        cmocka_unit_test_setup(test_walk, before),
        cmocka_unit_test_setup(test_cut, before),
        cmocka_unit_test_setup(test_regenerate, before),
    };
    return cmocka_run_group_tests_name(with_states ? "states" : "caches", tests, set_up, tear_down);
}

int main(void) {
    const int failed = run_all();
    with_states = true;
    return failed + run_all();
}
