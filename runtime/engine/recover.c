/* recover.c: a lost device is opened anew, and what stood on it is brought back.
 *
 * The host knows all that matters: weights come from the mapped file, and the caches of a session
 * from its tokens, each evaluated as it was before, alone or among others, so that the bits
 * are the same. What stands on a lost device is torn down at once; models and sessions come back
 * when they are used next. */
#include "internal.h"

#include "../base/checked.h"
#include "../base/clock.h"
#include "../base/log.h"

#include <stdio.h>

static const double SAY_SECONDS = 2.0; /* between two lines about long work */

/* ---- tearing down ---------------------------------------------------------------------------- */

/* Tokens that were in the caches have to go there again. */
static void drop_context(pm_session *session) {
    if (session->context == NULL)
        return;
    session->source.backend->context_destroy(session->context);
    pm__pages_finish(&session->pages);
    session->context = NULL;
    session->n_submitted = session->n_collected = 0;
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++) {
        pm__sequence *s = &session->sequences[seq];
        s->n_restore = pm__most_u32(s->n_restore, s->n_eval);
        s->n_eval = s->n_state = 0;
        s->is_encoded = false;
    }
}

/* States that went further than the tokens do begin anew. */
static void drop_states(pm_session *session) {
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++) {
        pm__sequence *s = &session->sequences[seq];
        if (s->n_state == s->n_eval)
            continue;
        s->n_restore = pm__most_u32(s->n_restore, s->n_eval);
        s->n_eval = s->n_state = 0;
        pm__pages_trim(&session->pages, seq, 0);
    }
}

static void tear_down(pm_device *device) {
    for (pm_model *model = device->models; model != NULL; model = model->next) {
        for (pm_session *session = model->sessions; session != NULL; session = session->next)
            drop_context(session);
        if (model->weights != NULL)
            device->handle.backend->weights_destroy(model->weights);
        model->weights = NULL;
    }
    device->lost = true;
    device->n_loss++;
}

/* ---- bringing back --------------------------------------------------------------------------- */

pm_status pm__device_restore(pm_device *device) {
    if (!device->lost)
        return PM_OK;
    PM_TRY(device->handle.backend->reopen(device->handle.device));
    device->lost = false;
    return PM_OK;
}

/* Says how far long work is, now and then. */
typedef struct teller {
    const char *what;
    double said;
    const pm_session *session; /* that waits for it; NULL: none */
} teller;

static bool goes_on(const pm_session *session) {
    return session == NULL || session->go_on == NULL || session->go_on(session->user);
}

static void tell(teller *t, uint64_t done, uint64_t total) {
    const double now = pm__clock_seconds();
    if (now - t->said < SAY_SECONDS || done == total)
        return;
    t->said = now;
    pm__log(PM_LOG_WARN, "%s, %.0f %%", t->what, 100.0 * (double)done / (double)total);
}

static bool tell_loading(void *user, const char *what, uint64_t done, uint64_t total) {
    const teller *t = user;
    (void)what;
    tell(user, done, total);
    return goes_on(t->session);
}

static pm_status restore_model(pm_model *model, const pm_session *session) {
    PM_TRY(pm__device_restore(model->device));
    if (model->weights != NULL || !model->placed)
        return PM_OK;
    const pm__device_handle *handle = &model->device->handle;
    teller loading = {.what = "recovery: weights are loaded again",
                      .said = pm__clock_seconds(),
                      .session = session};
    return handle->backend->weights_create(handle->device, &model->def, tell_loading, &loading,
                                           &model->weights);
}

pm_status pm__model_restore(pm_model *model) {
    return restore_model(model, NULL);
}

static bool is_as_evaluated(const pm__sequence *a, const pm__sequence *b, uint32_t pos) {
    return a->tokens[pos] == b->tokens[pos] && a->among[pos] == b->among[pos];
}

static bool is_as_together(const pm__context_info *info, uint8_t among) {
    return among == PM__ALONE ? !info->alone_differs : among == PM__FEW && !info->few_differ;
}

/* Where two ways give the same bits, together is faster. */
static void forget_ways(pm_session *session) {
    pm__context_info info;
    session->source.backend->context_get_info(session->context, &info);
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++) {
        pm__sequence *s = &session->sequences[seq];
        for (uint32_t pos = 0; pos < s->n_restore; pos++)
            if (is_as_together(&info, s->among[pos]))
                s->among[pos] = PM__TOGETHER;
    }
}

/* Sequences that began alike share pages again, so that what they share is evaluated once. */
static pm_status share_prefix(pm_session *session, uint32_t seq) {
    const pm__sequence *s = &session->sequences[seq];
    uint32_t from = seq, most = 0;
    /* What an encoder read is in the same pages, and each sequence has its own. */
    for (uint32_t i = 0; i < seq && !session->source.graph->has_encoder; i++) {
        const pm__sequence *other = &session->sequences[i];
        const uint32_t least = pm__least_u32(other->n_eval, s->n_restore);
        uint32_t n = 0;
        while (n < least && is_as_evaluated(other, s, n))
            n++;
        if (pm__session_has_states(session) && n < other->n_eval)
            continue; /* its states hold more */
        from = n > most ? i : from;
        most = pm__most_u32(most, n);
    }
    return most > 0 ? pm__session_share(session, from, seq, most, PM_MOST_REPEAT) : PM_OK;
}

