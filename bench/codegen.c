/* codegen.c: what the driver's compiler makes of every kernel, as CSV.
 *
 *   codegen [LABEL [KERNEL]]    LABEL stands in the column `device` instead of the device's name;
 *                               only kernels whose names begin with KERNEL
 *
 * Opens Vulkan device 0, which may be one that can compile and never run, lowers Llama graphs at
 * the shapes of real models for one row and for a batch, in every tensor type and every kernel
 * tier, and builds the pipelines. The model "check" is what models leave out: every kernel with the
 * nodes of a quick check, which are awkward, and with each further set of defines that its standard
 * check has. A kernel that nothing reaches is an error. No weight is made: lowering only asks where
 * weights would be. A line is the worst of the pipelines of one kernel; empty fields are what a
 * driver does not tell. The line of "all" kernels has the processor
 * time that all pipelines of one model take. */
#include "runtime/base/checked.h"
#include "runtime/base/grow.h"
#include "runtime/engine/check_cases.h"
#include "runtime/gpu/lower.h"
#include "runtime/graph/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- models: GGUF files without data ---- */

typedef struct shape {
    const char *name;
    uint32_t n_embd, n_ff, n_head, n_head_kv, n_vocab;
    bool factors; /* of rotary frequencies */
    bool biases;  /* of queries, keys and values, as some of llama's kin have them */
} shape;

static const shape shapes[] = {
    {"llama-1b", 2048, 8192, 32, 8, 128256, true, false},
    {"llama-8b", 4096, 14336, 32, 8, 128256, false, true},
};

typedef struct file {
    uint8_t *data;
    size_t size, capacity;
    uint64_t data_bytes; /* of the tensors so far */
    uint32_t n_key, n_tensor;
} file;

enum { MOST_HEADER = 4096, ALIGNMENT = 32, N_CTX = 8192 };

static void put(file *f, const void *data, size_t n) {
    memcpy(f->data + f->size, data, n);
    f->size += n;
}

static void put_u32(file *f, uint32_t x) {
    put(f, &x, sizeof x);
}

static void put_u64(file *f, uint64_t x) {
    put(f, &x, sizeof x);
}

static void put_text(file *f, const char *text) {
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}

static void put_key(file *f, const char *name, uint32_t value) {
    put_text(f, name);
    put_u32(f, PM__GGUF_U32);
    put_u32(f, value);
    f->n_key++;
}

static void put_tensor(file *f, const char *name, pm__type type, uint32_t n_row, uint32_t n_col) {
    uint64_t row_bytes = 0;
    pm__type_row_bytes(type, n_col, &row_bytes);
    put_text(f, name);
    put_u32(f, 2);
    put_u64(f, n_col);
    put_u64(f, n_row);
    put_u32(f, pm__type_get(type)->id);
    put_u64(f, f->data_bytes);
    f->data_bytes += pm__round_up(row_bytes * n_row, ALIGNMENT);
    f->n_tensor++;
}

static void put_keys(file *f, const shape *s) {
    const float eps = 1e-5f;
    put_text(f, "general.architecture");
    put_u32(f, PM__GGUF_STRING);
    put_text(f, "llama");
    put_text(f, "llama.attention.layer_norm_rms_epsilon");
    put_u32(f, PM__GGUF_F32);
    put(f, &eps, sizeof eps);
    f->n_key += 2;
    put_key(f, "llama.block_count", 1);
    put_key(f, "llama.context_length", 8192);
    put_key(f, "llama.embedding_length", s->n_embd);
    put_key(f, "llama.feed_forward_length", s->n_ff);
    put_key(f, "llama.attention.head_count", s->n_head);
    put_key(f, "llama.attention.head_count_kv", s->n_head_kv);
}

