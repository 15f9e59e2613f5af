/* codegen.c: what the driver's compiler makes of every kernel, as CSV.
 *
 *   codegen [LABEL]    LABEL stands in the column `device` instead of the device's name
 *
 * Opens Vulkan device 0, which may be one that can compile and never run, lowers Llama graphs at
 * the shapes of real models for one row and for a batch, in every tensor type and every kernel
 * tier, and builds the pipelines. No weight is made: lowering only asks where weights would be. A
 * line is the worst of the pipelines of one kernel; empty fields are what a driver does not tell.
 */
#include "runtime/base/checked.h"
#include "runtime/gpu/lower.h"
#include "runtime/graph/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- models: GGUF files without data ---- */

typedef struct shape {
    const char *name;
    uint32_t n_embd, n_ff, n_head, n_head_kv, n_vocab;
    bool factors; /* of rotary frequencies */
} shape;

static const shape shapes[] = {
    {"llama-1b", 2048, 8192, 32, 8, 128256, true},
    {"llama-8b", 4096, 14336, 32, 8, 128256, false},
};

typedef struct file {
    uint8_t *data;
    size_t size, capacity;
    uint64_t data_bytes; /* of the tensors so far */
    uint32_t n_key, n_tensor;
} file;

enum { MOST_HEADER = 4096, ALIGNMENT = 32 };

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

static void put_tensors(file *f, const shape *s, pm__type type) {
    const uint32_t head_dim = s->n_embd / s->n_head, n_kv = s->n_head_kv * head_dim;
    put_tensor(f, "token_embd.weight", type, s->n_vocab, s->n_embd);
    put_tensor(f, "output_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.attn_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.attn_q.weight", type, s->n_embd, s->n_embd);
    put_tensor(f, "blk.0.attn_k.weight", type, n_kv, s->n_embd);
    put_tensor(f, "blk.0.attn_v.weight", type, n_kv, s->n_embd);
    put_tensor(f, "blk.0.attn_output.weight", type, s->n_embd, s->n_embd);
    put_tensor(f, "blk.0.ffn_norm.weight", PM__TYPE_F32, 1, s->n_embd);
    put_tensor(f, "blk.0.ffn_gate.weight", type, s->n_ff, s->n_embd);
    put_tensor(f, "blk.0.ffn_up.weight", type, s->n_ff, s->n_embd);
    put_tensor(f, "blk.0.ffn_down.weight", type, s->n_embd, s->n_ff);
    if (s->factors)
        put_tensor(f, "rope_freqs.weight", PM__TYPE_F32, 1, head_dim / 2);
}

