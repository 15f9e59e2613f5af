/* fuse.c: patterns of nodes that one node can stand for. Each rule looks at a node, and the nodes
 * around it, and either changes them or leaves all as it is. */
#include "fuse.h"

#include "blocks.h"
#include "builder.h"

#include <stdlib.h>
#include <string.h>

/* A node of the graph that is fused, and what comes of it. */
typedef struct slot {
    pm__node node;
    bool gone;       /* another does its work */
    pm__node before; /* comes before it where its `out` is not NULL */
} slot;

typedef struct fusion {
    const pm__fuse_options *options;
    pm__graph *out; /* its nodes are not there yet */
    slot *slots;    /* [n] */
    uint32_t n;
} fusion;

/* ---- looking around -------------------------------------------------------------------------- */

#define NOBODY UINT32_MAX /* no node */

static bool reads(const pm__node *node, const pm__tensor *t) {
    for (uint32_t i = 0; i < PM__MOST_INPUTS; i++)
        if (node->in[i] == t)
            return true;
    return false;
}

static uint32_t next_reader(const fusion *f, const pm__tensor *t, uint32_t from) {
    for (uint32_t i = from; i < f->n; i++)
        if (!f->slots[i].gone && reads(&f->slots[i].node, t))
            return i;
    return NOBODY;
}

/* The one node that reads what node i makes, or NOBODY. */
static uint32_t only_reader(const fusion *f, uint32_t i) {
    const pm__tensor *t = f->slots[i].node.out;
    const uint32_t reader = next_reader(f, t, i + 1);
    if (t == f->out->logits || reader == NOBODY || next_reader(f, t, reader + 1) != NOBODY)
        return NOBODY;
    return reader;
}

static uint32_t producer(const fusion *f, const pm__tensor *t) {
    for (uint32_t i = 0; i < f->n; i++)
        if (!f->slots[i].gone && f->slots[i].node.out == t)
            return i;
    return NOBODY;
}

/* A product of rows with a piece of a whole, and nothing else. */
static bool is_piece(const fusion *f, uint32_t i, const pm__tensor *whole, uint32_t piece) {
    const pm__node *node = &f->slots[i].node;
    return !f->slots[i].gone && node->op == PM__OP_MATMUL && node->in[1]->whole == whole &&
           whole->joined[piece] == node->in[1] && node->in[3] == NULL && node->in[4] == NULL &&
           !node->params.matmul.normed && !node->params.matmul.gated;
}

/* The nodes that multiply x with each piece, among those from `first` on. */
static bool find_pieces(const fusion *f, uint32_t first, const pm__tensor *whole,
                        uint32_t *products) {
    const pm__node *node = &f->slots[first].node;
    for (uint32_t p = 0; p < whole->n_joined; p++) {
        products[p] = NOBODY;
        for (uint32_t i = next_reader(f, node->in[0], first); i != NOBODY && products[p] == NOBODY;
             i = next_reader(f, node->in[0], i + 1))
            if (is_piece(f, i, whole, p) && f->slots[i].node.in[0] == node->in[0])
                products[p] = i;
        if (products[p] == NOBODY)
            return false;
    }
    return true;
}

/* Biases of the products are absent, or the pieces of a whole; *out: that, or NULL. */
static bool join_biases(const fusion *f, const uint32_t *products, uint32_t n,
                        const pm__tensor **out) {
    const pm__tensor *first = f->slots[products[0]].node.in[2];
    *out = first != NULL ? first->whole : NULL;
    if (first != NULL && (*out == NULL || (*out)->n_joined != n))
        return false;
    for (uint32_t p = 0; p < n; p++) {
        const pm__tensor *bias = f->slots[products[p]].node.in[2];
        if (*out == NULL ? bias != NULL : bias != (*out)->joined[p])
            return false;
    }
    return true;
}

static bool takes(const fusion *f, const pm__node *node) {
    return f->options->takes(f->options->user, node);
}

/* ---- new tensors and names ------------------------------------------------------------------- */

/* "blk.3." of a name, and another word behind it; on failure the graph's status is set. */
static const char *rename(fusion *f, const char *name, const char *word) {
    const char *dot = strrchr(name, '.');
    const size_t n = dot != NULL ? (size_t)(dot - name) + 1 : 0, n_word = strlen(word);
    char *text = pm__arena_alloc(&f->out->arena, n + n_word + 1);
    if (text == NULL) {
        f->out->status = PM_OUT_OF_MEMORY;
        return name;
    }
    memcpy(text, name, n);
    memcpy(text + n, word, n_word);
    return text;
}

