/* tune.c: times of kernels at the shapes of a model, and the choice that follows from them. */
#include "../base/clock.h"
#include "../gpu/gpu.h"
#include "measure_shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 5, DEFAULT_TUNE_SECONDS = 30, DEFAULT_BENCH_SECONDS = 20 };

static const double FASTER = 0.97, GOOD_SHARE = 0.5;
static const double LEAST_BUDGET = 0.01, MOST_BUDGET = 0.4;

typedef struct job {
    pm_device *device;
    const pm_model *model;
    pm_kernel_time_fn on_time;
    void *user;
    double started, most_seconds;
    double budget; /* seconds of one kernel over one shape */
    pm_device_speed speed;
    pm__model_shapes shapes;
    /* By kernel and type: checked quickly, and right. */
    bool checked[PM__MOST_KERNELS][PM__TYPE_COUNT + 1];
    bool left; /* of the present shape something was not done, for want of time */
    bool cancelled;
} job;

static pm_status job_init(job *j, pm_model *model, double seconds, double otherwise) {
    if (model->device == NULL || model->graph.n_node == 0)
        return pm__fail(PM_ARGUMENT, "tune: the model was opened for its vocabulary only");
    j->device = model->device;
    j->model = model;
    j->started = pm__clock_seconds();
    j->most_seconds = seconds > 0 ? seconds : otherwise;
    if (!pm__gpu_is(&j->device->handle))
        return pm__fail(PM_UNSUPPORTED, "tune: the CPU path has one kernel for each operation");
    PM_TRY(pm_device_measure(j->device, &j->speed));
    return pm__model_shapes_init(&j->shapes, model);
}

static void job_finish(job *j) {
    pm__model_shapes_finish(&j->shapes);
}

static bool is_late(const job *j) {
    return pm__clock_seconds() - j->started > j->most_seconds;
}

/* The present shape stays as it is: time is over before it was measured. */
static bool is_left(job *j) {
    j->left = j->left || is_late(j);
    return j->left;
}

/* What ends all of it, where other failures concern one kernel or shape alone. */
static bool is_final(const job *j, pm_status status) {
    return j->cancelled || status == PM_DEVICE_LOST;
}

static const char *type_name(const pm__node_shape *shape) {
    return shape->type < PM__TYPE_COUNT ? pm__type_get((pm__type)shape->type)->name : "";
}

/* ---- one kernel ------------------------------------------------------------------------------ */

static void tell(job *j, const pm__model_shape *shape, const pm__shape_bench *bench, int kernel,
                 double seconds, const char *why) {
    pm__kernel_info info;
    const pm__device_handle *handle = &j->device->handle;
    const uint32_t n_row = bench->n_row != 0 ? bench->n_row : 1;
    pm__gpu_kernel(handle, kernel, &info);
    const pm_kernel_time time = {
        .kernel = info.name,
        .op = pm__op_get(shape->shape.op)->name,
        .type = type_name(&shape->shape),
        .node = shape->node->name,
        .rows = pm__rows_class_name(shape->shape.rows),
        .n_out = shape->shape.n_out,
        .n_in = shape->shape.n_in,
        .n_row = bench->n_row,
        .n_node = shape->n_node,
        .index = (uint32_t)(shape - j->shapes.items),
        .n = j->shapes.n,
        .seconds = seconds,
        .bytes = (double)bench->cost.bytes,
        .flops = (double)bench->cost.flops,
        .standard = kernel == pm__gpu_default(handle, shape->shape.op, shape->node, n_row),
        .used = kernel == pm__gpu_choose(handle, shape->shape.op, shape->node, n_row),
        .why = why};
    if (j->on_time != NULL && !j->on_time(j->user, &time))
        j->cancelled = true;
}

/* Part of what the device can do at most that the kernel comes to: of copying, or of multiplying
 * where that takes longer. */
static double share_of_most(const job *j, const pm__shape_bench *bench, double seconds) {
    const double by_bytes = (double)bench->cost.bytes / j->speed.copy_bytes_per_second;
    const double by_flops = (double)bench->cost.flops / j->speed.flops_per_second;
    return seconds > 0 ? (by_bytes > by_flops ? by_bytes : by_flops) / seconds : 0;
}

static pm_status time_kernel(job *j, pm__shape_bench *bench, const pm__model_shape *shape,
                             int kernel, double *seconds) {
    *seconds = 0;
    pm_status status = pm__shape_compare(bench, kernel);
    if (status == PM_OK)
        status = pm__timer_time(bench->timer, kernel, j->budget, seconds);
    tell(j, shape, bench, kernel, status == PM_OK ? *seconds : 0,
         status == PM_OK ? "" : pm_last_error());
    return status;
}