/* `better` is the type of the matrices that a Q4_K_M has in Q6_K. */
static void put_tensors(file *f, const shape *s, pm__type type, pm__type better) {
    const uint32_t head_dim = s->n_embd / s->n_head, n_kv = s->n_head_kv * head_dim;
    put_tensor(f, "token_embd.weight", better, s->n_vocab, s->n_embd);
    put_tensor(f, "output_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.attn_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.attn_q.weight", type, s->n_embd, s->n_embd);
    put_tensor(f, "blk.0.attn_k.weight", type, n_kv, s->n_embd);
    put_tensor(f, "blk.0.attn_v.weight", better, n_kv, s->n_embd);
    put_tensor(f, "blk.0.attn_output.weight", type, s->n_embd, s->n_embd);
    if (s->biases) {
        put_tensor(f, "blk.0.attn_q.bias", PM__TYPE_F32, 1, s->n_embd);
        put_tensor(f, "blk.0.attn_k.bias", PM__TYPE_F32, 1, n_kv);
        put_tensor(f, "blk.0.attn_v.bias", PM__TYPE_F32, 1, n_kv);
    }
    put_tensor(f, "blk.0.ffn_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.ffn_gate.weight", type, s->n_ff, s->n_embd);
    put_tensor(f, "blk.0.ffn_up.weight", type, s->n_ff, s->n_embd);
    put_tensor(f, "blk.0.ffn_down.weight", better, s->n_embd, s->n_ff);
    if (s->factors)
        put_tensor(f, "rope_freqs.weight", PM__TYPE_F32, 1, head_dim / 2);
}

/* The whole file: its tensors are zeros that no one ever touches, so they take no memory. */
static pm_status make_file(const shape *s, pm__type type, pm__type better, file *out) {
    uint8_t header[MOST_HEADER];
    file f = {.data = header};
    put_keys(&f, s);
    put_tensors(&f, s, type, better);
    const size_t size = 24 + f.size;
    file whole = {.data = calloc(1, size + ALIGNMENT + f.data_bytes)};
    if (whole.data == NULL)
        return pm__fail_memory("codegen: model", size + f.data_bytes);
    put(&whole, "GGUF", 4);
    put_u32(&whole, 3);
    put_u64(&whole, f.n_tensor);
    put_u64(&whole, f.n_key);
    put(&whole, header, f.size);
    whole.size = pm__round_up(size, ALIGNMENT) + f.data_bytes;
    *out = whole;
    return PM_OK;
}

/* ---- places: of tensors that are nowhere ---- */

typedef struct nowhere {
    pm__weight_part *parts;
    pm__weight_place *weights;
    pm__region *regions; /* of activations and caches */
    pm__places places;
} nowhere;

static void nowhere_finish(nowhere *n) {
    free(n->parts);
    free(n->weights);
    free(n->regions);
}

static uint32_t most_index(const pm__graph *g) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < g->n_node; i++) {
        const pm__node *node = &g->nodes[i];
        most = node->out->index > most ? node->out->index : most;
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            if (node->in[k] != NULL && node->in[k]->index > most)
                most = node->in[k]->index;
    }
    return most;
}

/* Lowering looks at whether a plane is there, and that a kernel can reach it. */
static const pm__region somewhere = {.bytes = 16};

static void put_weight(nowhere *n, const pm__tensor *t) {
    pm__weight_part *part = &n->parts[t->index];
    *part = (pm__weight_part){.n_row = t->n_row, .quants = somewhere};
    if (pm__type_scale_words(t->type, t->n_col) > 0)
        part->scales = somewhere;
    n->weights[t->index] = (pm__weight_place){.parts = part, .n_part = 1};
}

/* Its planes lie one behind the other. */
static void put_cache(nowhere *n, const pm__tensor *t, const pm__limits *limits) {
    if (t != NULL && t->kind == PM__CACHE)
        n->regions[t->index].bytes = pm__limits_cache_bytes(limits, t);
}

