/* profile.c: what a device can do at most, and where the time of a session's steps went. */
#include "../base/grow.h"
#include "../gpu/gpu.h"
#include "../gpu/measure.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

pm_status pm_device_measure(pm_device *device, pm_device_speed *out) {
    if (!pm__gpu_is(&device->handle))
        return pm__fail(PM_UNSUPPORTED, "measure: the CPU path is not measured");
    if (device->speed.copy_bytes_per_second <= 0) {
        PM_TRY(pm__device_restore(device));
        PM_TRY(pm__gpu_measure(&device->handle, &device->speed));
        pm__gpu_keep_speed(&device->handle, &device->speed);
    }
    *out = device->speed;
    return PM_OK;
}

bool pm_device_get_speed(const pm_device *device, pm_device_speed *out) {
    if (device->speed.copy_bytes_per_second > 0) {
        *out = device->speed;
        return true;
    }
    return pm__gpu_is(&device->handle) && pm__gpu_recall_speed(&device->handle, out);
}

/* ---- profiles -------------------------------------------------------------------------------- */

/* pm_profile_free gets the first member. */
typedef struct collection {
    pm_profile profile;
    pm_profile_row *kernels, *nodes;
    size_t kernel_capacity, node_capacity;
} collection;

void pm_profile_free(pm_profile *profile) {
    collection *c = (collection *)profile;
    if (c == NULL)
        return;
    free(c->kernels);
    free(c->nodes);
    free(c);
}

static pm_status add_row(pm_profile_row **rows, size_t *n, size_t *capacity,
                         const pm__launches *launches, const char *node) {
    size_t i = 0;
    while (i < *n &&
           ((*rows)[i].one != launches->one || strcmp((*rows)[i].kernel, launches->kernel) != 0 ||
            (node != NULL && strcmp((*rows)[i].node, node) != 0)))
        i++;
    if (i == *n) {
        PM_TRY(pm__grow("profile", rows, capacity, *n, sizeof **rows));
        (*rows)[(*n)++] =
            (pm_profile_row){.kernel = launches->kernel, .node = node, .one = launches->one};
    }
    pm_profile_row *row = &(*rows)[i];
    row->n_launch += launches->n;
    row->seconds += launches->seconds;
    row->gap_seconds += launches->gap_seconds;
    row->bytes += launches->bytes;
    row->flops += launches->flops;
    return PM_OK;
}

static pm_status add_launches(void *user, const pm__launches *launches) {
    collection *c = user;
    pm_profile *p = &c->profile;
    p->seconds += launches->seconds;
    p->gap_seconds += launches->gap_seconds;
    PM_TRY(add_row(&c->kernels, &p->n_kernel, &c->kernel_capacity, launches, NULL));
    return add_row(&c->nodes, &p->n_node, &c->node_capacity, launches,
                   launches->node != NULL ? launches->node : "");
}

static int by_time(const void *a, const void *b) {
    const double x = ((const pm_profile_row *)a)->seconds, y = ((const pm_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

static pm_status collect(pm_session *session, collection *c) {
    const pm__backend *backend = session->source.backend;
    const char *why = "the CPU path is not timed by kernels";
    if (backend->profile != NULL && session->context != NULL)
        PM_TRY(backend->profile(session->context, &why, c, add_launches));
    c->profile.why = why != NULL ? why : "";
    if (c->profile.n_kernel == 0)
        return PM_OK;
    qsort(c->kernels, c->profile.n_kernel, sizeof *c->kernels, by_time);
    qsort(c->nodes, c->profile.n_node, sizeof *c->nodes, by_time);
    c->profile.kernels = c->kernels;
    c->profile.nodes = c->nodes;
    const pm_status status = pm_device_measure(session->source.model->device, &c->profile.speed);
    return status == PM_DEVICE_LOST ? status : PM_OK;
}

pm_status pm_session_get_profile(pm_session *session, pm_profile **out) {
    if (!session->limits.profile)
        return pm__fail(PM_ARGUMENT, "session: it was opened without a profile");
    collection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return pm__fail_memory("profile", sizeof *c);
    const pm_status status = collect(session, c);
    if (status != PM_OK) {
        pm_profile_free(&c->profile);
        return status;
    }
    *out = &c->profile;
    return PM_OK;
}
