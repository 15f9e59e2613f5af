/* generate.c: prompt in, answers out.
 *
 * Answers are rows of one batch, in step with each other. begin() gives every live answer's pending
 * token; from there each further step feeds itself, and the host only keeps `ahead` steps queued,
 * takes their tokens in order and makes text of them. What an answer's row draws after the answer
 * has ended is dropped: its tokens were never appended, and the positions are written again by
 * whoever comes next. When an answer ends, the queue runs dry and the rest begins anew. */
#include "answer.h"
#include "internal.h"

#include "../base/checked.h"
#include "../base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_AHEAD = 4 };

/* pm_generation_free gets the first member. */
typedef struct result {
    pm_generation generation;
    pm_answer *answers;    /* [n_answer], what the user sees of states */
    pm__answer *states;    /* [n_answer] */
    uint32_t *row_answers; /* [n_answer] answer of each row of the step */
    uint32_t n_answer;
} result;

typedef struct generator {
    pm_session *session;
    const pm_generate_desc *desc;
    pm_sampling sampling;
    pm__stop_texts stops;
    result *result;
    uint32_t n_most; /* tokens of an answer */
    uint32_t ahead;
    uint32_t n_row;
    bool cancelled;
    bool drawn; /* the first token is there */
    double start_seconds, first_seconds, first_host_seconds;
} generator;

/* ---- the answers ----------------------------------------------------------------------------- */

static void result_destroy(result *r) {
    if (r == NULL)
        return;
    if (r->states != NULL)
        for (uint32_t i = 0; i < r->n_answer; i++)
            pm__answer_finish(&r->states[i]);
    free(r->states);
    free(r->answers);
    free(r->row_answers);
    free(r);
}

void pm_generation_free(pm_generation *generation) {
    result_destroy((result *)generation);
}

static pm_status create_result(generator *gen, uint32_t n_answer) {
    result *r = calloc(1, sizeof *r);
    if (r == NULL)
        return pm__fail_memory("generate", sizeof *r);
    gen->result = r;
    r->answers = calloc(n_answer, sizeof *r->answers);
    r->states = calloc(n_answer, sizeof *r->states);
    r->row_answers = calloc(n_answer, sizeof *r->row_answers);
    if (r->answers == NULL || r->states == NULL || r->row_answers == NULL)
        return pm__fail_memory("generate", n_answer * sizeof *r->states);
    r->n_answer = n_answer;
    const pm__sequence *s = &gen->session->sequences[0];
    const pm__tokenizer *tokenizer = gen->session->source.tokenizer;
    const bool at_text_start = s->length == 1 && s->tokens[0] == pm__tokenizer_bos(tokenizer);
    for (uint32_t i = 0; i < n_answer; i++)
        PM_TRY(pm__answer_init(&r->states[i], tokenizer, gen->n_most, at_text_start));
    return PM_OK;
}

/* Shows what is ready. Called for every token, with no bytes where none is ready, so that a user
 * can always cancel. */
static void deliver(generator *gen, uint32_t i) {
    pm__answer *answer = &gen->result->states[i];
    const size_t n = answer->n_ready - answer->n_sent;
    const char *text = answer->text + answer->n_sent;
    answer->n_sent = answer->n_ready;
    if (gen->desc->on_text == NULL)
        return;
    gen->session->busy = true;
    if (!gen->desc->on_text(gen->desc->user, i, text, n))
        gen->cancelled = true;
    gen->session->busy = false;
}

static pm_status end_answer(generator *gen, uint32_t i, pm_stop stop) {
    pm__answer *answer = &gen->result->states[i];
    answer->live = false;
    answer->stop = stop;
    if (stop == PM_STOP_STRING) {
        answer->n_ready = answer->n_byte;
        return PM_OK;
    }
    bool stopped = false;
    PM_TRY(pm__answer_flush(answer, &gen->stops, &stopped));
    if (stopped)
        answer->stop = PM_STOP_STRING;
    return PM_OK;
}

/* One of several answers is a row among others to its end, so that its text does not depend on when
 * the others stop. */
static pm__among among_what(const generator *gen) {
    return gen->result->n_answer > 1 ? PM__FEW : PM__ALONE;
}

