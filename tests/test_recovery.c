/* The device is lost at every operation of a long scenario, and nobody notices: over a device that
 * runs no model (fake_backend.h), whose every hash shows how each token was evaluated.
 * ctest: quick */
#include "fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static pm__tokenizer *tokenizer;
static uint32_t n_warning;
static bool with_states; /* all tests run over either kind of model */

static void count_warnings(void *user, pm_log_level level, const char *line) {
    (void)user;
    (void)line;
    n_warning += level == PM_LOG_WARN;
}

static int set_up(void **state) {
    (void)state;
    tokenizer = fake_tokenizer_create();
    pm_set_log(PM_LOG_WARN, count_warnings, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fake_tokenizer_destroy(tokenizer);
    return fake_seen.n_context == 0 ? 0 : -1;
}

static void reset(void) {
    fake = (fake_settings){
        .most_ahead = PM_RING, .reopens = true, .has_states = with_states, .shows_among = true};
    fake_seen = (fake_counts){.n_context = fake_seen.n_context};
    n_warning = 0;
}

/* ---- what happened, in a row of numbers ------------------------------------------------------ */

enum { MOST_EVENTS = 4096 };

typedef struct transcript {
    uint32_t events[MOST_EVENTS];
    uint32_t n;
} transcript;

static void note(transcript *t, uint32_t event) {
    assert_true(t->n < MOST_EVENTS);
    t->events[t->n++] = event;
}

static void note_float(transcript *t, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    note(t, bits);
}

static void expect_same(const transcript *a, const transcript *b, uint32_t lost_at) {
    if (a->n != b->n || memcmp(a->events, b->events, a->n * sizeof *a->events) != 0)
        fail_msg("lost at operation %u: another outcome", lost_at);
}

static bool on_text(void *user, uint32_t answer, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        note(user, answer << 8 | (unsigned char)text[i]);
    return true;
}

static pm_status on_logits(void *user, size_t i, const float *logits) {
    note(user, (uint32_t)i);
    note_float(user, logits[i % FAKE_VOCAB]);
    return PM_OK;
}

/* ---- the scenario ---------------------------------------------------------------------------- */

static const int32_t *some_tokens(uint32_t n, uint32_t salt) {
    static int32_t ids[200];
    assert_true(n <= PM__COUNT(ids));
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(FAKE_BYTE + 'A' + (i * 7 + salt * 13 + i * i % 11) % 26);
    return ids;
}

typedef struct play {
    pm_session *first, *second;
    transcript *t;
    uint32_t ahead;
} play;

static pm_status eval(play *p, pm_session *session, uint32_t seq, uint32_t n) {
    const float *logits = NULL;
    PM_TRY(pm_session_eval(session, seq, some_tokens(n, seq), n, &logits));
    for (uint32_t id = 0; id < FAKE_VOCAB; id += 29)
        note_float(p->t, logits[id]);
    return PM_OK;
}

/* looks_back  0: no penalties; stop: NULL: none */
static pm_status generate(play *p, pm_session *session, uint32_t n_prompt, uint32_t n_answer,
                          uint32_t looks_back, const char *stop) {
    pm_sampling sampling = pm_sampling_default();
    sampling.seed = 5 + n_prompt;
    sampling.repeat_penalty = looks_back > 0 ? 2.0f : 1.0f;
    sampling.repeat_last_n = looks_back;
    const pm_generate_desc desc = {.prompt = some_tokens(n_prompt, looks_back),
                                   .n_prompt = n_prompt,
                                   .sampling = &sampling,
                                   .n_predict = 19,
                                   .n_answer = n_answer,
                                   .stop = &stop,
                                   .n_stop = stop != NULL,
                                   .run_ahead = p->ahead,
                                   .on_text = on_text,
                                   .user = p->t};
    pm_generation *out = NULL;
    PM_TRY(pm_generate(session, &desc, &out));
    for (size_t i = 0; i < out->n_answer; i++) {
        note(p->t, out->answers[i].logits_hash);
        note(p->t, (uint32_t)out->answers[i].stop);
        for (size_t k = 0; k < out->answers[i].n_token; k++)
            note(p->t, (uint32_t)out->answers[i].tokens[k]);
    }
    pm_generation_free(out);
    return PM_OK;
}

/* Two sessions, sequences that share pages, chunks of a prompt, one answer and several, penalties,
 * a stop text, a rewind into the middle of a page. */
static pm_status act(play *p) {
    const pm_session_desc desc = {.n_ctx = 170, .n_batch = 16, .n_seq = 3};
    PM_TRY(fake_session_try(tokenizer, &desc, &p->first));
    PM_TRY(eval(p, p->first, 1, 21));
    PM_TRY(fake_session_try(tokenizer, &desc, &p->second));
    PM_TRY(eval(p, p->second, 2, 1));
    PM_TRY(eval(p, p->second, 0, 6));
    for (uint32_t i = 0; i < 6; i++) /* the same tokens as sequence 0 has, evaluated otherwise */
        PM_TRY(pm_session_eval(p->second, 1, some_tokens(6, 0) + i, 1, NULL));
    PM_TRY(eval(p, p->second, 1, 1));
    PM_TRY(generate(p, p->first, 35, 1, 9, NULL));
    PM_TRY(generate(p, p->second, 3, 1, 0, NULL));
    PM_TRY(pm_session_eval_all(p->first, 2, some_tokens(37, 3), 37, on_logits, p->t));
    PM_TRY(generate(p, p->first, 12, 2, 40, NULL));
    PM_TRY(generate(p, p->second, 0, 3, 0, "q"));
    PM_TRY(pm_session_rewind(p->first, 0, 45));
    PM_TRY(eval(p, p->first, 2, 1));
    PM_TRY(generate(p, p->first, 1, 1, 60, "qx"));
    return eval(p, p->second, 0, 2);
}

static void close_play(play *p) {
    pm_session_close(p->first);
    pm_session_close(p->second);
    p->first = p->second = NULL;
}

static void run_undisturbed(uint32_t ahead, transcript *t) {
    play p = {.t = t, .ahead = ahead};
    reset();
    t->n = 0;
    assert_int_equal(act(&p), PM_OK);
    close_play(&p);
    assert_int_equal(fake_seen.n_reopen, 0);
    assert_int_equal(n_warning, 0);
}

static const uint32_t aheads[] = {1, 4, 8};

/* ---- one loss -------------------------------------------------------------------------------- */

static void test_every_operation(void **state) {
    (void)state;
    static transcript quiet, t;
    uint32_t n_all = 0;
    for (size_t i = 0; i < PM__COUNT(aheads); i++) {
        run_undisturbed(aheads[i], &quiet);
        const uint32_t n = fake_seen.n_operation;
        assert_true(n > 200 && quiet.n > 400);
        for (uint32_t at = 1; at <= n; at++) {
            play p = {.t = &t, .ahead = aheads[i]};
            reset();
            t.n = 0;
            fake.lose_at[0] = at;
            if (act(&p) != PM_OK)
                fail_msg("lost at operation %u: %s", at, pm_last_error());
            expect_same(&quiet, &t, at);
            assert_int_equal(fake_seen.n_reopen, 1);
            assert_true(n_warning >= 2); /* what was lost, and that it is back */
            close_play(&p);
        }
        n_all += n;
    }
    print_message("%u losses\n", n_all);
}

/* A job that was killed and reported as done: the device is opened again just the same. */
static void test_stale(void **state) {
    (void)state;
    static transcript quiet, t;
    run_undisturbed(4, &quiet);
    for (uint32_t step = 1; step < 60; step++) {
        play p = {.t = &t, .ahead = 4};
        reset();
        t.n = 0;
        fake.stale_step = step; /* of the first context that comes so far, and of those after it */
        const pm_status status = act(&p);
        if (status == PM_OK)
            expect_same(&quiet, &t, step);
        else if (status != PM_DEVICE_LOST || strstr(pm_last_error(), "work it did not do") == NULL)
            fail_msg("%s", pm_last_error());
        close_play(&p);
    }
}

/* ---- what comes back in one step ------------------------------------------------------------- */

typedef struct backend_kind {
    bool shows_among, few_as_together;
    uint32_t n_step; /* that bring back a prompt of 12, an answer of 19, 5 tokens one by one */
} backend_kind;

/* A long answer beside two others, tokens one by one, and then perhaps a loss. Steps after that. */
static uint32_t answer_and_lose(const backend_kind *kind, bool lose, transcript *t) {
    play p = {.t = t, .ahead = 4};
    reset();
    t->n = 0;
    fake.shows_among = kind->shows_among;
    fake.few_as_together = kind->few_as_together;
    p.first = fake_session_open(tokenizer, 170, 64, 3);
    assert_int_equal(generate(&p, p.first, 12, 3, 0, NULL), PM_OK);
    assert_int_equal(pm_session_length(p.first, 0), 12 + 19);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(pm_session_eval(p.first, 0, some_tokens(5, 2) + i, 1, NULL), PM_OK);
    const uint32_t n_before = fake_seen.n_submit;
    fake.lose_at[0] = lose ? fake_seen.n_operation + 1 : 0;
    assert_int_equal(eval(&p, p.first, 0, 1), PM_OK);
    assert_int_equal(fake_seen.n_reopen, lose);
    close_play(&p);
    return fake_seen.n_submit - n_before;
}

/* Rows that have the bits of rows among others anyway come back in one step, the others as they
 * were, and all have the bits they had. */
static void test_as_together(void **state) {
    (void)state;
    /* The first row of an answer is the last token of the prompt; its last token waits. */
    static const backend_kind kinds[] = {
        {true, false, 1 + 19 + 1 + 4}, {true, true, 1 + 4}, {false, false, 1}};
    static transcript quiet, t;
    for (uint32_t i = 0; i < PM__COUNT(kinds); i++) {
        const uint32_t n_step = answer_and_lose(&kinds[i], false, &quiet);
        assert_int_equal(answer_and_lose(&kinds[i], true, &t) - n_step, kinds[i].n_step);
        expect_same(&quiet, &t, i);
    }
}

/* ---- two losses ------------------------------------------------------------------------------ */

/* After the end: the session says so, and another one of the same model works. */
static void expect_end(play *p, uint32_t first, uint32_t second) {
    if (strstr(pm_last_error(), "given up: fake: lost at") == NULL)
        fail_msg("lost at %u and %u: %s", first, second, pm_last_error());
    const pm_session_desc desc = {.n_ctx = 64, .n_seq = 1};
    pm_session *another = NULL;
    assert_int_equal(fake_session_try(tokenizer, &desc, &another), PM_OK);
    assert_int_equal(eval(p, another, 0, 40), PM_OK);
    pm_session_close(another);
    if (p->first != NULL && p->first->failed != PM_OK) {
        assert_int_equal(eval(p, p->first, 0, 1), PM_DEVICE_LOST);
        assert_non_null(strstr(pm_last_error(), "earlier failure"));
    }
}

static void test_two_losses(void **state) {
    (void)state;
    static transcript quiet, t;
    run_undisturbed(4, &quiet);
    const uint32_t n = fake_seen.n_operation;
    uint32_t n_recovered = 0, n_ended = 0;
    for (uint32_t first = 1; first <= n; first += 5) {
        for (uint32_t later = 1; later < 120; later += 1 + later / 16) {
            play p = {.t = &t, .ahead = 4};
            reset();
            t.n = 0;
            fake.lose_at[0] = first;
            fake.lose_at[1] = first + later;
            const pm_status status = act(&p);
            if (status == PM_OK) { /* the second was in another call */
                expect_same(&quiet, &t, first);
                n_recovered++;
            } else {
                assert_int_equal(status, PM_DEVICE_LOST);
                expect_end(&p, first, first + later);
                n_ended++;
            }
            close_play(&p);
        }
    }
    print_message("%u recovered twice, %u ended\n", n_recovered, n_ended);
    assert_true(n_recovered > 100 && n_ended > 100);
}

static void test_reopen_fails(void **state) {
    (void)state;
    static transcript t;
    for (uint32_t at = 2; at < 150; at += 9) {
        play p = {.t = &t, .ahead = 4};
        reset();
        t.n = 0;
        fake.lose_at[0] = at;
        fake.fail_reopen = true;
        assert_int_equal(act(&p), PM_DEVICE_LOST);
        assert_non_null(strstr(pm_last_error(), "fake: lost at"));
        assert_non_null(strstr(pm_last_error(), "brought back: fake: it is not there any more"));
        /* Others of the device try again, and have all they had once it is there. */
        pm_session *other = p.second;
        if (other != NULL && other->failed == PM_OK) {
            assert_int_equal(eval(&p, other, 2, 1), PM_NO_DEVICE);
            fake.fail_reopen = false;
            assert_int_equal(eval(&p, other, 2, 1), PM_OK);
        }
        close_play(&p);
    }
}

/* ---- callbacks ------------------------------------------------------------------------------- */

typedef struct listener {
    play *p;
    uint32_t n_call, act_at;
} listener;

static bool lose_another(void *user, uint32_t answer, const char *text, size_t n) {
    listener *l = user;
    on_text(l->p->t, answer, text, n);
    if (++l->n_call == l->act_at) {
        const float *logits = NULL;
        fake.lose_at[0] = fake_seen.n_operation + 2;
        assert_int_equal(pm_session_eval(l->p->second, 0, some_tokens(20, 1), 20, &logits), PM_OK);
    }
    return true;
}

static pm_status generate_heard(play *p, uint32_t n_prompt, uint32_t n_predict, pm_text_fn fn,
                                void *user, pm_stop *stop) {
    pm_sampling sampling = pm_sampling_default();
    sampling.repeat_penalty = 2;
    const pm_generate_desc desc = {.prompt = some_tokens(n_prompt, 8),
                                   .n_prompt = n_prompt,
                                   .sampling = &sampling,
                                   .n_predict = n_predict,
                                   .run_ahead = p->ahead,
                                   .on_text = fn,
                                   .user = user};
    pm_generation *out = NULL;
    PM_TRY(pm_generate(p->first, &desc, &out));
    *stop = out->answers[0].stop;
    note(p->t, (uint32_t)pm_session_length(p->first, 0));
    pm_generation_free(out);
    return PM_OK;
}

/* A callback of one session uses another one of the same device, which loses it. */
static void test_lost_in_a_callback(void **state) {
    (void)state;
    static transcript quiet, t;
    for (uint32_t at = 0; at < 30; at++) {
        play p = {.t = at == 0 ? &quiet : &t, .ahead = 4};
        listener l = {.p = &p, .act_at = at};
        pm_stop stop;
        reset();
        p.t->n = 0;
        p.first = fake_session_open(tokenizer, 150, 16, 1);
        p.second = fake_session_open(tokenizer, 150, 16, 1);
        assert_int_equal(generate_heard(&p, 50, 25, lose_another, &l, &stop), PM_OK);
        assert_int_equal(fake_seen.n_reopen, at > 0 && at <= l.n_call);
        if (at > 0)
            expect_same(&quiet, &t, at);
        close_play(&p);
    }
}

static bool cancel_recovery(void *user, uint32_t answer, const char *text, size_t n) {
    listener *l = user;
    on_text(l->p->t, answer, text, n);
    return fake_seen.n_reopen == 0 || ++l->n_call != l->act_at;
}

/* Somebody interrupts while the caches are rebuilt; the next call goes on with it. */
static void test_cancelled_recovery(void **state) {
    (void)state;
    static transcript quiet, t;
    play p = {.t = &quiet, .ahead = 4};
    listener l = {.p = &p};
    pm_stop stop;
    reset();
    quiet.n = 0;
    p.first = fake_session_open(tokenizer, 150, 16, 1);
    assert_int_equal(generate_heard(&p, 50, 30, cancel_recovery, &l, &stop), PM_OK);
    close_play(&p);
    quiet.n--; /* the length is the same where the answer came in two parts, once */
    for (uint32_t at = 1; at < 20; at++) {
        p = (play){.t = &t, .ahead = 4};
        l = (listener){.p = &p, .act_at = at};
        reset();
        t.n = 0;
        p.first = fake_session_open(tokenizer, 150, 16, 1);
        fake.lose_at[0] = 60;
        assert_int_equal(generate_heard(&p, 50, 30, cancel_recovery, &l, &stop), PM_OK);
        t.n--;
        if (stop == PM_STOP_CANCELLED) {
            const uint32_t n = pm_session_length(p.first, 0) - 50;
            l.act_at = 0;
            assert_int_equal(generate_heard(&p, 0, 30 - n, cancel_recovery, &l, &stop), PM_OK);
            t.n--;
        }
        assert_int_equal(fake_seen.n_reopen, 1);
        expect_same(&quiet, &t, at);
        close_play(&p);
    }
}

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation),    cmocka_unit_test(test_stale),
        cmocka_unit_test(test_two_losses),         cmocka_unit_test(test_reopen_fails),
        cmocka_unit_test(test_lost_in_a_callback), cmocka_unit_test(test_cancelled_recovery),
        cmocka_unit_test(test_as_together),
    };
    return cmocka_run_group_tests_name(with_states ? "states" : "caches", tests, set_up, tear_down);
}

int main(void) {
    const int failed = run_all();
    with_states = true;
    return failed + run_all();
}