/* Tokens from n_eval on that were evaluated the same way; one at a time if not together. */
static uint32_t end_of_run(const pm__sequence *s) {
    uint32_t end = s->n_eval + 1;
    while (s->among[s->n_eval] == PM__TOGETHER && end < s->n_restore &&
           s->among[end] == PM__TOGETHER)
        end++;
    return end;
}

static pm_status restore_sequence(pm_session *session, uint32_t seq, teller *t) {
    pm__sequence *s = &session->sequences[seq];
    if (s->n_eval == 0 && s->n_restore > 0)
        PM_TRY(share_prefix(session, seq));
    while (s->n_eval < s->n_restore) {
        PM_TRY(pm__step_once(session, seq, end_of_run(s), PM__WANT_NOTHING));
        tell(t, s->n_eval, s->n_restore);
        if (!goes_on(session))
            return pm__fail(PM_CANCELLED, "session: recovery was interrupted");
    }
    s->n_restore = 0;
    return PM_OK;
}

static pm_status restore_context(pm_session *session) {
    PM_TRY(restore_model(session->source.model, session));
    PM_TRY(pm__session_reserve_device(session));
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++)
        PM_TRY(session->source.backend->set_sampler(session->context, seq,
                                                    &session->sequences[seq].sampler));
    return PM_OK;
}

/* All that the session had on the device. */
static pm_status restore_session(pm_session *session) {
    teller t = {.what = session->context == NULL
                            ? "recovery: tokens are evaluated again"
                            : "session: the model cannot go back, so tokens are evaluated again",
                .said = pm__clock_seconds()};
    session->n_loss = session->source.model->device->n_loss;
    if (session->context == NULL)
        PM_TRY(restore_context(session));
    if (pm__session_has_states(session))
        drop_states(session);
    forget_ways(session);
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++)
        PM_TRY(restore_sequence(session, seq, &t));
    return PM_OK;
}

/* ---- recovery -------------------------------------------------------------------------------- */

enum { SENTENCE_SIZE = 512 };

static bool can_recover(const pm_device *device, pm_status status) {
    return status == PM_DEVICE_LOST && device->handle.backend->reopen != NULL;
}

/* What is said where bringing back failed with `status`; first: why it was needed. */
static pm_status fail_to_recover(const char *first, pm_status status) {
    char why[SENTENCE_SIZE];
    if (status == PM_CANCELLED)
        return status;
    snprintf(why, sizeof why, "%s", pm_last_error());
    if (status == PM_DEVICE_LOST)
        return pm__fail(status, "device: lost again while it was brought back, and given up: %s",
                        why);
    return pm__fail(PM_DEVICE_LOST, "%s; it could not be brought back: %s", first, why);
}

bool pm__device_recover(pm_device *device, pm_status *status) {
    char first[SENTENCE_SIZE];
    if (!can_recover(device, *status))
        return false;
    snprintf(first, sizeof first, "%s", pm_last_error());
    pm__log(PM_LOG_WARN, "%s; the device is opened again", first);
    tear_down(device);
    *status = pm__device_restore(device);
    if (*status != PM_OK)
        *status = fail_to_recover(first, *status);
    return *status == PM_OK;
}

static uint32_t count_tokens(const pm_session *session) {
    uint32_t n = 0;
    for (uint32_t seq = 0; seq < session->limits.n_seq; seq++) {
        const pm__sequence *s = &session->sequences[seq];
        n += pm__most_u32(s->n_eval, s->n_restore);
    }
    return n;
}

static pm_status recover(pm_session *session) {
    char first[SENTENCE_SIZE];
    const double start = pm__clock_seconds();
    snprintf(first, sizeof first, "%s", pm_last_error());
    pm__log(PM_LOG_WARN, "%s; the device is opened again, and %u tokens are evaluated again", first,
            count_tokens(session));
    tear_down(session->source.model->device);
    session->failed = PM_OK;
    const pm_status status = restore_session(session);
    if (status == PM_OK)
        pm__log(PM_LOG_WARN, "recovery: done in %.1f s, all goes on as it was",
                pm__clock_seconds() - start);
    return status == PM_OK ? PM_OK : fail_to_recover(first, status);
}

bool pm__session_recover(pm_session *session, pm_status *status) {
    const pm_device *device = session->source.model->device;
    if (!can_recover(device, *status))
        return false;
    if (session->n_loss != device->n_loss) { /* another session of it has noticed it first */
        *status = restore_session(session);
    } else if (session->recovered) {
        char again[SENTENCE_SIZE];
        snprintf(again, sizeof again, "%s", pm_last_error());
        *status =
            pm__fail(PM_DEVICE_LOST, "device: lost twice in one call, and given up: %s", again);
    } else {
        session->recovered = true;
        *status = recover(session);
    }
    if (*status != PM_OK && *status != PM_CANCELLED)
        session->failed = *status;
    return *status == PM_OK;
}

pm_status pm__session_ready(pm_session *session) {
    session->recovered = false;
    pm_status status = restore_session(session);
    pm__session_recover(session, &status);
    return status;
}