/* The token that the row of answer i drew after its sequence's last token. */
static pm_status accept(generator *gen, uint32_t i, const struct pm_step_drawn *drawn) {
    pm__answer *answer = &gen->result->states[i];
    pm__sequence *s = &gen->session->sequences[i];
    const int32_t token = (int32_t)drawn->token;
    if (s->n_eval < s->length) { /* the step that drew it has evaluated the pending token */
        s->among[s->n_eval] = (uint8_t)among_what(gen);
        s->n_eval = s->length;
    }
    if (!gen->drawn) {
        gen->drawn = true;
        gen->first_seconds = pm__clock_seconds();
        gen->first_host_seconds = pm__clock_thread_seconds();
    }
    if (!gen->desc->ignore_eos && pm__tokenizer_is_end(gen->session->source.tokenizer, token)) {
        PM_TRY(end_answer(gen, i, PM_STOP_EOS));
    } else {
        bool stopped = false;
        pm__session_append(gen->session, i, &token, 1);
        PM_TRY(pm__answer_push(answer, token, &gen->stops, &stopped));
        answer->logits_hash = drawn->logits_hash;
        if (stopped)
            PM_TRY(end_answer(gen, i, PM_STOP_STRING));
        else if (answer->n_token == gen->n_most)
            PM_TRY(end_answer(gen, i, PM_STOP_LENGTH));
    }
    deliver(gen, i);
    return PM_OK;
}

/* ---- the prompt ------------------------------------------------------------------------------ */

/* What an encoder read is in pages of the sequence's own, and so is what stands there of an
 * answer. */
static pm_status encode_again(generator *gen, uint32_t seq) {
    pm_session *session = gen->session;
    const pm__sequence *from = &session->sequences[0];
    pm__sequence *to = &session->sequences[seq];
    memcpy(to->encoded, from->encoded, from->n_encoded * sizeof *to->encoded);
    to->n_encoded = from->n_encoded;
    to->is_encoded = false;
    to->n_eval = 0;
    if (from->n_eval > 0)
        return pm__step_until(session, seq, from->n_eval, PM__WANT_NOTHING);
    pm_status status = pm__session_encode(session, seq);
    if (pm__session_recover(session, &status))
        status = pm__session_encode(session, seq);
    return status;
}

/* Another sequence that holds what sequence 0 holds, in the same pages. */
static pm_status fork_sequence(generator *gen, uint32_t seq) {
    pm_session *session = gen->session;
    const pm__sequence *from = &session->sequences[0];
    pm__sequence *to = &session->sequences[seq];
    memcpy(to->tokens, from->tokens, from->length * sizeof *to->tokens);
    memcpy(to->among, from->among, from->length * sizeof *to->among);
    to->length = from->length;
    if (session->source.graph->has_encoder)
        return encode_again(gen, seq);
    to->n_restore = from->n_eval; /* by sharing, or after a loss */
    pm_status status = pm__session_share(
        session, 0, seq, from->n_eval,
        pm__sampling_looks_back(&gen->sampling) ? gen->sampling.repeat_last_n : 0);
    pm__session_recover(session, &status);
    if (status == PM_OK)
        to->n_restore = 0;
    return status;
}

/* Evaluates the prompt. One answer gets its first token from the prompt's last step; several have
 * the last token evaluated as a row each, because each draws with its own seed. */
