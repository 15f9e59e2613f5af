#include "internal.h"

#include <math.h>
#include <string.h>

/* Hidden states on their way into one vector. */
typedef struct pool {
    pm_pooling pooling;
    uint32_t n_embd;
    size_t n;    /* tokens */
    double *sum; /* [n_embd] of those that count */
} pool;

/* mean: all tokens; first and last: one of them. */
static bool counts(const pool *p, size_t i) {
    return p->pooling == PM_POOLING_MEAN || i == (p->pooling == PM_POOLING_FIRST ? 0 : p->n - 1);
}

static pm_status add_state(void *user, size_t i, const float *state) {
    pool *p = user;
    if (counts(p, i))
        for (uint32_t c = 0; c < p->n_embd; c++)
            p->sum[c] += (double)state[c];
    return PM_OK;
}

static void finish(const pool *p, bool normalise, float *out) {
    double scale = p->pooling == PM_POOLING_MEAN ? 1.0 / (double)p->n : 1.0;
    double power = 0;
    for (uint32_t c = 0; c < p->n_embd; c++)
        power += p->sum[c] * p->sum[c];
    if (normalise)
        scale = power > 0 ? 1.0 / sqrt(power) : 0.0;
    for (uint32_t c = 0; c < p->n_embd; c++)
        out[c] = (float)(p->sum[c] * scale);
}

static pm_status check_text(const pm_session *session, size_t n) {
    if (!session->source.graph->hidden)
        return pm__fail(PM_ARGUMENT, "embed: the session was opened without `embeddings`");
    if (n == 0)
        return pm__fail(PM_ARGUMENT, "embed: the text has no tokens");
    if (session->source.whole && n > session->limits.n_batch)
        return pm__fail(PM_CONTEXT_FULL,
                        "embed: the text has %zu tokens, and an encoder takes a text in one step, "
                        "here of %u tokens; use a larger -b and -c, or a shorter text",
                        n, session->limits.n_batch);
    return PM_OK;
}

pm_status pm_embed(pm_session *session, const pm_embed_desc *desc, float *out) {
    PM_TRY(pm__session_check(session, 0));
    PM_TRY(check_text(session, desc->n));
    PM_TRY(pm_session_rewind(session, 0, 0));
    pool p = {.pooling = desc->pooling != PM_POOLING_MODEL ? desc->pooling
                                                           : session->source.model->info.pooling,
              .n_embd = session->source.n_col,
              .n = desc->n,
              .sum = session->pooled};
    memset(p.sum, 0, p.n_embd * sizeof *p.sum);
    PM_TRY(pm_session_eval_all(session, 0, desc->ids, desc->n, add_state, &p));
    finish(&p, !desc->raw, out);
    return PM_OK;
}
