#include "curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 0.2;
enum { MOST_NEAR = 3 };

bool pm__sweep_find(const char *name, pm__sweep *out) {
    static const char *const names[] = {"", "batch", "depth", "ubatch"};
    for (size_t i = 1; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (pm__sweep)i;
            return true;
        }
    }
    return false;
}

double pm__sweep_x(pm__sweep kind, const pm__bench_case *what) {
    return kind == PM__SWEEP_BATCH   ? what->n_answer
           : kind == PM__SWEEP_DEPTH ? what->n_depth
                                     : what->n_ubatch;
}

/* PM__MOST_SERIES: there is no room for one more. */
static uint32_t find_series(pm__curves *curves, const char *label) {
    for (uint32_t i = 0; i < curves->n_series; i++)
        if (strcmp(curves->labels[i], label) == 0)
            return i;
    if (curves->n_series == PM__MOST_SERIES)
        return PM__MOST_SERIES;
    snprintf(curves->labels[curves->n_series], PM__LABEL_SIZE, "%s", label);
    return curves->n_series++;
}

int pm__curves_add(pm__curves *curves, const char *label, double x, size_t test) {
    const uint32_t series = find_series(curves, label);
    if (series == PM__MOST_SERIES)
        return pm__cli_error(PM__EXIT_ARGUMENT, "bench: --sweep: more than %d curves",
                             PM__MOST_SERIES);
    PM__CHECK(pm__cli_grow("bench", &curves->points, curves->n, &curves->capacity,
                           sizeof *curves->points));
    curves->points[curves->n++] = (pm__point){.x = x, .series = series, .test = test};
    return 0;
}

/* ---- what is expected ------------------------------------------------------------------------ */

/* Neighbours, and which of them is judged. */
typedef struct near {
    double x[MOST_NEAR], rate[MOST_NEAR];
    size_t n, at;
} near;

static double time_growth(const near *p, size_t from) {
    return (1 / p->rate[from + 1] - 1 / p->rate[from]) / (p->x[from + 1] - p->x[from]);
}

/* -0.3: 30 % slower than what is expected at least; 0.3: 30 % faster than at most; 0: as
 * expected. */
