/* ctest: gpu */
/* test_gpu_context.c: a small model through the backend's interface: however its memory is cut,
 * staged, submitted and ordered, the bits are the same; what is planned is what is taken; every
 * call that can fail may fail. */
#include "devices.h"
#include "gpu/context.h"
#include "tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_CTX = 64, N_BATCH = 12, N_OUT = 6, MOST_SEQ = 3, N_PROMPT = 23, N_SINGLE = 5 };

static pm__tiny_model tiny;
static char cache[PM__FOLDER_SIZE];

static int set_up(void **state) {
    (void)state;
    pm__folder_init(cache);
    pm__tiny_model_init(&tiny, 3);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm__tiny_model_finish(&tiny);
    pm__folder_finish(cache);
    return 0;
}

static void must(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s: %s", pm_status_text(status), pm_last_error());
}

/* ---- counted and failing calls
 * -------------------------------------------------------------------- */

/* Calls from the fail_at-th on fail; 0: none. Pipelines are created on several threads. */
typedef struct counter {
    atomic_uint n;
    uint32_t fail_at;
} counter;

static counter allocations, pipelines, submissions;
static atomic_uint n_live; /* allocations that are not freed */
static VkDeviceSize taken; /* bytes of all allocations */
static struct VolkDeviceTable real;

static bool fails(counter *c) {
    const uint32_t n = atomic_fetch_add(&c->n, 1) + 1;
    return c->fail_at != 0 && n >= c->fail_at;
}

static VkResult VKAPI_PTR allocate_memory(VkDevice device, const VkMemoryAllocateInfo *info,
                                          const VkAllocationCallbacks *callbacks,
                                          VkDeviceMemory *memory) {
    if (fails(&allocations))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    const VkResult result = real.vkAllocateMemory(device, info, callbacks, memory);
    if (result == VK_SUCCESS) {
        atomic_fetch_add(&n_live, 1);
        taken += info->allocationSize;
    }
    return result;
}

static void VKAPI_PTR free_memory(VkDevice device, VkDeviceMemory memory,
                                  const VkAllocationCallbacks *callbacks) {
    if (memory != VK_NULL_HANDLE)
        atomic_fetch_sub(&n_live, 1);
    real.vkFreeMemory(device, memory, callbacks);
}

static VkResult VKAPI_PTR create_pipelines(VkDevice device, VkPipelineCache with, uint32_t n,
                                           const VkComputePipelineCreateInfo *infos,
                                           const VkAllocationCallbacks *callbacks,
                                           VkPipeline *out) {
    if (fails(&pipelines)) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = VK_NULL_HANDLE;
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    return real.vkCreateComputePipelines(device, with, n, infos, callbacks, out);
}

static VkResult VKAPI_PTR submit(VkQueue queue, uint32_t n, const VkSubmitInfo *infos,
                                 VkFence fence) {
    return fails(&submissions) ? VK_ERROR_DEVICE_LOST : real.vkQueueSubmit(queue, n, infos, fence);
}

static void count_calls(pm__gpu *gpu) {
    real = gpu->vk;
    n_live = 1; /* the canaries of its queue */
    gpu->vk.vkAllocateMemory = allocate_memory;
    gpu->vk.vkFreeMemory = free_memory;
    gpu->vk.vkCreateComputePipelines = create_pipelines;
    gpu->vk.vkQueueSubmit = submit;
}

static void reset_counts(void) {
    allocations = pipelines = submissions = (counter){.fail_at = 0};
    n_live = 0;
    taken = 0;
}

/* ---- a device with the model
 * ---------------------------------------------------------------------- */

typedef struct way { /* how to do it; zeros: as the device likes */
    bool unmapped, untimed;
    uint64_t most_range, most_allocation;
    double submit_seconds;
    uint32_t n_seq;
    bool gpu; /* passes for one */
} way;

typedef struct rig {
    pm__device_handle handle;
    const pm__backend *backend;
    pm__limits limits;
    void *weights, *context;
} rig;

