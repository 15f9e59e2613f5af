/* bench.h: what the files of `pumice bench` share: a test, how it is measured, what is said of
 * it. */
#ifndef PM_TOOLS_BENCH_H
#define PM_TOOLS_BENCH_H

#include "energy.h"
#include "report.h"

/* Where tests run: texts that go into every row. */
typedef struct pm__bench_place {
    char backend[16], device[256], driver[256], tier[32], os[256];
    double copy_rate, flop_rate; /* bytes and operations a second; 0: not known */
    double since;                /* pm__now() of pm__bench_place_init() */
    pm_device_info info;         /* of the device, as long as it is open */
} pm__bench_place;

typedef struct pm__bench_model {
    char file[PM__PATH_SIZE]; /* or "llama-8b:q4_0 (synthetic)" */
    char type[96];            /* "llama 8B Q4_0" */
    uint64_t bytes, n_parameter;
    uint32_t n_vocab;
    bool has_states; /* cannot be cut back to a depth */
    int32_t bos;
} pm__bench_model;

/* What is measured: n_prompt tokens at once, n_gen one at a time in each of n_answer answers, or
 * both, behind n_depth. */
typedef struct pm__bench_case {
    uint32_t n_prompt, n_gen, n_depth, n_answer, n_batch, n_ubatch, n_thread;
    const char *type_k, *type_v;
} pm__bench_case;

/* One run of it: when it began (pm__now()), and what it took. */
typedef struct pm__bench_sample {
    double at, seconds;
} pm__bench_sample;

/* What came out. Numbers that nobody can tell are NAN. */
typedef struct pm__bench_row {
    const pm__bench_place *place;
    const pm__bench_model *model;
    pm__bench_case what;
    char test[64], time[32];
    const pm__bench_sample *samples; /* [n] of the test, in the order in which it ran */
    uint32_t n;
    double avg_ns, stddev_ns, avg_ts, stddev_ts, best_ts;
    double bytes_per_second, bytes_per_token, copy_percent, n_dispatch, n_barrier;
    double host_us, joules, first_token_ms;
    const char *energy_source; /* "" where nobody tells */
    char cliff[64];            /* of a sweep: "24 % slower than at 8"; "" */
    cJSON *profile;            /* for JSON, of whoever has the row; NULL: none was asked for */
} pm__bench_row;

/* ---- bench_run.c: measuring ------------------------------------------------------------------ */

typedef struct pm__bench_job {
    pm_model *model;
    const pm__bench_place *place;
    const pm__bench_model *about;
    pm__bench_case what;
    pm__energy *energy;
    pm_session_desc
        session; /* but for what the case says; with `profile` a table comes on stderr */
    uint32_t n_repeat, run_ahead;
    uint32_t delay; /* seconds of rest before it */
    bool warmup;
    bool quiet;         /* without progress */
    bool profile_nodes; /* in that table, too */
} pm__bench_job;

/* A test, run by run. Begins as zeros but for its job. */
typedef struct pm__bench_test {
    pm__bench_job job;
    pm__bench_sample *samples; /* [n] */
    size_t capacity;
    uint32_t n;
    /* Of all runs together. */
    double host_seconds, first_seconds, joules;
    uint64_t n_host_token;
    /* Of each. */
    uint64_t bytes_per_step;
    uint32_t n_dispatch, n_barrier;
} pm__bench_test;

/* What tests run in; begins as zeros. */
typedef struct pm__bench_session {
    pm_session *session;
    pm_session_desc desc;
    int32_t *ids;      /* [desc.n_ctx], the same in all sessions of a vocabulary */
    uint32_t n_filled; /* of them, that are the first tokens of sequence 0 */
} pm__bench_session;

/* Tokens that a run of it evaluates. */
double pm__bench_tokens(const pm__bench_case *what);
/* "pp512+tg128 x4 @ d256" */
void pm__bench_name(const pm__bench_case *what, char out[64]);

/* The smallest session that the job fits into. */
pm_session_desc pm__bench_session_desc(const pm__bench_job *job);
int pm__bench_session_open(const pm__bench_job *job, const pm_session_desc *desc,
                           pm__bench_session *out);
void pm__bench_session_close(pm__bench_session *session);

int pm__bench_rest(const pm__bench_job *job);
/* keep  false: a run before those that count */
int pm__bench_once(pm__bench_test *test, pm__bench_session *in, bool keep);
/* What the runs come to; n = 0: nothing. `in`: for its profile; may be NULL. */
int pm__bench_fill(const pm__bench_test *test, const pm__bench_session *in, pm__bench_row *row);
/* All of a test, in a session of its own: CANCELLED with row->n > 0 still has a row to show. */
int pm__bench_run(pm__bench_test *test, pm__bench_row *row);
void pm__bench_test_finish(pm__bench_test *test);

/* Also measures the device, before anything else takes its memory. */
void pm__bench_place_init(pm__bench_place *place, pm_device *device);
/* file  what to call it */
void pm__bench_model_init(pm__bench_model *about, const pm_model *model, const char *file);

/* ---- bench_print.c: saying ------------------------------------------------------------------- */

typedef enum pm__bench_format {
    PM__BENCH_MD,
    PM__BENCH_CSV,
    PM__BENCH_JSON,
    PM__BENCH_JSONL
} pm__bench_format;

typedef struct pm__bench_printer {
    pm__bench_format format;
    /* Columns of the table that are not always there. */
    bool threads, batches, types_k, types_v, cliffs;
    bool begun;
    cJSON *all; /* of one document */
} pm__bench_printer;

/* name  as it was asked for; NULL leaves *out as it is. Gives an exit code. */
int pm__bench_format_read(const char *name, pm__bench_format *out);
int pm__bench_print(pm__bench_printer *printer, const pm__bench_row *row);
/* What stands at the end; to be called once, also where nothing was measured. */
int pm__bench_print_end(pm__bench_printer *printer);

#endif
