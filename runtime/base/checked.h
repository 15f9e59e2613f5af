/* checked.h: sizes that come from files are multiplied and added here, never with bare
 * operators. */
#ifndef PM_BASE_CHECKED_H
#define PM_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* These return false on overflow and then leave *out unset. */
static inline bool pm__add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline bool pm__mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* Rounds up to a multiple of `unit` (a power of two). */
static inline bool pm__align_u64(uint64_t a, uint64_t unit, uint64_t *out) {
    if (!pm__add_u64(a, unit - 1, out))
        return false;
    *out &= ~(unit - 1);
    return true;
}

/* On overflow the largest number: a size that no memory has. */
static inline uint64_t pm__add_most_u64(uint64_t a, uint64_t b) {
    uint64_t out;
    return pm__add_u64(a, b, &out) ? out : UINT64_MAX;
}

static inline uint64_t pm__mul_most_u64(uint64_t a, uint64_t b) {
    uint64_t out;
    return pm__mul_u64(a, b, &out) ? out : UINT64_MAX;
}

/* For sums known to be small. */
static inline uint64_t pm__round_up(uint64_t a, uint64_t unit) {
    return (a + unit - 1) / unit * unit;
}

static inline uint32_t pm__ceil_div(uint32_t a, uint32_t b) {
    return a / b + (a % b != 0);
}

static inline uint32_t pm__least_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static inline uint32_t pm__most_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static inline uint64_t pm__most_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static inline uint64_t pm__least_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* For sentences. */
static inline double pm__mib(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024.0);
}

#endif
