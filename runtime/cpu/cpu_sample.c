/* cpu_sample.c: drawing tokens, step by step as graph/sampling.h numbers them, and feeding them to
 * the next step. */
#include "cpu_ops.h"

#include "../graph/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One row of logits with penalties laid over it, and the filters in force. */
typedef struct drawing {
    const float *logits; /* [n_vocab], as the model gave them */
    uint32_t n_vocab;
    uint32_t ids[PM_MOST_REPEAT]; /* [n_changed] tokens with a penalty, ascending */
    float values[PM_MOST_REPEAT]; /* and their logits after it */
    uint32_t n_changed;
    float max;
    uint32_t best; /* its lowest id */
    uint32_t least_key;
    float least;
    float unit; /* 2^s */
} drawing;

/* Logit of id after penalties; ids must be asked for in ascending order, with one cursor (0 first)
 * a pass. */
static float value(const drawing *d, uint32_t id, uint32_t *cursor) {
    float l = d->logits[id];
    if (*cursor < d->n_changed && d->ids[*cursor] == id)
        l = d->values[(*cursor)++];
    return isnan(l) ? -INFINITY : l;
}

static int by_id(const void *pa, const void *pb) {
    const uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    return (a > b) - (a < b);
}

/* history  [pos + 1] tokens of the sequence */
static void penalise(drawing *d, const struct pm_step_sampler *sampler, const uint32_t *history,
                     uint32_t pos) {
    const uint32_t most =
        sampler->repeat_last_n < PM_MOST_REPEAT ? sampler->repeat_last_n : PM_MOST_REPEAT;
    const uint32_t n = pos + 1 < most ? pos + 1 : most;
    uint32_t tokens[PM_MOST_REPEAT];
    memcpy(tokens, history + (pos + 1 - n), n * sizeof tokens[0]);
    qsort(tokens, n, sizeof tokens[0], by_id);
    for (uint32_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && tokens[next] == tokens[i];)
            next++;
        if (tokens[i] >= d->n_vocab)
            continue;
        float l = d->logits[tokens[i]];
        l = l > 0 ? l / sampler->repeat_penalty : l * sampler->repeat_penalty;
        l -= (float)(next - i) * sampler->frequency_penalty + sampler->presence_penalty;
        d->ids[d->n_changed] = tokens[i];
        d->values[d->n_changed++] = l;
    }
}

static void find_max(drawing *d) {
    uint32_t cursor = 0, best_key = 0;
    d->max = -INFINITY;
    d->best = 0;
    for (uint32_t id = 0; id < d->n_vocab; id++) {
        const float l = value(d, id, &cursor);
        const uint32_t key = pm__float_key(l);
        if (key > best_key) {
            best_key = key;
            d->best = id;
            d->max = l;
        }
    }
}

static bool kept(const drawing *d, float l) {
    return pm__float_key(l) >= d->least_key && l >= d->least;
}

static uint32_t weight(const drawing *d, float l, float temperature) {
    const float e = l == d->max ? 1.0f : expf((l - d->max) / temperature);
    return (uint32_t)(e * d->unit);
}

/* 1 for top_k, q(l) for top_p. */
static uint32_t measure(const drawing *d, float l, bool by_mass) {
    return by_mass ? weight(d, l, 1.0f) : 1;
}

/* The largest key such that what is kept from it on measures at least `need`: one digit of eight
 * bits a pass. */
static uint32_t find_key(const drawing *d, bool by_mass, uint32_t need) {
    uint32_t prefix = 0;
    uint64_t above = 0; /* measure of keys whose leading digits are larger */
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint64_t bins[256] = {0};
        uint32_t cursor = 0;
        for (uint32_t id = 0; id < d->n_vocab; id++) {
            const float l = value(d, id, &cursor);
            const uint32_t key = pm__float_key(l);
            if (kept(d, l) && ((uint64_t)(key ^ prefix) >> (shift + 8)) == 0)
                bins[key >> shift & 255] += measure(d, l, by_mass);
        }
        uint32_t digit = 255;
        while (digit > 0 && above + bins[digit] < need)
            above += bins[digit--];
        prefix |= digit << shift;
    }
    return prefix;
}

static uint32_t total(const drawing *d, float temperature) {
    uint32_t cursor = 0, sum = 0;
    for (uint32_t id = 0; id < d->n_vocab; id++) {
        const float l = value(d, id, &cursor);
        if (kept(d, l))
            sum += weight(d, l, temperature);
    }
    return sum;
}

