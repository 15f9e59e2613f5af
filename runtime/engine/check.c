/* check.c: which cases run on which kernels, what is said about them, and what follows from it. */
#include "check.h"

#include "../base/clock.h"
#include "../base/hash.h"
#include "../gpu/gpu.h"
#include "../gpu/quarantine.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double FUSED_NMSE = 1e-8; /* of logits, where only sums are in another order */

enum { RUNS = 3, NODE_RUNS = 2, NODE_ROWS = 7, DEEP_NODE_ROWS = 33 };

typedef struct check {
    pm_device *device;
    const pm_model *model;
    const pm_check_desc *desc;
    pm__runner *runner; /* NULL: the CPU path */
    pm__graph graph;    /* of the model, where its nodes are checked */
    pm__graph fused[2]; /* the same as steps of many rows and of one run it */
    bool gpu;
    bool exact;    /* desc->only is the name of a kernel, which may be part of another's */
    bool counting; /* cases are numbered, nothing runs */
    uint32_t index, n;
    bool done[PM__MOST_KERNELS]; /* whose cases have run */
    int kernel;                  /* whose cases are running */
    uint32_t node;               /* PM_NO_INDEX: of none */
    pm__kernel_info info;
    char name[160]; /* of the present case */
    double started;
    pm_status ending; /* CANCELLED, DEVICE_LOST: nothing more runs */
    pm_check_summary summary;
} check;

/* ---- kernels of a device --------------------------------------------------------------------- */

_Static_assert(PM__OP_COUNT <= 64, "usage.ops has a bit an operation");

/* The CPU path has one kernel an operation. */
static bool get_cpu_kernel(int kernel, pm__kernel_info *out) {
    static const char *const names[] = {
#define PM_OP(NAME, name, matrix, nmse, what) "cpu_" #name,
#include "../graph/ops.def"
#undef PM_OP
    };
    if (kernel < 0 || kernel >= PM__OP_COUNT)
        return false;
    *out = (pm__kernel_info){
        .name = names[kernel], .op = (pm__op)kernel, .from_rows = 1, .available = true};
    return true;
}

static bool get_kernel(const check *c, int kernel, pm__kernel_info *out) {
    return c->gpu ? pm__gpu_kernel(&c->device->handle, kernel, out) : get_cpu_kernel(kernel, out);
}

typedef struct usage {
    bool kernels[PM__MOST_KERNELS];
    uint64_t ops;
    bool types[PM__TYPE_COUNT];
} usage;

static const uint32_t steps[] = {512, 1}; /* rows of what stands for many, and one */

static void add_usage(usage *all, const pm_device *device, bool gpu, const pm__graph *g) {
    for (uint32_t i = 0; i < g->n_node; i++) {
        const pm__node *node = &g->nodes[i];
        for (size_t k = 0; k < PM__COUNT(steps); k++) {
            const int kernel =
                gpu ? pm__gpu_choose(&device->handle, node->op, node, steps[k]) : (int)node->op;
            if (kernel >= 0)
                all->kernels[kernel] = true;
        }
        all->ops |= (uint64_t)1 << node->op;
        const int matrix = pm__op_get(node->op)->matrix;
        if (matrix >= 0)
            all->types[node->in[matrix]->type] = true;
    }
}

static pm_status fuse(const pm_device *device, const pm_model *model, const pm__graph *g,
                      uint32_t n_row, pm__graph *out) {
    const pm__plan_desc what = {.def = &model->def, .weights = model->weights, .graph = g};
    return pm__gpu_fuse(&device->handle, &what, n_row, out);
}

/* What a run of the model takes, in steps of one row and of many, fused or not. What cannot be
 * fused for want of memory, a run cannot either. */
