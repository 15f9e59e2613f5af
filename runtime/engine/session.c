#include "internal.h"

#include "../base/checked.h"
#include "../base/clock.h"
#include "../base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_CTX = 4096,
    DEFAULT_BATCH = 512,
    DEFAULT_OUT = 16,
    MOST_BATCH = 1 << 14,
    MOST_SEQ = 1 << 10
};

static pm_status check_most(const char *name, uint32_t value, uint32_t most) {
    if (value <= most)
        return PM_OK;
    return pm__fail(PM_ARGUMENT, "session: %s is %u, it must be at most %u", name, value, most);
}

static pm_status read_int8(const char *text, pm__int8 *out) {
    static const char *const names[] = {
        [PM__INT8_AUTO] = "auto", [PM__INT8_ON] = "on", [PM__INT8_OFF] = "off"};
    for (size_t i = 0; i < PM__COUNT(names); i++)
        if (text == NULL || strcmp(text, names[i]) == 0) {
            *out = (pm__int8)i;
            return PM_OK;
        }
    return pm__fail(PM_ARGUMENT, "session: int8 is '%s', it must be auto, on or off", text);
}

pm_status pm__session_limits(const pm_session_desc *desc, uint32_t n_ctx_train, pm__limits *limits,
                             uint32_t *n_ctx) {
    PM_TRY(check_most("n_ctx", desc->n_ctx, PM__MOST_CTX));
    PM_TRY(check_most("n_batch", desc->n_batch, MOST_BATCH));
    PM_TRY(check_most("n_seq", desc->n_seq, MOST_SEQ));
    const uint32_t own = n_ctx_train != 0 ? pm__least_u32(n_ctx_train, DEFAULT_CTX) : DEFAULT_CTX;
    *n_ctx = desc->n_ctx != 0 ? desc->n_ctx : own;
    const uint32_t n_seq = desc->n_seq != 0 ? desc->n_seq : 1;
    const uint32_t most = desc->embeddings ? MOST_BATCH : DEFAULT_BATCH;
    const uint32_t n_batch = desc->n_batch != 0 ? desc->n_batch : most;
    limits->n_ctx = pm__ceil_div(*n_ctx, PM_PAGE) * PM_PAGE;
    limits->n_seq = n_seq;
    limits->deterministic = desc->deterministic;
    limits->unfused = desc->no_fuse;
    PM_TRY(read_int8(desc->int8, &limits->int8));
    limits->profile = desc->profile;
    /* A step of generation has a row for every sequence. */
    limits->n_batch = pm__most_u32(pm__least_u32(n_batch, *n_ctx), n_seq);
    limits->n_out = desc->embeddings
                        ? limits->n_batch
                        : pm__most_u32(n_seq, pm__least_u32(limits->n_batch, DEFAULT_OUT));
    return PM_OK;
}

uint64_t pm__session_table_bytes(const pm__limits *limits, uint32_t n_ctx, const pm__graph *g) {
    const uint32_t n_col = g->logits->n_col;
    const uint64_t of_position =
        sizeof(int32_t) + sizeof(uint8_t) + (g->has_encoder ? sizeof(int32_t) : 0);
    const uint64_t of_sequence = sizeof(pm__sequence) + n_ctx * of_position;
    const uint64_t of_row = sizeof(struct pm_step_row);
    const uint64_t of_out =
        sizeof(uint32_t) + sizeof(struct pm_step_drawn) + (uint64_t)n_col * sizeof(float);
    return sizeof(pm_session) + limits->n_seq * of_sequence + limits->n_batch * of_row +
           limits->n_out * of_out + (g->hidden ? n_col * sizeof(double) : 0) +
           pm__pages_bytes(limits);
}

void pm__session_warn(uint32_t n_ctx, uint32_t n_ctx_train) {
    if (n_ctx_train != 0 && n_ctx > n_ctx_train)
        pm__log(PM_LOG_WARN,
                "session: a context of %u positions is longer than the %u the model was trained "
                "for; past them its text may be nonsense",
                n_ctx, n_ctx_train);
}

static pm_status find_cache_type(const char *field, const char *name, pm__type *out) {
    char names[96] = "";
    size_t n = 0;
    for (uint32_t i = 0; pm__cache_type(i, out) && n < sizeof names; i++) {
        const char *one = pm__type_get(*out)->file;
        if (strcmp(name != NULL ? name : "f16", one) == 0)
            return PM_OK;
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", one);
    }
    return pm__fail(PM_ARGUMENT, "session: %s is '%s', it must be one of %s", field, name, names);
}

pm_status pm__session_cache_types(const char *k, const char *v, pm__cache_types *out) {
    PM_TRY(find_cache_type("cache_type_k", k, &out->k));
    return find_cache_type("cache_type_v", v, &out->v);
}

