#include "draft.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void pm__bind_region(pm__draft *d, pm__region region, unsigned how) {
    const uint32_t i = d->dispatch.n_binding++;
    d->dispatch.bindings[i] = region;
    if (how & PM__READ)
        d->dispatch.read_mask |= 1u << i;
    if (how & PM__WRITE)
        d->dispatch.write_mask |= 1u << i;
}

pm__region pm__place_of(const pm__draft *d, const pm__tensor *t) {
    const pm__places *places = d->in->places;
    switch (t->kind) {
    case PM__WEIGHT:
        return places->weights[t->index].parts[0].quants;
    case PM__ACTIVATION:
        return places->activations[t->index];
    case PM__CACHE:
        return places->caches[t->index];
    case PM__STATE:
        return places->states[t->index];
    case PM__STEP:
        break;
    }
    return places->step[t->index];
}

void pm__bind(pm__draft *d, const pm__tensor *t, unsigned how) {
    pm__bind_region(d, pm__place_of(d, t), how);
}

void pm__bind_option(pm__draft *d, const pm__tensor *t, const char *define) {
    if (t == NULL) {
        pm__bind_region(d, d->dispatch.bindings[0], PM__UNUSED);
        return;
    }
    pm__define(d, define);
    pm__bind(d, t, PM__READ);
}

void pm__bind_other(pm__draft *d, const pm__tensor *t) {
    if (t != NULL)
        pm__bind(d, t, PM__READ);
    else
        pm__bind_region(d, d->dispatch.bindings[0], PM__UNUSED);
}

void pm__bind_matrix(pm__draft *d, const pm__tensor *w) {
    pm__bind_region(d, d->part->quants, PM__READ);
    if (d->part->scales.bytes > 0)
        pm__bind_region(d, d->part->scales, PM__READ);
    else
        pm__bind_region(d, d->dispatch.bindings[0], PM__UNUSED);
    pm__define_type(d, "W", w);
}

void pm__define(pm__draft *d, const char *text) {
    snprintf(d->desc.defines[d->desc.n_define++], sizeof d->desc.defines[0], "%s", text);
}

void pm__define_type(pm__draft *d, const char *prefix, const pm__tensor *t) {
    pm__define_name(d, prefix, pm__type_get(t->type)->planes);
}

void pm__define_name(pm__draft *d, const char *prefix, const char *name) {
    char text[sizeof d->desc.defines[0]];
    const int n = snprintf(text, sizeof text, "%s_%s", prefix, name);
    for (int i = 0; i < n && i < (int)sizeof text; i++)
        text[i] = (char)toupper((unsigned char)text[i]);
    pm__define(d, text);
}

void pm__spec(pm__draft *d, uint32_t value) {
    d->desc.spec[d->desc.n_spec++] = value;
}

void pm__spec_planes(pm__draft *d, const pm__tensor *w) {
    pm__spec(d, pm__type_chunks(w->type, w->n_col));
    pm__spec(d, pm__type_scale_words(w->type, w->n_col));
}

/* Wide subgroups leave a lane few registers (Adreno). */
void pm__spec_at_once(pm__draft *d) {
    pm__spec(d, d->in->gpu->caps.subgroup_max >= 128 ? 32 : 128);
}

void pm__narrow(pm__draft *d, uint32_t n) {
    uint32_t *width = &d->desc.spec[0];
    while (*width / 2 >= n && *width / 2 >= d->in->gpu->caps.subgroup_max && *width / 2 >= 8)
        *width /= 2;
}

void pm__pass(pm__draft *d) {
    const pm__lowering *in = d->in;
    const uint32_t n_row = d->grid.count == PM__GRID_OUTS ? in->n_out : in->n_row;
    char text[sizeof d->desc.defines[0]];
    uint32_t n = d->piece > 0 ? d->piece : 1;
    if (d->piece > 0) {
        d->grid.rows = n == PM__PIECE ? PM__GRID_MOST : PM__GRID_REST;
        if (n != PM__PIECE)
            pm__define(d, "REST");
    }
    while (d->piece == 0 && n < n_row && n < d->kernel->group_rows && !in->limits->deterministic)
        n *= 2;
    snprintf(text, sizeof text, "N_PASS=%u", n);
    pm__define(d, text);
    d->grid.rows_per_group = n;
}

void pm__push(pm__draft *d, const void *words, size_t n_byte) {
    memcpy(d->dispatch.push, words, n_byte);
    d->dispatch.n_push = (uint32_t)(n_byte / sizeof(uint32_t));
    d->desc.push_bytes = (uint32_t)n_byte;
}

void pm__push_part(pm__draft *d, pm__row_count rows) {
    const struct pm_push_part words = {
        .first_row = d->part->first_row, .n_row = d->part->n_row, .outs = rows == PM__ROWS_OUT};
    pm__push(d, &words, sizeof words);
}
