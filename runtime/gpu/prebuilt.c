#include "prebuilt.h"

#include "embedded.h"
#include "kernels.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct prebuilt {
    const char *name;
    uint64_t hash;
} prebuilt;

static const prebuilt list[] = {
#define PM_PREBUILT(name, hash) {name, hash},
#include "../../shaders/prebuilt/list.def"
#undef PM_PREBUILT
};

void pm__shader_name(const pm__shader_desc *desc, char *out, size_t n) {
    size_t used = (size_t)snprintf(out, n, "%.*s", (int)strcspn(desc->file, "."), desc->file);
    for (size_t i = 0; i < desc->n_define && used < n; i++)
        if (strcmp(desc->defines[i], "TIER_SUBGROUP") != 0)
            used += (size_t)snprintf(out + used, n - used, "-%s", desc->defines[i]);
    for (char *c = out; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
}

bool pm__prebuilt_get(size_t i, const char **name, uint64_t *hash) {
    if (i >= PM__COUNT(list))
        return false;
    *name = list[i].name;
    *hash = list[i].hash;
    return true;
}

static pm_status copy_words(const char *path, uint32_t **words, size_t *n_word) {
    for (size_t i = 0; i < pm__embedded_shader_count; i++) {
        const pm__embedded *item = &pm__embedded_shaders[i];
        if (strcmp(item->name, path) != 0)
            continue;
        *words = malloc(item->n_byte);
        if (*words == NULL)
            return pm__fail_memory("shader: SPIR-V", item->n_byte);
        memcpy(*words, item->text, item->n_byte);
        *n_word = item->n_byte / sizeof **words;
    }
    return PM_OK;
}

pm_status pm__prebuilt_read(const pm__shader_desc *desc, uint64_t hash, uint32_t **words,
                            size_t *n_word) {
    char name[128], path[160];
    pm__shader_name(desc, name, sizeof name);
    for (size_t i = 0; i < PM__COUNT(list); i++) {
        if (list[i].hash != hash || strcmp(list[i].name, name) != 0)
            continue;
        snprintf(path, sizeof path, "prebuilt/%s.spv", name);
        return copy_words(path, words, n_word);
    }
    return PM_OK;
}

/* ---- which there have to be ------------------------------------------------------------------ */

/* Kernels differ in constants alone where they have one file. */
static bool is_first(const pm__kernel *table, const pm__kernel *kernel) {
    while (table < kernel && strcmp(table->file, kernel->file) != 0)
        table++;
    return table == kernel;
}

static bool takes_type(const pm__kernel *kernel, const pm__type_info *info, pm__type type) {
    const pm__tensor w = {.kind = PM__WEIGHT, .type = type};
    const pm__node node = {
        .op = kernel->op, .in = {NULL, &w}, .params.matmul.dot8 = kernel->tier == PM__TIER_COOP8};
    return kernel->takes(&node) && strcmp(info->planes, info->name) == 0;
}

typedef pm_status (*take_fn)(void *user, const pm__shader_desc *desc);

static void name_type(char define[32], const char *prefix, pm__type type) {
    snprintf(define, 32, "%s_%s", prefix, pm__type_get(type)->planes);
    for (char *c = define; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

static pm_status take_one(const pm__kernel *kernel, const char *const *defines, uint32_t n,
                          take_fn take, void *user) {
    const pm__shader_desc desc = {
        .file = kernel->file, .defines = defines, .n_define = n, .tier = kernel->tier};
    return take(user, &desc);
}

static pm_status each_type(const pm__kernel *kernel, take_fn take, void *user) {
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        char define[32];
        if (!takes_type(kernel, pm__type_get((pm__type)type), (pm__type)type))
            continue;
        name_type(define, "W", (pm__type)type);
        const char *const defines[] = {"TIER_SUBGROUP", define};
        PM_TRY(take_one(kernel, defines, PM__COUNT(defines), take, user));
    }
    return PM_OK;
}

static pm_status each_caches(const pm__kernel *kernel, take_fn take, void *user) {
    pm__type k, v;
    for (uint32_t i = 0; pm__cache_type(i, &k); i++)
        for (uint32_t j = 0; pm__cache_type(j, &v); j++) {
            char k_define[32], v_define[32];
            name_type(k_define, "K", k);
            name_type(v_define, "V", v);
            const char *const defines[] = {"TIER_SUBGROUP", k_define, v_define};
            PM_TRY(take_one(kernel, defines, PM__COUNT(defines), take, user));
        }
    return PM_OK;
}

pm_status pm__prebuilt_each(pm_status (*take)(void *user, const pm__shader_desc *desc),
                            void *user) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].tier < PM__TIER_COOP || !is_first(table, &table[i]))
            continue;
        if (table[i].op == PM__OP_MATMUL)
            PM_TRY(each_type(&table[i], take, user));
        if (table[i].op == PM__OP_ATTENTION)
            PM_TRY(each_caches(&table[i], take, user));
    }
    return PM_OK;
}