/* ---- the bench of kernels -------------------------------------------------------------------- */

static pm_status bench_shape(job *j, const pm__model_shape *shape, bool all) {
    pm__shape_bench bench;
    pm__kernel_info info;
    const uint32_t n_row = shape->shape.rows == PM__ROWS_ONE ? 1 : PM__MOST_FEW_ROWS + 1;
    const uint32_t rows = shape->shape.rows == PM__ROWS_FEW ? PM__MOST_FEW_ROWS : n_row;
    const int used = pm__gpu_choose(&j->device->handle, shape->shape.op, shape->node, rows);
    PM_TRY(pm__shape_bench_init(&bench, j->device, &j->shapes, shape));
    pm_status status = PM_OK;
    double seconds;
    if (used >= 0)
        status = time_kernel(j, &bench, shape, used, &seconds);
    for (int k = 0; all && pm__gpu_kernel(&j->device->handle, k, &info); k++)
        if (k != used && !info.variant && pm__shape_takes(j->device, shape, k) &&
            !is_final(j, status))
            status = time_kernel(j, &bench, shape, k, &seconds);
    pm__shape_bench_finish(&bench);
    return status;
}

pm_status pm_bench_kernels(pm_model *model, const pm_kernels_desc *desc) {
    job j = {.on_time = desc->on_time, .user = desc->user};
    pm_status status = job_init(&j, model, desc->seconds, DEFAULT_BENCH_SECONDS);
    j.budget = LEAST_BUDGET;
    if (j.shapes.n > 0 && j.most_seconds / (4.0 * j.shapes.n) > j.budget)
        j.budget = j.most_seconds / (4.0 * j.shapes.n);
    if (status == PM_OK) {
        for (uint32_t i = 0; i < j.shapes.n && !is_final(&j, status) && !is_late(&j); i++)
            status = bench_shape(&j, &j.shapes.items[i], desc->all);
        status = status == PM_DEVICE_LOST ? status : PM_OK;
    }
    job_finish(&j);
    return j.cancelled ? pm__fail(PM_CANCELLED, "bench: interrupted") : status;
}

/* ---- the tuner ------------------------------------------------------------------------------- */

enum { MOST_CANDIDATES = 32 };

typedef struct candidate {
    int kernel;
    double seconds;
    bool variant;
} candidate;

/* The default first, then the rest as kernels.def has them, variants last. */
static uint32_t list_candidates(const job *j, const pm__model_shape *shape, uint32_t n_row,
                                candidate list[MOST_CANDIDATES]) {
    pm__kernel_info info;
    const pm__device_handle *handle = &j->device->handle;
    const int first = pm__gpu_default(handle, shape->shape.op, shape->node, n_row);
    uint32_t n = 0;
    if (first < 0)
        return 0;
    list[n++] = (candidate){.kernel = first};
    for (int variants = 0; variants < 2; variants++)
        for (int k = 0; pm__gpu_kernel(handle, k, &info) && n < MOST_CANDIDATES; k++)
            if (k != first && info.variant == variants && (!variants || info.at_home) &&
                pm__shape_takes(j->device, shape, k))
                list[n++] = (candidate){.kernel = k, .variant = variants};
    return n;
}

static bool has_time(void *user, const pm_check_case *done) {
    (void)done;
    return !is_late(user);
}

/* Cases of the kernel's own, against the CPU reference; of an operation with a matrix those of its
 * type. One that is cut short is not passed. */
static bool passes_check(job *j, const pm__model_shape *shape, int kernel) {
    char only[96];
    pm__kernel_info info;
    const pm__device_handle *handle = &j->device->handle;
    pm__gpu_kernel(handle, kernel, &info);
    pm_check_desc desc = {.level = PM_CHECK_QUICK, .only = only, .on_case = has_time, .user = j};
    const bool matrix = pm__op_get(shape->shape.op)->matrix >= 0;
    if (j->checked[kernel][shape->shape.type])
        return true;
    snprintf(only, sizeof only, matrix ? "%s/%s" : "%s", info.name, type_name(&shape->shape));
    pm_status status = pm_check(j->device, NULL, &desc, NULL);
    desc.only = info.name;
    if (status == PM_ARGUMENT) /* it has no cases of that name */
        status = pm_check(j->device, NULL, &desc, NULL);
    j->checked[kernel][shape->shape.type] = status == PM_OK;
    return status == PM_OK;
}

