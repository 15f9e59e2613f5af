#include "curves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 0.2;

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

static double x_of(pm__sweep kind, const pm__bench_case *what) {
    return kind == PM__SWEEP_BATCH   ? what->n_answer
           : kind == PM__SWEEP_DEPTH ? what->n_depth
                                     : what->n_ubatch;
}

/* What a series has in common: the model, where it runs, and what is not on the axis. */
static void name_series(pm__sweep kind, const pm__bench_row *row, char out[PM__LABEL_SIZE]) {
    char test[48] = "";
    const pm__bench_case *what = &row->what;
    if (kind == PM__SWEEP_UBATCH)
        snprintf(test, sizeof test, "pp%" PRIu32, what->n_prompt);
    else
        snprintf(test, sizeof test, what->n_gen > 0 ? "tg%" PRIu32 : "pp%" PRIu32,
                 what->n_gen > 0 ? what->n_gen : what->n_prompt);
    snprintf(out, PM__LABEL_SIZE, "%.80s %.40s, %.10s/%.10s, %.40s", row->model->type, test,
             what->type_k, what->type_v, row->place->device);
}

static uint32_t find_series(pm__curves *curves, const pm__bench_row *row) {
    char label[PM__LABEL_SIZE];
    name_series(curves->kind, row, label);
    for (uint32_t i = 0; i < curves->n_series; i++)
        if (strcmp(curves->labels[i], label) == 0)
            return i;
    if (curves->n_series < PM__MOST_SERIES)
        memcpy(curves->labels[curves->n_series++], label, sizeof label);
    else
        return PM__MOST_SERIES;
    return curves->n_series - 1;
}

/* The last point of a series before `end`; NULL: none. */
static const pm__point *before(const pm__curves *curves, const pm__point *end, uint32_t series) {
    while (end-- > curves->points)
        if (end->series == series)
            return end;
    return NULL;
}

/* Rates between which a point may lie. */
static void expect(const pm__curves *curves, const pm__point *now, const pm__point *last,
                   double range[2]) {
    range[0] = last->y;
    range[1] = last->y * now->x / last->x;
    if (curves->kind != PM__SWEEP_DEPTH)
        return;
    range[1] = last->y;
    const pm__point *first = before(curves, last, now->series);
    if (first && last->x > first->x) {
        const double slope = (1 / last->y - 1 / first->y) / (last->x - first->x);
        const double time = 1 / last->y + slope * (now->x - last->x);
        range[0] = time > 0 && 1 / time < range[0] ? 1 / time : range[0];
    }
}

static void judge(pm__curves *curves, pm__point *now, pm__bench_row *row) {
    const pm__point *last = before(curves, now, now->series);
    double range[2];
    if (!last || now->x <= last->x)
        return;
    expect(curves, now, last, range);
    const bool slower = now->y < range[0] * (1 - TOLERANCE);
    const bool faster = now->y > range[1] * (1 + TOLERANCE);
    if (!slower && !faster)
        return;
    const double ratio = slower ? 100 - 100 * now->y / range[0] : 100 * now->y / range[1] - 100;
    now->cliff = true;
    curves->n_cliff++;
    snprintf(row->cliff, sizeof row->cliff, "%.0f %% %s than at %.0f", ratio,
             slower ? "slower" : "faster", last->x);
}

int pm__curves_take(pm__curves *curves, pm__bench_row *row) {
    const uint32_t series = find_series(curves, row);
    if (series == PM__MOST_SERIES)
        return 0;
    if (curves->n == curves->capacity) {
        const size_t capacity = curves->capacity ? 2 * curves->capacity : 64;
        pm__point *points = realloc(curves->points, capacity * sizeof *points);
        if (!points)
            return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "bench: no memory for %zu points",
                                 capacity);
        curves->points = points;
        curves->capacity = capacity;
    }
    pm__point *point = &curves->points[curves->n++];
    *point = (pm__point){.x = x_of(curves->kind, &row->what),
                         .y = row->avg_ts,
                         .deviation = row->stddev_ts,
                         .series = series};
    judge(curves, point, row);
    return 0;
}

void pm__curves_finish(pm__curves *curves) {
    free(curves->points);
    *curves = (pm__curves){.kind = PM__SWEEP_NONE};
}