/* The whole file: its tensors are zeros that no one ever touches, so they take no memory. */
static pm_status make_file(const shape *s, pm__type type, file *out) {
    uint8_t header[MOST_HEADER];
    file f = {.data = header};
    put_keys(&f, s);
    put_tensors(&f, s, type);
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

/* ---- pipelines ---- */

typedef struct use { /* of a pipeline */
    const char *kernel;
    pm__type type; /* of the matrix; PM__TYPE_COUNT: there is none */
} use;

typedef struct bench {
    pm__gpu *gpu;
    const char *label;
    const shape *shape;
    pm__pipelines pipelines;
    use *uses; /* [pipelines.n] */
} bench;

static pm_status note_uses(bench *b, const pm__program *program) {
    use *uses = realloc(b->uses, (b->pipelines.n + 1) * sizeof *uses);
    if (uses == NULL)
        return pm__fail_memory("codegen: pipelines", b->pipelines.n * sizeof *uses);
    b->uses = uses;
    for (uint32_t i = 0; i < program->n_dispatch; i++) {
        const pm__dispatch *d = &program->dispatches[i];
        const pm__node *node = d->node;
        const pm__type type = node->op == PM__OP_MATMUL  ? node->in[1]->type
                              : node->op == PM__OP_EMBED ? node->in[0]->type
                                                         : PM__TYPE_COUNT;
        uses[d->pipeline] = (use){b->pipelines.items[d->pipeline].desc.name, type};
    }
    return PM_OK;
}

/* Lowering looks at whether a plane is there, and that a kernel can reach it. */
static const pm__region somewhere = {.bytes = 16};

static pm_status lower_class(bench *b, const pm__graph *g, const pm__places *places,
                             uint32_t n_row) {
    const pm__limits limits = {.n_ctx = 8192, .n_batch = 512, .n_out = 512, .n_seq = 1};
    const pm__lowering lowering = {
        .gpu = b->gpu,
        .graph = g,
        .limits = &limits,
        .places = places,
        .n_row = n_row,
        .n_out = n_row,
        .pipelines = &b->pipelines,
    };
    pm__program program;
    pm_status status = pm__lower(&lowering, &program);
    if (status == PM_OK)
        status = note_uses(b, &program);
    pm__program_finish(&program);
    return status;
}

/* Once for each tier as if it were the highest, for one row and for a batch. */
static pm_status lower_tiers(bench *b, const pm__graph *g, const pm__places *places) {
    const pm__caps caps = b->gpu->caps;
    pm_status status = PM_OK;
    for (int tier = PM__TIER_COUNT - 1; tier >= 0 && status == PM_OK; tier--) {
        if (caps.tiers[tier]) {
            status = lower_class(b, g, places, 1);
            if (status == PM_OK)
                status = lower_class(b, g, places, 512);
        }
        b->gpu->caps.tiers[tier] = tier == 0;
    }
    b->gpu->caps = caps;
    return status;
}

static pm_status lower_placed(bench *b, const pm__model_def *def, const pm__graph *g) {
    pm__weight_part *parts = calloc(def->n_weight + 1, sizeof *parts);
    pm__weight_place *weights = calloc(def->n_weight + 1, sizeof *weights);
    pm__region *regions = calloc(g->n_activation + g->n_cache + 1, sizeof *regions);
    pm_status status = PM_OK;
    if (parts == NULL || weights == NULL || regions == NULL)
        status = pm__fail_memory("codegen: places", def->n_weight * sizeof *parts);
    for (uint32_t i = 0; status == PM_OK && i < def->n_weight; i++) {
        const pm__tensor *t = &def->weights[i].tensor;
        parts[i] = (pm__weight_part){.n_row = t->n_row, .quants = somewhere};
        if (pm__type_scale_words(t->type, t->n_col) > 0)
            parts[i].scales = somewhere;
        weights[i] = (pm__weight_place){.parts = &parts[i], .n_part = 1};
    }
    for (uint32_t i = 0; status == PM_OK && i < g->n_activation + g->n_cache; i++)
        regions[i] = somewhere;
    pm__places places = {
        .weights = weights, .activations = regions, .caches = regions + g->n_activation};
    for (int i = 0; i < PM__STEP_PART_COUNT; i++)
        places.step[i] = somewhere;
    if (status == PM_OK)
        status = lower_tiers(b, g, &places);
    free(parts);
    free(weights);
    free(regions);
    return status;
}

static pm_status lower_file(bench *b, const file *f) {
    pm__gguf gguf;
    PM_TRY(pm__gguf_init(&gguf, f->data, f->size));
    pm__model_def def = {0};
    pm__graph g = {0};
    pm_status status = pm__model_def_init(&def, &gguf);
    if (status == PM_OK)
        status = pm__model_def_build(&def, &g);
    if (status == PM_OK)
        status = lower_placed(b, &def, &g);
    pm__graph_finish(&g);
    pm__model_def_finish(&def);
    pm__gguf_finish(&gguf);
    return status;
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
    printf("%s,%s,%s,%s,%s,%s,%" PRIu32, b->label, b->gpu->info.driver, b->shape->name, u->kernel,
           tiers[tier], u->type == PM__TYPE_COUNT ? "" : pm__type_get(u->type)->name,
           l->n_pipeline);
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

static pm_status lower_types(bench *b) {
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        file f = {0};
        PM_TRY(make_file(b->shape, (pm__type)type, &f));
        const pm_status status = lower_file(b, &f);
        free(f.data);
        PM_TRY(status);
    }
    return PM_OK;
}

static pm_status run_shape(bench *b) {
    PM_TRY(pm__pipelines_init(&b->pipelines, b->gpu));
    b->pipelines.statistics = true;
    pm_status status = lower_types(b);
    if (status == PM_OK)
        status = pm__pipelines_build(&b->pipelines, NULL, NULL);
    if (status == PM_OK)
        status = print_lines(b);
    pm__pipelines_finish(&b->pipelines);
    free(b->uses);
    b->uses = NULL;
    return status;
}

static pm_status run(const char *label) {
    const pm_device_desc desc = {.cache_dir = "", .n_thread = 1};
    bench b = {0};
    PM_TRY(pm__gpu_create(0, &desc, &b.gpu));
    b.label = label != NULL ? label : b.gpu->info.name;
    printf("device,driver,model,kernel,tier,type,pipelines,instructions,registers,scalars,spills,"
           "scratch_bytes,shared_bytes,waves,code_bytes,compile_ms\n");
    pm_status status = PM_OK;
    for (size_t i = 0; i < PM__COUNT(shapes) && status == PM_OK; i++) {
        b.shape = &shapes[i];
        status = run_shape(&b);
    }
    pm__gpu_destroy(b.gpu);
    return status;
}

int main(int argc, char **argv) {
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: codegen [LABEL]\n");
        return 2;
    }
    if (run(argc == 2 ? argv[1] : NULL) == PM_OK)
        return 0;
    fprintf(stderr, "codegen: %s\n", pm_last_error());
    return 1;
}