/* In turns, so that what else the machine does meets both. */
static pm_status compare_times(const job *j, pm__shape_bench *bench, candidate *a, candidate *b) {
    double seconds;
    a->seconds = b->seconds = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        PM_TRY(pm__timer_time(bench->timer, a->kernel, j->budget / TURNS, &seconds));
        a->seconds = turn == 0 || seconds < a->seconds ? seconds : a->seconds;
        PM_TRY(pm__timer_time(bench->timer, b->kernel, j->budget / TURNS, &seconds));
        b->seconds = turn == 0 || seconds < b->seconds ? seconds : b->seconds;
    }
    return PM_OK;
}

static uint32_t fastest(const candidate *list, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (list[i].seconds > 0 && list[i].seconds < list[best].seconds)
            best = i;
    return best;
}

/* The fastest that holds against list[0]; 0 if none does, or there is no time to find out. */
static pm_status choose(job *j, pm__shape_bench *bench, const pm__model_shape *shape,
                        candidate *list, uint32_t n, uint32_t *chosen) {
    for (*chosen = 0;;) {
        const uint32_t best = fastest(list, n);
        if (best == 0 || list[best].seconds > FASTER * list[0].seconds || is_left(j))
            return PM_OK;
        PM_TRY(compare_times(j, bench, &list[0], &list[best]));
        if (list[best].seconds <= FASTER * list[0].seconds &&
            passes_check(j, shape, list[best].kernel)) {
            *chosen = best;
            return PM_OK;
        }
        if (is_left(j))
            return PM_OK;
        list[best].seconds = 0; /* out of the running */
    }
}

static pm_status time_candidates(job *j, pm__shape_bench *bench, const pm__model_shape *shape,
                                 candidate *list, uint32_t n) {
    PM_TRY(time_kernel(j, bench, shape, list[0].kernel, &list[0].seconds));
    double best = list[0].seconds;
    for (uint32_t i = 1; i < n && !j->cancelled; i++) {
        /* Other constants of a kernel are worth a try where none comes near to what can be had. */
        if ((list[i].variant && share_of_most(j, bench, best) >= GOOD_SHARE) || is_left(j))
            break;
        const pm_status status = time_kernel(j, bench, shape, list[i].kernel, &list[i].seconds);
        if (status == PM_DEVICE_LOST)
            return status;
        if (status != PM_OK)
            list[i].seconds = 0;
        else if (list[i].seconds < best)
            best = list[i].seconds;
    }
    return PM_OK;
}

static pm_tuned describe(const pm_device *device, const pm__choice *choice) {
    pm__kernel_info kernel, instead;
    pm__gpu_kernel(&device->handle, choice->kernel, &kernel);
    pm__gpu_kernel(&device->handle, choice->instead, &instead);
    return (pm_tuned){.kernel = kernel.name,
                      .instead = instead.name,
                      .op = pm__op_get(choice->shape.op)->name,
                      .type = type_name(&choice->shape),
                      .rows = pm__rows_class_name(choice->shape.rows),
                      .n_out = choice->shape.n_out,
                      .n_in = choice->shape.n_in,
                      .seconds = 1e-9 * (double)choice->ns,
                      .instead_seconds = 1e-9 * (double)choice->instead_ns};
}

/* The choice takes effect at once, and is kept at once: whatever ends the program later. */
static pm_status settle(const job *j, const pm__model_shape *shape, const candidate *first,
                        const candidate *best, const pm_tune_desc *desc) {
    const pm__device_handle *handle = &j->device->handle;
    const pm__choice choice = {.shape = shape->shape,
                               .kernel = best->kernel,
                               .instead = first->kernel,
                               .ns = (uint64_t)(best->seconds * 1e9),
                               .instead_ns = (uint64_t)(first->seconds * 1e9)};
    const bool changed = best != first;
    if (changed)
        PM_TRY(pm__tuning_choose(handle, &choice));
    else
        pm__tuning_drop(handle, &shape->shape);
    pm__tuning_store(handle);
    const pm_tuned tuned = describe(j->device, &choice);
    if (desc->on_shape != NULL)
        desc->on_shape(desc->user, changed ? &tuned : NULL);
    return PM_OK;
}

