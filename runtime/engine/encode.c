/* encode.c: models with an encoder beside the decoder (T5): the text that an answer is about is
 * read whole, before the answer's first token. */
#include "internal.h"

#include <string.h>

pm_status pm_session_encode(pm_session *session, uint32_t seq, const int32_t *ids, size_t n) {
    PM_TRY(pm__session_check(session, seq));
    if (!session->source.graph->has_encoder)
        return pm__fail(PM_UNSUPPORTED, "session: %s has no encoder; its text is a prompt",
                        session->source.model->def.arch->name);
    if (n == 0)
        return pm__fail(PM_ARGUMENT, "session: no tokens for the encoder");
    if (n > session->limits.n_batch || n > session->n_ctx)
        return pm__fail(PM_CONTEXT_FULL,
                        "session: %zu tokens for an encoder, which takes a text in one step, here "
                        "of %u; use a larger -b and -c, or a shorter text",
                        n, session->limits.n_batch);
    PM_TRY(pm__session_check_ids(session, ids, n));
    pm__sequence *s = &session->sequences[seq];
    const int32_t start = (int32_t)session->source.model->def.decoder_start;
    s->is_encoded = false;
    pm__session_truncate(session, seq, 0);
    memcpy(s->encoded, ids, n * sizeof *ids);
    s->n_encoded = (uint32_t)n;
    pm__session_append(session, seq, &start, 1);
    return PM_OK;
}

pm_status pm__session_encode(pm_session *session, uint32_t seq) {
    pm__sequence *s = &session->sequences[seq];
    if (!session->source.graph->has_encoder || s->is_encoded)
        return PM_OK;
    for (uint32_t i = 0; i < s->n_encoded; i++)
        session->rows[i] =
            (struct pm_step_row){.token = (uint32_t)s->encoded[i], .seq = seq, .pos = i};
    PM_TRY(pm__step_encode(session, seq, s->n_encoded));
    s->is_encoded = true;
    return PM_OK;
}
