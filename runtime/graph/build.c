/* build.c: appends nodes. Every shape is checked here, so executors trust a closed graph. */
#include "build.h"

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

/* Sets the status, with a sentence that names the node; false, so that a check can return it. */
PM__PRINTF(3, 4) static bool bad(pm__graph *g, const char *name, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    g->status =
        pm__fail(PM_FAILURE, "graph: %s%s: %s", g->scope != NULL ? g->scope : "", name, text);
    return false;
}

/* Whether blocks of the type cut n values, which are `what`; the type is the user's choice. */
static bool can_cut(pm__graph *g, const char *name, pm__type type, uint32_t n, const char *what) {
    const pm__type_info *info = pm__type_get(type);
    if (n % info->block_n == 0)
        return true;
    g->status =
        pm__fail(PM_ARGUMENT,
                 "graph: %s%s: %s of %u values cannot be kept as %s, which has blocks of "
                 "%u; f16 and f32 fit any (--cache-type-k, --cache-type-v)",
                 g->scope != NULL ? g->scope : "", name, what, n, info->file, info->block_n);
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

static const char *full_name(pm__graph *g, const char *name) {
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

static pm__t add_tensor(pm__graph *g, const pm__tensor *like) {
    pm__tensor *t = pm__arena_alloc(&g->arena, sizeof *t);
    if (t == NULL) {
        g->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    *t = *like;
    return t;
}

static pm__t add_activation(pm__graph *g, const char *name, pm__row_count rows, uint32_t n_col) {
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

static pm__t step(pm__graph *g, pm__step_part part) {
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

/* Appends the node; a step part that could not be made shows in the status. */
static pm__t add_node(pm__graph *g, const pm__node *node) {
    if (g->status != PM_OK || !grow(g, &g->nodes, &g->node_capacity, g->n_node, sizeof *g->nodes))
        return NULL;
    g->nodes[g->n_node++] = *node;
    return node->out;
}

/* ---- checks: each sets the status and gives false -------------------------------------------- */

static bool is_activation(pm__graph *g, const char *name, const char *what, pm__t x) {
    if (x != NULL && x->kind == PM__ACTIVATION)
        return true;
    return bad(g, name, "%s must be an activation", what);
}

static bool is_weight(pm__graph *g, const char *name, pm__t w, uint32_t n_row, uint32_t n_col) {
    if (w != NULL && w->kind == PM__WEIGHT && (n_row == 0 || w->n_row == n_row) &&
        w->n_col == n_col)
        return true;
    return bad(g, name, "weight '%s' is [%u, %u], needed are %u rows (0: any) of %u",
               w != NULL ? w->name : "(none)", w != NULL ? w->n_row : 0, w != NULL ? w->n_col : 0,
               n_row, n_col);
}

static bool are_alike(pm__graph *g, const char *name, pm__t a, pm__t b) {
    if (!is_activation(g, name, "an operand", a) || !is_activation(g, name, "an operand", b))
        return false;
    if (a->rows == b->rows && a->n_col == b->n_col)
        return true;
    return bad(g, name, "operands differ: '%s' has %u columns of %s rows, '%s' %u of %s", a->name,
               a->n_col, a->rows == PM__ROWS_OUT ? "output" : "batch", b->name, b->n_col,
               b->rows == PM__ROWS_OUT ? "output" : "batch");
}

static bool is_batch(pm__graph *g, const char *name, pm__t x) {
    if (!is_activation(g, name, "x", x))
        return false;
    if (x->rows == PM__ROWS_BATCH)
        return true;
    return bad(g, name, "'%s' has output rows, batch rows are needed", x->name);
}

static bool is_cache(pm__graph *g, const char *name, pm__t cache, uint32_t n_col) {
    if (cache != NULL && cache->kind == PM__CACHE && cache->n_col == n_col)
        return true;
    return bad(g, name, "needed is a cache of %u columns, '%s' has %u", n_col,
               cache != NULL ? cache->name : "(none)", cache != NULL ? cache->n_col : 0);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* The node's name and a new activation for its output. */
static bool begin(pm__graph *g, pm__node *node, pm__row_count rows, uint32_t n_col) {
    node->name = full_name(g, node->name);
    if (node->name != NULL)
        node->out = add_activation(g, node->name, rows, n_col);
    return node->out != NULL;
}

pm__t pm__embed(pm__graph *g, const char *name, pm__t table) {
    if (g->status != PM_OK)
        return NULL;
    if (!is_weight(g, name, table, 0, table != NULL ? table->n_col : 0))
        return NULL;
    pm__node node = {.op = PM__OP_EMBED, .name = name, .in = {table, step(g, PM__STEP_ROWS)}};
    return begin(g, &node, PM__ROWS_BATCH, table->n_col) ? add_node(g, &node) : NULL;
}

pm__t pm__rmsnorm(pm__graph *g, const char *name, pm__t x, pm__t weight, float eps) {
    if (g->status != PM_OK || !is_activation(g, name, "x", x) ||
        !is_weight(g, name, weight, 1, x->n_col))
        return NULL;
    pm__node node = {.op = PM__OP_RMSNORM, .name = name, .in = {x, weight}};
    node.params.rmsnorm.eps = eps;
    return begin(g, &node, x->rows, x->n_col) ? add_node(g, &node) : NULL;
}

pm__t pm__matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias) {
    return pm__matmul_add(g, name, x, w, bias, NULL);
}

pm__t pm__matmul_add(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t residual) {
    if (g->status != PM_OK || !is_activation(g, name, "x", x) ||
        !is_weight(g, name, w, 0, x->n_col))
        return NULL;
    if (bias != NULL && !is_weight(g, name, bias, 1, w->n_row))
        return NULL;
    const pm__tensor like = {
        .name = name, .kind = PM__ACTIVATION, .rows = x->rows, .n_col = w->n_row};
    if (residual != NULL && !are_alike(g, name, &like, residual))
        return NULL;
    pm__node node = {.op = PM__OP_MATMUL, .name = name, .in = {x, w, bias, residual}};
    return begin(g, &node, x->rows, w->n_row) ? add_node(g, &node) : NULL;
}

pm__t pm__rope(pm__graph *g, const char *name, pm__t x, const pm__rope_desc *desc) {
    if (g->status != PM_OK || !is_batch(g, name, x))
        return NULL;
    if (desc->head_dim == 0 || x->n_col % desc->head_dim != 0 || desc->n_rot == 0 ||
        desc->n_rot % 2 != 0 || desc->n_rot > desc->head_dim) {
        bad(g, name, "cannot rotate %u of each %u columns of %u", desc->n_rot, desc->head_dim,
            x->n_col);
        return NULL;
    }
    if (desc->factors != NULL && !is_weight(g, name, desc->factors, 1, desc->n_rot / 2))
        return NULL;
    pm__node node = {
        .op = PM__OP_ROPE, .name = name, .in = {x, step(g, PM__STEP_ROWS), desc->factors}};
    node.params.rope.head_dim = desc->head_dim;
    node.params.rope.n_rot = desc->n_rot;
    node.params.rope.style = desc->style;
    node.params.rope.freq_base = desc->freq_base;
    node.params.rope.freq_scale = desc->freq_scale;
    return begin(g, &node, x->rows, x->n_col) ? add_node(g, &node) : NULL;
}

static bool is_cache_type(pm__type type) {
    pm__type one;
    for (uint32_t i = 0; pm__cache_type(i, &one); i++)
        if (one == type)
            return true;
    return false;
}

pm__t pm__cache(pm__graph *g, const char *name, pm__type type, uint32_t n_col) {
    if (g->status != PM_OK || !can_cut(g, name, type, n_col, "rows"))
        return NULL;
    if (!is_cache_type(type)) {
        bad(g, name, "a cache cannot be %s", pm__type_get(type)->file);
        return NULL;
    }
    if (n_col == 0) {
        bad(g, name, "a cache needs columns");
        return NULL;
    }
    const char *full = full_name(g, name);
    if (full == NULL || !grow(g, &g->caches, &g->cache_capacity, g->n_cache, sizeof *g->caches))
        return NULL;
    const pm__tensor tensor = {
        .name = full, .kind = PM__CACHE, .type = type, .n_col = n_col, .index = g->n_cache};
    pm__t t = add_tensor(g, &tensor);
    if (t != NULL)
        g->caches[g->n_cache++] = t;
    return t;
}

pm__t pm__state(pm__graph *g, const char *name, uint32_t n_col) {
    if (g->status != PM_OK)
        return NULL;
    if (n_col == 0) {
        bad(g, name, "a state needs columns");
        return NULL;
    }
    const char *full = full_name(g, name);
    if (full == NULL || !grow(g, &g->states, &g->state_capacity, g->n_state, sizeof *g->states))
        return NULL;
    const pm__tensor tensor = {
        .name = full, .kind = PM__STATE, .type = PM__TYPE_F32, .n_col = n_col, .index = g->n_state};
    pm__t t = add_tensor(g, &tensor);
    if (t != NULL)
        g->states[g->n_state++] = t;
    return t;
}

void pm__kv_store(pm__graph *g, const char *name, pm__t cache, pm__t x) {
    if (g->status != PM_OK || !is_batch(g, name, x) || !is_cache(g, name, cache, x->n_col))
        return;
    const pm__node node = {.op = PM__OP_KV_STORE,
                           .name = full_name(g, name),
                           .in = {x, step(g, PM__STEP_ROWS), step(g, PM__STEP_PAGES)},
                           .out = cache};
    add_node(g, &node);
}

pm__t pm__attention(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                    const pm__attention_desc *desc) {
    if (g->status != PM_OK || !is_batch(g, name, q))
        return NULL;
    if (desc->head_dim == 0 || desc->head_dim > PM__MOST_HEAD_DIM || desc->n_head_kv == 0 ||
        desc->n_head % desc->n_head_kv != 0 ||
        (uint64_t)desc->n_head * desc->head_dim != q->n_col) {
        bad(g, name, "%u heads, %u key heads of %u do not fit %u columns", desc->n_head,
            desc->n_head_kv, desc->head_dim, q->n_col);
        return NULL;
    }
    const uint32_t n_kv = desc->n_head_kv * desc->head_dim;
    if (!is_cache(g, name, k, n_kv) || !is_cache(g, name, v, n_kv) ||
        !can_cut(g, name, k->type, desc->head_dim, "heads") ||
        !can_cut(g, name, v->type, desc->head_dim, "heads"))
        return NULL;
    pm__node node = {
        .op = PM__OP_ATTENTION,
        .name = name,
        .in = {q, k, v, step(g, PM__STEP_ROWS), step(g, PM__STEP_PAGES)},
    };
    node.params.attention.n_head = desc->n_head;
    node.params.attention.n_head_kv = desc->n_head_kv;
    node.params.attention.head_dim = desc->head_dim;
    node.params.attention.scale = desc->scale;
    return begin(g, &node, q->rows, q->n_col) ? add_node(g, &node) : NULL;
}

static pm__t binary(pm__graph *g, pm__op op, const char *name, pm__t a, pm__t b) {
    if (g->status != PM_OK || !are_alike(g, name, a, b))
        return NULL;
    pm__node node = {.op = op, .name = name, .in = {a, b}};
    return begin(g, &node, a->rows, a->n_col) ? add_node(g, &node) : NULL;
}

pm__t pm__swiglu(pm__graph *g, const char *name, pm__t gate, pm__t up) {
    return binary(g, PM__OP_SWIGLU, name, gate, up);
}

pm__t pm__add(pm__graph *g, const char *name, pm__t a, pm__t b) {
    return binary(g, PM__OP_ADD, name, a, b);
}

pm__t pm__select(pm__graph *g, const char *name, pm__t x) {
    if (g->status != PM_OK || !is_batch(g, name, x))
        return NULL;
    pm__node node = {.op = PM__OP_SELECT, .name = name, .in = {x, step(g, PM__STEP_OUTS)}};
    return begin(g, &node, PM__ROWS_OUT, x->n_col) ? add_node(g, &node) : NULL;
}

/* ---- close ----------------------------------------------------------------------------------- */

/* Tokens that are drawn must be tokens that can be embedded. */
static bool vocabularies_fit(pm__graph *g, pm__t logits) {
    for (uint32_t i = 0; i < g->n_node; i++) {
        const pm__node *node = &g->nodes[i];
        if (node->op == PM__OP_EMBED && node->in[0]->n_row != logits->n_col) {
            return bad(g, "close", "'%s' has %u rows but there are %u logits", node->in[0]->name,
                       node->in[0]->n_row, logits->n_col);
        }
    }
    return true;
}

pm_status pm__graph_close(pm__graph *g, pm__t logits) {
    if (g->status != PM_OK)
        return g->status;
    if (!is_activation(g, "close", "the logits", logits) || !vocabularies_fit(g, logits))
        return g->status;
    if (logits->rows != PM__ROWS_OUT) {
        bad(g, "close", "the logits '%s' have batch rows; select the outputs first", logits->name);
        return g->status;
    }
    g->logits = logits;
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        step(g, (pm__step_part)part);
    const pm__node sample = {.op = PM__OP_SAMPLE,
                             .name = "sample",
                             .in = {logits, g->step[PM__STEP_ROWS], g->step[PM__STEP_OUTS],
                                    g->step[PM__STEP_HISTORY], g->step[PM__STEP_SAMPLERS]},
                             .out = g->step[PM__STEP_DRAWN]};
    const pm__node advance = {.op = PM__OP_ADVANCE,
                              .name = "advance",
                              .in = {g->step[PM__STEP_DRAWN], g->step[PM__STEP_ROWS],
                                     g->step[PM__STEP_HISTORY], g->step[PM__STEP_RING]},
                              .out = g->step[PM__STEP_ROWS]};
    add_node(g, &sample);
    add_node(g, &advance);
    return g->status;
}