static usage usage_of(const pm_device *device, bool gpu, const pm_model *model) {
    usage all = {.ops = 0};
    add_usage(&all, device, gpu, &model->graph);
    for (size_t k = 0; k < PM__COUNT(steps) && gpu; k++) {
        pm__graph fused;
        if (fuse(device, model, &model->graph, steps[k], &fused) != PM_OK)
            continue;
        add_usage(&all, device, gpu, &fused);
        pm__graph_finish(&fused);
    }
    return all;
}

/* "matvec" is in "rope,matvec", and not in "matvec_subgroup". */
static bool is_listed(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = list; at != NULL && *at != '\0';) {
        const char *comma = strchr(at, ',');
        const size_t n_word = comma != NULL ? (size_t)(comma - at) : strlen(at);
        if (n_word == n && memcmp(at, name, n) == 0)
            return true;
        at = comma != NULL ? comma + 1 : NULL;
    }
    return false;
}

static bool is_wanted(const check *c, const char *name, const char *kernel) {
    const char *only = c->desc->only;
    return only == NULL || (c->exact ? strcmp(kernel, only) == 0 : strstr(name, only) != NULL);
}

/* ---- one case -------------------------------------------------------------------------------- */

static bool say(check *c, pm_check_case *about) {
    about->name = c->name;
    about->kernel = c->info.name;
    about->node = c->node;
    about->index = c->index;
    about->n = c->n;
    if (c->desc->on_case == NULL || c->desc->on_case(c->desc->user, about))
        return true;
    c->ending = PM_CANCELLED;
    return false;
}

static bool announce(check *c) {
    pm_check_case about = {.why = ""};
    c->started = pm__clock_seconds();
    return say(c, &about);
}

static bool is_fault(pm_status status) {
    return status == PM_CHECK_FAILED || status == PM_FAILURE || status == PM_DEVICE_LOST;
}

/* "NMSE 0.3, allowed are 1e-10 (Q8_0/65x96/rows33)" */
static void distrust(check *c, int kernel, const char *why) {
    char reason[400];
    const char *shape = strchr(c->name, '/');
    snprintf(reason, sizeof reason, "%.200s (%s)", why, shape != NULL ? shape + 1 : c->name);
    if (!c->gpu || kernel < 0)
        return;
    pm__quarantine_set_aside(&c->device->handle, kernel, reason);
}

/* False: nothing more is to run. */
static bool conclude(check *c, int kernel, const pm__check_result *result) {
    pm_check_case about = {.done = true,
                           .status = result->status,
                           .error = result->error,
                           .bound = result->bound,
                           .seconds = pm__clock_seconds() - c->started,
                           .why = result->why};
    c->summary.n_case++;
    if (is_fault(result->status)) {
        c->summary.n_failed++;
        distrust(c, kernel, result->why);
    } else if (result->status != PM_OK) {
        c->summary.n_unchecked++;
    }
    const bool go_on = say(c, &about);
    c->index++;
    if (result->status == PM_DEVICE_LOST && go_on)
        c->ending = PM_DEVICE_LOST;
    return c->ending == PM_OK;
}

static void judge(check *c, const pm__check_case *the_case, pm__check_result *result) {
    pm__trial trial = {.n_operand = 0};
    pm__expected expected = {.bytes = {NULL}};
    const uint64_t seed = c->desc->seed != 0 ? c->desc->seed : 1;
    pm_status status = pm__trial_init(&trial, the_case, seed, c->name);
    trial.kernel = c->kernel;
    if (status == PM_OK)
        status = pm__expected_init(&expected, &trial, c->gpu ? 0 : 1);
    if (status == PM_OK) {
        pm__trial_judge(c->runner, &trial, &expected, RUNS, result);
    } else {
        *result = (pm__check_result){.status = status};
        snprintf(result->why, sizeof result->why, "%s", pm_last_error());
    }
    pm__expected_finish(&expected);
    pm__trial_finish(&trial);
}