/* Of a graph; of all weights of a model, too, if def is not NULL. */
static pm_status nowhere_init(nowhere *n, const pm__graph *g, const pm__limits *limits,
                              const pm__model_def *def) {
    const size_t n_index = (size_t)most_index(g) + 1;
    const size_t most = def != NULL && def->n_weight > n_index ? def->n_weight : n_index;
    n->parts = calloc(most, sizeof *n->parts);
    n->weights = calloc(most, sizeof *n->weights);
    n->regions = calloc(most, sizeof *n->regions);
    if (n->parts == NULL || n->weights == NULL || n->regions == NULL)
        return pm__fail_memory("codegen: places", most * sizeof *n->parts);
    for (size_t i = 0; i < most; i++)
        n->regions[i] = somewhere;
    for (uint32_t i = 0; def != NULL && i < def->n_weight; i++)
        put_weight(n, &def->weights[i]->tensor);
    for (uint32_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            if (g->nodes[i].in[k] != NULL && g->nodes[i].in[k]->kind == PM__WEIGHT)
                put_weight(n, g->nodes[i].in[k]);
    for (uint32_t i = 0; i < g->n_node; i++) {
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            put_cache(n, g->nodes[i].in[k], limits);
        put_cache(n, g->nodes[i].out, limits);
    }
    n->places = (pm__places){.weights = n->weights,
                             .activations = n->regions,
                             .caches = n->regions,
                             .states = n->regions};
    for (int i = 0; i < PM__STEP_PART_COUNT; i++)
        n->places.step[i] = somewhere;
    return PM_OK;
}

/* ---- pipelines ---- */

typedef struct use { /* of a pipeline */
    const char *kernel;
    pm__type type; /* of the matrix or the keys; PM__TYPE_COUNT: there is none */
} use;

typedef struct bench {
    pm__gpu *gpu;
    const char *label;
    const char *only;       /* what names of kernels begin with */
    const shape *shape;     /* NULL: the check */
    pm__pipelines requests; /* of the graph at hand */
    pm__pipelines pipelines;
    use *uses;                /* [pipelines.n] */
    pm__pipeline_desc *known; /* kernels and their sets of defines so far, one each */
    size_t n_known, known_capacity, use_capacity;
    pm_status status; /* of the cases so far */
} bench;

static bool same_defines(const pm__pipeline_desc *a, const pm__pipeline_desc *b) {
    bool same = strcmp(a->name, b->name) == 0 && a->n_define == b->n_define;
    for (uint32_t i = 0; same && i < a->n_define; i++)
        same = strcmp(a->defines[i], b->defines[i]) == 0;
    return same;
}

static bool is_known(const bench *b, const pm__pipeline_desc *desc) {
    for (size_t i = 0; i < b->n_known; i++)
        if (same_defines(&b->known[i], desc))
            return true;
    return false;
}

static bool is_wanted(const bench *b, const char *kernel) {
    return strncmp(kernel, b->only, strlen(b->only)) == 0;
}

static pm_status note(bench *b, const pm__pipeline_desc *desc) {
    if (is_known(b, desc))
        return PM_OK;
    PM_TRY(pm__grow("codegen", &b->known, &b->known_capacity, b->n_known, sizeof *b->known));
    b->known[b->n_known++] = *desc;
    return PM_OK;
}

static pm__type type_of(const pm__node *node) {
    const int matrix = pm__op_get(node->op)->matrix;
    return matrix >= 0                    ? node->in[matrix]->type
           : node->op == PM__OP_KV_STORE  ? node->out->type
           : node->op == PM__OP_ATTENTION ? node->in[1]->type
                                          : PM__TYPE_COUNT;
}

/* Takes over what a program asks for; of the same defines another time only if `again`. */
static pm_status take_requests(bench *b, const pm__program *program, bool again) {
    for (uint32_t i = 0; i < program->n_dispatch; i++) {
        const pm__dispatch *d = &program->dispatches[i];
        const pm__pipeline_desc *desc = &b->requests.items[d->pipeline].desc;
        if (!is_wanted(b, desc->name) || (!again && is_known(b, desc)))
            continue;
        const uint32_t n = b->pipelines.n;
        uint32_t index = 0;
        PM_TRY(note(b, desc));
        PM_TRY(pm__pipelines_request(&b->pipelines, desc, &index));
        if (b->pipelines.n == n)
            continue;
        PM_TRY(pm__grow("codegen", &b->uses, &b->use_capacity, n, sizeof *b->uses));
        b->uses[n] = (use){desc->name, type_of(d->node)};
    }
    return PM_OK;
}

static pm_status lower(bench *b, pm__lowering *lowering, bool again) {
    nowhere n = {0};
    pm__program program = {0};
    lowering->gpu = b->gpu;
    lowering->pipelines = &b->requests;
    pm_status status = nowhere_init(&n, lowering->graph, lowering->limits, NULL);
    lowering->places = &n.places;
    if (status == PM_OK)
        status = pm__pipelines_init(&b->requests, b->gpu);
    if (status == PM_OK)
        status = pm__lower(lowering, &program);
    if (status == PM_OK)
        status = take_requests(b, &program, again);
    pm__program_finish(&program);
    pm__pipelines_finish(&b->requests);
    nowhere_finish(&n);
    return status;
}

/* ---- what models take ---- */

static pm_status lower_class(bench *b, const pm__graph *g, uint32_t n_row) {
    const pm__limits limits = {.n_ctx = N_CTX, .n_batch = 512, .n_out = 512, .n_seq = 1};
    pm__lowering lowering = {.graph = g, .limits = &limits, .n_row = n_row, .n_out = n_row};
    return lower(b, &lowering, true);
}

/* Once for each tier as if it were the highest, for one row and for a batch. */
static pm_status lower_tiers(bench *b, const pm__graph *g) {
    const pm__caps caps = b->gpu->caps;
    pm_status status = PM_OK;
    for (int tier = PM__TIER_COUNT - 1; tier >= 0 && status == PM_OK; tier--) {
        if (caps.tiers[tier]) {
            status = lower_class(b, g, 1);
            if (status == PM_OK)
                status = lower_class(b, g, 512);
        }
        b->gpu->caps.tiers[tier] = tier == 0;
    }
    b->gpu->caps = caps;
    return status;
}

static pm_status lower_caches(bench *b, const pm__model_def *def, pm__type type) {
    const pm__build_desc build = {.caches = {type, type}, .n_ctx = N_CTX};
    pm__graph g;
    PM_TRY(pm__model_def_build(def, &build, &g));
    const pm_status status = lower_tiers(b, &g);
    pm__graph_finish(&g);
    return status;
}

static pm_status lower_file(bench *b, const file *f) {
    pm__gguf gguf;
    PM_TRY(pm__gguf_init(&gguf, f->data, f->size));
    pm__model_def def = {0};
    pm__type type;
    pm_status status = pm__model_def_init(&def, &gguf);
    for (uint32_t i = 0; status == PM_OK && pm__cache_type(i, &type); i++)
        status = lower_caches(b, &def, type);
    pm__model_def_finish(&def);
    pm__gguf_finish(&gguf);
    return status;
}

static pm_status lower_models(bench *b) {
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        file f = {0};
        PM_TRY(make_file(b->shape, (pm__type)type, (pm__type)type, &f));
        const pm_status status = lower_file(b, &f);
        free(f.data);
        PM_TRY(status);
    }
    return PM_OK;
}