static void open_device(rig *r, uint32_t index, const way *how) {
    const pm_device_desc desc = {.cache_dir = cache};
    *r = (rig){.limits = {.n_ctx = N_CTX, .n_batch = N_BATCH, .n_out = N_OUT, .n_seq = 1}};
    must(pm__gpu_open(index, &desc, &r->handle));
    r->backend = r->handle.backend;
    pm__gpu *gpu = ((pm__gpu_device *)r->handle.device)->gpu;
    gpu->unmapped = how->unmapped;
    if (how->untimed)
        gpu->caps.timestamp_seconds = 0;
    if (how->most_range != 0)
        gpu->caps.most_range = how->most_range;
    if (how->most_allocation != 0)
        gpu->caps.most_allocation = how->most_allocation;
    if (how->submit_seconds > 0)
        gpu->submit_seconds = how->submit_seconds;
    if (how->n_seq != 0)
        r->limits.n_seq = how->n_seq;
    gpu->caps.software = gpu->caps.software && !how->gpu;
    count_calls(gpu);
}

static pm_status open_model(rig *r) {
    PM_TRY(r->backend->weights_create(r->handle.device, &tiny.def, NULL, NULL, &r->weights));
    return r->backend->context_create(r->weights, &tiny.graph, &r->limits, &r->context);
}

static void close_rig(rig *r) {
    if (r->context != NULL)
        r->backend->context_destroy(r->context);
    if (r->weights != NULL)
        r->backend->weights_destroy(r->weights);
    r->backend->close(r->handle.device);
}

static void open_rig(rig *r, uint32_t index, const way *how) {
    open_device(r, index, how);
    must(open_model(r));
}

static uint32_t token_at(uint32_t seq, uint32_t pos) {
    return (pos * 37 + seq * 101 + pos * pos * 5 + 11) % PM__TINY_VOCAB;
}

/* Rows [first, first + n) of one sequence; logits of the last n_out of them, [n_out, n_vocab]. */
static pm_status eval(rig *r, uint32_t seq, uint32_t first, uint32_t n, uint32_t n_out,
                      float *logits) {
    struct pm_step_row rows[N_BATCH];
    uint32_t outs[N_BATCH];
    for (uint32_t i = 0; i < n; i++)
        rows[i] =
            (struct pm_step_row){.token = token_at(seq, first + i), .seq = seq, .pos = first + i};
    for (uint32_t i = 0; i < n_out; i++)
        outs[i] = n - n_out + i;
    const pm__step step = {.rows = rows, .n_row = n, .outs = outs, .n_out = n_out};
    struct pm_step_drawn drawn[N_OUT];
    PM_TRY(r->backend->begin(r->context, &step));
    PM_TRY(r->backend->submit(r->context));
    PM_TRY(r->backend->collect(r->context, drawn));
    return n_out > 0 ? r->backend->read_logits(r->context, 0, n_out, logits) : PM_OK;
}

enum { N_LOGIT = (2 * N_OUT + N_SINGLE) * PM__TINY_VOCAB };

/* A prompt in two chunks and single steps after it. */
static pm_status walk(rig *r, float *logits) {
    static const uint32_t pages[] = {1, 0};
    PM_TRY(r->backend->set_pages(r->context, 0, 0, 2, pages));
    PM_TRY(eval(r, 0, 0, N_BATCH, N_OUT, logits));
    logits += N_OUT * PM__TINY_VOCAB;
    PM_TRY(eval(r, 0, N_BATCH, N_PROMPT - N_BATCH, N_OUT, logits));
    logits += N_OUT * PM__TINY_VOCAB;
    for (uint32_t i = 0; i < N_SINGLE; i++, logits += PM__TINY_VOCAB)
        PM_TRY(eval(r, 0, N_PROMPT + i, 1, 1, logits));
    return PM_OK;
}

static void each_device(void (*check)(uint32_t index)) {
    pm_device_info *list;
    size_t n, n_usable = 0;
    const char *note;
    must(pm__gpu_list(&list, &n, &note));
    for (size_t i = 0; i < n; i++) {
        if (!list[i].usable)
            continue;
        print_message("  on %s (%s)\n", list[i].name, list[i].driver);
        reset_counts();
        check(list[i].index);
        n_usable++;
    }
    pm__gpu_list_free(list);
    if (n_usable == 0) {
        print_message("no usable Vulkan device: skipped. %s\n", note);
        skip();
    }
}

/* ---- the same bits however it is done
 * ------------------------------------------------------------- */

static const double tight = 1e-9, ample = 100; /* seconds of a submission */

static pm__context_info info_of(const rig *r) {
    pm__context_info info;
    r->backend->context_get_info(r->context, &info);
    return info;
}

/* What a walk has taught, and the submissions of one more step: its load, its segments, its
 * read. */