static bool take_case(void *user, pm__check_case *the_case) {
    check *c = user;
    snprintf(c->name, sizeof c->name, "%s/%s", c->info.name, the_case->shape);
    /* There is no node where memory ran out, which its result will say. */
    const bool node = the_case->graph.n_node > 0;
    if (!is_wanted(c, c->name, c->info.name) ||
        (c->gpu && node && !pm__gpu_takes(c->kernel, &the_case->graph.nodes[0])))
        return true;
    if (c->counting) {
        c->n++;
        return true;
    }
    if (!announce(c))
        return false;
    pm__check_result result;
    judge(c, the_case, &result);
    return conclude(c, c->kernel, &result);
}

/* ---- all cases ------------------------------------------------------------------------------- */

/* Variants are what a row is with other constants: a check of all does without them. */
static bool leaves_out_variant(const check *c) {
    return c->info.variant && !c->desc->used_only && c->desc->level != PM_CHECK_DEEP &&
           c->desc->only == NULL;
}

static bool run_kernels(check *c) {
    usage used;
    memset(used.kernels, true, sizeof used.kernels);
    for (int type = 0; type < PM__TYPE_COUNT; type++)
        used.types[type] =
            (c->desc->level != PM_CHECK_QUICK || pm__case_is_common((pm__type)type)) &&
            (!c->desc->few_types || pm__case_is_telling((pm__type)type));
    if (c->desc->used_only)
        used = usage_of(c->device, c->gpu, c->model);
    bool any = false;
    for (int k = 0; c->ending == PM_OK && get_kernel(c, k, &c->info); k++) {
        if (c->done[k] || !used.kernels[k] || !c->info.available || leaves_out_variant(c) ||
            is_listed(c->desc->skip, c->info.name))
            continue;
        pm__case_filter filter = {
            .level = c->desc->level, .few_types = c->desc->few_types, .take = take_case, .user = c};
        memcpy(filter.types, used.types, sizeof filter.types);
        c->kernel = k;
        pm__check_cases(c->info.op, &filter);
        c->done[k] = !c->counting;
        any = true;
    }
    return any;
}

static bool each_node(void *user, uint32_t index, const pm__trial *trial,
                      const pm__check_result *result) {
    check *c = user;
    c->node = index;
    if (result != NULL)
        return conclude(c, c->gpu ? trial->kernel : PM__KERNEL_NONE, result);
    const pm__op op = trial->node->op;
    const pm__tensor *out = trial->node->out;
    const pm__tensor *rows = out->kind == PM__ACTIVATION ? out : trial->node->in[0];
    const uint32_t n_row = rows->rows == PM__ROWS_BATCH ? trial->n_row : trial->n_out;
    const int kernel =
        c->gpu ? pm__gpu_choose(&c->device->handle, op, trial->node, n_row) : (int)op;
    if (!get_kernel(c, kernel, &c->info))
        c->info = (pm__kernel_info){.name = pm__op_get(op)->name};
    snprintf(c->name, sizeof c->name, "node/%.100s/rows%u", trial->node->name, trial->n_row);
    return is_wanted(c, c->name, c->info.name) && announce(c);
}

static pm_status build_graphs(check *c) {
    const pm_session_desc session = {.cache_type_k = c->desc->cache_type_k,
                                     .cache_type_v = c->desc->cache_type_v};
    PM_TRY(pm__model_graph(c->model, &session, &c->graph));
    for (size_t k = 0; k < PM__COUNT(steps) && c->gpu; k++)
        PM_TRY(fuse(c->device, c->model, &c->graph, steps[k], &c->fused[k]));
    return PM_OK;
}

static const pm__graph *graph_of_step(const check *c, int step) {
    return c->gpu ? &c->fused[step] : &c->graph;
}

static pm_status run_nodes(check *c) {
    const pm__node_check nodes = {.runner = c->runner,
                                  .model = c->model,
                                  .graphs = {graph_of_step(c, 0), graph_of_step(c, 1)},
                                  .n_row =
                                      c->desc->level == PM_CHECK_DEEP ? DEEP_NODE_ROWS : NODE_ROWS,
                                  .first = c->desc->first_node,
                                  .times = NODE_RUNS,
                                  .each = each_node,
                                  .user = c};
    return pm__check_nodes(&nodes);
}