/* ---- all of one model: as it runs, fused, with the best kernels ------------------------------ */

static pm_status lower_fused(bench *b, const pm__model_def *def, const pm__graph *g,
                             uint32_t n_row) {
    const pm__limits limits = {.n_ctx = N_CTX, .n_batch = 512, .n_out = 512, .n_seq = 1};
    pm__lowering lowering = {
        .gpu = b->gpu, .graph = g, .limits = &limits, .n_row = n_row, .n_out = n_row};
    nowhere n = {0};
    pm__graph fused = {0};
    pm_status status = nowhere_init(&n, g, &limits, def);
    lowering.places = &n.places;
    if (status == PM_OK)
        status = pm__lower_fuse(&lowering, &fused);
    lowering.graph = &fused;
    if (status == PM_OK)
        status = lower(b, &lowering, true);
    pm__graph_finish(&fused);
    nowhere_finish(&n);
    return status;
}

static pm_status lower_whole(bench *b, const file *f) {
    const pm__build_desc build = {.caches = {PM__TYPE_F16, PM__TYPE_F16}, .n_ctx = N_CTX};
    pm__gguf gguf;
    PM_TRY(pm__gguf_init(&gguf, f->data, f->size));
    pm__model_def def = {0};
    pm__graph g = {0};
    pm_status status = pm__model_def_init(&def, &gguf);
    if (status == PM_OK)
        status = pm__model_def_build(&def, &build, &g);
    if (status == PM_OK)
        status = lower_fused(b, &def, &g, 1);
    if (status == PM_OK)
        status = lower_fused(b, &def, &g, 512);
    pm__graph_finish(&g);
    pm__model_def_finish(&def);
    pm__gguf_finish(&gguf);
    return status;
}