static void check_budget(rig *r, double submit_seconds) {
    static float logits[PM__TINY_VOCAB];
    const pm__context_info info = info_of(r);
    const uint32_t before = submissions.n;
    must(eval(r, 0, N_PROMPT + N_SINGLE, 1, 1, logits));
    const uint32_t n_submission = submissions.n - before;
    if (submit_seconds <= tight) {
        assert_int_equal(info.n_submit, info.n_dispatch);
        assert_int_equal(n_submission, info.n_dispatch + 2);
        assert_int_equal(info.most_rows, 1);
    } else {
        assert_int_equal(info.n_submit, 1);
        assert_int_equal(n_submission, 3);
        assert_int_equal(info.most_rows, N_BATCH);
        assert_true(info.n_barrier < info.n_dispatch);
    }
}

static void walk_in_way(uint32_t index, const way *how, float *logits) {
    rig r;
    open_rig(&r, index, how);
    assert_int_equal(info_of(&r).most_rows, N_BATCH); /* nothing is measured yet */
    must(walk(&r, logits));
    if (how->submit_seconds > 0)
        check_budget(&r, how->submit_seconds);
    close_rig(&r);
}

static uint32_t n_part_of(uint32_t index, const way *how, uint32_t *n_need) {
    rig r;
    open_device(&r, index, how);
    must(r.backend->weights_create(r.handle.device, &tiny.def, NULL, NULL, &r.weights));
    const pm__gpu_weights *weights = r.weights;
    const uint32_t n = weights->n_part;
    *n_need = weights->needs.n;
    close_rig(&r);
    return n;
}

/* Memory whole, in parts, in small buffers, mapped or not, meets submissions short and long, by the
 * device's clock and the host's: each way once, as a device compiles for seconds. */
static void check_ways(uint32_t index) {
    const way ways[] = {
        {.n_seq = 0},
        {.unmapped = true, .submit_seconds = ample},
        {.most_range = 12288, .submit_seconds = tight},
        {.most_range = 12288, .unmapped = true, .submit_seconds = ample, .untimed = true},
        {.most_allocation = 65536, .submit_seconds = tight, .untimed = true},
    };
    float *logits[2] = {calloc(N_LOGIT, sizeof(float)), calloc(N_LOGIT, sizeof(float))};
    assert_true(logits[0] != NULL && logits[1] != NULL);
    walk_in_way(index, &ways[0], logits[0]);
    for (uint32_t i = 0; i < N_LOGIT; i++)
        assert_true(isfinite(logits[0][i]));
    for (size_t i = 1; i < PM__COUNT(ways); i++) {
        walk_in_way(index, &ways[i], logits[1]);
        assert_memory_equal(logits[1], logits[0], N_LOGIT * sizeof(float));
    }
    free(logits[0]);
    free(logits[1]);
    uint32_t n_need, n_split_need, n_small_need;
    const uint32_t n = n_part_of(index, &ways[0], &n_need);
    uint32_t n_own = 0; /* joined ones are parts only where their pieces can be bound alone, too */
    for (uint32_t i = 0; i < tiny.def.n_weight; i++)
        n_own += tiny.def.weights[i]->tensor.n_joined == 0;
    assert_true(n >= n_own && n <= tiny.def.n_weight);
    assert_true(n_part_of(index, &ways[2], &n_split_need) >= n + 10);
    assert_true(n_part_of(index, &ways[4], &n_small_need) > n && n_small_need > n_need);
}

static void test_ways(void **state) {
    (void)state;
    each_device(check_ways);
}

/* What cannot be bound or allocated in one piece is said, and nothing stays behind. */
static void check_too_small(uint32_t index) {
    static const way ways[] = {{.most_allocation = 8192}, {.most_range = 1024}};
    for (size_t i = 0; i < PM__COUNT(ways); i++) {
        rig r;
        open_device(&r, index, &ways[i]);
        assert_int_equal(open_model(&r), PM_OUT_OF_MEMORY);
        assert_non_null(strstr(pm_last_error(), "use a smaller"));
        close_rig(&r);
        assert_int_equal(n_live, 0);
    }
}

static void test_too_small(void **state) {
    (void)state;
    each_device(check_too_small);
}

/* ---- the plan
 * ------------------------------------------------------------------------------------- */

static pm_status add_buffer(void *user, const pm_plan_buffer *buffer) {
    assert_true(buffer->name[0] != '\0' && buffer->heap[0] != '\0');
    *(uint64_t *)user += buffer->bytes;
    return PM_OK;
}

static pm_status see_heap(void *user, const pm_plan_heap *heap) {
    (void)user;
    assert_true(heap->name[0] != '\0' && heap->free > 0);
    return PM_OK;
}