static pm_status eval_prompt(generator *gen) {
    pm_session *session = gen->session;
    pm__sequence *s = &session->sequences[0];
    const bool alone = gen->result->n_answer == 1;
    const uint32_t end = alone || gen->n_most == 0 ? s->length : s->length - 1;
    const pm__want want = alone && gen->n_most > 0 ? PM__WANT_DRAWN : PM__WANT_NOTHING;
    while (s->n_eval < end && !gen->cancelled) {
        PM_TRY(pm__step_chunk(session, 0, end, want));
        if (s->n_eval < end)
            deliver(gen, 0);
    }
    if (gen->cancelled || gen->n_most == 0)
        return PM_OK;
    if (alone)
        return accept(gen, 0, &session->drawn[0]);
    for (uint32_t i = 1; i < gen->result->n_answer; i++)
        PM_TRY(fork_sequence(gen, i));
    return PM_OK;
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* Gives the pending tokens of all live answers to the device. Sequence 0 comes last in taking
 * pages: the others have copied what they share with it by then, so it keeps the original. */
static pm_status begin_live(generator *gen) {
    pm_session *session = gen->session;
    result *r = gen->result;
    PM_TRY(pm__step_check(session));
    for (uint32_t i = 0; i < r->n_answer; i++) /* after a loss */
        if (r->states[i].live)
            PM_TRY(pm__session_encode(session, i));
    gen->n_row = 0;
    for (uint32_t i = 0; i < r->n_answer; i++) {
        if (!r->states[i].live)
            continue;
        const pm__sequence *s = &session->sequences[i];
        assert(s->n_eval == s->length - 1);
        session->rows[gen->n_row] = (struct pm_step_row){
            .token = (uint32_t)s->tokens[s->n_eval], .seq = i, .pos = s->n_eval};
        session->outs[gen->n_row] = gen->n_row;
        r->row_answers[gen->n_row++] = i;
    }
    for (uint32_t i = gen->n_row; i-- > 0;) {
        const uint32_t seq = r->row_answers[i];
        const pm__sequence *s = &session->sequences[seq];
        const uint32_t left = gen->n_most - r->states[seq].n_token;
        PM_TRY(pm__pages_write(&session->pages, seq, s->n_eval, s->n_eval + left));
    }
    return pm__step_begin(session, gen->n_row, gen->n_row, true, among_what(gen));
}

/* Takes the tokens of one step. *ended: an answer is over. */
static pm_status take_step(generator *gen, bool *ended) {
    PM_TRY(pm__step_collect(gen->session));
    for (uint32_t row = 0; row < gen->n_row; row++) {
        const uint32_t i = gen->result->row_answers[row];
        if (gen->result->states[i].live && !gen->cancelled)
            PM_TRY(accept(gen, i, &gen->session->drawn[row]));
        *ended = *ended || !gen->result->states[i].live;
    }
    *ended = *ended || gen->cancelled;
    return PM_OK;
}

/* Steps of the live answers until one of them ends. They are in step, so what is left is the same
 * for all. */
static pm_status run_steps(generator *gen) {
    PM_TRY(begin_live(gen));
    uint32_t left = gen->n_most - gen->result->states[gen->result->row_answers[0]].n_token;
    bool ended = false;
    for (;;) {
        while (!ended && left > 0 && pm__step_in_flight(gen->session) < gen->ahead) {
            PM_TRY(pm__step_submit(gen->session));
            left--;
        }
        if (pm__step_in_flight(gen->session) == 0)
            return PM_OK;
        PM_TRY(take_step(gen, &ended));
    }
}

/* The same, also until the device was lost and is back: steps whose tokens nobody has taken are
 * gone then, and are begun anew by the next call. */
static pm_status run_live(generator *gen) {
    pm_status status = run_steps(gen);
    pm__session_recover(gen->session, &status);
    return status;
}

static bool any_live(const result *r) {
    for (uint32_t i = 0; i < r->n_answer; i++)
        if (r->states[i].live)
            return true;
    return false;
}

static pm_status end_all(generator *gen, pm_stop stop) {
    for (uint32_t i = 0; i < gen->result->n_answer; i++) {
        if (!gen->result->states[i].live)
            continue;
        PM_TRY(end_answer(gen, i, stop));
        if (stop != PM_STOP_CANCELLED)
            deliver(gen, i);
    }
    return PM_OK;
}

/* Each sequence remembers its own: after a loss they are set again. */
static pm_status set_samplers(generator *gen) {
    pm_session *session = gen->session;
    pm_status status = PM_OK;
    for (uint32_t i = 0; i < gen->result->n_answer; i++)
        session->sequences[i].sampler = pm__sampling_state(&gen->sampling, i);
    for (uint32_t i = 0; i < gen->result->n_answer && status == PM_OK; i++)
        status = session->source.backend->set_sampler(session->context, i,
                                                      &session->sequences[i].sampler);
    pm__session_recover(session, &status);
    return status;
}

static bool go_on(void *user) {
    generator *gen = user;
    deliver(gen, 0);
    return !gen->cancelled;
}

static pm_status run_answers(generator *gen) {
    PM_TRY(pm__session_ready(gen->session));
    PM_TRY(set_samplers(gen));
    PM_TRY(eval_prompt(gen));
    if (gen->n_most == 0)
        return end_all(gen, gen->cancelled ? PM_STOP_CANCELLED : PM_STOP_LENGTH);
    while (any_live(gen->result) && !gen->cancelled)
        PM_TRY(run_live(gen));
    return end_all(gen, PM_STOP_CANCELLED);
}

static pm_status run(generator *gen) {
    gen->session->go_on = go_on;
    gen->session->user = gen;
    const pm_status status = run_answers(gen);
    gen->session->go_on = NULL;
    return status == PM_CANCELLED ? end_all(gen, PM_STOP_CANCELLED) : status;
}

/* ---- around ---------------------------------------------------------------------------------- */

static pm_status check(const generator *gen, uint32_t n_answer) {
    const pm_session *session = gen->session;
    const pm_generate_desc *desc = gen->desc;
    PM_TRY(pm__session_check(session, 0));
    if (session->source.graph->hidden)
        return pm__fail(PM_ARGUMENT, "generate: the session was opened for embeddings");
    PM_TRY(pm__sampling_check(&gen->sampling));
    PM_TRY(pm__stop_texts_check(&gen->stops));
    if (n_answer > session->limits.n_seq)
        return pm__fail(
            PM_ARGUMENT,
            "generate: %u answers, the session has %u sequences; open it with more (n_seq)",
            n_answer, session->limits.n_seq);
    if (desc->n_prompt == 0 && session->sequences[0].length == 0)
        return pm__fail(PM_ARGUMENT, "generate: nothing to continue: no prompt, and the session is "
                                     "empty");
    if (session->source.graph->has_encoder && desc->n_prompt > 0)
        return PM_OK; /* pm_session_encode() looks at it */
    return pm__session_check_tokens(session, 0, desc->prompt, desc->n_prompt);
}

/* Sequence 0 keeps prompt and answer; the other answers' sequences are emptied. */
static void settle(generator *gen, uint32_t n_answer) {
    pm_session *session = gen->session;
    pm__session_truncate(session, 0, session->sequences[0].length);
    for (uint32_t i = 1; i < n_answer; i++)
        pm__session_truncate(session, i, 0);
}

static uint64_t bytes_per_step(const pm_session *session) {
    const pm__graph *g = session->source.graph;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < g->n_node; i++)
        bytes += pm__node_cost(&g->nodes[i], 1, 1, session->sequences[0].length).bytes;
    return bytes;
}