/* ---- what checks take ---- */

typedef struct checked {
    bench *bench;
    const pm__kernel *kernel;
} checked;

static bool take_case(void *user, pm__check_case *c) {
    const checked *of = user;
    if (!of->kernel->takes(&c->graph.nodes[0]))
        return true;
    pm__lowering lowering = {.graph = &c->graph,
                             .limits = &c->limits,
                             .n_row = c->n_row,
                             .n_out = c->n_out,
                             .kernel = of->kernel};
    of->bench->status = c->graph.status;
    if (of->bench->status == PM_OK)
        of->bench->status = lower(of->bench, &lowering, c->quick);
    return of->bench->status == PM_OK;
}

static bool is_reached(const bench *b, const pm__kernel *kernel) {
    for (size_t i = 0; i < b->n_known; i++)
        if (strcmp(b->known[i].name, kernel->name) == 0)
            return true;
    return false;
}

static pm_status lower_checks(bench *b) {
    size_t n_kernel;
    const pm__kernel *table = pm__kernel_table(&n_kernel);
    for (size_t i = 0; i < n_kernel; i++) {
        const pm__kernel *kernel = &table[i];
        /* the same code with other constants, or made for what is not a GPU */
        if (kernel->variant || !is_wanted(b, kernel->name) ||
            (kernel->suits == PM__SUITS_SOFTWARE && !b->gpu->caps.software))
            continue;
        if (!b->gpu->caps.tiers[kernel->tier]) {
            fprintf(stderr, "codegen: kernel '%s' is left out: the device lacks its tier\n",
                    kernel->name);
            continue;
        }
        checked of = {b, kernel};
        pm__case_filter filter = {.level = PM_CHECK_STANDARD, .take = take_case, .user = &of};
        memset(filter.types, true, sizeof filter.types);
        pm__check_cases(kernel->op, &filter);
        PM_TRY(b->status);
        if (!is_reached(b, kernel))
            return pm__fail(PM_FAILURE, "kernel '%s': its operation has no case to check",
                            kernel->name);
    }
    return PM_OK;
}

/* ---- what drivers tell ---- */

typedef enum column {
    INSTRUCTIONS,
    REGISTERS,
    SCALARS,
    SPILLS,
    SCRATCH,
    SHARED,
    WAVES,
    CODE,
    N
} column;

/* Statistics have other names with every driver; those of one column are added up. Spills are those
 * to memory; what NVK calls spills to registers are predicates and uniform registers kept in
 * ordinary ones. */
