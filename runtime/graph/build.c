/* build.c: the life of a graph, what its builder calls share, and those of tokens, matrices and
 * outputs. Every shape is checked in these calls, so executors trust a closed graph. */
#include "blocks.h"
#include "builder.h"

#include "../base/grow.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pm__graph_init(pm__graph *g) {
    *g = (pm__graph){.status = PM_OK};
}

void pm__graph_finish(pm__graph *g) {
    free(g->nodes);
    free(g->activations);
    free(g->caches);
    free(g->states);
    pm__arena_finish(&g->arena);
    pm__graph_init(g);
}

uint64_t pm__graph_bytes(const pm__graph *g) {
    return sizeof *g + pm__arena_bytes(&g->arena) + g->node_capacity * sizeof *g->nodes +
           g->activation_capacity * sizeof *g->activations + g->cache_capacity * sizeof *g->caches +
           g->state_capacity * sizeof *g->states;
}

bool pm__build_fail(pm__graph *g, const char *name, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    g->status =
        pm__fail(PM_FAILURE, "graph: %s%s: %s", g->scope != NULL ? g->scope : "", name, text);
    return false;
}

void pm__graph_scope(pm__graph *g, const char *fmt, ...) {
    if (g->status != PM_OK)
        return;
    char text[64];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const size_t length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    g->scope = pm__arena_string(&g->arena, text, length);
    if (g->scope == NULL)
        g->status = PM_OUT_OF_MEMORY;
}

/* Room for one more in an array of the graph. */
static bool grow(pm__graph *g, void *array, size_t *capacity, uint32_t n, size_t size) {
    const pm_status status = pm__grow("graph", array, capacity, n, size);
    if (status != PM_OK)
        g->status = status;
    return status == PM_OK;
}