/* ---- queries, keys and values ---------------------------------------------------------------- */

/* What happens to queries or keys on their way to attention: their nodes, NOBODY where there is
 * none. */
typedef struct chain {
    uint32_t product, norm, rope, store;
    const pm__tensor *end; /* what comes out */
} chain;

static chain follow(const fusion *f, uint32_t product) {
    chain c = {product, NOBODY, NOBODY, NOBODY, f->slots[product].node.out};
    uint32_t last = product, next = only_reader(f, last);
    if (next != NOBODY && f->slots[next].node.op == PM__OP_RMSNORM) {
        c.norm = last = next;
        next = only_reader(f, last);
    }
    if (next != NOBODY && f->slots[next].node.op == PM__OP_ROPE) {
        c.rope = last = next;
        next = only_reader(f, last);
    }
    if (next != NOBODY && f->slots[next].node.op == PM__OP_KV_STORE)
        c.store = next;
    c.end = f->slots[last].node.out;
    return c;
}

/* One for queries, keys, values. */
typedef struct qkv {
    uint32_t products[3];
    chain chains[3];
    const pm__tensor *whole, *bias;
    uint32_t last; /* of all nodes */
} qkv;

static bool same_rope(const fusion *f, const chain *a, const chain *b) {
    if (a->rope == NOBODY || b->rope == NOBODY)
        return a->rope == b->rope;
    const pm__node *x = &f->slots[a->rope].node, *y = &f->slots[b->rope].node;
    return x->in[2] == y->in[2] &&
           memcmp(&x->params.rope, &y->params.rope, sizeof x->params.rope) == 0;
}

static bool same_norm(const fusion *f, const chain *a, const chain *b) {
    if (a->norm == NOBODY || b->norm == NOBODY)
        return a->norm == b->norm;
    return f->slots[a->norm].node.params.norm.eps == f->slots[b->norm].node.params.norm.eps;
}

/* A norm and a rotation of heads of that many columns, with the same weights for all heads. */
static bool by_heads(const fusion *f, const chain *c, uint32_t head_dim) {
    if (c->rope != NOBODY && f->slots[c->rope].node.params.rope.head_dim != head_dim)
        return false;
    if (c->norm == NOBODY)
        return true;
    const pm__node *norm = &f->slots[c->norm].node;
    return norm->params.norm.head_dim == head_dim &&
           (norm->in[1] == NULL || norm->in[1]->n_col == head_dim);
}

/* The attention that reads both caches, or NULL; *first: the first node that reads one of them. */
static const pm__node *find_attention(const fusion *f, const pm__tensor *k, const pm__tensor *v,
                                      uint32_t *first) {
    const pm__node *attention = NULL;
    *first = NOBODY;
    for (uint32_t i = f->n; i-- > 0;) {
        const pm__node *node = &f->slots[i].node;
        if (node->op == PM__OP_KV_STORE || f->slots[i].gone || (!reads(node, k) && !reads(node, v)))
            continue;
        *first = i;
        if (node->op == PM__OP_ATTENTION && node->in[1] == k && node->in[2] == v)
            attention = node;
    }
    return attention;
}

static bool is_floats(const pm__tensor *cache) {
    return cache->type == PM__TYPE_F32 || cache->type == PM__TYPE_F16;
}

static uint32_t last_of(const chain *c) {
    const uint32_t all[] = {c->product, c->norm, c->rope, c->store};
    uint32_t last = c->product;
    for (int i = 1; i < 4; i++)
        if (all[i] != NOBODY && all[i] > last)
            last = all[i];
    return last;
}