static pm_status reserve_host(pm_session *session) {
    const pm__limits *limits = &session->limits;
    session->sequences = calloc(limits->n_seq, sizeof *session->sequences);
    session->rows = calloc(limits->n_batch, sizeof *session->rows);
    session->outs = calloc(limits->n_out, sizeof *session->outs);
    session->drawn = calloc(limits->n_out, sizeof *session->drawn);
    session->logits =
        calloc((size_t)limits->n_out * session->source.n_col, sizeof *session->logits);
    if (session->source.graph->hidden)
        session->pooled = calloc(session->source.n_col, sizeof *session->pooled);
    if (session->sequences == NULL || session->rows == NULL || session->outs == NULL ||
        session->drawn == NULL || session->logits == NULL ||
        (session->source.graph->hidden && session->pooled == NULL))
        return pm__fail_memory("session", (size_t)limits->n_out * session->source.n_col * 4);
    for (uint32_t i = 0; i < limits->n_seq; i++) {
        session->sequences[i].tokens = calloc(session->n_ctx, sizeof(int32_t));
        session->sequences[i].among = calloc(session->n_ctx, sizeof(uint8_t));
        if (session->source.graph->has_encoder)
            session->sequences[i].encoded = calloc(session->n_ctx, sizeof(int32_t));
        if (session->sequences[i].tokens == NULL || session->sequences[i].among == NULL ||
            (session->source.graph->has_encoder && session->sequences[i].encoded == NULL))
            return pm__fail_memory("session: tokens", session->n_ctx * sizeof(int32_t));
    }
    return PM_OK;
}

pm_status pm__session_reserve_device(pm_session *session) {
    const pm__session_source *source = &session->source;
    const pm_status status = source->backend->context_create(source->model->weights, source->graph,
                                                             &session->limits, &session->context);
    if (status == PM_OUT_OF_MEMORY)
        return pm__fail(status, "%s; a smaller context (-c) or batch (-b) needs less",
                        pm_last_error());
    PM_TRY(status);
    source->backend->context_get_info(session->context, &session->info);
    if (pm__session_has_states(session))
        session->info.most_ahead = 1; /* a step too many could not be taken back */
    return pm__pages_init(&session->pages, source->backend, session->context, &session->limits);
}

pm_status pm__session_create(const pm__session_source *source, const pm_session_desc *desc,
                             pm_session **out) {
    static const pm_session_desc defaults = {0};
    pm_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return pm__fail_memory("session", sizeof *session);
    session->source = *source;
    session->next = source->model->sessions;
    source->model->sessions = session;
    pm_status status = pm__session_limits(desc != NULL ? desc : &defaults, source->n_ctx_train,
                                          &session->limits, &session->n_ctx);
    pm__session_warn(session->n_ctx, source->n_ctx_train);
    if (status == PM_OK)
        status = reserve_host(session);
    if (status == PM_OK)
        status = pm__session_ready(session);
    if (status != PM_OK) {
        pm_session_close(session);
        return status;
    }
    *out = session;
    return PM_OK;
}

pm_status pm__model_graph(const pm_model *model, const pm_session_desc *desc, pm__graph *out) {
    static const pm_session_desc defaults = {0};
    pm__build_desc build;
    pm__limits limits;
    if (desc == NULL)
        desc = &defaults;
    PM_TRY(pm__session_cache_types(desc->cache_type_k, desc->cache_type_v, &build.caches));
    PM_TRY(pm__session_limits(desc, model->def.n_ctx_train, &limits, &build.n_ctx));
    build.hidden = desc->embeddings;
    return pm__model_def_build(&model->def, &build, out);
}

static void destroy_graph(pm__graph *graph) {
    if (graph != NULL)
        pm__graph_finish(graph);
    free(graph);
}

static pm_status create_graph(const pm_model *model, const pm_session_desc *desc, pm__graph **out) {
    pm__graph *graph = calloc(1, sizeof *graph);
    if (graph == NULL)
        return pm__fail_memory("session: graph", sizeof *graph);
    const pm_status status = pm__model_graph(model, desc, graph);
    if (status == PM_OK)
        *out = graph;
    else
        destroy_graph(graph);
    return status;
}

