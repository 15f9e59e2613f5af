/* model.c: reads an architecture's keys and claims its tensors; every value of the file is checked
 * on the way. */
#include "model.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PM_MODEL(name) extern const pm__arch pm__arch_##name;
#include "../../models/models.def"
#undef PM_MODEL

static const pm__arch *const archs[] = {
#define PM_MODEL(name) &pm__arch_##name,
#include "../../models/models.def"
#undef PM_MODEL
};

/* ---- keys ------------------------------------------------------------------------------------ */

enum { MOST_NAME = 128 };

static void key_name(const pm__model_def *def, const char *key, char out[MOST_NAME]) {
    snprintf(out, MOST_NAME, "%s.%s", def->arch->name, key);
}

/* NULL if there is none or def has failed. */
static const pm__gguf_key *find_key(const pm__model_def *def, const char *key) {
    char name[MOST_NAME];
    key_name(def, key, name);
    return def->status == PM_OK ? pm__gguf_find_key(def->gguf, name) : NULL;
}

static void missing_key(pm__model_def *def, const char *key) {
    if (def->status == PM_OK)
        def->status =
            pm__fail(PM_BAD_FILE, "model: the file has no key %s.%s", def->arch->name, key);
}

static void wrong_key(pm__model_def *def, const char *key, const pm__gguf_key *found,
                      const char *wanted) {
    char value[64];
    pm__gguf_print_value(found, value, sizeof value);
    def->status = pm__fail(PM_BAD_FILE, "model: %s.%s is %s, but must be %s", def->arch->name, key,
                           value, wanted);
}

static uint32_t read_u32(pm__model_def *def, const char *key, const pm__gguf_key *found,
                         uint32_t least, uint32_t most) {
    uint64_t value;
    if (pm__gguf_u64(found, &value) && value >= least && value <= most)
        return (uint32_t)value;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "a whole number in [%" PRIu32 ", %" PRIu32 "]", least, most);
    wrong_key(def, key, found, wanted);
    return least;
}

uint32_t pm__key_u32(pm__model_def *def, const char *key, uint32_t least, uint32_t most) {
    const pm__gguf_key *found = find_key(def, key);
    if (found != NULL)
        return read_u32(def, key, found, least, most);
    missing_key(def, key);
    return least;
}

uint32_t pm__key_u32_or(pm__model_def *def, const char *key, uint32_t least, uint32_t most,
                        uint32_t otherwise) {
    const pm__gguf_key *found = find_key(def, key);
    return found != NULL ? read_u32(def, key, found, least, most) : otherwise;
}

/* The key's own value, or that of a layer where it is an array. */
static uint32_t read_u32_layer(pm__model_def *def, const char *key, const pm__gguf_key *found,
                               uint32_t layer, uint32_t least, uint32_t most) {
    if (found->type != PM__GGUF_ARRAY)
        return read_u32(def, key, found, least, most);
    uint64_t value;
    if (pm__gguf_array_u64(found, layer, &value) && value >= least && value <= most)
        return (uint32_t)value;
    char wanted[96];
    snprintf(wanted, sizeof wanted,
             "an array with a whole number in [%" PRIu32 ", %" PRIu32 "] for layer %" PRIu32, least,
             most, layer);
    wrong_key(def, key, found, wanted);
    return least;
}

uint32_t pm__key_u32_layer(pm__model_def *def, const char *key, uint32_t layer, uint32_t least,
                           uint32_t most) {
    const pm__gguf_key *found = find_key(def, key);
    if (found != NULL)
        return read_u32_layer(def, key, found, layer, least, most);
    missing_key(def, key);
    return least;
}

uint32_t pm__key_u32_layer_or(pm__model_def *def, const char *key, uint32_t layer, uint32_t least,
                              uint32_t most, uint32_t otherwise) {
    const pm__gguf_key *found = find_key(def, key);
    return found != NULL ? read_u32_layer(def, key, found, layer, least, most) : otherwise;
}

static float read_f32(pm__model_def *def, const char *key, const pm__gguf_key *found, float least,
                      float most) {
    double value;
    if (pm__gguf_f64(found, &value) && isfinite(value) && value >= (double)least &&
        value <= (double)most)
        return (float)value;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "a number in [%g, %g]", (double)least, (double)most);
    wrong_key(def, key, found, wanted);
    return least;
}

float pm__key_f32(pm__model_def *def, const char *key, float least, float most) {
    const pm__gguf_key *found = find_key(def, key);
    if (found != NULL)
        return read_f32(def, key, found, least, most);
    missing_key(def, key);
    return least;
}

