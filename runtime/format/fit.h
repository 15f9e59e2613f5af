/* fit.h: the search for scales: which multiples of a number, perhaps on top of an offset, come
 * nearest to a group of numbers. */
#ifndef PM_FORMAT_FIT_H
#define PM_FORMAT_FIT_H

#include "quant.h"

enum { PM__FIT_MOST = 256 /* elements of a group, a multiple of 16 */ };

/* The levels that a type has: whole numbers from low to high, or 16 of a table. */
typedef struct pm__levels {
    float low, high;
    const int8_t *table; /* ascending; NULL: whole numbers */
} pm__levels;

/* Numbers to be fitted with their weights. */
typedef struct pm__group {
    const float *x, *weight;
    uint32_t n;
} pm__group;

/* The level nearest to each x * inverse + offset.
 * level  out, [n] */
void pm__fit_round(const pm__levels *levels, const float *x, uint32_t n, float inverse,
                   float offset, float *level);

/* The scale whose multiples by levels fit best; 0 if all numbers are 0. */
float pm__fit_scale(const pm__group *group, const pm__levels *levels);
/* Scale and offset (0 or below if `below` is set) that fit best. Levels are whole and begin at
 * 0. */
void pm__fit_affine(const pm__group *group, const pm__levels *levels, bool below, float *scale,
                    float *offset);
/* With a scale and an offset that are given.
 * level   out, [n]; all 0, or the one nearest to it, where the scale is 0
 * return  the weighted sum of squared errors */
float pm__fit_error(const pm__group *group, const pm__levels *levels, float scale, float offset,
                    float *level);

/* The binary16 nearest to a finite x that is finite too. */
uint16_t pm__fit_half(float x);

#endif