static const struct {
    column column;
    const char *name;
} names[] = {
    {INSTRUCTIONS, "Instructions"},      /* RADV, Honeykrisp */
    {INSTRUCTIONS, "Instruction count"}, /* NVK */
    {INSTRUCTIONS, "Instruction Count"}, /* Turnip */
    {REGISTERS, "VGPRs"},
    {REGISTERS, "Number of GPRs"},
    {REGISTERS, "Registers used"},
    {REGISTERS, "GPRs"},
    {SCALARS, "SGPRs"},
    {SCALARS, "Uniforms"},
    {SPILLS, "Spilled VGPRs"},
    {SPILLS, "Spilled SGPRs"},
    {SPILLS, "Spills to memory"},
    {SPILLS, "STP Count"},
    {SPILLS, "Spills"},
    {SCRATCH, "Scratch size"},
    {SCRATCH, "SLM size"},
    {SCRATCH, "Scratch"},
    {SHARED, "LDS size"},
    {WAVES, "Subgroups per SIMD"},
    {WAVES, "Max warps/SM"},
    {WAVES, "Max Waves Per Core"},
    {WAVES, "Threads"},
    {CODE, "Code size"},
};

typedef struct line {
    uint32_t n_pipeline;
    double values[N]; /* -1: not told */
    double seconds;
} line;

static double number(const VkPipelineExecutableStatisticKHR *s) {
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)s->value.u64;
    default:
        return s->value.f64;
    }
}

static void add_statistic(double values[N], const VkPipelineExecutableStatisticKHR *s) {
    for (size_t i = 0; i < PM__COUNT(names); i++)
        if (strcmp(s->name, names[i].name) == 0)
            values[names[i].column] = fmax(values[names[i].column], 0) + number(s);
}

/* A compute pipeline is one executable. */
static pm_status read_statistics(pm__gpu *gpu, VkPipeline pipeline, double values[N]) {
    enum { MOST = 128 };
    static VkPipelineExecutableStatisticKHR statistics[MOST];
    const VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
    };
    uint32_t n = MOST;
    for (uint32_t i = 0; i < n; i++)
        statistics[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    const VkResult result =
        gpu->vk.vkGetPipelineExecutableStatisticsKHR(gpu->device, &info, &n, statistics);
    PM_TRY(pm__gpu_check(gpu, result, "codegen: statistics of a pipeline"));
    for (uint32_t i = 0; i < n; i++)
        add_statistic(values, &statistics[i]);
    return PM_OK;
}

static pm_status add_pipeline(bench *b, const pm__pipeline *pipeline, line *l) {
    double values[N];
    for (int i = 0; i < N; i++)
        values[i] = -1;
    if (b->gpu->caps.statistics)
        PM_TRY(read_statistics(b->gpu, pipeline->pipeline, values));
    for (int i = 0; i < N; i++) {
        const bool low = i == WAVES && l->n_pipeline > 0;
        l->values[i] = low ? fmin(l->values[i], values[i]) : fmax(l->values[i], values[i]);
    }
    l->seconds = fmax(l->seconds, pipeline->seconds);
    l->n_pipeline++;
    return PM_OK;
}

static void print_line(const bench *b, const use *u, pm__tier tier, const line *l) {
    static const char *const tiers[] = {
#define PM_TIER(NAME, name, what) #name,
#include "runtime/gpu/tiers.def"
#undef PM_TIER
    };
    printf("%s,%s,%s,%s,%s,%s,%" PRIu32, b->label, b->gpu->info.driver,
           b->shape != NULL ? b->shape->name : "check", u->kernel, tiers[tier],
           u->type == PM__TYPE_COUNT ? "" : pm__type_get(u->type)->name, l->n_pipeline);
    for (int i = 0; i < N; i++)
        if (l->values[i] >= 0)
            printf(",%.0f", l->values[i]);
        else
            printf(",");
    printf(",%.0f\n", l->seconds * 1e3);
}

static bool same(const use *a, const use *b) {
    return strcmp(a->kernel, b->kernel) == 0 && a->type == b->type;
}

/* One line a kernel and type, at its first pipeline. */
static pm_status print_lines(bench *b) {
    for (uint32_t i = 0; i < b->pipelines.n; i++) {
        bool seen = false;
        for (uint32_t j = 0; j < i; j++)
            seen = seen || same(&b->uses[j], &b->uses[i]);
        if (seen)
            continue;
        line l = {.values = {-1, -1, -1, -1, -1, -1, -1, -1}};
        for (uint32_t j = i; j < b->pipelines.n; j++)
            if (same(&b->uses[j], &b->uses[i]))
                PM_TRY(add_pipeline(b, &b->pipelines.items[j], &l));
        print_line(b, &b->uses[i], b->pipelines.items[i].desc.tier, &l);
    }
    return PM_OK;
}