pm_status pm_session_open(pm_model *model, const pm_session_desc *desc, pm_session **out) {
    const double begun = pm__clock_seconds();
    pm_session_desc resolved;
    if (!model->placed)
        return pm__fail(
            PM_ARGUMENT,
            "session: the model was opened without its weights (vocab_only, no_weights)");
    if (model->def.arch->encoder && (desc == NULL || !desc->embeddings))
        return pm__fail(
            PM_UNSUPPORTED,
            "session: %s is an encoder: it gives embeddings (pumice embed), and no text",
            model->def.arch->name);
    PM_TRY(pm__plan_resolve(model, desc, &resolved));
    pm__graph *graph = NULL;
    PM_TRY(create_graph(model, &resolved, &graph));
    const pm__session_source source = {.model = model,
                                       .backend = model->device->handle.backend,
                                       .graph = graph,
                                       .tokenizer = model->tokenizer,
                                       .n_vocab = model->def.n_vocab,
                                       .n_col = graph->logits->n_col,
                                       .whole = model->def.arch->encoder,
                                       .n_ctx_train = model->def.n_ctx_train};
    const pm_status status = pm__session_create(&source, &resolved, out);
    if (status != PM_OK) {
        destroy_graph(graph);
        return status;
    }
    (*out)->graph = graph;
    (*out)->open_seconds = pm__clock_seconds() - begun;
    return PM_OK;
}

void pm_session_get_start(const pm_session *session, pm_start *out) {
    const pm__compile_info *compiled = &session->info.compiled;
    *out = session->source.model->start;
    out->device_seconds = session->source.model->device->open_seconds;
    out->session_seconds = session->open_seconds;
    out->n_pipeline = compiled->n_pipeline;
    out->n_ahead = compiled->n_ahead;
    out->compile_seconds = compiled->seconds;
    out->wait_seconds = compiled->wait_seconds;
    out->shader_seconds = compiled->shader_seconds;
    out->driver_seconds = compiled->driver_seconds;
}

void pm_session_close(pm_session *session) {
    if (session == NULL)
        return;
    pm_session **link = &session->source.model->sessions;
    while (*link != session)
        link = &(*link)->next;
    *link = session->next;
    pm__pages_finish(&session->pages);
    if (session->context != NULL)
        session->source.backend->context_destroy(session->context);
    destroy_graph(session->graph);
    if (session->sequences != NULL)
        for (uint32_t i = 0; i < session->limits.n_seq; i++) {
            free(session->sequences[i].tokens);
            free(session->sequences[i].encoded);
            free(session->sequences[i].among);
        }
    free(session->sequences);
    free(session->rows);
    free(session->outs);
    free(session->drawn);
    free(session->logits);
    free(session->pooled);
    free(session);
}

uint32_t pm_session_n_ctx(const pm_session *session) {
    return session->n_ctx;
}

uint32_t pm_session_length(const pm_session *session, uint32_t seq) {
    return seq < session->limits.n_seq ? session->sequences[seq].length : 0;
}

bool pm__session_has_states(const pm_session *session) {
    return session->source.graph->n_state > 0;
}

/* ---- tokens of a sequence -------------------------------------------------------------------- */

pm_status pm__session_check(const pm_session *session, uint32_t seq) {
    if (session->failed != PM_OK)
        return pm__fail(session->failed,
                        "session: finished by an earlier failure (%s); open a new one",
                        pm_status_text(session->failed));
    if (session->busy)
        return pm__fail(PM_ARGUMENT, "session: called from its own callback");
    if (seq >= session->limits.n_seq)
        return pm__fail(PM_ARGUMENT,
                        "session: sequence %u of %u; open the session with more (n_seq)", seq,
                        session->limits.n_seq);
    return PM_OK;
}

pm_status pm__session_check_tokens(const pm_session *session, uint32_t seq, const int32_t *ids,
                                   size_t n) {
    const uint32_t room = session->n_ctx - session->sequences[seq].length;
    if (session->source.graph->has_encoder && session->sequences[seq].n_encoded == 0)
        return pm__fail(PM_ARGUMENT,
                        "session: %s answers to a text, which comes first (pm_session_encode)",
                        session->source.model->def.arch->name);
    if (n > room)
        return pm__fail(PM_CONTEXT_FULL,
                        "session: prompt has %zu tokens, %u positions are free of %u; use a larger "
                        "context (-c)",
                        n, room, session->n_ctx);
    return pm__session_check_ids(session, ids, n);
}

pm_status pm__session_check_ids(const pm_session *session, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= session->source.n_vocab)
            return pm__fail(PM_ARGUMENT, "session: token %d at place %zu, the vocabulary has %u",
                            ids[i], i, session->source.n_vocab);
    return PM_OK;
}

void pm__session_append(pm_session *session, uint32_t seq, const int32_t *ids, size_t n) {
    pm__sequence *s = &session->sequences[seq];
    assert(n <= session->n_ctx - s->length);
    if (n > 0)
        memcpy(s->tokens + s->length, ids, n * sizeof *ids);
    memset(s->among + s->length, PM__ALONE, n * sizeof *s->among);
    s->length += (uint32_t)n;
}