static void fill_generation(generator *gen) {
    result *r = gen->result;
    const double now = pm__clock_seconds();
    pm__context_info info = {0};
    if (gen->session->context != NULL) /* launches may have changed since it was made */
        gen->session->source.backend->context_get_info(gen->session->context, &info);
    for (uint32_t i = 0; i < r->n_answer; i++) {
        const pm__answer *state = &r->states[i];
        r->answers[i] = (pm_answer){.text = state->text,
                                    .n_byte = state->n_byte,
                                    .tokens = state->tokens,
                                    .n_token = state->n_token,
                                    .stop = state->stop,
                                    .logits_hash = state->logits_hash};
    }
    const double first = gen->drawn ? gen->first_seconds : now;
    r->generation = (pm_generation){
        .answers = r->answers,
        .n_answer = r->n_answer,
        .n_prompt = gen->desc->n_prompt,
        .prompt_seconds = first - gen->start_seconds,
        .generate_seconds = now - first,
        .first_token_seconds = gen->drawn ? first - gen->start_seconds : 0.0,
        .host_seconds = gen->drawn ? pm__clock_thread_seconds() - gen->first_host_seconds : 0.0,
        .bytes_per_step = bytes_per_step(gen->session),
        .n_dispatch = info.n_dispatch,
        .n_barrier = info.n_barrier};
}

/* Of a model with an encoder the prompt is what the answer is about. */
static pm_status take_prompt(pm_session *session, const pm_generate_desc *desc) {
    if (session->source.graph->has_encoder && desc->n_prompt > 0)
        PM_TRY(pm_session_encode(session, 0, desc->prompt, desc->n_prompt));
    else
        pm__session_append(session, 0, desc->prompt, desc->n_prompt);
    pm__session_reopen_last(session, 0);
    return PM_OK;
}

pm_status pm_generate(pm_session *session, const pm_generate_desc *desc, pm_generation **out) {
    const uint32_t n_answer = desc->n_answer != 0 ? desc->n_answer : 1;
    generator gen = {.session = session,
                     .desc = desc,
                     .sampling = desc->sampling != NULL ? *desc->sampling : pm_sampling_default(),
                     .stops = {.texts = desc->stop, .n = desc->n_stop},
                     .start_seconds = pm__clock_seconds()};
    PM_TRY(check(&gen, n_answer));
    PM_TRY(take_prompt(session, desc));
    for (uint32_t i = 1; i < n_answer; i++)
        pm__session_truncate(session, i, 0);
    const uint32_t room = session->n_ctx - session->sequences[0].length;
    gen.n_most = desc->n_predict != 0 ? pm__least_u32(desc->n_predict, room) : room;
    gen.ahead = pm__least_u32(desc->run_ahead != 0 ? desc->run_ahead : DEFAULT_AHEAD,
                              session->info.most_ahead);
    pm_status status = create_result(&gen, n_answer);
    if (status == PM_OK)
        status = run(&gen);
    const pm_status drained = pm__step_drain(session);
    settle(&gen, n_answer);
    if (status == PM_OK)
        status = drained;
    if (status != PM_OK) {
        result_destroy(gen.result);
        return status;
    }
    fill_generation(&gen);
    *out = &gen.result->generation;
    return PM_OK;
}