static pm_status tune_opened(job *j, pm__shape_bench *bench, const pm__model_shape *shape,
                             const pm_tune_desc *desc, bool *changed) {
    candidate list[MOST_CANDIDATES];
    uint32_t best;
    const uint32_t n = list_candidates(j, shape, bench->n_row, list);
    PM_TRY(time_candidates(j, bench, shape, list, n));
    if (j->cancelled || j->left)
        return PM_OK;
    PM_TRY(choose(j, bench, shape, list, n, &best));
    if (j->left)
        return PM_OK;
    *changed = best != 0;
    return settle(j, shape, &list[0], &list[best], desc);
}

/* A shape that cannot be measured keeps its default. */
static pm_status tune_shape(job *j, const pm__model_shape *shape, const pm_tune_desc *desc,
                            pm_tune_summary *summary) {
    pm__shape_bench bench;
    bool changed = false;
    j->left = false;
    pm_status status = pm__shape_bench_init(&bench, j->device, &j->shapes, shape);
    if (status == PM_OK) {
        status = tune_opened(j, &bench, shape, desc, &changed);
        pm__shape_bench_finish(&bench);
    }
    summary->n_shape += !j->cancelled && !j->left;
    summary->n_left += j->left;
    summary->n_changed += changed;
    return status == PM_DEVICE_LOST || status == PM_OUT_OF_MEMORY ? status : PM_OK;
}

static uint32_t count_candidates(const job *j, const pm__model_shape *shape) {
    static const uint32_t rows[] = {1, PM__MOST_FEW_ROWS, PM__MOST_FEW_ROWS + 1};
    candidate list[MOST_CANDIDATES];
    return list_candidates(j, shape, rows[shape->shape.rows], list);
}

static pm_status tune(job *j, const pm_tune_desc *desc, pm_tune_summary *summary) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->shapes.n; i++)
        n += count_candidates(j, &j->shapes.items[i]);
    j->budget = 0.3 * j->most_seconds / (n > 0 ? n : 1);
    j->budget = j->budget < LEAST_BUDGET  ? LEAST_BUDGET
                : j->budget > MOST_BUDGET ? MOST_BUDGET
                                          : j->budget;
    for (uint32_t i = 0; i < j->shapes.n && !j->cancelled; i++) {
        const pm__model_shape *shape = &j->shapes.items[i];
        if (count_candidates(j, shape) < 2)
            continue;
        if (is_late(j))
            summary->n_left++;
        else
            PM_TRY(tune_shape(j, shape, desc, summary));
    }
    return j->cancelled ? pm__fail(PM_CANCELLED,
                                   "tune: interrupted after %u shapes; what was found "
                                   "is kept",
                                   summary->n_shape)
                        : PM_OK;
}

pm_status pm_tune(pm_model *model, const pm_tune_desc *desc, pm_tune_summary *summary) {
    static const pm_tune_desc defaults = {0};
    pm_tune_summary found = {0};
    if (desc == NULL)
        desc = &defaults;
    job j = {.on_time = desc->on_time, .user = desc->user};
    pm_status status = job_init(&j, model, desc->seconds, DEFAULT_TUNE_SECONDS);
    if (status == PM_OK)
        status = tune(&j, desc, &found);
    found.seconds = pm__clock_seconds() - j.started;
    job_finish(&j);
    if (summary != NULL)
        *summary = found;
    return status;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

bool pm_device_get_tuned(const pm_device *device, size_t i, pm_tuned *out) {
    if (!pm__gpu_is(&device->handle))
        return false;
    const pm__tuning *tuning = pm__tuning_of(&device->handle);
    if (i >= tuning->n)
        return false;
    *out = describe(device, &tuning->items[i]);
    return true;
}

static pm_status fail_cpu(void) {
    return pm__fail(PM_UNSUPPORTED, "tune: the CPU path has one kernel for each operation");
}

pm_status pm_device_get_tuning(const pm_device *device, char **text) {
    return pm__gpu_is(&device->handle) ? pm__tuning_text(&device->handle, text) : fail_cpu();
}

static void say_nothing(void *user, unsigned line, const char *why) {
    (void)user;
    (void)line;
    (void)why;
}

pm_status pm_device_set_tuning(pm_device *device, const char *text,
                               void (*on_unused)(void *user, unsigned line, const char *why),
                               void *user) {
    if (!pm__gpu_is(&device->handle))
        return fail_cpu();
    PM_TRY(
        pm__tuning_take(&device->handle, text, on_unused != NULL ? on_unused : say_nothing, user));
    pm__tuning_store(&device->handle);
    return PM_OK;
}

pm_status pm_device_forget_tuning(pm_device *device) {
    return pm__gpu_is(&device->handle) ? pm__tuning_clear(&device->handle) : PM_OK;
}