/* What is taken is what was planned, and nothing more while it is used. */
static void check_plan(uint32_t index, const way *how, void (*use)(rig *r)) {
    rig r;
    reset_counts();
    open_device(&r, index, how);
    uint64_t planned = 0;
    const pm__plan_sink sink = {.buffer = add_buffer, .heap = see_heap, .user = &planned};
    const pm__plan_desc desc = {.def = &tiny.def, .graph = &tiny.graph, .limits = &r.limits};
    must(r.backend->plan(r.handle.device, &desc, &sink));
    assert_int_equal(allocations.n, 0);
    must(open_model(&r));
    assert_int_equal(taken, planned);
    const uint32_t n = allocations.n;
    use(&r);
    assert_int_equal(allocations.n, n);
    close_rig(&r);
    assert_int_equal(allocations.n, n);
    assert_int_equal(n_live, 0);
}

static void walk_and_copy(rig *r) {
    float *logits = calloc(N_LOGIT, sizeof *logits);
    assert_non_null(logits);
    must(walk(r, logits));
    must(r->backend->copy_page(r->context, 0, 1));
    free(logits);
}

static void check_unmapped_plan(uint32_t index) {
    check_plan(index, &(way){.unmapped = true}, walk_and_copy);
}

static void test_plan(void **state) {
    (void)state;
    each_device(check_unmapped_plan);
}

/* ---- pages and sequences
 * -------------------------------------------------------------------------- */

enum { N_ROW = 4 }; /* rows of a sequence in a step */

static void assert_near(const float *a, const float *b, double most) {
    double error = 0, power = 0;
    for (uint32_t i = 0; i < PM__TINY_VOCAB; i++) {
        error = fmax(error, fabs((double)a[i] - (double)b[i]));
        power = fmax(power, fabs((double)b[i]));
    }
    assert_true(power > 0 && error <= most * power);
}

static void set_pages(rig *r, uint32_t seq, uint32_t first, uint32_t second) {
    const uint32_t pages[] = {first, second};
    must(r->backend->set_pages(r->context, seq, 0, 2, pages));
}

/* Rows [first, first + N_ROW) of all sequences in one step. */
static void eval_together(rig *r, uint32_t first, float *logits) {
    struct pm_step_row rows[MOST_SEQ * N_ROW];
    uint32_t outs[MOST_SEQ];
    for (uint32_t i = 0; i < MOST_SEQ * N_ROW; i++) {
        const uint32_t seq = i / N_ROW, pos = first + i % N_ROW;
        rows[i] = (struct pm_step_row){.token = token_at(seq, pos), .seq = seq, .pos = pos};
    }
    for (uint32_t seq = 0; seq < MOST_SEQ; seq++)
        outs[seq] = seq * N_ROW + N_ROW - 1;
    const pm__step step = {
        .rows = rows, .n_row = MOST_SEQ * N_ROW, .outs = outs, .n_out = MOST_SEQ};
    struct pm_step_drawn drawn[MOST_SEQ];
    must(r->backend->begin(r->context, &step));
    must(r->backend->submit(r->context));
    must(r->backend->collect(r->context, drawn));
    must(r->backend->read_logits(r->context, 0, MOST_SEQ, logits));
}

static void check_sequences(rig *r) {
    enum { N_STEP = 9 }; /* past the first page */
    static float alone[MOST_SEQ][N_STEP][PM__TINY_VOCAB], together[MOST_SEQ][PM__TINY_VOCAB];
    for (uint32_t seq = 0; seq < MOST_SEQ; seq++) {
        set_pages(r, seq, 0, 1);
        for (uint32_t i = 0; i < N_STEP; i++)
            must(eval(r, seq, i * N_ROW, N_ROW, 1, alone[seq][i]));
    }
    set_pages(r, 0, 4, 1);
    set_pages(r, 1, 0, 5);
    set_pages(r, 2, 3, 2);
    for (uint32_t i = 0; i < N_STEP; i++) {
        eval_together(r, i * N_ROW, together[0]);
        for (uint32_t seq = 0; seq < MOST_SEQ; seq++)
            assert_near(together[seq], alone[seq][i], 1e-6);
    }
}

