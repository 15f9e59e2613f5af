/* profile.c: where the time of steps goes, launch by launch. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

/* Some drivers compile a kernel when it is launched first, so the first step is kept apart, and
 * counts only where it is the only one. */
struct pm__profile {
    uint32_t n;                  /* launches of the program */
    pm__launches *first, *later; /* [n] of the first step; of all after it */
    uint64_t (*ticks)[2];        /* [n] of the last step */
};

pm_status pm__profile_create(const pm__class_state *state, struct pm__profile **out) {
    const pm__program *program = &state->program;
    struct pm__profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL)
        return pm__fail_memory("gpu: profile", sizeof *profile);
    profile->n = program->n_dispatch;
    profile->first = calloc(profile->n + 1, sizeof *profile->first);
    profile->later = calloc(profile->n + 1, sizeof *profile->later);
    profile->ticks = calloc(profile->n + 1, sizeof *profile->ticks);
    if (profile->first == NULL || profile->later == NULL || profile->ticks == NULL) {
        pm__profile_destroy(profile);
        return pm__fail_memory("gpu: profile", (size_t)program->n_dispatch * sizeof(pm__launches));
    }
    for (uint32_t i = 0; i < profile->n; i++)
        profile->first[i] = profile->later[i] =
            (pm__launches){.kernel = program->dispatches[i].kernel->name,
                           .node = program->dispatches[i].node->name,
                           .one = state->n_row == 1};
    *out = profile;
    return PM_OK;
}

void pm__profile_destroy(struct pm__profile *profile) {
    if (profile == NULL)
        return;
    free(profile->first);
    free(profile->later);
    free(profile->ticks);
    free(profile);
}

/* What the launch moved and computed in this step: its part of what the node does for the rows
 * there were, not of what there is room for. */
static void add_cost(const pm__gpu_context *context, const pm__dispatch *dispatch,
                     pm__launches *to) {
    const pm__class_state *state = &context->classes[context->present];
    const pm__cost full =
        pm__node_cost(dispatch->node, state->n_row, state->n_out, context->limits.n_ctx);
    const pm__cost now =
        pm__node_cost(dispatch->node, context->n_row, context->n_out, context->n_pos);
    const double share = full.bytes > 0 ? (double)dispatch->cost.bytes / (double)full.bytes : 1.0;
    to->bytes += share * (double)now.bytes;
    to->flops += share * (double)now.flops;
}

/* Ticks from one stamp to a later one; 0 where it is not later. */
static uint64_t passed(const pm__gpu *gpu, uint64_t from, uint64_t to) {
    const uint64_t ticks = (to - from) & gpu->caps.timestamp_mask;
    return ticks > gpu->caps.timestamp_mask / 2 ? 0 : ticks;
}

/* A launch that may run beside the one before counts from the end of that one. */
static void add_times(const pm__gpu *gpu, const struct pm__profile *profile,
                      pm__launches *launches) {
    const uint64_t origin = profile->ticks[0][0];
    uint64_t last = 0;
    for (uint32_t i = 0; i < profile->n; i++) {
        const uint64_t begin = passed(gpu, origin, profile->ticks[i][0]);
        const uint64_t end = passed(gpu, origin, profile->ticks[i][1]);
        const uint64_t from = begin > last ? begin : last;
        pm__launches *to = &launches[i];
        to->n++;
        to->gap_seconds += (double)(from - last) * gpu->caps.timestamp_seconds;
        if (end > from)
            to->seconds += (double)(end - from) * gpu->caps.timestamp_seconds;
        last = end > last ? end : last;
    }
}

pm_status pm__profile_take(pm__gpu_context *context) {
    pm__class_state *state = &context->classes[context->present];
    struct pm__profile *profile = state->profile;
    bool known = false;
    if (profile->n == 0 || state->recording.stamps == VK_NULL_HANDLE)
        return PM_OK;
    PM_TRY(pm__recording_read_stamps(&state->recording, profile->ticks[0], &known));
    if (known) {
        pm__launches *to = profile->first[0].n == 0 ? profile->first : profile->later;
        add_times(context->device->gpu, profile, to);
        for (uint32_t i = 0; i < profile->n; i++)
            add_cost(context, &state->program.dispatches[i], &to[i]);
    }
    context->n_pos++;
    return PM_OK;
}

pm_status pm__gpu_context_profile(const void *self, const char **why, void *user,
                                  pm_status (*add)(void *user, const pm__launches *launches)) {
    const pm__gpu_context *context = self;
    *why = context->device->gpu->caps.timestamp_seconds > 0
               ? NULL
               : "the driver has no time stamps for this queue";
    for (uint32_t c = 0; c < PM__CLASS_COUNT && *why == NULL; c++) {
        const struct pm__profile *profile = context->classes[c].profile;
        if (profile == NULL || profile->n == 0 || profile->first[0].n == 0)
            continue;
        const pm__launches *from = profile->later[0].n > 0 ? profile->later : profile->first;
        for (uint32_t i = 0; i < profile->n; i++)
            PM_TRY(add(user, &from[i]));
    }
    return PM_OK;
}