static bool has_nodes(const check *c) {
    return c->model != NULL && !c->desc->used_only;
}

/* The names of nodes are not matched in advance: those that do not fit are counted too. */
static uint32_t count_nodes(const check *c) {
    if (!has_nodes(c))
        return 0;
    const uint32_t n = graph_of_step(c, 0)->n_node + graph_of_step(c, 1)->n_node;
    return n > c->desc->first_node ? n - c->desc->first_node : 0;
}

static const char fused_name[] = "fused";

static bool compares_fused(const check *c) {
    return has_nodes(c) && c->gpu && pm__can_check_fused(c->model) &&
           !is_listed(c->desc->skip, fused_name) && is_wanted(c, "fused/logits", fused_name);
}

/* The model as a whole, with nodes fused and without; one case. */
static pm_status run_fused(check *c) {
    double nmse[2];
    pm__check_result result = {.bound = FUSED_NMSE};
    c->node = PM_NO_INDEX;
    c->info = (pm__kernel_info){.name = fused_name};
    snprintf(c->name, sizeof c->name, "fused/logits");
    if (!announce(c))
        return c->ending;
    result.status = pm__check_fused(c->model, &c->graph, nmse);
    if (result.status == PM_OK) {
        result.error = nmse[0] <= nmse[1] ? nmse[1] : nmse[0];
        if (!(nmse[0] <= result.bound) || !(nmse[1] <= result.bound)) {
            result.status = PM_CHECK_FAILED;
            snprintf(result.why, sizeof result.why,
                     "logits differ by NMSE %.3g after many rows and %.3g after one from those "
                     "without fused nodes, allowed are %.3g; run with --no-fuse",
                     nmse[0], nmse[1], result.bound);
        }
    } else {
        snprintf(result.why, sizeof result.why, "%s", pm_last_error());
    }
    conclude(c, PM__KERNEL_NONE, &result);
    return c->ending;
}

static bool is_kernel(const check *c, const char *name) {
    pm__kernel_info info;
    for (int k = 0; name != NULL && get_kernel(c, k, &info); k++)
        if (strcmp(info.name, name) == 0)
            return true;
    return false;
}

static pm_status run_all(check *c) {
    if (has_nodes(c))
        PM_TRY(build_graphs(c));
    c->exact = is_kernel(c, c->desc->only);
    c->counting = true;
    run_kernels(c);
    c->n += count_nodes(c) + compares_fused(c);
    c->counting = false;
    if (c->n == 0 && c->desc->skip == NULL && c->desc->first_node == 0)
        return pm__fail(PM_ARGUMENT, "check: nothing on this device is called '%s'",
                        c->desc->only != NULL ? c->desc->only : "");
    /* Where a kernel failed, the one that is used in its place is to be checked too. */
    while (run_kernels(c) && c->desc->used_only && c->ending == PM_OK)
        continue;
    if (c->ending == PM_OK && count_nodes(c) > 0)
        PM_TRY(run_nodes(c));
    if (c->ending == PM_OK && compares_fused(c))
        PM_TRY(run_fused(c));
    return c->ending;
}

static pm_status conclusion(const check *c, pm_status status) {
    const pm_check_summary *s = &c->summary;
    const char *device = c->device->info.name;
    if (status == PM_CANCELLED)
        return pm__fail(status, "check: interrupted after %u cases", s->n_case);
    if (status == PM_DEVICE_LOST)
        return pm__fail(status, "check: device '%s' was lost in %s; open it again to go on", device,
                        c->name);
    if (status == PM_OK && s->n_failed > 0)
        return pm__fail(PM_CHECK_FAILED, "check: %u of %u cases failed on %s", s->n_failed,
                        s->n_case, device);
    return status;
}

