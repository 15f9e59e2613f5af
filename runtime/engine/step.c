#include "internal.h"

#include "../base/checked.h"

#include <assert.h>

/* After a failure of the backend nobody knows what its memory holds, so the session ends here. */
static pm_status watch(pm_session *session, pm_status status) {
    if (status != PM_OK)
        session->failed = status;
    return status;
}

uint32_t pm__step_in_flight(const pm_session *session) {
    return session->n_submitted - session->n_collected;
}

pm_status pm__step_check(const pm_session *session) {
    if (session->context != NULL)
        return PM_OK;
    return pm__fail(PM_DEVICE_LOST, "engine: the device was lost under another session");
}

pm_status pm__step_begin(pm_session *session, uint32_t n_row, uint32_t n_out, bool sample,
                         pm__among among) {
    assert(pm__step_in_flight(session) == 0);
    assert(n_row > 0 && n_row <= session->limits.n_batch && n_out <= session->limits.n_out);
    session->n_row = n_row;
    session->repeats = false;
    session->n_out = n_out;
    session->sampled = sample;
    for (uint32_t i = 0; session->source.graph->has_encoder && i < n_row; i++)
        session->rows[i].n_pos = session->sequences[session->rows[i].seq].n_encoded;
    const pm__step step = {.rows = session->rows,
                           .n_row = n_row,
                           .outs = session->outs,
                           .n_out = n_out,
                           .sample = sample,
                           .among = among};
    return watch(session, session->source.backend->begin(session->context, &step));
}

pm_status pm__step_encode(pm_session *session, uint32_t seq, uint32_t n_row) {
    PM_TRY(pm__step_check(session));
    PM_TRY(watch(session, pm__pages_write(&session->pages, seq, 0, n_row)));
    session->n_row = n_row;
    session->repeats = session->sampled = false;
    session->n_out = 0;
    const pm__step step = {
        .rows = session->rows, .n_row = n_row, .among = PM__TOGETHER, .encode = true};
    PM_TRY(watch(session, session->source.backend->begin(session->context, &step)));
    PM_TRY(pm__step_submit(session));
    return pm__step_collect(session);
}

/* A step that is submitted again, without another begin(), is one token further in each row. */
static void count_states(pm_session *session) {
    for (uint32_t i = 0; i < session->n_row; i++) {
        pm__sequence *s = &session->sequences[session->rows[i].seq];
        s->n_state = session->repeats ? s->n_state + 1 : session->rows[i].pos + 1;
    }
    session->repeats = true;
}

pm_status pm__step_submit(pm_session *session) {
    PM_TRY(pm__step_check(session));
    assert(pm__step_in_flight(session) < session->info.most_ahead);
    PM_TRY(watch(session, session->source.backend->submit(session->context)));
    session->n_submitted++;
    count_states(session);
    return PM_OK;
}

/* A driver that kills a job may report success for it; then the words of an older step are still
 * there. */
static pm_status check_drawn(const pm_session *session, uint32_t number) {
    for (uint32_t i = 0; i < session->n_out; i++) {
        const struct pm_step_drawn *drawn = &session->drawn[i];
        if (drawn->step != number || drawn->row != session->outs[i])
            return pm__fail(
                PM_DEVICE_LOST,
                "engine: step %u gave the token of step %u: the driver reported success "
                "for work it did not do; try a smaller submit time (--submit-ms) or "
                "another driver",
                number, drawn->step);
        if (drawn->token >= session->source.n_vocab)
            return pm__fail(PM_DEVICE_LOST,
                            "engine: step %u drew token %u of a vocabulary of %u: the device "
                            "computed logits that are no numbers; run 'pumice check'",
                            number, drawn->token, session->source.n_vocab);
    }
    return PM_OK;
}

