/* test_sampling.c: the random numbers against published vectors; the sampler against one that
 * sorts, and its draws against the probabilities they are meant to have.
 * ctest: quick */
#include "cpu/cpu.h"
#include "graph/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- random numbers and hashes --------------------------------------------------------------- */

/* source  kat_vectors of Random123, doi 10.1145/2063384.2063405 */
static void test_philox_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        uint32_t block[4];
        memcpy(block, cases[i].counter, sizeof block);
        pm__philox_block(block, cases[i].key[0], cases[i].key[1]);
        assert_memory_equal(block, cases[i].expected, sizeof block);
    }
    uint32_t block[4] = {77, 0, 0, 0};
    pm__philox_block(block, 5, 9);
    assert_int_equal(pm__philox(77, 5, 9), block[0]);
}

/* The published inverse of lowbias32 undoes it. */
static void test_hash32(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        const uint32_t x = i * 2654435761u;
        uint32_t y = pm__hash32(x);
        y ^= y >> 16;
        y *= 0x43021123u;
        y ^= y >> 15 ^ y >> 30;
        y *= 0x1d69e2a5u;
        y ^= y >> 16;
        assert_int_equal(y, x);
    }
}

static void test_float_key(void **state) {
    (void)state;
    static const float ascending[] = {-INFINITY, -3e38f, -2.0f, -1.5f, -1e-45f, -0.0f, 0.0f,
                                      1e-45f,    1e-38f, 1.0f,  1.5f,  2.0f,    3e38f, INFINITY};
    for (size_t i = 1; i < PM__COUNT(ascending); i++)
        assert_true(pm__float_key(ascending[i - 1]) < pm__float_key(ascending[i]));
    assert_int_equal(pm__float_key(NAN), pm__float_key(-INFINITY));
    assert_int_equal(pm__float_key(-NAN), pm__float_key(-INFINITY));
}

/* ---- one draw -------------------------------------------------------------------------------- */

enum { MOST_VOCAB = 2048, N_CTX = 32768 };

static const struct pm_step_sampler plain = {
    .temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed_lo = 12, .seed_hi = 34};

/* One row of logits at a position of sequence 1. */
typedef struct scene {
    float logits[MOST_VOCAB];
    uint32_t n_vocab, pos;
    struct pm_step_sampler sampler;
    uint32_t history[N_CTX];
} scene;

static scene the_scene; /* too large for a stack */

static struct pm_step_drawn run(const scene *s) {
    static uint32_t history[2 * N_CTX];
    memcpy(history + N_CTX, s->history, sizeof s->history);
    const pm__tensor logits = {
        .kind = PM__ACTIVATION, .type = PM__TYPE_F32, .rows = PM__ROWS_OUT, .n_col = s->n_vocab};
    const pm__tensor step = {.kind = PM__STEP, .rows = PM__ROWS_OUT, .n_col = 4};
    const pm__node node = {
        .op = PM__OP_SAMPLE, .in = {&logits, &step, &step, &step, &step}, .out = &step};
    struct {
        struct pm_step_head head;
        struct pm_step_row rows[2];
    } rows = {{.n_row = 2, .n_out = 1, .step = 9, .n_sample = 1}, {{0}, {.seq = 1, .pos = s->pos}}};
    const uint32_t outs[1] = {1};
    const struct pm_step_sampler samplers[2] = {plain, s->sampler};
    const pm__limits limits = {.n_ctx = N_CTX, .n_batch = 2, .n_out = 1, .n_seq = 2};
    struct pm_step_drawn drawn = {0};
    const pm__cpu_args args = {.in = {s->logits, &rows, outs, history, samplers},
                               .out = &drawn,
                               .n_row = 2,
                               .n_out = 1,
                               .limits = &limits};
    pm__cpu_run_node(&node, &args);
    assert_int_equal(drawn.step, 9);
    assert_int_equal(drawn.row, 1);
    assert_true(drawn.token < s->n_vocab);
    return drawn;
}

/* ---- against sorting ------------------------------------------------------------------------- */

static int downwards(const void *pa, const void *pb) {
    const float a = *(const float *)pa, b = *(const float *)pb;
    return (a < b) - (a > b);
}

