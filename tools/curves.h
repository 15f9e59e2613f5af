/* curves.h: what `pumice bench --sweep` measures, point by point; where a curve breaks off; and how it
 * is drawn. */
#ifndef PM_TOOLS_CURVES_H
#define PM_TOOLS_CURVES_H

#include "bench.h"

typedef enum pm__sweep {
    PM__SWEEP_NONE,
    PM__SWEEP_BATCH, /* answers at once */
    PM__SWEEP_DEPTH, /* tokens in the context */
    PM__SWEEP_UBATCH /* prompt tokens of a step */
} pm__sweep;

enum { PM__MOST_SERIES = 8, PM__LABEL_SIZE = 192 };

typedef struct pm__point {
    double x, y, deviation; /* y in tokens a second */
    uint32_t series;
    bool cliff;
} pm__point;

typedef struct pm__curves {
    pm__sweep kind;
    pm__point *points; /* [n] in the order of x within a series */
    size_t n, capacity;
    char labels[PM__MOST_SERIES][PM__LABEL_SIZE];
    uint32_t n_series;
    uint32_t n_cliff;
} pm__curves;

bool pm__sweep_find(const char *name, pm__sweep *out);
/* Adds a row as the next point of its series, and says in row->cliff if it is more than a fifth away
 * from what its neighbours let one expect:
 * batch, ubatch  more rows in a step give as many tokens a second at least, and at most as many more
 *                as there are more rows
 * depth          time a token grows as it did between the two points before
 * A row beyond the most series is left out. OUT_OF_MEMORY, or 0. */
int pm__curves_take(pm__curves *curves, pm__bench_row *row);
void pm__curves_finish(pm__curves *curves);

/* plot.c: an SVG picture of them, for light and dark. False: it could not be written. */
bool pm__plot_write(const pm__curves *curves, FILE *to);

#endif
