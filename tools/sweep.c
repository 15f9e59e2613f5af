/* sweep.c: tests and sessions of `pumice bench --sweep`.
 *
 * Rounds come back to each point, and opening a session compiles kernels and warms up, so sessions
 * stay open, as many as take little memory; the one used longest ago makes room. Points that differ
 * in depth alone share a session of the largest context: its tokens stay from point to point, and
 * the curve shows depth, not sizes of sessions. Answers and rows of a step decide which kernels a
 * session has: those points have sessions of their own, as elsewhere. */
#include "sweep.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t MOST_BYTES = (uint64_t)1 << 30; /* of sessions, if there is more than one */

/* What a series has in common: the model, where it runs, and what is not on the axis. */
static void name_series(pm__sweep kind, const pm__bench_job *job, char out[PM__LABEL_SIZE]) {
    pm__bench_case what = job->what;
    char test[64], rows[24] = "";
    what.n_answer = kind == PM__SWEEP_BATCH ? 1 : what.n_answer;
    what.n_depth = kind == PM__SWEEP_DEPTH ? 0 : what.n_depth;
    pm__bench_name(&what, test);
    if (kind != PM__SWEEP_UBATCH)
        snprintf(rows, sizeof rows, " ub%" PRIu32, what.n_ubatch);
    snprintf(out, PM__LABEL_SIZE, "%.60s %.40s%s t%" PRIu32 " %.10s/%.10s, %.40s", job->about->type,
             test, rows, what.n_thread, what.type_k, what.type_v, job->place->device);
}

static int add(pm__sweeper *s, const pm__bench_job *job) {
    char label[PM__LABEL_SIZE];
    PM__CHECK(pm__cli_grow("bench", &s->tests, s->n_test, &s->capacity, sizeof *s->tests));
    const uint32_t n_ctx = pm__bench_session_desc(job).n_ctx;
    s->n_ctx = n_ctx > s->n_ctx ? n_ctx : s->n_ctx;
    s->tests[s->n_test] = (pm__sweep_test){.test = {.job = *job}};
    name_series(s->curves->kind, job, label);
    return pm__curves_add(s->curves, label, pm__sweep_x(s->curves->kind, &job->what), s->n_test++);
}

int pm__sweep_add(pm__sweeper *s, const pm__bench_job *job) {
    if (s->n_test == 0)
        s->first = s->curves->n;
    const int code = add(s, job);
    if (code != 0)
        s->curves->n = s->first; /* nothing will be measured */
    return code;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static bool is_alike(const pm_session_desc *a, const pm_session_desc *b) {
    return a->n_ctx == b->n_ctx && a->n_batch == b->n_batch && a->n_seq == b->n_seq &&
           strcmp(a->cache_type_k, b->cache_type_k) == 0 &&
           strcmp(a->cache_type_v, b->cache_type_v) == 0;
}

static void close_oldest(pm__sweeper *s) {
    size_t oldest = 0;
    for (size_t i = 1; i < s->n_open; i++)
        oldest = s->open[i].used < s->open[oldest].used ? i : oldest;
    pm__bench_session_close(&s->open[oldest].session);
    s->open[oldest] = s->open[--s->n_open];
}

static int plan(pm_model *model, const pm_session_desc *desc, uint64_t *bytes, bool *fits) {
    pm_plan *plan = NULL;
    PM__CHECK(pm__cli_status(pm_session_plan(model, desc, &plan)));
    *fits = plan->fits;
    *bytes = 0;
    for (size_t i = 0; i < plan->n_buffer; i++)
        *bytes += plan->buffers[i].part == PM_PLAN_SESSION ? plan->buffers[i].bytes : 0;
    pm_plan_free(plan);
    return 0;
}

static int make_room(pm__sweeper *s, pm_model *model, const pm_session_desc *desc,
                     uint64_t *bytes) {
    for (;;) {
        bool fits;
        uint64_t sum = 0;
        PM__CHECK(plan(model, desc, bytes, &fits));
        for (size_t i = 0; i < s->n_open; i++)
            sum += s->open[i].bytes;
        if (s->n_open == 0 || (fits && s->n_open < PM__MOST_OPEN && sum + *bytes <= MOST_BYTES))
            return 0;
        close_oldest(s);
    }
}

static int find_session(pm__sweeper *s, const pm__bench_job *job, pm__sweep_session **out) {
    pm_session_desc desc = pm__bench_session_desc(job);
    if (s->curves->kind == PM__SWEEP_DEPTH)
        desc.n_ctx = s->n_ctx;
    for (size_t i = 0; i < s->n_open; i++) {
        *out = &s->open[i];
        if (is_alike(&(*out)->session.desc, &desc))
            return 0;
    }
    uint64_t bytes;
    PM__CHECK(make_room(s, job->model, &desc, &bytes));
    *out = &s->open[s->n_open];
    PM__CHECK(pm__bench_session_open(job, &desc, &(*out)->session));
    (*out)->bytes = bytes;
    (*out)->number = ++s->n_opened;
    s->n_open++;
    return 0;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int show_progress(pm__sweeper *s, const pm__bench_job *job, bool again) {
    char name[64], what[128];
    pm__bench_name(&job->what, name);
    const uint64_t n = s->n_test * job->n_repeat;
    snprintf(what, sizeof what, "%s ub%" PRIu32 "%s", name, job->what.n_ubatch,
             again ? " again, a suspect or beside one" : "");
    return pm__report_progress(&s->progress, what, s->n_run < n ? s->n_run : n, n)
               ? 0
               : PM__EXIT_CANCELLED;
}

static int measure(void *user, size_t i, bool again, double *rate) {
    pm__sweeper *s = user;
    pm__sweep_test *t = &s->tests[i];
    pm__sweep_session *in = NULL;
    PM__CHECK(show_progress(s, &t->test.job, again));
    PM__CHECK(pm__bench_rest(&t->test.job));
    PM__CHECK(find_session(s, &t->test.job, &in));
    in->used = ++s->n_run;
    if (t->test.job.warmup && t->warm != in->number)
        PM__CHECK(pm__bench_once(&t->test, &in->session, false));
    t->warm = in->number;
    PM__CHECK(pm__bench_once(&t->test, &in->session, true));
    *rate = pm__bench_tokens(&t->test.job.what) / t->test.samples[t->test.n - 1].seconds;
    return 0;
}

static int print(const pm__sweeper *s, pm__bench_printer *printer) {
    for (size_t i = s->first; i < s->curves->n; i++) {
        const pm__point *point = &s->curves->points[i];
        pm__bench_row row;
        PM__CHECK(pm__bench_fill(&s->tests[point->test].test, NULL, &row));
        snprintf(row.cliff, sizeof row.cliff, "%s", point->cliff);
        PM__CHECK(pm__bench_print(printer, &row));
    }
    return 0;
}

int pm__sweep_run(pm__sweeper *s, pm__bench_printer *printer) {
    if (s->n_test == 0)
        return 0;
    const uint32_t n_round = s->tests[0].test.job.n_repeat;
    const int code = pm__curves_measure(s->curves, s->first, n_round, measure, s);
    pm__report_progress_end(&s->progress);
    const int printed = print(s, printer);
    pm__sweep_finish(s);
    return code ? code : printed;
}

void pm__sweep_finish(pm__sweeper *s) {
    while (s->n_open > 0)
        close_oldest(s);
    for (size_t i = 0; i < s->n_test; i++)
        pm__bench_test_finish(&s->tests[i].test);
    free(s->tests);
    *s = (pm__sweeper){.curves = s->curves};
}