const char *pm__build_name(pm__graph *g, const char *name) {
    const char *scope = g->scope != NULL ? g->scope : "";
    const size_t n_scope = strlen(scope), n_name = strlen(name);
    char *out = pm__arena_alloc(&g->arena, n_scope + n_name + 1);
    if (out == NULL) {
        g->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    memcpy(out, scope, n_scope);
    memcpy(out + n_scope, name, n_name);
    return out;
}

static pm__tensor *add_tensor(pm__graph *g, const pm__tensor *like) {
    pm__tensor *t = pm__arena_alloc(&g->arena, sizeof *t);
    if (t == NULL) {
        g->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    *t = *like;
    return t;
}

pm__t pm__build_activation(pm__graph *g, const char *name, pm__row_count rows, uint32_t n_col) {
    if (!grow(g, &g->activations, &g->activation_capacity, g->n_activation, sizeof *g->activations))
        return NULL;
    const pm__tensor tensor = {.name = name,
                               .kind = PM__ACTIVATION,
                               .type = PM__TYPE_F32,
                               .rows = rows,
                               .n_col = n_col,
                               .index = g->n_activation};
    pm__t t = add_tensor(g, &tensor);
    if (t != NULL)
        g->activations[g->n_activation++] = t;
    return t;
}

static const struct {
    const char *name;
    pm__row_count rows;
    uint32_t n_col; /* 4-byte words of an element */
} step_parts[PM__STEP_PART_COUNT] = {
    [PM__STEP_ROWS] = {"step.rows", PM__ROWS_BATCH, 4},
    [PM__STEP_OUTS] = {"step.outs", PM__ROWS_OUT, 1},
    [PM__STEP_PAGES] = {"step.pages", PM__ROWS_FIXED, 1},
    [PM__STEP_HISTORY] = {"step.history", PM__ROWS_FIXED, 1},
    [PM__STEP_SAMPLERS] = {"step.samplers", PM__ROWS_FIXED, 12},
    [PM__STEP_DRAWN] = {"step.drawn", PM__ROWS_OUT, 4},
    [PM__STEP_RING] = {"step.ring", PM__ROWS_FIXED, 4},
};

pm__t pm__build_step(pm__graph *g, pm__step_part part) {
    if (g->step[part] == NULL) {
        const pm__tensor tensor = {.name = step_parts[part].name,
                                   .kind = PM__STEP,
                                   .type = PM__TYPE_F32,
                                   .rows = step_parts[part].rows,
                                   .n_col = step_parts[part].n_col,
                                   .index = (uint32_t)part};
        g->step[part] = add_tensor(g, &tensor);
    }
    return g->step[part];
}

void pm__graph_side(pm__graph *g, bool encoder) {
    g->encoder = encoder;
    g->has_encoder = g->has_encoder || encoder;
}

pm__t pm__build_add(pm__graph *g, const pm__node *node) {
    if (g->status != PM_OK || !grow(g, &g->nodes, &g->node_capacity, g->n_node, sizeof *g->nodes))
        return NULL;
    g->nodes[g->n_node] = *node;
    g->nodes[g->n_node++].encoder = g->encoder;
    return node->out;
}

pm__t pm__build_node(pm__graph *g, pm__node *node, pm__row_count rows, uint32_t n_col) {
    node->name = pm__build_name(g, node->name);
    if (node->name != NULL)
        node->out = pm__build_activation(g, node->name, rows, n_col);
    return node->out != NULL ? pm__build_add(g, node) : NULL;
}

/* Adds a tensor to a list of the graph. */
static pm__t add_listed(pm__graph *g, const pm__tensor *like, pm__t **list, uint32_t *n,
                        size_t *capacity) {
    if (!grow(g, list, capacity, *n, sizeof **list))
        return NULL;
    pm__tensor *t = add_tensor(g, like);
    if (t != NULL) {
        t->index = *n;
        (*list)[(*n)++] = t;
    }
    return t;
}

pm__t pm__build_cache(pm__graph *g, const pm__tensor *cache) {
    return add_listed(g, cache, &g->caches, &g->n_cache, &g->cache_capacity);
}

pm__t pm__build_state(pm__graph *g, const pm__tensor *state) {
    return add_listed(g, state, &g->states, &g->n_state, &g->state_capacity);
}

/* ---- checks: each sets the status and gives false -------------------------------------------- */

bool pm__build_is_activation(pm__graph *g, const char *name, const char *what, pm__t x) {
    if (x != NULL && x->kind == PM__ACTIVATION)
        return true;
    return pm__build_fail(g, name, "%s must be an activation", what);
}

bool pm__build_is_weight(pm__graph *g, const char *name, pm__t w, uint32_t n_row, uint32_t n_col) {
    if (w != NULL && w->kind == PM__WEIGHT && (n_row == 0 || w->n_row == n_row) &&
        w->n_col == n_col)
        return true;
    return pm__build_fail(g, name, "weight '%s' is [%u, %u], needed are %u rows (0: any) of %u",
                          w != NULL ? w->name : "(none)", w != NULL ? w->n_row : 0,
                          w != NULL ? w->n_col : 0, n_row, n_col);
}

bool pm__build_are_alike(pm__graph *g, const char *name, pm__t a, pm__t b) {
    if (!pm__build_is_activation(g, name, "an operand", a) ||
        !pm__build_is_activation(g, name, "an operand", b))
        return false;
    if (a->rows == b->rows && a->n_col == b->n_col)
        return true;
    return pm__build_fail(g, name, "operands differ: '%s' has %u columns of %s rows, '%s' %u of %s",
                          a->name, a->n_col, a->rows == PM__ROWS_OUT ? "output" : "batch", b->name,
                          b->n_col, b->rows == PM__ROWS_OUT ? "output" : "batch");
}

bool pm__build_is_batch(pm__graph *g, const char *name, pm__t x) {
    if (!pm__build_is_activation(g, name, "x", x))
        return false;
    if (x->rows == PM__ROWS_BATCH)
        return true;
    return pm__build_fail(g, name, "'%s' has output rows, batch rows are needed", x->name);
}

bool pm__build_is_cut(pm__graph *g, const char *name, pm__t x, uint32_t n_group, uint32_t each) {
    if (n_group > 0 && each > 0 && (uint64_t)n_group * each == x->n_col)
        return true;
    return pm__build_fail(g, name, "%u groups of %u columns are not the %u of '%s'", n_group, each,
                          x->n_col, x->name);
}

/* ---- operations ------------------------------------------------------------------------------ */

static pm__t embed(pm__graph *g, const char *name, pm__t table, bool positions) {
    if (g->status != PM_OK ||
        !pm__build_is_weight(g, name, table, 0, table != NULL ? table->n_col : 0))
        return NULL;
    pm__node node = {
        .op = PM__OP_EMBED, .name = name, .in = {table, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.embed.positions = positions;
    return pm__build_node(g, &node, PM__ROWS_BATCH, table->n_col);
}

pm__t pm__embed(pm__graph *g, const char *name, pm__t table) {
    return embed(g, name, table, false);
}

/* The context is the user's choice. */
pm__t pm__embed_positions(pm__graph *g, const char *name, pm__t table) {
    if (g->status == PM_OK && table != NULL && g->n_ctx > table->n_row) {
        g->status = pm__fail(PM_ARGUMENT,
                             "graph: a context of %u positions, and '%s' has embeddings for %u; "
                             "try -c %u",
                             g->n_ctx, table->name, table->n_row, table->n_row);
        return NULL;
    }
    return embed(g, name, table, true);
}

pm__t pm__matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias) {
    return pm__matmul_add(g, name, x, w, bias, NULL);
}

pm__t pm__matmul_add(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t residual) {
    const pm__matmul_desc desc = {.w = w, .bias = bias, .residual = residual};
    return pm__matmul_fused(g, name, x, &desc);
}

static bool check_fused(pm__graph *g, const char *name, pm__t x, const pm__matmul_desc *m) {
    if (m->dot8 && (m->normed || x->n_col % PM__BLOCK_WORDS != 0))
        return pm__build_fail(g, name, "a product of blocks that is normed, or '%s' is not blocks",
                              x->name);
    if ((m->normed || m->gated) && m->residual != NULL)
        return pm__build_fail(g, name, "a product that is normed or gated takes no residual");
    if (m->gated && m->w->n_row % 2 != 0)
        return pm__build_fail(g, name, "gate and up in %u rows", m->w->n_row);
    return m->norm_weight == NULL || pm__build_is_weight(g, name, m->norm_weight, 1, x->n_col);
}

pm__t pm__matmul_fused(pm__graph *g, const char *name, pm__t x, const pm__matmul_desc *m) {
    const pm__t w = m->w;
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x))
        return NULL;
    const uint32_t n_in = m->dot8 ? x->n_col / PM__BLOCK_WORDS * PM__BLOCK_N : x->n_col;
    if (!pm__build_is_weight(g, name, w, 0, n_in) || !check_fused(g, name, x, m))
        return NULL;
    const uint32_t n_out = m->gated ? w->n_row / 2 : w->n_row;
    if (m->bias != NULL && !pm__build_is_weight(g, name, m->bias, 1, w->n_row))
        return NULL;
    const pm__tensor like = {.name = name, .kind = PM__ACTIVATION, .rows = x->rows, .n_col = n_out};
    if (m->residual != NULL && !pm__build_are_alike(g, name, &like, m->residual))
        return NULL;
    if (w->scale != NULL && !pm__build_is_weight(g, name, w->scale, 1, 1))
        return NULL;
    pm__node node = {.op = PM__OP_MATMUL,
                     .name = name,
                     .in = {x, w, m->bias, m->residual, w->scale, m->norm_weight}};
    node.params.matmul.normed = m->normed;
    node.params.matmul.eps = m->eps;
    node.params.matmul.gated = m->gated;
    node.params.matmul.glu = m->glu;
    node.params.matmul.dot8 = m->dot8;
    return pm__build_node(g, &node, x->rows, n_out);
}

pm__t pm__quantize_x(pm__graph *g, const char *name, pm__t x) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x) ||
        !pm__build_is_cut(g, name, x, x->n_col / PM__BLOCK_N, PM__BLOCK_N))
        return NULL;
    pm__node node = {.op = PM__OP_QUANTIZE, .name = name, .in = {x}};
    return pm__build_node(g, &node, x->rows, x->n_col / PM__BLOCK_N * PM__BLOCK_WORDS);
}