/* Each step of the way is one that PREPARE does, and nobody looks at the caches before its end. */
static bool can_prepare(const fusion *f, qkv *m, pm__node *node) {
    const chain *q = &m->chains[0], *k = &m->chains[1], *v = &m->chains[2];
    if (q->store != NOBODY || k->store == NOBODY || v->store == NOBODY || v->norm != NOBODY ||
        v->rope != NOBODY || !same_rope(f, q, k) || !same_norm(f, q, k))
        return false;
    const pm__tensor *k_cache = f->slots[k->store].node.out, *v_cache = f->slots[v->store].node.out;
    uint32_t first_reader;
    const pm__node *attention = find_attention(f, k_cache, v_cache, &first_reader);
    if (attention == NULL || k_cache == v_cache || !is_floats(k_cache) || !is_floats(v_cache))
        return false;
    const uint32_t n = attention->params.attention.head_dim;
    const uint32_t n_kv = attention->params.attention.n_head_kv;
    for (int i = 0; i < 3; i++)
        m->last = last_of(&m->chains[i]) > m->last ? last_of(&m->chains[i]) : m->last;
    if (first_reader < m->last || next_reader(f, q->end, 0) < m->last || n % 2 != 0 ||
        n != attention->params.attention.head_dim_v || !by_heads(f, q, n) || !by_heads(f, k, n) ||
        k_cache->n_col != n_kv * n || v_cache->n_col != n_kv * n || q->end->n_col % n != 0)
        return false;
    node->params.prepare.n_head = q->end->n_col / n;
    node->params.prepare.n_head_kv = n_kv;
    node->params.prepare.rope.head_dim = n;
    return true;
}

static void describe_prepare(const fusion *f, const qkv *m, pm__node *node) {
    const chain *q = &m->chains[0], *k = &m->chains[1], *v = &m->chains[2];
    const pm__node *store = &f->slots[k->store].node;
    node->in[1] = store->in[1];
    node->in[2] = store->in[2];
    node->in[6] = store->out;
    node->in[7] = f->slots[v->store].node.out;
    node->out = q->end;
    if (q->norm != NOBODY) {
        node->params.prepare.normed = true;
        node->params.prepare.eps = f->slots[q->norm].node.params.norm.eps;
        node->in[3] = f->slots[q->norm].node.in[1];
        node->in[4] = f->slots[k->norm].node.in[1];
    }
    if (q->rope != NOBODY) {
        node->params.prepare.rope = f->slots[q->rope].node.params.rope;
        node->in[5] = f->slots[q->rope].node.in[2];
    }
}

static void drop(fusion *f, uint32_t i) {
    if (i != NOBODY)
        f->slots[i].gone = true;
}

/* Both nodes are known; the joined product takes the place of the first of the three, since what it
 * reads is there, and PREPARE that of the last of all. */
static void put_qkv(fusion *f, const qkv *m, pm__node *product, pm__node *prepare) {
    product->name = rename(f, product->name, "attn_qkv");
    prepare->name = rename(f, product->name, "prepare");
    const pm__tensor *out =
        pm__build_activation(f->out, product->name, product->out->rows, product->out->n_col);
    if (f->out->status != PM_OK)
        return;
    product->out = prepare->in[0] = out;
    uint32_t first = m->products[0];
    for (int i = 0; i < 3; i++) {
        const chain *c = &m->chains[i];
        first = c->product < first ? c->product : first;
        drop(f, c->product);
        drop(f, c->norm);
        drop(f, c->rope);
        drop(f, c->store);
    }
    f->slots[first] = (slot){.node = *product};
    f->slots[m->last] = (slot){.node = *prepare};
}

static void join_qkv(fusion *f, uint32_t i) {
    qkv m = {.whole = f->slots[i].node.op == PM__OP_MATMUL ? f->slots[i].node.in[1]->whole : NULL};
    if (m.whole == NULL || m.whole->n_joined != 3 || !find_pieces(f, i, m.whole, m.products) ||
        !join_biases(f, m.products, 3, &m.bias))
        return;
    for (int p = 0; p < 3; p++)
        m.chains[p] = follow(f, m.products[p]);
    pm__node product = f->slots[m.products[0]].node;
    pm__node prepare = {.op = PM__OP_PREPARE, .name = product.name, .encoder = product.encoder};
    memset(&prepare.params, 0, sizeof prepare.params);
    if (!can_prepare(f, &m, &prepare))
        return;
    describe_prepare(f, &m, &prepare);
    const pm__tensor all = {.name = product.name,
                            .kind = PM__ACTIVATION,
                            .type = PM__TYPE_F32,
                            .rows = product.out->rows,
                            .n_col = m.whole->n_row};
    product.in[1] = m.whole;
    product.in[2] = m.bias;
    product.out = prepare.in[0] = &all;
    if (takes(f, &product) && takes(f, &prepare))
        put_qkv(f, &m, &product, &prepare);
}