static double part_off(pm__sweep kind, const near *p) {
    const size_t at = p->at, last = at - 1;
    double least = p->rate[last], most = least;
    if (kind != PM__SWEEP_DEPTH)
        most *= p->x[at] / p->x[last];
    else if (p->n == MOST_NEAR) {
        const double growth = time_growth(p, at == 2 ? 0 : 1);
        if (growth > 0)
            least = 1 / (1 / least + growth * (p->x[at] - p->x[last]));
    }
    const double rate = p->rate[at];
    return rate < least * (1 - TOLERANCE)  ? rate / least - 1
           : rate > most * (1 + TOLERANCE) ? rate / most - 1
                                           : 0;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* One series. */
typedef struct line {
    pm__sweep kind;
    pm__point *points; /* [n] */
    size_t n;
    pm__measure_fn measure;
    void *user;
} line;

static int visit(const line *l, size_t i, bool again, double *rate) {
    pm__point *p = &l->points[i];
    PM__CHECK(l->measure(l->user, p->test, again, rate));
    p->worst = p->best > 0 && p->worst < *rate ? p->worst : *rate;
    p->best = p->best > *rate ? p->best : *rate;
    return 0;
}

static int run_round(line *l, bool back) {
    for (size_t k = 0; k < l->n; k++) {
        const size_t i = back ? l->n - 1 - k : k;
        double rate;
        const int code = visit(l, i, false, &rate);
        if (code == PM__EXIT_OUT_OF_MEMORY)
            l->n = i;
        if (code != 0)
            return code;
    }
    return 0;
}

/* Where the neighbours begin that say what to expect of point i. */
static size_t first_near(const line *l, size_t i) {
    return l->kind == PM__SWEEP_DEPTH && i > 1 ? i - 2 : i - 1;
}

static near get_near(const line *l, size_t i) {
    const size_t first = first_near(l, i), most = l->kind == PM__SWEEP_DEPTH ? MOST_NEAR : 2;
    near p = {.at = i - first};
    for (; p.n < most && first + p.n < l->n; p.n++) {
        p.x[p.n] = l->points[first + p.n].x;
        p.rate[p.n] = l->points[first + p.n].best;
    }
    return p;
}

/* 0: none is left. */
static size_t find_suspect(const line *l) {
    for (size_t i = 1; i < l->n; i++) {
        const near p = get_near(l, i);
        if (!l->points[i].judged && part_off(l->kind, &p) != 0)
            return i;
    }
    return 0;
}

/* By the best of PM__TURNS; what was measured at other times does not count. */
static int take_turns(const line *l, size_t i, double *off) {
    const size_t first = first_near(l, i);
    near p = get_near(l, i);
    memset(p.rate, 0, sizeof p.rate);
    for (size_t n = 0; n < PM__TURNS * p.n; n++) {
        const size_t k = n / p.n % 2 ? p.n - 1 - n % p.n : n % p.n;
        double rate;
        PM__CHECK(visit(l, first + k, true, &rate));
        p.rate[k] = p.rate[k] > rate ? p.rate[k] : rate;
    }
    *off = part_off(l->kind, &p);
    return 0;
}

/* Twice: the machine may change its speed in the middle of a turn, but hardly in both. */
static int judge(const line *l, size_t i) {
    double off, other;
    PM__CHECK(take_turns(l, i, &off));
    if (off == 0)
        return 0;
    PM__CHECK(take_turns(l, i, &other));
    l->points[i].slower = off < 0 && other < 0;
    l->points[i].faster = off > 0 && other > 0;
    return 0;
}

/* Where the best runs of all, which are drawn, say so, too. */
static void name_cliffs(const line *l) {
    for (size_t i = 1; i < l->n; i++) {
        pm__point *point = &l->points[i];
        if (!point->slower && !point->faster)
            continue;
        const near p = get_near(l, i);
        const double off = part_off(l->kind, &p);
        if ((point->slower && off < 0) || (point->faster && off > 0))
            snprintf(point->cliff, sizeof point->cliff, "%.0f %% %s than at %.0f", 100 * fabs(off),
                     off < 0 ? "slower" : "faster", point[-1].x);
    }
}

static int measure_line(line *l, uint32_t n_round) {
    int left_out = 0;
    for (uint32_t r = 0; r < n_round; r++) {
        const int code = run_round(l, r % 2 == 1);
        if (code != 0 && code != PM__EXIT_OUT_OF_MEMORY)
            return code;
        left_out = code ? code : left_out;
    }
    for (size_t i = find_suspect(l); i > 0; i = find_suspect(l)) {
        l->points[i].judged = true; /* its neighbours may become suspects; it is done */
        PM__CHECK(judge(l, i));
    }
    return left_out;
}

static int compare(const void *a, const void *b) {
    const pm__point *p = a, *q = b;
    if (p->series != q->series)
        return p->series < q->series ? -1 : 1;
    return p->x < q->x ? -1 : p->x > q->x;
}

static void take_out(pm__curves *curves, size_t first) {
    size_t n = first;
    for (size_t i = first; i < curves->n; i++)
        if (curves->points[i].best > 0)
            curves->points[n++] = curves->points[i];
    curves->n = n;
}

int pm__curves_measure(pm__curves *curves, size_t first, uint32_t n_round, pm__measure_fn measure,
                       void *user) {
    pm__point *p = curves->points;
    int code = 0, left_out = 0;
    if (curves->n > first)
        qsort(p + first, curves->n - first, sizeof *p, compare);
    for (size_t i = first; i < curves->n && code == 0;) {
        line l = {.kind = curves->kind, .points = p + i, .measure = measure, .user = user};
        for (; i < curves->n && p[i].series == l.points->series; i++)
            l.n++;
        code = measure_line(&l, n_round);
        name_cliffs(&l);
        left_out = code == PM__EXIT_OUT_OF_MEMORY ? code : left_out;
        code = code == PM__EXIT_OUT_OF_MEMORY ? 0 : code;
    }
    take_out(curves, first);
    return code ? code : left_out;
}

void pm__curves_finish(pm__curves *curves) {
    free(curves->points);
    *curves = (pm__curves){.kind = PM__SWEEP_NONE};
}