/* One row of each of n sequences from `first` on, as rows of answers. */
static void eval_few(rig *r, uint32_t first, uint32_t n, uint32_t pos, float *logits) {
    static const uint32_t outs[MOST_SEQ] = {0, 1, 2};
    struct pm_step_row rows[MOST_SEQ];
    struct pm_step_drawn drawn[MOST_SEQ];
    for (uint32_t i = 0; i < n; i++)
        rows[i] =
            (struct pm_step_row){.token = token_at(first + i, pos), .seq = first + i, .pos = pos};
    const pm__step step = {.rows = rows, .n_row = n, .outs = outs, .n_out = n, .among = PM__FEW};
    must(r->backend->begin(r->context, &step));
    must(r->backend->submit(r->context));
    must(r->backend->collect(r->context, drawn));
    must(r->backend->read_logits(r->context, 0, n, logits));
}

static bool runs_few(const rig *r) {
    const pm__gpu_context *context = r->context;
    return context->present == PM__CLASS_FEW;
}

/* Rows of few answers on a GPU have the bits that each has alone in its step. */
static void check_few(uint32_t index) {
    enum { N_STEP = 4 };
    static float apart[N_STEP][MOST_SEQ][PM__TINY_VOCAB], few[MOST_SEQ][PM__TINY_VOCAB],
        prompt[PM__TINY_VOCAB];
    rig r;
    open_rig(&r, index, &(way){.n_seq = MOST_SEQ, .gpu = true});
    set_pages(&r, 0, 4, 1);
    set_pages(&r, 1, 0, 5);
    set_pages(&r, 2, 3, 2);
    for (uint32_t i = 0; i < N_STEP; i++)
        for (uint32_t seq = 0; seq < MOST_SEQ; seq++)
            eval_few(&r, seq, 1, i, apart[i][seq]);
    for (uint32_t i = 0; i < N_STEP; i++) {
        eval_few(&r, 0, MOST_SEQ, i, few[0]);
        assert_memory_equal(few, apart[i], sizeof few);
        eval_few(&r, 1, 2, i, few[0]);
        assert_memory_equal(few, apart[i][1], 2 * sizeof few[0]);
    }
    assert_true(runs_few(&r));
    must(eval(&r, 0, 0, N_STEP, 1, prompt));
    assert_false(runs_few(&r));
    assert_near(prompt, apart[N_STEP - 1][0], 1e-3);
    close_rig(&r);
}

static void test_few(void **state) {
    (void)state;
    each_device(check_few);
}

/* A copied page holds what its original held, and goes its own way from there. */
static void check_copy(rig *r) {
    static float first[PM__TINY_VOCAB], second[PM__TINY_VOCAB];
    set_pages(r, 0, 5, 0);
    must(eval(r, 0, 0, N_BATCH, 0, NULL));
    must(r->backend->copy_page(r->context, 5, 2));
    must(eval(r, 0, N_BATCH, N_ROW, 1, first));
    set_pages(r, 0, 3, 0); /* never written */
    must(eval(r, 0, N_BATCH, N_ROW, 1, second));
    assert_memory_not_equal(second, first, sizeof first);
    set_pages(r, 0, 2, 0);
    must(eval(r, 0, N_BATCH, N_ROW, 1, second));
    assert_memory_equal(second, first, sizeof first);
}

/* ---- run-ahead
 * ------------------------------------------------------------------------------------ */

enum { N_AHEAD = PM_RING, N_TOKEN = 21 };

/* N_TOKEN tokens of each sequence from one row each, `ahead` steps at a time. */
static void draw(rig *r, uint32_t n_seq, uint32_t ahead, struct pm_step_drawn *out) {
    struct pm_step_row rows[MOST_SEQ];
    uint32_t outs[MOST_SEQ];
    for (uint32_t seq = 0; seq < n_seq; seq++) {
        const struct pm_step_sampler sampler = {.temperature = 0.9f,
                                                .top_k = 40,
                                                .top_p = 0.95f,
                                                .repeat_penalty = 1.2f,
                                                .repeat_last_n = 8,
                                                .seed_lo = 5 + seq};
        must(r->backend->set_sampler(r->context, seq, &sampler));
        rows[seq] = (struct pm_step_row){.token = token_at(seq, 0), .seq = seq};
        outs[seq] = seq;
    }
    uint32_t n_submitted = 0;
    for (uint32_t i = 0; i < N_TOKEN; i++, out += n_seq) {
        if (i == 0 || ahead == 0) {
            const pm__step step = {
                .rows = rows, .n_row = n_seq, .outs = outs, .n_out = n_seq, .sample = true};
            must(r->backend->begin(r->context, &step));
        }
        while (n_submitted < N_TOKEN && n_submitted <= i + (ahead > 0 ? ahead - 1 : 0)) {
            must(r->backend->submit(r->context));
            n_submitted++;
        }
        must(r->backend->collect(r->context, out));
        for (uint32_t seq = 0; seq < n_seq; seq++)
            rows[seq] =
                (struct pm_step_row){.token = out[seq].token, .seq = seq, .pos = rows[seq].pos + 1};
    }
}

