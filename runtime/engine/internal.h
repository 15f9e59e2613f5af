/* internal.h: what the files of engine/ share: the objects behind the handles of pumice.h, and a
 * session over any backend. */
#ifndef PM_ENGINE_INTERNAL_H
#define PM_ENGINE_INTERNAL_H

#include "../graph/backend.h"
#include "../source/source.h"
#include "../text/tokenizer.h"
#include "pages.h"

struct pm_device {
    pm__device_handle handle;
    pm_device_info info; /* the handle's, with the index of the list and why it was chosen */
    char why[256];
    struct pm_model *models; /* all that are open on it */
    bool lost; /* nothing stands on it any more; the next one who needs it opens it again */
    uint32_t n_loss;
    pm_device_speed speed; /* as measured; zeros: not yet */
    double open_seconds;
};

/* What pm_device_open chooses from: a list as pm_device_list gives it. */
typedef struct pm__device_choice {
    const pm_device_info *infos; /* [n] */
    size_t n;
    const char *note;
} pm__device_choice;

/* errors  NO_DEVICE, ARGUMENT; as pm_device_open */
pm_status pm__device_choose(const pm__device_choice *from, const pm_device_desc *desc,
                            const pm_device_info **out);

struct pm_model {
    pm_device *device;           /* NULL: vocabulary only */
    struct pm_model *next;       /* of the device's */
    struct pm_session *sessions; /* all that are open */
    pm__source source;
    pm__tokenizer *tokenizer;
    pm__model_def def;
    pm__graph graph; /* over caches of the default types; every session has its own */
    void *weights;   /* NULL: none placed, or the device was lost */
    bool placed;     /* it has weights, if the device is there */
    pm_start start;  /* as far as it was open */
    pm_model_info info;
    const char **key_names; /* [source.gguf.n_key] closed by zeros */
    pm__arena arena;
};

/* What a session runs on. All of it must outlive the session. */
typedef struct pm__session_source {
    pm_model *model;
    const pm__backend *backend;
    const pm__graph *graph;
    const pm__tokenizer *tokenizer;
    uint32_t n_vocab;
    uint32_t n_col;       /* values of an output: n_vocab logits, or n_embd of a hidden state */
    bool whole;           /* a sequence is evaluated in one step: rows see those after them */
    uint32_t n_ctx_train; /* 0: unknown */
} pm__session_source;

/* Tokens [0, n_eval) are in the caches. The rest is pending: known, and evaluated with the next
 * step. After an answer that stopped at its length one token is pending, because nobody has asked
 * what comes after it.
 *
 * Caches can be cut anywhere; states (PM__STATE) cannot. They hold tokens [0, n_state), and where
 * that is not n_eval any more all is evaluated again by pm__session_ready(). */
typedef struct pm__sequence {
    int32_t *tokens; /* [n_ctx] */
    uint8_t *among;  /* [n_ctx] pm__among of its evaluation */
    uint32_t length;
    uint32_t n_eval;
    int32_t *encoded;   /* [n_ctx] what the encoder reads; NULL where the model has none */
    uint32_t n_encoded; /* 0: nothing to answer to yet */
    bool is_encoded;    /* its positions are in the caches */
    uint32_t n_state;   /* looked at only where the model has states */
    uint32_t n_restore; /* tokens below it were in the caches before the device was lost, or are
                           more than the states can be cut to */
    struct pm_step_sampler sampler; /* set last */
} pm__sequence;

