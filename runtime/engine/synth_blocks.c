/* synth_blocks.c: random blocks of any type. */
#include "synth.h"

#include "../base/checked.h"
#include "../format/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_GROUP = 32, POOL_ELEMENTS = 1 << 16 };

/* source  splitmix64, https://prng.di.unimi.it/splitmix64.c */
static uint64_t draw(uint64_t *state) {
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

float pm__synth_normal(uint64_t *state) {
    /* The sum of 12 numbers from [0, 1) less 6: integers alone, so the same bits everywhere. */
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 3; i++)
        for (uint64_t x = draw(state), k = 0; k < 4; k++, x >>= 16)
            sum += (uint32_t)(x & 0xffff);
    return (float)((int32_t)sum - 6 * 65536) / 65536.0f;
}

static void quantise(pm__synth_pool *pool, uint8_t *group, float spread) {
    float x[256];
    for (uint32_t i = 0; i < pool->group_n; i++)
        x[i] = pm__synth_normal(&pool->state) * spread;
    pm__type_quantize(pool->type, x, NULL, pool->group_n, group);
}

static void scale_group(const pm__synth_pool *pool, uint8_t *group, float scale) {
    const pm__type_info *info = pm__type_get(pool->type);
    for (uint32_t i = 0; i < pool->group_n / info->block_n; i++)
        pm__type_put_scale(pool->type, scale, group + i * info->block_bytes);
}

/* Any bytes are a block, but for its scales; what one scale comes to is measured. */
static void roll(pm__synth_pool *pool, float spread) {
    double squares = 0.0;
    for (uint32_t g = 0; g < pool->n; g++) {
        uint8_t *group = pool->groups + (size_t)g * pool->group_bytes;
        float x[256];
        for (uint32_t i = 0; i < pool->group_bytes; i++)
            group[i] = (uint8_t)draw(&pool->state);
        scale_group(pool, group, 1.0f);
        pm__type_decode(pool->type, group, pool->group_n, x);
        for (uint32_t i = 0; i < pool->group_n; i++)
            squares += (double)x[i] * (double)x[i];
    }
    const float unit = (float)sqrt(squares / (double)pool->n / pool->group_n);
    for (uint32_t g = 0; g < pool->n; g++) {
        /* Half of the blocks with the other sign keep the mean near 0 where levels are not. */
        const float sign = g % 2 == 0 ? 1.0f : -1.0f;
        scale_group(pool, pool->groups + (size_t)g * pool->group_bytes,
                    sign * spread / (unit > 0.0f ? unit : 1.0f));
    }
}

pm_status pm__synth_pool_init(pm__synth_pool *pool, pm__type type, float spread, uint64_t seed) {
    const pm__type_info *info = pm__type_get(type);
    *pool = (pm__synth_pool){.type = type, .state = seed};
    pool->group_n = pm__most_u32(info->block_n, LEAST_GROUP);
    pool->group_bytes = pool->group_n / info->block_n * info->block_bytes;
    pool->n = POOL_ELEMENTS / pool->group_n;
    pool->groups = malloc((size_t)pool->n * pool->group_bytes);
    if (pool->groups == NULL)
        return pm__fail_memory("synth: blocks", (size_t)pool->n * pool->group_bytes);
    if (!pm__type_can_quantize(type))
        roll(pool, spread);
    for (uint32_t g = 0; pm__type_can_quantize(type) && g < pool->n; g++)
        quantise(pool, pool->groups + (size_t)g * pool->group_bytes, spread);
    return PM_OK;
}

void pm__synth_pool_finish(pm__synth_pool *pool) {
    free(pool->groups);
    *pool = (pm__synth_pool){.groups = NULL};
}

void pm__synth_pool_draw(pm__synth_pool *pool, uint64_t n, uint8_t *out) {
    uint64_t random = 0;
    for (uint64_t i = 0; i < n; i++, random >>= 16) {
        if (i % 4 == 0)
            random = draw(&pool->state);
        const size_t at = (size_t)(random & 0xffff) & (pool->n - 1);
        memcpy(out, pool->groups + at * pool->group_bytes, pool->group_bytes);
        out += pool->group_bytes;
    }
}
