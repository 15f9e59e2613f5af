#include "kernels.h"

#include "tuning.h"

#include <string.h>

/* All whose x is what the operation has it be: products of blocks have kernels of their own, and
 * are not made where those cannot be used. */
static bool takes_any(const pm__node *node) {
    return node->op != PM__OP_MATMUL || !node->params.matmul.dot8;
}

/* Neither normed nor gated. */
static bool takes_plain_product(const pm__node *node) {
    return takes_any(node) && !node->params.matmul.normed && !node->params.matmul.gated;
}

/* Of blocks, with a type whose weights are levels times a scale. */
static bool takes_dot8(const pm__node *node) {
    return node->params.matmul.dot8 && pm__type_has_levels(node->in[1]->type);
}

static bool takes_plain_dot8(const pm__node *node) {
    return takes_dot8(node) && !node->params.matmul.gated;
}

/* For products of factors of 16 bits: F32 weights would lose. */
static bool takes_half_weights(const pm__node *node) {
    return strcmp(pm__type_get(node->in[1]->type)->planes, "F32") != 0;
}

static bool takes_half_product(const pm__node *node) {
    return takes_plain_product(node) && takes_half_weights(node);
}

/* Heads begin where chunks of the caches do. */
static bool has_whole_heads(const pm__node *node) {
    return node->params.attention.head_dim % 8 == 0 && node->params.attention.head_dim_v % 8 == 0;
}

/* An invocation holds sums of columns. */
static bool takes_whole_heads(const pm__node *node) {
    return has_whole_heads(node) && node->params.attention.head_dim_v <= 512;
}

/* A workgroup holds a page of keys or values. */
static bool takes_unit_heads(const pm__node *node) {
    return has_whole_heads(node) && node->params.attention.head_dim <= 256 &&
           node->params.attention.head_dim_v <= 256;
}

/* An invocation holds a query and its sums. */
static bool takes_narrow_heads(const pm__node *node) {
    return has_whole_heads(node) && node->params.attention.head_dim <= 128 &&
           node->params.attention.head_dim_v <= 128;
}

/* Invocations have slices. */
static bool takes_narrow_slices(const pm__node *node) {
    const uint32_t n = node->params.attention.n_slice;
    return takes_narrow_heads(node) && (n == 1 || n == 2 || n == 4 || n == 8);
}

static const pm__kernel kernels[] = {
#define PM_KERNEL(name, OP, TIER, file, from, workgroup, rows, items, SUITS, takes)                \
    {#name, file,  PM__OP_##OP,       PM__TIER_##TIER, from, workgroup,                            \
     rows,  items, PM__SUITS_##SUITS, takes_##takes,   false},
#define PM_VARIANT(name, OP, TIER, file, from, workgroup, rows, items, SUITS, takes)               \
    {#name, file,  PM__OP_##OP,       PM__TIER_##TIER, from, workgroup,                            \
     rows,  items, PM__SUITS_##SUITS, takes_##takes,   true},
#include "../../shaders/kernels.def"
#undef PM_KERNEL
#undef PM_VARIANT
};

const pm__kernel *pm__kernel_table(size_t *n) {
    *n = PM__COUNT(kernels);
    return kernels;
}

int pm__kernel_find(const char *name) {
    for (size_t i = 0; i < PM__COUNT(kernels); i++)
        if (strcmp(kernels[i].name, name) == 0)
            return (int)i;
    return PM__KERNEL_NONE;
}

_Static_assert(PM__COUNT(kernels) <= PM__MOST_KERNELS, "pm__caps.quarantined has one a kernel");

bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op) {
    /* Constants of variants may suit smaller subgroups than the device has. */
    return kernel->op == op && caps->tiers[kernel->tier] &&
           (!kernel->variant || kernel->tier == PM__TIER_PLAIN ||
            kernel->workgroup >= caps->subgroup_max);
}

double pm__kernel_bound(const pm__kernel *kernel, const pm__node *node) {
    const double bound = pm__op_get(node->op)->nmse, half = 1e-5;
    const bool is_half = kernel->tier >= PM__TIER_COOP && kernel->tier != PM__TIER_COOP8;
    return is_half && bound < half ? half : bound;
}

bool pm__kernel_is_at_home(const pm__caps *caps, const pm__kernel *kernel) {
    return kernel->suits == PM__SUITS_ANY ||
           (kernel->suits == PM__SUITS_SOFTWARE) == caps->software;
}

bool pm__kernel_uses_tier(const pm__caps *caps, pm__tier tier) {
    const bool of_integers = tier == PM__TIER_DOT8 || tier == PM__TIER_COOP8;
    if (of_integers && !caps->dot8_accelerated) /* by default (fusing.c) */
        return false;
    for (size_t i = 0; i < PM__COUNT(kernels); i++)
        if (kernels[i].tier == tier && pm__kernel_is_at_home(caps, &kernels[i]))
            return caps->tiers[tier];
    return false;
}

/* One made for other devices comes last, before it one that is best from more rows than there are,
 * and least so the nearest to them. */
static bool is_better(const pm__caps *caps, const pm__kernel *a, const pm__kernel *b,
                      uint32_t n_row) {
    const bool a_home = pm__kernel_is_at_home(caps, a), b_home = pm__kernel_is_at_home(caps, b);
    const bool a_suits = a->from_rows <= n_row, b_suits = b->from_rows <= n_row;
    if (a_home != b_home)
        return a_home;
    if (a_suits != b_suits)
        return a_suits;
    if (a->from_rows != b->from_rows)
        return (a->from_rows > b->from_rows) == a_suits;
    if ((a->suits == PM__SUITS_ANY) != (b->suits == PM__SUITS_ANY))
        return b->suits == PM__SUITS_ANY;
    return a->tier > b->tier;
}

static bool may_take(const pm__caps *caps, size_t i, pm__op op, const pm__node *node) {
    return !caps->quarantined[i] && pm__kernel_fits(caps, &kernels[i], op) &&
           (node == NULL || kernels[i].takes(node));
}

const pm__kernel *pm__kernel_default(const pm__caps *caps, pm__op op, const pm__node *node,
                                     uint32_t n_row) {
    const pm__kernel *best = NULL;
    for (size_t i = 0; i < PM__COUNT(kernels); i++)
        if (!kernels[i].variant && may_take(caps, i, op, node) &&
            (best == NULL || is_better(caps, &kernels[i], best, n_row)))
            best = &kernels[i];
    return best;
}

const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, const pm__node *node,
                                    uint32_t n_row) {
    if (caps->tuning != NULL && caps->tuning->n > 0 && node != NULL) {
        const pm__node_shape shape = pm__node_shape_of(node, n_row);
        const int tuned = pm__tuning_find(caps->tuning, &shape);
        if (tuned >= 0 && may_take(caps, (size_t)tuned, op, node))
            return &kernels[tuned];
    }
    return pm__kernel_default(caps, op, node, n_row);
}