struct pm_session {
    pm__session_source source;
    pm__graph *graph; /* source.graph where the session owns it, else NULL */
    pm_session *next; /* of the model's */
    void *context;    /* NULL: the device was lost; pages are none then either */
    pm__context_info info;
    double open_seconds;
    pm__limits limits;       /* n_ctx in whole pages, for the backend */
    uint32_t n_ctx;          /* as asked, for the user */
    pm__sequence *sequences; /* [n_seq] */
    pm__pages pages;
    struct pm_step_row *rows;    /* [limits.n_batch] of the step begun last */
    uint32_t *outs;              /* [limits.n_out] */
    struct pm_step_drawn *drawn; /* [limits.n_out] of the step collected last */
    float *logits;               /* [limits.n_out, source.n_col] */
    double *pooled;              /* [source.n_col] for pm_embed(); NULL where there are logits */
    uint32_t n_row, n_out;
    bool sampled;
    bool repeats; /* the step begun last was submitted; a further submit() is the one after it */
    uint32_t n_submitted,
        n_collected;           /* steps so far; they wrap as the step number of the backend does */
    bool busy;                 /* a callback is running */
    pm_status failed;          /* sticky: the backend failed, its state is unknown */
    uint32_t n_loss;           /* of the device, as far as the session has followed */
    bool recovered;            /* in the present call: a second loss ends it */
    bool (*go_on)(void *user); /* asked while a lost context is restored; NULL: always */
    void *user;
};

enum { PM__MOST_CTX = 1 << 20 }; /* as far as rope.comp is exact */

/* Limits of a session as the backend needs them, and n_ctx as the user sees it. */
pm_status pm__session_limits(const pm_session_desc *desc, uint32_t n_ctx_train, pm__limits *limits,
                             uint32_t *n_ctx);
/* Says so where a context is longer than the model was trained for. */
void pm__session_warn(uint32_t n_ctx, uint32_t n_ctx_train);
/* Bytes of system memory that a session takes for itself, beside its context. */
uint64_t pm__session_table_bytes(const pm__limits *limits, uint32_t n_ctx, const pm__graph *g);
/* Names of types, NULL: F16.
 * errors  ARGUMENT: no type of a cache */
pm_status pm__session_cache_types(const char *k, const char *v, pm__cache_types *out);
/* The model's forward pass over caches of the types that desc (or NULL) asks for.
 * errors  ARGUMENT, OUT_OF_MEMORY */
pm_status pm__model_graph(const pm_model *model, const pm_session_desc *desc, pm__graph *out);
pm_status pm__session_create(const pm__session_source *source, const pm_session_desc *desc,
                             pm_session **out);

/* What PM_CTX_AUTO stands for; another n_ctx stays what it is.
 * errors  OUT_OF_MEMORY: not even the smallest context fits */
pm_status pm__plan_resolve(const pm_model *model, const pm_session_desc *desc,
                           pm_session_desc *out);
/* The same, and that it fits.
 * errors  OUT_OF_MEMORY: what does not fit, and what would help */
pm_status pm__plan_check(const pm_model *model, const pm_session_desc *desc, pm_session_desc *out);

/* Fails if the session cannot be used now: lost, in a callback, no such sequence. */
pm_status pm__session_check(const pm_session *session, uint32_t seq);
/* Fails with CONTEXT_FULL if n tokens more do not fit, with ARGUMENT if one of them is none of the
 * vocabulary. */
pm_status pm__session_check_tokens(const pm_session *session, uint32_t seq, const int32_t *ids,
                                   size_t n);
/* Fails with ARGUMENT if one of them is none of the vocabulary. */
pm_status pm__session_check_ids(const pm_session *session, const int32_t *ids, size_t n);
/* Adds n tokens, checked before, as pending ones. */
void pm__session_append(pm_session *session, uint32_t seq, const int32_t *ids, size_t n);
/* Forgets tokens from position n_keep on and gives back their pages. Until pm__session_ready() a
 * sequence of a model with states must not be evaluated further. */
void pm__session_truncate(pm_session *session, uint32_t seq, uint32_t n_keep);
/* The last token becomes pending if none is, so that the next step has logits to give. As with
 * pm__session_truncate(), pm__session_ready() comes next. */
void pm__session_reopen_last(pm_session *session, uint32_t seq);