/* ---- all of it ---- */

static void forget(bench *b) {
    pm__pipelines_finish(&b->pipelines);
    free(b->uses);
    b->uses = NULL;
    b->use_capacity = 0;
}

/* So that SPIR-V is there when drivers are timed. */
static pm_status make_words(bench *b) {
    for (uint32_t i = 0; i < b->pipelines.n; i++) {
        const pm__pipeline_desc *desc = &b->pipelines.items[i].desc;
        const char *defines[PM__MOST_DEFINES];
        for (uint32_t k = 0; k < desc->n_define; k++)
            defines[k] = desc->defines[k];
        const pm__shader_desc shader = {
            .file = desc->file, .defines = defines, .n_define = desc->n_define, .tier = desc->tier};
        uint32_t *words = NULL;
        size_t n;
        PM_TRY(pm__shader_compile(b->gpu, &shader, &words, &n));
        free(words);
    }
    return PM_OK;
}

/* Processor time that a driver without a cache takes for all pipelines of a model, one after the
 * other. First of all, so that it knows none, and without statistics, which take time. */
static pm_status run_whole(bench *b) {
    file f = {0};
    clock_t start = 0;
    b->shape = &shapes[0];
    PM_TRY(make_file(b->shape, PM__TYPE_Q4_K, PM__TYPE_Q6_K, &f));
    pm_status status = pm__pipelines_init(&b->pipelines, b->gpu);
    if (status == PM_OK)
        status = lower_whole(b, &f);
    if (status == PM_OK)
        status = make_words(b);
    start = clock();
    if (status == PM_OK)
        status = pm__pipelines_build(&b->pipelines, NULL, NULL);
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (status == PM_OK)
        printf("%s,%s,%s,all,,Q4_K_M,%" PRIu32 ",,,,,,,,,%.0f\n", b->label, b->gpu->info.driver,
               b->shape->name, b->pipelines.n, seconds * 1e3);
    forget(b);
    b->n_known = 0;
    free(f.data);
    return status;
}

static pm_status run_shape(bench *b) {
    PM_TRY(pm__pipelines_init(&b->pipelines, b->gpu));
    b->pipelines.statistics = true;
    pm_status status = b->shape != NULL ? lower_models(b) : lower_checks(b);
    if (status == PM_OK)
        status = pm__pipelines_build(&b->pipelines, NULL, NULL);
    if (status == PM_OK)
        status = print_lines(b);
    forget(b);
    return status;
}

static pm_status run(const char *label, const char *only) {
    const pm_device_desc desc = {.n_thread = 1};
    bench b = {0};
    PM_TRY(pm__gpu_create(0, &desc, &b.gpu));
    b.label = label != NULL ? label : b.gpu->info.name;
    b.only = only;
    printf("device,driver,model,kernel,tier,type,pipelines,instructions,registers,scalars,spills,"
           "scratch_bytes,shared_bytes,waves,code_bytes,compile_ms\n");
    pm_status status = only[0] == '\0' ? run_whole(&b) : PM_OK;
    for (size_t i = 0; i <= PM__COUNT(shapes) && status == PM_OK; i++) {
        b.shape = i < PM__COUNT(shapes) ? &shapes[i] : NULL;
        status = run_shape(&b);
    }
    free(b.known);
    pm__gpu_destroy(b.gpu);
    return status;
}

int main(int argc, char **argv) {
    if (argc > 3 || (argc >= 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: codegen [LABEL [KERNEL]]\n");
        return 2;
    }
    if (run(argc >= 2 ? argv[1] : NULL, argc == 3 ? argv[2] : "") == PM_OK)
        return 0;
    fprintf(stderr, "codegen: %s\n", pm_last_error());
    return 1;
}