static void naive_penalties(const scene *s, float *l) {
    static uint32_t counts[MOST_VOCAB];
    memset(counts, 0, sizeof counts);
    uint32_t n = s->sampler.repeat_last_n;
    for (uint32_t pos = s->pos; n > 0; n--) {
        counts[s->history[pos]]++;
        if (pos-- == 0)
            break;
    }
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        l[i] = s->logits[i];
        if (counts[i] > 0 && l[i] > 0)
            l[i] /= s->sampler.repeat_penalty;
        else if (counts[i] > 0)
            l[i] *= s->sampler.repeat_penalty;
        if (counts[i] > 0)
            l[i] -= (float)counts[i] * s->sampler.frequency_penalty + s->sampler.presence_penalty;
    }
}

static uint32_t naive_weight(const scene *s, float l, float max, float temperature) {
    uint32_t unit = 1u << 31;
    for (uint32_t n = 1; n < s->n_vocab; n *= 2)
        unit /= 2;
    return (uint32_t)(expf((l - max) / temperature) * (float)unit);
}

/* The lowest logit that top_k and top_p keep; sorted  [n_vocab], downwards. */
static float naive_bound(const scene *s, const float *sorted) {
    const uint32_t n = s->n_vocab;
    float bound = -INFINITY;
    if (s->sampler.top_k > 0 && s->sampler.top_k < n)
        bound = sorted[s->sampler.top_k - 1];
    if (s->sampler.top_p >= 1)
        return bound;
    uint64_t all = 0, sum = 0;
    for (uint32_t i = 0; i < n && sorted[i] >= bound; i++)
        all += naive_weight(s, sorted[i], sorted[0], 1);
    uint64_t need = (uint64_t)(s->sampler.top_p * 16777216.0f) * all / 16777216;
    if (need == 0)
        need = 1;
    for (uint32_t i = 0; i < n; i++) {
        sum += naive_weight(s, sorted[i], sorted[0], 1);
        if (sum >= need)
            return sorted[i];
    }
    return bound;
}

static uint32_t naive(const scene *s) {
    static float l[MOST_VOCAB], sorted[MOST_VOCAB];
    naive_penalties(s, l);
    memcpy(sorted, l, sizeof sorted);
    qsort(sorted, s->n_vocab, sizeof sorted[0], downwards);
    const float max = sorted[0];
    if (s->sampler.temperature == 0)
        for (uint32_t i = 0;; i++)
            if (l[i] == max)
                return i;
    const float bound = naive_bound(s, sorted);
    const float least = s->sampler.min_p > 0 ? max + logf(s->sampler.min_p) : -INFINITY;
    uint64_t all = 0, sum = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (l[i] >= bound && l[i] >= least)
            all += naive_weight(s, l[i], max, s->sampler.temperature);
    const uint64_t random = pm__philox(s->pos, s->sampler.seed_lo, s->sampler.seed_hi);
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (l[i] >= bound && l[i] >= least)
            sum += naive_weight(s, l[i], max, s->sampler.temperature);
        if (sum > random * all / 4294967296)
            return i;
    }
    return UINT32_MAX;
}

static uint32_t next(uint32_t *counter, uint32_t n) {
    return pm__philox((*counter)++, 1, 2) % n;
}

#define PICK(counter, list) (list)[next(counter, (uint32_t)PM__COUNT(list))]