/* Takes context and pages of the device; both are none before. */
pm_status pm__session_reserve_device(pm_session *session);
/* `to`, whose tokens [0, n) and the way they were evaluated are those of `from`, shares the pages
 * that hold them, and copies the states, for which n is all that `from` has evaluated. Its history
 * on the device gets the last n_history of them. */
pm_status pm__session_share(pm_session *session, uint32_t from, uint32_t to, uint32_t n,
                            uint32_t n_history);

/* ---- recover.c: after the device was lost ---------------------------------------------------- */

/* What was torn down comes back, if it is not there: to be called before use.
 * errors  those of opening; CANCELLED: session->go_on() said no, and the next call tries again */
pm_status pm__device_restore(pm_device *device);
pm_status pm__model_restore(pm_model *model);
/* Also begins a call, in which the device may be lost once, and evaluates again what was cut off
 * under states. */
pm_status pm__session_ready(pm_session *session);

/* True if *status was DEVICE_LOST and all is back, *status then being PM_OK: what failed can be
 * done again. Otherwise *status and the sentence say why not. What stands on the device is torn
 * down. Bringing back the device alone, or the session with what was in its caches. */
bool pm__device_recover(pm_device *device, pm_status *status);
bool pm__session_recover(pm_session *session, pm_status *status);

/* Has the encoder read what the sequence answers to, if that is not in the caches. */
pm_status pm__session_encode(pm_session *session, uint32_t seq);

/* ---- step.c: steps on the backend, watched --------------------------------------------------- */

/* Fails with DEVICE_LOST if the context was torn down, which another session of the device can do
 * while a callback of this one runs. To be called before pages are changed. */
pm_status pm__step_check(const pm_session *session);
/* Begins a step of the first n_row of session->rows with the first n_out of session->outs; the last
 * two as in pm__step. */
pm_status pm__step_begin(pm_session *session, uint32_t n_row, uint32_t n_out, bool sample,
                         pm__among among);
/* Runs the encoder over the first n_row of session->rows, all of one sequence. */
pm_status pm__step_encode(pm_session *session, uint32_t seq, uint32_t n_row);
pm_status pm__step_submit(pm_session *session);
/* The states of a model cannot go back, so its steps are not run ahead. */
bool pm__session_has_states(const pm_session *session);
/* Takes the oldest step into session->drawn.
 * errors  DEVICE_LOST: also if a drawn token carries the number of another step, or is none of the
 * vocabulary */
pm_status pm__step_collect(pm_session *session);
/* Takes all that is in flight and drops it; a session that failed has nothing to take. */
pm_status pm__step_drain(pm_session *session);
uint32_t pm__step_in_flight(const pm_session *session);

typedef enum pm__want {
    PM__WANT_NOTHING,
    PM__WANT_LOGITS, /* of the last token */
    PM__WANT_DRAWN,  /* a token after the last one, in session->drawn[0] */
    PM__WANT_ALL     /* logits of every token; the step has at most n_out rows */
} pm__want;

/* Evaluates pending tokens of a sequence below `end` in one step: as many as a step takes. What is
 * wanted of the last token is given by the step that reaches `end`. */
pm_status pm__step_once(pm_session *session, uint32_t seq, uint32_t end, pm__want want);
/* The same, and once more if the device was lost and could be brought back. */
pm_status pm__step_chunk(pm_session *session, uint32_t seq, uint32_t end, pm__want want);
/* The same until `end` is reached. */
pm_status pm__step_until(pm_session *session, uint32_t seq, uint32_t end, pm__want want);

/* ---- sampler.c ------------------------------------------------------------------------------- */

/* errors  ARGUMENT, naming the field */
pm_status pm__sampling_check(const pm_sampling *sampling);
/* A sampler of answer `i`. */
struct pm_step_sampler pm__sampling_state(const pm_sampling *sampling, uint32_t i);
/* True if it looks at the tokens before. */
bool pm__sampling_looks_back(const pm_sampling *sampling);

#endif