pm_status pm__step_collect(pm_session *session) {
    PM_TRY(pm__step_check(session));
    assert(pm__step_in_flight(session) > 0);
    PM_TRY(watch(session, session->source.backend->collect(session->context, session->drawn)));
    const uint32_t number = session->n_collected++;
    return session->sampled ? watch(session, check_drawn(session, number)) : PM_OK;
}

pm_status pm__step_drain(pm_session *session) {
    while (session->failed == PM_OK && pm__step_in_flight(session) > 0)
        PM_TRY(pm__step_collect(session));
    return session->failed;
}

/* Rows of pending tokens [first, end), and the outputs that are wanted. Returns how many outputs.
 */
static uint32_t fill_rows(pm_session *session, uint32_t seq, uint32_t end, pm__want want) {
    const pm__sequence *s = &session->sequences[seq];
    const uint32_t n = end - s->n_eval;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t pos = s->n_eval + i;
        session->rows[i] =
            (struct pm_step_row){.token = (uint32_t)s->tokens[pos], .seq = seq, .pos = pos};
    }
    if (want == PM__WANT_NOTHING)
        return 0;
    if (want != PM__WANT_ALL) {
        session->outs[0] = n - 1;
        return 1;
    }
    for (uint32_t i = 0; i < n; i++)
        session->outs[i] = i;
    return n;
}

/* Rows of the next step of `left` pending tokens, at most `most`: as many as the time budget takes,
 * which is measured and changes from run to run. */
static uint32_t rows_of_chunk(const pm_session *session, uint32_t left, uint32_t most) {
    if (session->source.whole)
        return pm__least_u32(left, most);
    pm__context_info info;
    session->source.backend->context_get_info(session->context, &info);
    return pm__least_u32(left, pm__least_u32(most, pm__most_u32(info.most_rows, 1)));
}

/* Tokens that come together are evaluated together, also where one is left over for a step, so that
 * no clock shows in the bits. Says how the next one is. */
static pm__among mark_together(pm__sequence *s, uint32_t end) {
    for (uint32_t pos = s->n_eval; end - s->n_eval > 1 && pos < end; pos++)
        s->among[pos] = PM__TOGETHER;
    return (pm__among)s->among[s->n_eval];
}

pm_status pm__step_once(pm_session *session, uint32_t seq, uint32_t end, pm__want want) {
    pm__sequence *s = &session->sequences[seq];
    assert(s->n_eval < end && end <= s->length);
    PM_TRY(pm__step_check(session));
    PM_TRY(pm__session_encode(session, seq));
    const uint32_t most = want == PM__WANT_ALL ? session->limits.n_out : session->limits.n_batch;
    const pm__among among = mark_together(s, end);
    const uint32_t stop = s->n_eval + rows_of_chunk(session, end - s->n_eval, most);
    if (stop < end && want != PM__WANT_ALL)
        want = PM__WANT_NOTHING;
    PM_TRY(watch(session, pm__pages_write(&session->pages, seq, s->n_eval, stop)));
    const uint32_t n_out = fill_rows(session, seq, stop, want);
    PM_TRY(pm__step_begin(session, stop - s->n_eval, n_out, want == PM__WANT_DRAWN, among));
    PM_TRY(pm__step_submit(session));
    PM_TRY(pm__step_collect(session));
    if (want == PM__WANT_LOGITS || want == PM__WANT_ALL)
        PM_TRY(watch(session, session->source.backend->read_logits(session->context, 0, n_out,
                                                                   session->logits)));
    s->n_eval = stop;
    return PM_OK;
}

pm_status pm__step_chunk(pm_session *session, uint32_t seq, uint32_t end, pm__want want) {
    pm_status status;
    do
        status = pm__step_once(session, seq, end, want);
    while (pm__session_recover(session, &status));
    return status;
}

pm_status pm__step_until(pm_session *session, uint32_t seq, uint32_t end, pm__want want) {
    while (session->sequences[seq].n_eval < end)
        PM_TRY(pm__step_chunk(session, seq, end, want));
    return PM_OK;
}