static pm_status check_desc(const pm_device *device, const pm_model *model,
                            const pm_check_desc *desc) {
    if (device == NULL || (model != NULL && model->device != device))
        return pm__fail(PM_ARGUMENT, "check: no device, or the model is of another");
    if (model == NULL && desc->used_only)
        return pm__fail(PM_ARGUMENT, "check: what a run takes cannot be told without a model");
    if (model != NULL && model->graph.n_node == 0)
        return pm__fail(PM_ARGUMENT, "check: the model was opened for its vocabulary only");
    if (model != NULL && !model->placed && !desc->used_only)
        return pm__fail(PM_ARGUMENT, "check: the model was opened without its weights");
    return PM_OK;
}

pm_status pm_check(pm_device *device, pm_model *model, const pm_check_desc *desc,
                   pm_check_summary *summary) {
    static const pm_check_desc defaults = {0};
    check c = {.device = device,
               .model = model,
               .desc = desc != NULL ? desc : &defaults,
               .node = PM_NO_INDEX};
    PM_TRY(check_desc(device, model, c.desc));
    PM_TRY(model != NULL ? pm__model_restore(model) : pm__device_restore(device));
    const double started = pm__clock_seconds();
    c.gpu = pm__gpu_is(&device->handle);
    if (c.gpu)
        PM_TRY(pm__runner_create(&device->handle, &c.runner));
    const pm_status status = run_all(&c);
    pm__runner_destroy(c.runner);
    for (size_t k = 0; k < PM__COUNT(steps); k++)
        pm__graph_finish(&c.fused[k]);
    pm__graph_finish(&c.graph);
    c.summary.seconds = pm__clock_seconds() - started;
    if (summary != NULL)
        *summary = c.summary;
    return conclusion(&c, status);
}

/* ---- what is remembered ---------------------------------------------------------------------- */

static uint64_t hash_usage(const pm_device *device, const pm_model *model) {
    const usage used = usage_of(device, true, model);
    const uint64_t state = pm__hash(PM__HASH_START, &used.ops, sizeof used.ops);
    return pm__hash(state, used.types, sizeof used.types);
}

bool pm_check_is_due(const pm_device *device, const pm_model *model) {
    return pm__gpu_is(&device->handle) && pm__quarantine_is_kept(&device->handle) &&
           model->graph.n_node > 0 &&
           !pm__quarantine_has_checked(&device->handle, hash_usage(device, model));
}

void pm_check_note(pm_device *device, const pm_model *model) {
    if (pm__gpu_is(&device->handle) && model->graph.n_node > 0)
        pm__quarantine_note_checked(&device->handle, hash_usage(device, model));
}

bool pm_device_get_quarantined(const pm_device *device, size_t i, pm_quarantined *out) {
    pm__kernel_info info, other;
    if (!pm__gpu_is(&device->handle))
        return false;
    for (int k = 0; pm__gpu_kernel(&device->handle, k, &info); k++) {
        if (!info.quarantined || i-- != 0)
            continue;
        const int instead = pm__gpu_choose(&device->handle, info.op, NULL, info.from_rows);
        *out = (pm_quarantined){.kernel = info.name, .why = pm__quarantine_why(&device->handle, k)};
        if (pm__gpu_kernel(&device->handle, instead, &other))
            out->instead = other.name;
        return true;
    }
    return false;
}

pm_status pm_device_quarantine(pm_device *device, const char *kernel, const char *why) {
    pm__kernel_info info;
    if (pm__gpu_is(&device->handle)) {
        for (int k = 0; pm__gpu_kernel(&device->handle, k, &info); k++) {
            if (strcmp(info.name, kernel) != 0)
                continue;
            pm__quarantine_add(&device->handle, k, why);
            return PM_OK;
        }
    }
    return pm__fail(PM_ARGUMENT, "check: %s has no kernel '%s'", device->info.name, kernel);
}

pm_status pm_device_forget_checks(pm_device *device) {
    return pm__gpu_is(&device->handle) ? pm__quarantine_clear(&device->handle) : PM_OK;
}