static uint32_t draw(drawing *d, const struct pm_step_sampler *sampler, uint32_t pos) {
    find_max(d);
    if (sampler->temperature <= 0 || d->max == -INFINITY)
        return d->best;
    int bits = 0; /* ceil(log2(n_vocab)) */
    while (bits < 31 && (1u << bits) < d->n_vocab)
        bits++;
    d->unit = ldexpf(1.0f, 31 - bits);
    d->least = -INFINITY;
    if (sampler->top_k > 0 && sampler->top_k < d->n_vocab)
        d->least_key = find_key(d, false, sampler->top_k);
    if (sampler->top_p < 1) {
        const uint64_t p = (uint64_t)(fmaxf(sampler->top_p, 0.0f) * 0x1p24f);
        const uint32_t need = (uint32_t)(p * total(d, 1.0f) >> 24);
        d->least_key = find_key(d, true, need > 0 ? need : 1);
    }
    if (sampler->min_p > 0)
        d->least = d->max + logf(fminf(sampler->min_p, 1.0f));
    const uint64_t random = pm__philox(pos, sampler->seed_lo, sampler->seed_hi);
    const uint32_t r = (uint32_t)(random * total(d, sampler->temperature) >> 32);
    uint32_t cursor = 0, sum = 0;
    for (uint32_t id = 0; id < d->n_vocab; id++) {
        const float l = value(d, id, &cursor);
        if (kept(d, l))
            sum += weight(d, l, sampler->temperature);
        if (sum > r)
            return id;
    }
    return d->best;
}

static uint32_t hash_logits(const float *logits, uint32_t n) {
    uint32_t hash = 0;
    for (uint32_t id = 0; id < n; id++) {
        uint32_t bits;
        memcpy(&bits, &logits[id], sizeof bits);
        hash += pm__hash32(bits ^ pm__hash32(id));
    }
    return hash;
}

static struct pm_step_drawn sample_row(const pm__node *node, const pm__cpu_args *args, uint32_t i) {
    const struct pm_step_head *head = args->in[1];
    const uint32_t r = ((const uint32_t *)args->in[2])[i];
    const struct pm_step_row row = pm__cpu_step_rows(args->in[1])[r];
    const uint32_t *history = (const uint32_t *)args->in[3] + (size_t)row.seq * args->limits->n_ctx;
    const struct pm_step_sampler *sampler = (const struct pm_step_sampler *)args->in[4] + row.seq;
    drawing d = {.n_vocab = node->in[0]->n_col};
    d.logits = (const float *)args->in[0] + (size_t)i * d.n_vocab;
    penalise(&d, sampler, history, row.pos);
    return (struct pm_step_drawn){.token = draw(&d, sampler, row.pos),
                                  .logits_hash = hash_logits(d.logits, d.n_vocab),
                                  .step = head->step,
                                  .row = r};
}

void pm__cpu_sample(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const struct pm_step_head *head = args->in[1];
    const uint32_t n = head->n_sample > 0 ? args->n_out : 0;
    struct pm_step_drawn *drawn = args->out;
#pragma omp parallel for num_threads(n_thread) if (n > 1)
    for (uint32_t i = 0; i < n; i++)
        drawn[i] = sample_row(node, args, i);
}

void pm__cpu_advance(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    /* graph.h: inputs 1 to 3 are written as well. */
    struct pm_step_head *head = (struct pm_step_head *)(uintptr_t)args->in[1];
    struct pm_step_row *rows = (struct pm_step_row *)(head + 1);
    uint32_t *history = (uint32_t *)(uintptr_t)args->in[2];
    struct pm_step_drawn *ring = (struct pm_step_drawn *)(uintptr_t)args->in[3];
    const struct pm_step_drawn *drawn = args->in[0];
    if (head->n_sample == 0)
        return;
    ring += (size_t)(head->step % PM_RING) * args->limits->n_out;
    for (uint32_t i = 0; i < args->n_out; i++) {
        const struct pm_step_row row = rows[drawn[i].row];
        ring[i] = drawn[i];
        if (row.pos + 1 < args->limits->n_ctx)
            history[(size_t)row.seq * args->limits->n_ctx + row.pos + 1] = drawn[i].token;
        if (args->n_out == args->n_row)
            rows[i] = (struct pm_step_row){.token = drawn[i].token,
                                           .seq = row.seq,
                                           .pos = row.pos + 1,
                                           .n_pos = row.n_pos + !node->params.advance.keeps_n_pos};
    }
    if (args->n_out == args->n_row)
        head->step++;
}