/* ---- gates ----------------------------------------------------------------------------------- */

static void join_gate(fusion *f, uint32_t i) {
    const pm__node *glu = &f->slots[i].node;
    if (glu->op != PM__OP_GLU)
        return;
    const uint32_t gate = producer(f, glu->in[0]), up = producer(f, glu->in[1]);
    if (gate == NOBODY || up == NOBODY || f->slots[gate].node.op != PM__OP_MATMUL ||
        only_reader(f, gate) != i || only_reader(f, up) != i)
        return;
    const pm__tensor *whole = f->slots[gate].node.in[1]->whole, *bias;
    const uint32_t products[] = {gate, up};
    if (whole == NULL || whole->n_joined != 2 || !is_piece(f, gate, whole, 0) ||
        !is_piece(f, up, whole, 1) || f->slots[gate].node.in[0] != f->slots[up].node.in[0] ||
        whole->joined[0]->n_row != whole->joined[1]->n_row || !join_biases(f, products, 2, &bias))
        return;
    pm__node node = f->slots[gate].node;
    node.in[1] = whole;
    node.in[2] = bias;
    node.out = glu->out;
    node.params.matmul.gated = true;
    node.params.matmul.glu = glu->params.glu.kind;
    if (!takes(f, &node))
        return;
    node.name = rename(f, node.name, "ffn_gate_up");
    drop(f, gate);
    drop(f, up);
    f->slots[i] = (slot){.node = node};
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* A product that reads the norm's output, and would read what the norm does instead. */
static bool with_norm(const fusion *f, const pm__node *norm, uint32_t i, pm__node *out) {
    *out = f->slots[i].node;
    if (out->op != PM__OP_MATMUL || out->in[0] != norm->out || out->in[3] != NULL ||
        out->params.matmul.normed)
        return false;
    out->in[0] = norm->in[0];
    out->in[5] = norm->in[1];
    out->params.matmul.normed = true;
    out->params.matmul.eps = norm->params.norm.eps;
    return takes(f, out);
}

/* All readers take it, or it stays. */
static void fold_norm(fusion *f, uint32_t i) {
    const pm__node norm = f->slots[i].node;
    pm__node product;
    if (norm.op != PM__OP_RMSNORM || norm.params.norm.head_dim != norm.out->n_col ||
        norm.out == f->out->logits || next_reader(f, norm.out, 0) == NOBODY)
        return;
    for (uint32_t r = next_reader(f, norm.out, 0); r != NOBODY; r = next_reader(f, norm.out, r + 1))
        if (!with_norm(f, &norm, r, &product))
            return;
    for (uint32_t r = next_reader(f, norm.out, 0); r != NOBODY; r = next_reader(f, norm.out, r + 1))
        if (with_norm(f, &norm, r, &product))
            f->slots[r].node = product;
    drop(f, i);
}

/* ---- slices of attention --------------------------------------------------------------------- */

/* The node, or two that do its work in slices. */
static void add_attention(fusion *f, const pm__node *node) {
    const pm__fuse_options *options = f->options;
    const uint32_t n = options->slices != NULL ? options->slices(options->user, node) : 0;
    const uint32_t n_v = node->params.attention.head_dim_v;
    pm__node split = *node, merge = *node;
    split.op = PM__OP_ATTENTION_SPLIT;
    split.in[5] = NULL;
    split.params.attention.n_slice = merge.params.attention.n_slice = n;
    merge.op = PM__OP_MERGE;
    memset(merge.in, 0, sizeof merge.in);
    merge.in[1] = node->in[5];
    const pm__tensor slices = {.kind = PM__ACTIVATION,
                               .type = PM__TYPE_F32,
                               .rows = node->out->rows,
                               .n_col = node->params.attention.n_head * n * (n_v + PM__SLICE_END)};
    split.out = merge.in[0] = &slices;
    if (n == 0 || !takes(f, &split) || !takes(f, &merge)) {
        pm__build_add(f->out, node);
        return;
    }
    split.name = rename(f, node->name, "attention_split");
    split.out = merge.in[0] = pm__build_activation(f->out, split.name, slices.rows, slices.n_col);
    if (f->out->status != PM_OK)
        return;
    pm__build_add(f->out, &split);
    pm__build_add(f->out, &merge);
}

/* ---- blocks of integers ---------------------------------------------------------------------- */

/* Those of x that a product before slot i has made already, or NULL. */
static const pm__tensor *blocks_of(const fusion *f, const pm__tensor *x, uint32_t i) {
    for (uint32_t k = 0; k < i; k++)
        if (!f->slots[k].gone && f->slots[k].before.out != NULL && f->slots[k].before.in[0] == x)
            return f->slots[k].before.out;
    return NULL;
}

/* x as blocks, made once for all products that read it. */
static void use_blocks(fusion *f, uint32_t i) {
    slot *s = &f->slots[i];
    const pm__tensor *x = s->node.in[0];
    if (!f->options->int8 || s->node.op != PM__OP_MATMUL || s->node.params.matmul.normed ||
        x->n_col % PM__BLOCK_N != 0)
        return;
    pm__node product = s->node, quantize = {.op = PM__OP_QUANTIZE, .in = {x}, .out = x};
    product.params.matmul.dot8 = true;
    if (!takes(f, &product) || !takes(f, &quantize))
        return;
    quantize.out = blocks_of(f, x, i);
    if (quantize.out == NULL) {
        quantize.name = rename(f, s->node.name, "quantize");
        quantize.out = pm__build_activation(f->out, quantize.name, x->rows,
                                            x->n_col / PM__BLOCK_N * PM__BLOCK_WORDS);
        s->before = quantize;
    }
    product.in[0] = quantize.out;
    if (quantize.out != NULL)
        s->node = product;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Tables of its own, which may grow, over the same tensors. */
static pm_status copy_list(void *to, const void *from, uint32_t n, size_t *capacity) {
    const size_t bytes = n * sizeof(void *);
    void *copy = NULL;
    if (n > 0) {
        copy = malloc(bytes);
        if (copy == NULL)
            return pm__fail_memory("fuse", bytes);
        memcpy(copy, from, bytes);
    }
    *capacity = n;
    memcpy(to, &copy, sizeof copy);
    return PM_OK;
}

static pm_status copy_graph(const pm__graph *in, pm__graph *out) {
    *out = *in;
    out->arena = (pm__arena){0};
    out->nodes = NULL;
    out->n_node = 0;
    out->node_capacity = 0;
    out->activations = out->caches = out->states = NULL;
    out->scope = NULL;
    PM_TRY(
        copy_list(&out->activations, in->activations, in->n_activation, &out->activation_capacity));
    PM_TRY(copy_list(&out->caches, in->caches, in->n_cache, &out->cache_capacity));
    return copy_list(&out->states, in->states, in->n_state, &out->state_capacity);
}

static void apply(fusion *f, void (*rule)(fusion *f, uint32_t i)) {
    for (uint32_t i = 0; i < f->n && f->out->status == PM_OK; i++)
        if (!f->slots[i].gone)
            rule(f, i);
}

static pm_status fuse(fusion *f, const pm__graph *in) {
    PM_TRY(copy_graph(in, f->out));
    f->slots = calloc(in->n_node + 1, sizeof *f->slots);
    if (f->slots == NULL)
        return pm__fail_memory("fuse", in->n_node * sizeof *f->slots);
    f->n = in->n_node;
    for (uint32_t i = 0; i < f->n; i++)
        f->slots[i].node = in->nodes[i];
    apply(f, join_qkv);
    apply(f, join_gate);
    apply(f, use_blocks);
    apply(f, fold_norm);
    for (uint32_t i = 0; i < f->n && f->out->status == PM_OK; i++) {
        f->out->encoder = f->slots[i].node.encoder;
        if (f->slots[i].gone)
            continue;
        if (f->slots[i].before.out != NULL)
            pm__build_add(f->out, &f->slots[i].before);
        if (f->slots[i].node.op == PM__OP_ATTENTION)
            add_attention(f, &f->slots[i].node);
        else
            pm__build_add(f->out, &f->slots[i].node);
    }
    return f->out->status;
}

pm_status pm__fuse(const pm__graph *in, const pm__fuse_options *options, pm__graph *out) {
    fusion f = {.options = options, .out = out};
    pm__graph_init(out);
    const pm_status status = fuse(&f, in);
    free(f.slots);
    if (status != PM_OK)
        pm__graph_finish(out);
    return status;
}