static void random_scene(scene *s, uint32_t seed) {
    static const uint32_t vocabularies[] = {1, 2, 7, 105, 512, 2048};
    static const float temperatures[] = {0, 0.3f, 0.8f, 1, 1.7f},
                       top_ps[] = {1, 0, 0.3f, 0.9f, 0.95f}, min_ps[] = {0, 0, 0.05f, 0.5f, 1},
                       repeats[] = {1, 1.1f, 1.5f}, fines[] = {0, 0, 0.4f};
    static const uint32_t top_ks[] = {0, 1, 3, 40, 5000}, windows[] = {0, 1, 5, 64, 1024};
    uint32_t c = seed * 65536;
    s->n_vocab = PICK(&c, vocabularies);
    s->pos = next(&c, 1500);
    const bool ties = next(&c, 3) == 0, flat = next(&c, 4) == 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        float l = 0;
        for (int k = 0; k < 4; k++)
            l += (float)next(&c, 4096) / 1024.0f - 2.0f;
        l = flat ? l * 0.01f : l * 2.0f;
        s->logits[i] = next(&c, 40) == 0   ? -INFINITY
                       : next(&c, 97) == 0 ? l * 20
                       : ties              ? roundf(l) + 0.0f /* keys of +0 and -0 differ */
                                           : l;
    }
    s->logits[next(&c, s->n_vocab)] = 3.25f; /* one at least is finite */
    for (uint32_t i = 0; i <= s->pos; i++)
        s->history[i] = next(&c, s->n_vocab);
    s->sampler = (struct pm_step_sampler){.temperature = PICK(&c, temperatures),
                                          .top_k = PICK(&c, top_ks),
                                          .top_p = PICK(&c, top_ps),
                                          .min_p = PICK(&c, min_ps),
                                          .repeat_penalty = PICK(&c, repeats),
                                          .presence_penalty = PICK(&c, fines),
                                          .frequency_penalty = PICK(&c, fines),
                                          .repeat_last_n = PICK(&c, windows),
                                          .seed_lo = seed,
                                          .seed_hi = ~seed};
}

static void test_against_sorting(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < 1500; seed++) {
        random_scene(&the_scene, seed);
        const uint32_t mine = run(&the_scene).token, theirs = naive(&the_scene);
        if (mine != theirs)
            fail_msg("seed %u: token %u, by sorting %u", seed, mine, theirs);
    }
}

/* ---- distributions --------------------------------------------------------------------------- */

/* Chi-square of n draws at positions 0..n-1 against probabilities; degrees: tokens that can be
 * drawn, less one. */
static double chi_square(scene *s, const double *p, uint32_t n, uint32_t *degrees) {
    uint32_t counts[MOST_VOCAB] = {0};
    for (s->pos = 0; s->pos < n; s->pos++)
        counts[run(s).token]++;
    double sum = 0;
    *degrees = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (p[i] == 0) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        sum += pow(counts[i] - n * p[i], 2) / (n * p[i]);
        ++*degrees;
    }
    --*degrees;
    return sum;
}

/* Probabilities of the tokens in `kept` (a bit each) at a temperature, in double. */
static void expect(const scene *s, uint32_t kept, double *p) {
    double sum = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        p[i] = kept >> i & 1 ? exp((double)s->logits[i] / (double)s->sampler.temperature) : 0;
        sum += p[i];
    }
    for (uint32_t i = 0; i < s->n_vocab; i++)
        p[i] /= sum;
}

static void test_distributions(void **state) {
    (void)state;
    static const float logits[11] = {0.0f,  1.0f, -0.5f, 2.0f, 1.9f, 0.3f,
                                     -1.0f, 1.0f, 0.2f,  1.5f, -0.2f};
    static const struct {
        float temperature, top_p, min_p;
        uint32_t top_k, kept;
    } cases[] = {
        {1.0f, 1, 0, 0, 0x7ff}, /* all */
        {0.5f, 1, 0, 0, 0x7ff},
        {1.5f, 1, 0, 3, 1 << 3 | 1 << 4 | 1 << 9},
        {1.0f, 1, 0, 4, 1 << 3 | 1 << 4 | 1 << 9 | 1 << 1 | 1 << 7}, /* a tie at the end stays */
        {0.8f, 0.5f, 0, 0, 1 << 3 | 1 << 4 | 1 << 9}, /* 0.245 + 0.222 + 0.149 of the whole */
        {1.0f, 1, 0.5f, 0, 1 << 3 | 1 << 4 | 1 << 9}, /* above 2 - 0.69 */
    };
    scene *s = &the_scene;
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        s->n_vocab = PM__COUNT(logits);
        memcpy(s->logits, logits, sizeof logits);
        s->sampler = plain;
        s->sampler.temperature = cases[i].temperature;
        s->sampler.top_k = cases[i].top_k;
        s->sampler.top_p = cases[i].top_p;
        s->sampler.min_p = cases[i].min_p;
        double p[MOST_VOCAB];
        expect(s, cases[i].kept, p);
        uint32_t degrees;
        const double x = chi_square(s, p, 20000, &degrees);
        /* Wilson and Hilferty: the cube root of x / degrees is nearly normal; four deviations are
         * one in 30,000. */
        const double d = 2.0 / (9.0 * degrees);
        const double deviations = (cbrt(x / degrees) - (1 - d)) / sqrt(d);
        printf("case %zu: chi-square %.1f of %u degrees, %.1f deviations\n", i, x, degrees,
               deviations);
        assert_true(fabs(deviations) < 4);
    }
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void set_logits(scene *s, const float *logits, uint32_t n) {
    s->n_vocab = n;
    s->pos = 3;
    s->sampler = plain;
    memcpy(s->logits, logits, n * sizeof logits[0]);
}