void pm__session_truncate(pm_session *session, uint32_t seq, uint32_t n_keep) {
    pm__sequence *s = &session->sequences[seq];
    s->length = pm__least_u32(s->length, n_keep);
    s->n_eval = pm__least_u32(s->n_eval, s->length);
    s->n_restore = pm__least_u32(s->n_restore, s->length);
    if (session->context != NULL)
        pm__pages_trim(&session->pages, seq,
                       pm__most_u32(s->n_eval, s->is_encoded ? s->n_encoded : 0));
}

void pm__session_reopen_last(pm_session *session, uint32_t seq) {
    pm__sequence *s = &session->sequences[seq];
    assert(s->length > 0);
    s->n_eval = pm__least_u32(s->n_eval, s->length - 1);
    s->n_restore = pm__least_u32(s->n_restore, s->length - 1);
}

/* Tokens [first, end) of a sequence into its history, by a begin() that no submit() follows. */
static pm_status fill_history(pm_session *session, uint32_t seq, uint32_t first, uint32_t end) {
    const pm__sequence *s = &session->sequences[seq];
    while (first < end) {
        const uint32_t n = pm__least_u32(end - first, session->limits.n_batch);
        for (uint32_t i = 0; i < n; i++)
            session->rows[i] = (struct pm_step_row){
                .token = (uint32_t)s->tokens[first + i], .seq = seq, .pos = first + i};
        PM_TRY(pm__step_begin(session, n, 0, false, PM__TOGETHER));
        first += n;
    }
    return PM_OK;
}

pm_status pm__session_share(pm_session *session, uint32_t from, uint32_t to, uint32_t n,
                            uint32_t n_history) {
    PM_TRY(pm__step_check(session));
    PM_TRY(pm__pages_share(&session->pages, from, to, n));
    session->sequences[to].n_eval = n;
    if (pm__session_has_states(session)) {
        assert(n == session->sequences[from].n_state);
        PM_TRY(session->source.backend->copy_state(session->context, from, to));
    }
    session->sequences[to].n_state = n;
    return fill_history(session, to, n > n_history ? n - n_history : 0, n);
}

pm_status pm_session_rewind(pm_session *session, uint32_t seq, uint32_t n_keep) {
    PM_TRY(pm__session_check(session, seq));
    if (n_keep > session->sequences[seq].length)
        return pm__fail(PM_ARGUMENT, "session: rewind to %u tokens, sequence %u holds %u", n_keep,
                        seq, session->sequences[seq].length);
    pm__session_truncate(session, seq, n_keep);
    return PM_OK;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

pm_status pm_session_eval(pm_session *session, uint32_t seq, const int32_t *ids, size_t n,
                          const float **logits) {
    PM_TRY(pm__session_check(session, seq));
    PM_TRY(pm__session_check_tokens(session, seq, ids, n));
    if (n == 0 && session->sequences[seq].length == 0)
        return pm__fail(PM_ARGUMENT, "session: no tokens, and sequence %u is empty", seq);
    if (logits != NULL && n == 0)
        pm__session_reopen_last(session, seq);
    PM_TRY(pm__session_ready(session));
    pm__session_append(session, seq, ids, n);
    PM_TRY(pm__step_until(session, seq, session->sequences[seq].length,
                          logits != NULL ? PM__WANT_LOGITS : PM__WANT_NOTHING));
    if (logits != NULL)
        *logits = session->logits;
    return PM_OK;
}

/* Hands over the logits of the step that ended at n_eval; i counts from `first`. */
static pm_status hand_over(pm_session *session, size_t first, pm_logits_fn each, void *user) {
    pm_status status = PM_OK;
    session->busy = true;
    for (uint32_t i = 0; i < session->n_out && status == PM_OK; i++)
        status = each(user, first + i, session->logits + (size_t)i * session->source.n_col);
    session->busy = false;
    return status;
}

pm_status pm_session_eval_all(pm_session *session, uint32_t seq, const int32_t *ids, size_t n,
                              pm_logits_fn each, void *user) {
    PM_TRY(pm__session_check(session, seq));
    PM_TRY(pm__session_check_tokens(session, seq, ids, n));
    PM_TRY(pm__session_ready(session));
    pm__sequence *s = &session->sequences[seq];
    PM_TRY(pm__step_until(session, seq, s->length, PM__WANT_NOTHING));
    pm__session_append(session, seq, ids, n);
    size_t done = 0;
    while (done < n) {
        PM_TRY(pm__step_chunk(session, seq, s->length, PM__WANT_ALL));
        const pm_status status = hand_over(session, done, each, user);
        if (status != PM_OK) {
            pm__session_truncate(session, seq, s->n_eval);
            return status;
        }
        done += session->n_out;
    }
    return PM_OK;
}