/* Gives the number of its first step. */
static uint32_t check_ahead(rig *r, uint32_t n_seq) {
    static struct pm_step_drawn by_step[MOST_SEQ * N_TOKEN], ahead[MOST_SEQ * N_TOKEN];
    static const uint32_t n_aheads[] = {1, 3, N_AHEAD};
    draw(r, n_seq, 0, by_step);
    const uint32_t before = by_step[0].step;
    for (uint32_t i = 0; i < n_seq * N_TOKEN; i++) {
        assert_int_equal(by_step[i].step, before + i / n_seq);
        assert_true(by_step[i].token < PM__TINY_VOCAB);
    }
    assert_int_not_equal(by_step[0].logits_hash, by_step[n_seq].logits_hash);
    for (uint32_t a = 0; a < PM__COUNT(n_aheads); a++) {
        draw(r, n_seq, n_aheads[a], ahead);
        for (uint32_t i = 0; i < n_seq * N_TOKEN; i++) {
            assert_int_equal(ahead[i].step, before + (a + 1) * N_TOKEN + i / n_seq);
            assert_int_equal(ahead[i].row, by_step[i].row);
            assert_int_equal(ahead[i].token, by_step[i].token);
            assert_int_equal(ahead[i].logits_hash, by_step[i].logits_hash);
        }
    }
    return before;
}

static void check_all_ahead(rig *r) {
    set_pages(r, 0, 4, 1);
    set_pages(r, 1, 0, 5);
    set_pages(r, 2, 3, 2);
    const uint32_t first = check_ahead(r, 1);
    assert_int_equal(check_ahead(r, MOST_SEQ), first + 4 * N_TOKEN);
}

/* Copies come first, while there are pages that nobody has written. */
static void use_together(rig *r) {
    check_copy(r);
    check_sequences(r);
    check_all_ahead(r);
}

/* All of one context, as the kernels for several sequences take long to compile. */
static void check_together(uint32_t index) {
    check_plan(index, &(way){.n_seq = MOST_SEQ, .most_allocation = 65536}, use_together);
}

static void test_together(void **state) {
    (void)state;
    each_device(check_together);
}

/* ---- failures
 * ------------------------------------------------------------------------------------- */

static pm_status run_failing(uint32_t index, counter *which, uint32_t fail_at) {
    float *logits = calloc(N_LOGIT, sizeof *logits);
    assert_non_null(logits);
    rig r;
    reset_counts();
    open_device(&r, index, &(way){.unmapped = true, .submit_seconds = 100});
    which->fail_at = fail_at;
    pm_status status = open_model(&r);
    if (status == PM_OK)
        status = walk(&r, logits);
    if (status == PM_DEVICE_LOST && r.context != NULL) /* for good */
        assert_int_equal(walk(&r, logits), PM_DEVICE_LOST);
    close_rig(&r);
    free(logits);
    assert_int_equal(n_live, 0);
    return status;
}

/* Among the first calls, the last, and of submissions in the middle: in a prompt. */
static void fail_each(uint32_t index, counter *which, uint32_t n, pm_status expected) {
    const uint32_t places[] = {2, n, n / 2};
    const size_t n_place = which == &submissions ? 3 : 2;
    assert_true(n >= 6);
    for (size_t i = 0; i < n_place; i++) {
        assert_int_equal(run_failing(index, which, places[i]), expected);
        assert_true(strlen(pm_last_error()) > 20);
    }
}

static void check_failures(uint32_t index) {
    assert_int_equal(run_failing(index, &allocations, 0), PM_OK);
    const uint32_t n_allocation = allocations.n, n_pipeline = pipelines.n,
                   n_submission = submissions.n;
    fail_each(index, &allocations, n_allocation, PM_OUT_OF_MEMORY);
    fail_each(index, &pipelines, n_pipeline, PM_OUT_OF_MEMORY);
    fail_each(index, &submissions, n_submission, PM_DEVICE_LOST);
}

static void test_failures(void **state) {
    (void)state;
    each_device(check_failures);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways), cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_plan), cmocka_unit_test(test_together),
        cmocka_unit_test(test_few),  cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
