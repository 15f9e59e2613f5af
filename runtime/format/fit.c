#include "fit.h"

#include "../base/checked.h"

#include <math.h>

/* Loops are written so that a compiler can make vectors of them: no calls, few branches. */

enum { N_TRY = 16, N_REFINE = 2 };

/* Of |x| < 2^22, ties to even. */
static inline float nearest(float x) {
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static void round_whole(const pm__levels *levels, const float *x, uint32_t n, float inverse,
                        float offset, float *level) {
    const float low = levels->low, high = levels->high;
    for (uint32_t i = 0; i < n; i++) {
        float t = x[i] * inverse + offset;
        t = t < low ? low : t;
        t = t > high ? high : t;
        level[i] = nearest(t);
    }
}

/* Counts the middles between entries that are passed. */
static void round_table(const pm__levels *levels, const float *x, uint32_t n, float inverse,
                        float offset, float *level) {
    enum { GROUP = 16 };
    for (uint32_t first = 0; first < n; first += GROUP) {
        float t[GROUP], sum[GROUP];
        for (uint32_t i = 0; i < GROUP; i++) {
            t[i] = x[first + i] * inverse + offset;
            sum[i] = levels->table[0];
        }
        for (uint32_t k = 1; k < 16; k++) {
            const float step = (float)(levels->table[k] - levels->table[k - 1]);
            const float middle = (float)(levels->table[k] + levels->table[k - 1]) / 2;
            for (uint32_t i = 0; i < GROUP; i++)
                sum[i] += t[i] > middle ? step : 0.0f;
        }
        for (uint32_t i = 0; i < GROUP; i++)
            level[first + i] = sum[i];
    }
}

void pm__fit_round(const pm__levels *levels, const float *x, uint32_t n, float inverse,
                   float offset, float *level) {
    if (levels->table != NULL)
        round_table(levels, x, n, inverse, offset, level);
    else
        round_whole(levels, x, n, inverse, offset, level);
}

static float error_of(const pm__group *g, float scale, float offset, const float *level) {
    float sum = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        const float d = g->x[i] - scale * level[i] - offset;
        sum += g->weight[i] * d * d;
    }
    return sum;
}

float pm__fit_error(const pm__group *g, const pm__levels *levels, float scale, float offset,
                    float *level) {
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    if (isfinite(inverse))
        pm__fit_round(levels, g->x, g->n, inverse, -offset * inverse, level);
    else /* so small that multiples of it are nothing beside the offset */
        pm__fit_round(levels, g->x, g->n, 0, 0, level);
    return error_of(g, scale, offset, level);
}

static float extreme_of(const pm__group *g) {
    float extreme = 0;
    for (uint32_t i = 0; i < g->n; i++)
        extreme = fabsf(g->x[i]) > fabsf(extreme) ? g->x[i] : extreme;
    return extreme;
}

/* ---- a scale --------------------------------------------------------------------------------- */

typedef struct best_scale {
    float scale, error;
} best_scale;

/* The best scale for the levels that multiples of `scale` give. */
static float try_scale(const pm__group *g, const pm__levels *levels, float scale,
                       best_scale *best) {
    float level[PM__FIT_MOST], xl = 0, ll = 0;
    const float inverse = 1.0f / scale;
    if (!isfinite(inverse))
        return 0;
    pm__fit_round(levels, g->x, g->n, inverse, 0, level);
    for (uint32_t i = 0; i < g->n; i++) {
        xl += g->weight[i] * g->x[i] * level[i];
        ll += g->weight[i] * level[i] * level[i];
    }
    if (!(ll > 0))
        return 0;
    const float fitted = xl / ll, error = error_of(g, fitted, 0, level);
    if (error < best->error)
        *best = (best_scale){fitted, error};
    return fitted;
}

/* Lets the extreme be a little less, the same as and more than a level at either end. */
float pm__fit_scale(const pm__group *g, const pm__levels *levels) {
    const float extreme = extreme_of(g);
    best_scale best = {0, INFINITY};
    if (extreme == 0.0f)
        return 0;
    const bool two_sided = levels->low != -levels->high;
    for (int side = 0; side < (two_sided ? 2 : 1); side++) {
        const float end = side == 0 ? levels->low : levels->high;
        const float step =
            (end < 0 ? -1.0f : 1.0f) * (levels->table != NULL ? 0.025f * fabsf(end) : 0.2f);
        for (int i = 0; i < N_TRY; i++)
            try_scale(g, levels, extreme / (end + step * ((float)i - 3.5f)), &best);
        try_scale(g, levels, extreme / end, &best);
    }
    float scale = best.scale;
    for (int i = 0; i < N_REFINE && scale != 0.0f; i++)
        scale = try_scale(g, levels, scale, &best);
    return best.scale;
}

/* ---- a scale and an offset ------------------------------------------------------------------- */

typedef struct best_affine {
    float scale, offset, error;
} best_affine;

/* Scale and offset with the least error for given levels. */
static void solve_affine(const pm__group *g, const float *level, bool below, float *scale,
                         float *offset) {
    float w = 0, x = 0, l = 0, xl = 0, ll = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        const float wl = g->weight[i] * level[i];
        w += g->weight[i];
        x += g->weight[i] * g->x[i];
        l += wl;
        xl += wl * g->x[i];
        ll += wl * level[i];
    }
    const float determinant = w * ll - l * l;
    *scale = determinant > 0 ? (w * xl - x * l) / determinant : 0;
    *offset = determinant > 0 ? (ll * x - l * xl) / determinant : x / w;
    if (below && *offset > 0) {
        *offset = 0;
        *scale = ll > 0 ? xl / ll : 0;
    }
}

static void try_affine(const pm__group *g, const pm__levels *levels, bool below, best_affine *at,
                       best_affine *best) {
    float level[PM__FIT_MOST];
    const float inverse = 1.0f / at->scale;
    if (!isfinite(inverse))
        return;
    pm__fit_round(levels, g->x, g->n, inverse, -at->offset * inverse, level);
    solve_affine(g, level, below, &at->scale, &at->offset);
    at->error = error_of(g, at->scale, at->offset, level);
    if (at->error < best->error)
        *best = *at;
}

void pm__fit_affine(const pm__group *g, const pm__levels *levels, bool below, float *scale,
                    float *offset) {
    float least = g->x[0], most = least;
    for (uint32_t i = 0; i < g->n; i++) {
        least = g->x[i] < least ? g->x[i] : least;
        most = g->x[i] > most ? g->x[i] : most;
    }
    if (below && least > 0)
        least = 0;
    best_affine best = {0, least, INFINITY};
    for (int i = 0; i < N_TRY && most > least; i++) {
        const float parts = levels->high + 0.15f * ((float)i - 6.0f);
        best_affine at = {.scale = (most - least) / parts, .offset = least};
        try_affine(g, levels, below, &at, &best);
    }
    best_affine at = best;
    for (int i = 0; i < N_REFINE && at.scale != 0.0f; i++)
        try_affine(g, levels, below, &at, &best);
    *scale = best.scale;
    *offset = best.offset;
}

uint16_t pm__fit_half(float x) {
    const float most = 65504;
    return pm__f32_to_f16(x > most ? most : x < -most ? -most : x);
}