static void test_greedy(void **state) {
    (void)state;
    scene *s = &the_scene;
    set_logits(s, (const float[]){-1, 5, 2, 5, 5}, 5);
    s->sampler.temperature = 0;
    assert_int_equal(run(s).token, 1);
    set_logits(s, (const float[]){NAN, -7, -INFINITY, -2}, 4);
    s->sampler.temperature = 0;
    assert_int_equal(run(s).token, 3);
    set_logits(s, (const float[]){-INFINITY, NAN, -INFINITY}, 3);
    assert_int_equal(run(s).token, 0);
    set_logits(s, (const float[]){1, 2, INFINITY, 4}, 4);
    assert_int_equal(run(s).token, 2);
}

/* A token without weight is never drawn, not even when the random number is the smallest. */
static void test_smallest_random(void **state) {
    (void)state;
    scene *s = &the_scene;
    static float logits[MOST_VOCAB];
    for (uint32_t i = 0; i < MOST_VOCAB; i++)
        logits[i] = i == 5 ? 0.5f : -200.0f;
    set_logits(s, logits, MOST_VOCAB);
    /* Weights are cut to 2^20 here, so a number below 2^12 gives 0. */
    while (pm__philox(s->pos, s->sampler.seed_lo, s->sampler.seed_hi) >= 1u << 12)
        s->sampler.seed_lo++;
    assert_int_equal(run(s).token, 5);
}

/* The window is the last n positions, the row's own among them. */
static void test_penalty_window(void **state) {
    (void)state;
    scene *s = &the_scene;
    static const uint32_t history[] = {0, 1, 1, 2};
    static const struct {
        uint32_t last_n, expected;
    } cases[] = {{0, 2}, {1, 1}, {2, 0}, {3, 0}, {4, 3}, {1000, 3}};
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        set_logits(s, (const float[]){2.0f, 2.2f, 2.5f, 1.0f}, 4);
        memcpy(s->history, history, sizeof history);
        s->sampler.temperature = 0;
        s->sampler.presence_penalty = 2;
        s->sampler.repeat_last_n = cases[i].last_n;
        assert_int_equal(run(s).token, cases[i].expected);
    }
}

/* The hash is of the logits alone, and every place counts. */
static void test_logits_hash(void **state) {
    (void)state;
    scene *s = &the_scene;
    set_logits(s, (const float[]){1, 2, 3}, 3);
    const uint32_t hash = run(s).logits_hash;
    s->sampler.repeat_last_n = 64;
    s->sampler.repeat_penalty = 2;
    s->sampler.temperature = 0;
    assert_int_equal(run(s).logits_hash, hash);
    uint32_t expected = 0;
    static const uint32_t bits[] = {0x3f800000, 0x40000000, 0x40400000};
    for (uint32_t i = 0; i < 3; i++)
        expected += pm__hash32(bits[i] ^ pm__hash32(i));
    assert_int_equal(hash, expected);
    set_logits(s, (const float[]){1, 3, 2}, 3);
    assert_int_not_equal(run(s).logits_hash, hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_vectors),  cmocka_unit_test(test_hash32),
        cmocka_unit_test(test_float_key),       cmocka_unit_test(test_against_sorting),
        cmocka_unit_test(test_distributions),   cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_penalty_window),  cmocka_unit_test(test_logits_hash),
        cmocka_unit_test(test_smallest_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
