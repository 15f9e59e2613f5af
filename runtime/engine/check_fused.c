/* check_fused.c: whether a model says the same with nodes fused as without, on the device. */
#include "../base/checked.h"
#include "check.h"
#include "internal.h"

#include <stdlib.h>

enum { N_ROW = 7 };

static pm_status give_pages(const pm__backend *backend, void *context, const pm__limits *limits) {
    for (uint32_t i = 0; i < pm__limits_pages(limits); i++)
        PM_TRY(backend->set_pages(context, 0, i, 1, &i));
    return PM_OK;
}

/* Rows [first, first + n) of any tokens; logits of the last to `out`. */
static pm_status run_step(const pm_model *model, void *context, uint32_t first, uint32_t n,
                          float *out) {
    const pm__backend *backend = model->device->handle.backend;
    struct pm_step_row rows[N_ROW];
    struct pm_step_drawn drawn;
    const uint32_t last = n - 1;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct pm_step_row){.token = (first + i) * 7919u % model->def.n_vocab,
                                       .pos = first + i};
    const pm__step step = {.rows = rows, .n_row = n, .outs = &last, .n_out = 1};
    PM_TRY(backend->begin(context, &step));
    PM_TRY(backend->submit(context));
    PM_TRY(backend->collect(context, &drawn));
    return backend->read_logits(context, 0, 1, out);
}

static pm_status run(const pm_model *model, const pm__graph *g, bool unfused, float *out) {
    const pm__backend *backend = model->device->handle.backend;
    const pm__limits limits = {.n_ctx = PM_PAGE,
                               .n_batch = N_ROW,
                               .n_out = 1,
                               .n_seq = 1,
                               .unfused = unfused,
                               .int8 = PM__INT8_OFF};
    void *context;
    PM_TRY(backend->context_create(model->weights, g, &limits, &context));
    pm_status status = give_pages(backend, context, &limits);
    if (status == PM_OK)
        status = run_step(model, context, 0, N_ROW, out);
    if (status == PM_OK)
        status = run_step(model, context, N_ROW, 1, out + g->logits->n_col);
    backend->context_destroy(context);
    return status;
}

bool pm__can_check_fused(const pm_model *model) {
    return !model->def.arch->encoder && !model->graph.has_encoder;
}

pm_status pm__check_fused(const pm_model *model, const pm__graph *g, double nmse[2]) {
    const size_t n = g->logits->n_col;
    float *all = calloc(4 * n, sizeof *all), *fused = all, *unfused = all + 2 * n;
    if (all == NULL)
        return pm__fail_memory("check: logits", 4 * n * sizeof *all);
    pm_status status = run(model, g, false, fused);
    if (status == PM_OK)
        status = run(model, g, true, unfused);
    for (size_t step = 0; step < 2 && status == PM_OK; step++) {
        double error = 0, power = 0;
        for (size_t i = step * n; i < (step + 1) * n; i++) {
            const double d = (double)fused[i] - (double)unfused[i];
            error += d * d;
            power += (double)unfused[i] * (double)unfused[i];
        }
        nmse[step] = power > 0 ? error / power : error;
    }
    free(all);
    return status;
}