float pm__key_f32_or(pm__model_def *def, const char *key, float least, float most,
                     float otherwise) {
    const pm__gguf_key *found = find_key(def, key);
    return found != NULL ? read_f32(def, key, found, least, most) : otherwise;
}

bool pm__key_bool_or(pm__model_def *def, const char *key, bool otherwise) {
    const pm__gguf_key *found = find_key(def, key);
    bool value = otherwise;
    if (found != NULL && !pm__gguf_bool(found, &value))
        wrong_key(def, key, found, "true or false");
    return value;
}

bool pm__key_flag_layer(pm__model_def *def, const char *key, uint32_t layer, bool *out) {
    const pm__gguf_key *found = find_key(def, key);
    if (found == NULL || found->type != PM__GGUF_ARRAY || found->element != PM__GGUF_BOOL)
        return false;
    if (layer < found->n) {
        *out = found->value[layer] != 0;
        return true;
    }
    wrong_key(def, key, found, "an array with a value for each layer");
    return false;
}

bool pm__key_exists(const pm__model_def *def, const char *key) {
    return find_key(def, key) != NULL;
}

bool pm__key_is(pm__model_def *def, const char *key, const char *text) {
    const pm__gguf_key *found = find_key(def, key);
    pm__span span;
    return found != NULL && pm__gguf_string(found, &span) && span.size == strlen(text) &&
           memcmp(span.data, text, span.size) == 0;
}

void pm__key_refuse(pm__model_def *def, const char *key, const char *why) {
    const pm__gguf_key *found = find_key(def, key);
    if (found == NULL)
        return;
    uint64_t whole;
    double real;
    bool yes;
    if ((pm__gguf_u64(found, &whole) && whole == 0) ||
        (pm__gguf_f64(found, &real) && real == 0.0) || (pm__gguf_bool(found, &yes) && !yes))
        return;
    char value[64];
    pm__gguf_print_value(found, value, sizeof value);
    def->status =
        pm__fail(PM_UNSUPPORTED, "model: %s.%s is %s: %s", def->arch->name, key, value, why);
}

/* ---- whole ----------------------------------------------------------------------------------- */

static pm_status find_arch(pm__model_def *def) {
    const pm__gguf_key *key = pm__gguf_find_key(def->gguf, "general.architecture");
    pm__span name;
    if (key == NULL || !pm__gguf_string(key, &name))
        return pm__fail(PM_BAD_FILE, "model: the file does not name its general.architecture");
    char known[768] = "";
    size_t used = 0;
    for (size_t i = 0; i < PM__COUNT(archs); i++) {
        if (strlen(archs[i]->name) == name.size &&
            memcmp(archs[i]->name, name.data, name.size) == 0)
            def->arch = archs[i];
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                     archs[i]->name);
    }
    if (def->arch != NULL)
        return PM_OK;
    char value[64];
    pm__gguf_print_value(key, value, sizeof value);
    return pm__fail(PM_UNSUPPORTED, "model: architecture %s is not one of those built: %s", value,
                    known);
}

static pm_status load(pm__model_def *def) {
    const pm__gguf *gguf = def->gguf;
    PM_TRY(find_arch(def));
    if (gguf->n_tensor == 0 || gguf->n_tensor > INT32_MAX)
        return pm__fail(PM_BAD_FILE, "model: the file has %" PRIu64 " tensors", gguf->n_tensor);
    const uint32_t n = (uint32_t)gguf->n_tensor;
    def->claims = pm__arena_array(&def->arena, n, sizeof def->claims[0]);
    def->self = pm__arena_alloc(&def->arena, def->arch->self_bytes);
    if (def->claims == NULL || def->self == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        def->claims[i] = PM__CLAIM_NONE;
    def->arch->load(def, def->self);
    PM_TRY(def->status);
    return pm__model_def_check_claims(def);
}

pm_status pm__model_def_init(pm__model_def *def, const pm__gguf *gguf) {
    *def = (pm__model_def){.gguf = gguf, .status = PM_OK};
    const pm_status status = load(def);
    if (status != PM_OK)
        pm__model_def_finish(def);
    return status;
}

void pm__model_def_finish(pm__model_def *def) {
    free(def->weights);
    pm__arena_finish(&def->arena);
    *def = (pm__model_def){.status = PM_OK};
}

pm_status pm__model_def_build(const pm__model_def *def, const pm__build_desc *desc, pm__graph *g) {
    pm__graph_init(g);
    g->n_ctx = desc->n_ctx;
    g->cache_types = desc->caches;
    g->hidden = desc->hidden || def->arch->encoder;
    pm_status status = pm__graph_close(g, def->arch->build(g, def, def->self));
    if (status != PM_OK)
        pm__graph_finish(g);
    return status;
}