pm__t pm__select(pm__graph *g, const char *name, pm__t x) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x))
        return NULL;
    pm__node node = {
        .op = PM__OP_SELECT, .name = name, .in = {x, pm__build_step(g, PM__STEP_OUTS)}};
    return pm__build_node(g, &node, PM__ROWS_OUT, x->n_col);
}

/* ---- close ----------------------------------------------------------------------------------- */

/* Tokens that are drawn must be tokens that can be embedded. */
static void set_vocabulary(pm__graph *g) {
    g->n_vocab = g->hidden ? UINT32_MAX : g->logits->n_col;
    for (uint32_t i = 0; i < g->n_node; i++) {
        const pm__node *node = &g->nodes[i];
        if (node->op != PM__OP_EMBED || node->params.embed.positions)
            continue;
        const uint32_t n_row = node->in[0]->n_row;
        if (!g->hidden && n_row != g->n_vocab)
            pm__build_fail(g, "close", "'%s' has %u rows but there are %u logits",
                           node->in[0]->name, n_row, g->n_vocab);
        g->n_vocab = n_row;
    }
}

static void draw(pm__graph *g) {
    const pm__node sample = {.op = PM__OP_SAMPLE,
                             .name = "sample",
                             .in = {g->logits, g->step[PM__STEP_ROWS], g->step[PM__STEP_OUTS],
                                    g->step[PM__STEP_HISTORY], g->step[PM__STEP_SAMPLERS]},
                             .out = g->step[PM__STEP_DRAWN]};
    const pm__node advance = {.op = PM__OP_ADVANCE,
                              .name = "advance",
                              .in = {g->step[PM__STEP_DRAWN], g->step[PM__STEP_ROWS],
                                     g->step[PM__STEP_HISTORY], g->step[PM__STEP_RING]},
                              .out = g->step[PM__STEP_ROWS],
                              .params.advance.keeps_n_pos = g->has_encoder};
    pm__build_add(g, &sample);
    pm__build_add(g, &advance);
}

pm_status pm__graph_close(pm__graph *g, pm__t logits) {
    if (g->status != PM_OK || !pm__build_is_activation(g, "close", "the logits", logits))
        return g->status;
    if (logits->rows != PM__ROWS_OUT) {
        pm__build_fail(g, "close", "the logits '%s' have batch rows; select the outputs first",
                       logits->name);
        return g->status;
    }
    g->logits = logits;
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        pm__build_step(g, (pm__step_part)part);
    set_vocabulary(g);
    if (!g->hidden)
        draw(g);
    return g->status;
}
