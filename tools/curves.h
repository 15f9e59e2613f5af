/* curves.h: the curves of `pumice bench --sweep`: in which order their points are measured, where
 * they break off, and how they are drawn. */
#ifndef PM_TOOLS_CURVES_H
#define PM_TOOLS_CURVES_H

#include "bench.h"

typedef enum pm__sweep {
    PM__SWEEP_NONE,
    PM__SWEEP_BATCH, /* answers at once */
    PM__SWEEP_DEPTH, /* tokens in the context */
    PM__SWEEP_UBATCH /* prompt tokens of a step */
} pm__sweep;

enum {
    PM__MOST_SERIES = 64,
    PM__LABEL_SIZE = 192,
    PM__TURNS = 3 /* in which suspects are measured again, up to twice */
};

typedef struct pm__point {
    double x, best, worst; /* rates in tokens a second; 0: not measured */
    uint32_t series;
    size_t test;                 /* what is measured there: the caller's number */
    bool judged, slower, faster; /* by turns */
    char cliff[64];              /* "24 % slower than at 8"; "" */
} pm__point;

typedef struct pm__curves {
    pm__sweep kind;
    pm__point *points; /* [n]; measured ones in the order of series and x */
    size_t n, capacity;
    char labels[PM__MOST_SERIES][PM__LABEL_SIZE];
    uint32_t n_series;
} pm__curves;

/* Measures once. again: a suspect. Gives an exit code. */
typedef int (*pm__measure_fn)(void *user, size_t test, bool again, double *rate);

bool pm__sweep_find(const char *name, pm__sweep *out);
/* Where a case lies on the axis. */
double pm__sweep_x(pm__sweep kind, const pm__bench_case *what);
/* A point of the series with that label, to be measured. OUT_OF_MEMORY, ARGUMENT (too many series)
 * or 0. */
int pm__curves_add(pm__curves *curves, const char *label, double x, size_t test);
/* Measures the points from `first` on, series by series: in n_round rounds over all points of a
 * series, there and back, so that a machine that is slower for a while is so for all of them. A
 * point is a suspect if its best rate is more than a fifth away from what its neighbours suggest:
 * batch, ubatch  more rows in a step give as many tokens a second at least, and at most as many
 *                more as there are more rows
 * depth          time a token grows as it did between the two points before, or, for the second
 *                point, as it does after it
 * Suspect and neighbours are then measured again by turns, PM__TURNS times; where the best of these
 * say the same, and those of as many turns more, and those of all runs, that is a cliff.
 * A point that runs out of memory ends its series, and gives the code at the end; another code ends
 * all. Points that were not measured are taken out. */
int pm__curves_measure(pm__curves *curves, size_t first, uint32_t n_round, pm__measure_fn measure,
                       void *user);
void pm__curves_finish(pm__curves *curves);

/* plot.c: an SVG picture of them, for light and dark. False: it could not be written. */
bool pm__plot_write(const pm__curves *curves, FILE *to);

#endif
