#include "internal.h"

#include "../base/clock.h"
#include "../cpu/cpu.h"
#include "../gpu/gpu.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list -------------------------------------------------------------------------------- */

/* pm_device_list hands out infos; pm_device_list_free finds the rest from there. */
typedef struct device_list {
    pm__arena arena; /* strings */
    const char *note;
    size_t n;
    pm_device_info infos[];
} device_list;

static bool copy_string(pm__arena *arena, const char **text) {
    if (*text == NULL)
        return true;
    *text = pm__arena_string(arena, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_strings(pm__arena *arena, pm_device_info *info) {
    pm_tier_info *tiers = pm__arena_array(arena, info->n_tier, sizeof *tiers);
    bool ok = tiers != NULL;
    for (size_t i = 0; ok && i < info->n_tier; i++) {
        tiers[i] = info->tiers[i];
        ok = copy_string(arena, &tiers[i].tier) && copy_string(arena, &tiers[i].why);
    }
    info->tiers = tiers;
    return ok && copy_string(arena, &info->name) && copy_string(arena, &info->kind) &&
           copy_string(arena, &info->driver) && copy_string(arena, &info->api) &&
           copy_string(arena, &info->why);
}

static void list_destroy(device_list *list) {
    if (list == NULL)
        return;
    pm__arena_finish(&list->arena);
    free(list);
}

/* The Vulkan devices and the CPU path, whose index follows the largest of theirs. */
static pm_status list_merge(const pm_device_info *gpus, size_t n_gpu, const char *note,
                            device_list **out) {
    device_list *list = calloc(1, sizeof *list + (n_gpu + 1) * sizeof *list->infos);
    if (list == NULL)
        return pm__fail_memory("device list", (n_gpu + 1) * sizeof *list->infos);
    list->n = n_gpu + 1;
    list->note = note != NULL ? note : "";
    pm_device_info *cpu = &list->infos[n_gpu];
    *cpu = *pm__cpu_info();
    cpu->index = 0;
    bool ok = copy_string(&list->arena, &list->note) && copy_strings(&list->arena, cpu);
    for (size_t i = 0; ok && i < n_gpu; i++) {
        list->infos[i] = gpus[i];
        ok = copy_strings(&list->arena, &list->infos[i]);
        if (gpus[i].index >= cpu->index)
            cpu->index = gpus[i].index + 1;
    }
    if (!ok) {
        list_destroy(list);
        return PM_OUT_OF_MEMORY;
    }
    *out = list;
    return PM_OK;
}

static pm_status list_create(device_list **out) {
    pm_device_info *gpus = NULL;
    size_t n_gpu = 0;
    const char *note = "";
    PM_TRY(pm__gpu_list(&gpus, &n_gpu, &note));
    const pm_status status = list_merge(gpus, n_gpu, note, out);
    pm__gpu_list_free(gpus);
    return status;
}

pm_status pm_device_list(pm_device_info **list, size_t *n, const char **note) {
    device_list *made;
    PM_TRY(list_create(&made));
    *list = made->infos;
    *n = made->n;
    if (note != NULL)
        *note = made->note;
    return PM_OK;
}

void pm_device_list_free(pm_device_info *list) {
    if (list != NULL)
        list_destroy((device_list *)(void *)((char *)list - offsetof(device_list, infos)));
}

/* ---- the choice ------------------------------------------------------------------------------ */

static bool is_cpu(const pm_device_info *info) {
    return strcmp(info->kind, "cpu") == 0;
}

static bool is_real_gpu(const pm_device_info *info) {
    return !is_cpu(info) && strcmp(info->kind, "software") != 0;
}

static bool equal_fold(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
            return false;
    return true;
}

static bool same_name(const char *a, const char *b) {
    return strlen(a) == strlen(b) && equal_fold(a, b, strlen(a));
}

static bool contains_name(const char *name, const char *part) {
    const size_t n = strlen(name);
    const size_t n_part = strlen(part);
    for (size_t i = 0; i + n_part <= n; i++)
        if (equal_fold(name + i, part, n_part))
            return true;
    return false;
}

/* The device of that index, NULL if `text` is no number or none has it; 9 digits fit. */
static const pm_device_info *find_index(const pm__device_choice *from, const char *text) {
    const size_t n = strlen(text);
    if (n == 0 || n > 9 || strspn(text, "0123456789") != n)
        return NULL;
    const unsigned long index = strtoul(text, NULL, 10);
    for (size_t i = 0; i < from->n; i++)
        if (from->infos[i].index == index)
            return &from->infos[i];
    return NULL;
}

/* A short number is an index and nothing else: "6" must not find an RX 7600. */
static bool may_be_name(const char *text) {
    return strlen(text) >= 3 || strspn(text, "0123456789") != strlen(text);
}

/* "0: name, 1: name" of the devices that `part` fits (NULL: all) and that are not the CPU path
 * unless `with_cpu`. */
static const char *describe(const pm__device_choice *from, const char *part, bool with_cpu,
                            char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < from->n; i++) {
        const pm_device_info *info = &from->infos[i];
        if (is_cpu(info) ? !with_cpu : part != NULL && !contains_name(info->name, part))
            continue;
        const int n = snprintf(out + used, size - used, "%s%u: %s", used > 0 ? ", " : "",
                               info->index, is_cpu(info) ? "cpu" : info->name);
        if (n < 0 || (size_t)n >= size - used)
            break;
        used += (size_t)n;
    }
    return out;
}

static pm_status fail_none(const pm__device_choice *from, const char *what) {
    char have[512];
    return pm__fail(PM_NO_DEVICE, "device: %s; there are %s%s%s", what,
                    describe(from, NULL, true, have, sizeof have),
                    from->note[0] != '\0' ? "; " : "", from->note);
}

/* By whole name or a part of it. The CPU path is never found so. *n: how many fit; one whole name
 * beats parts. */
static const pm_device_info *find_part(const pm__device_choice *from, const char *name, size_t *n) {
    const pm_device_info *found = NULL;
    size_t n_whole = 0;
    *n = 0;
    for (size_t i = 0; i < from->n; i++) {
        const pm_device_info *info = &from->infos[i];
        if (is_cpu(info) || !contains_name(info->name, name))
            continue;
        const bool whole = same_name(info->name, name);
        if (whole || n_whole == 0)
            found = info;
        n_whole += whole;
        ++*n;
    }
    if (n_whole == 1)
        *n = 1;
    return found;
}

static pm_status find_named(const pm__device_choice *from, const char *name,
                            const pm_device_info **out) {
    char text[512];
    size_t n = 1;
    const pm_device_info *found = find_index(from, name);
    if (found == NULL && may_be_name(name))
        found = find_part(from, name, &n);
    if (found == NULL) {
        snprintf(text, sizeof text, "none fits '%.200s'", name);
        return fail_none(from, text);
    }
    if (n > 1)
        return pm__fail(PM_ARGUMENT,
                        "device: '%.200s' fits several: %s; give more of the name, or the index",
                        name, describe(from, name, false, text, sizeof text));
    *out = found;
    return PM_OK;
}

static int rank(const pm_device_info *info) {
    static const char *const kinds[] = {"discrete", "integrated", "virtual", "software"};
    for (int i = 0; i < (int)PM__COUNT(kinds); i++)
        if (strcmp(info->kind, kinds[i]) == 0)
            return i;
    return (int)PM__COUNT(kinds);
}

/* The list is best first within a kind. */
static pm_status find_best(const pm__device_choice *from, const pm_device_info **out) {
    const pm_device_info *best = NULL;
    for (size_t i = 0; i < from->n; i++) {
        const pm_device_info *info = &from->infos[i];
        if (!is_cpu(info) && info->usable && (best == NULL || rank(info) < rank(best)))
            best = info;
    }
    if (best == NULL)
        return pm__fail(PM_NO_DEVICE, "device: no usable Vulkan device%s%s; use --device cpu",
                        from->note[0] != '\0' ? ": " : "", from->note);
    *out = best;
    return PM_OK;
}

static pm_status check_choice(const pm_device_desc *desc, const pm_device_info *info) {
    if (!info->usable)
        return pm__fail(PM_NO_DEVICE, "device: %u: %s cannot be used: %s", info->index, info->name,
                        info->why);
    if (desc->require_gpu && !is_real_gpu(info))
        return pm__fail(
            PM_NO_DEVICE,
            "device: a GPU is required, and %s is %s; install the GPU's Vulkan driver, or "
            "leave --require-gpu out",
            info->name, is_cpu(info) ? "the CPU path" : "a software driver");
    return PM_OK;
}

pm_status pm__device_choose(const pm__device_choice *from, const pm_device_desc *desc,
                            const pm_device_info **out) {
    const pm_device_info *found = NULL;
    if (desc->name != NULL)
        PM_TRY(find_named(from, desc->name, &found));
    else
        PM_TRY(find_best(from, &found));
    PM_TRY(check_choice(desc, found));
    *out = found;
    return PM_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static pm_status open_chosen(const pm_device_desc *desc, const pm_device_info *chosen,
                             pm_device *device) {
    if (is_cpu(chosen))
        PM_TRY(pm__cpu_open(desc->n_thread, desc->max_memory_bytes, &device->handle));
    else
        PM_TRY(pm__gpu_open(chosen->index, desc, &device->handle));
    device->info = *device->handle.info;
    device->info.index = chosen->index;
    const char *reason = "asked for by name";
    if (desc->name == NULL)
        reason = is_real_gpu(chosen) ? "the best GPU" : "a software driver, as no GPU is usable";
    snprintf(device->why, sizeof device->why, "%s", reason);
    device->info.why = device->why;
    return PM_OK;
}

/* Chooses from the list and opens. */
static pm_status open_listed(const pm_device_desc *desc, pm_device *device) {
    device_list *list;
    PM_TRY(list_create(&list));
    const pm__device_choice from = {.infos = list->infos, .n = list->n, .note = list->note};
    const pm_device_info *chosen = NULL;
    pm_status status = pm__device_choose(&from, desc, &chosen);
    if (status == PM_OK)
        status = open_chosen(desc, chosen, device);
    list_destroy(list);
    return status;
}

/* "cpu" asks no Vulkan driver anything, so that it works where a driver crashes or hangs. */
static pm_status open_cpu(const pm_device_desc *desc, pm_device *device) {
    pm_device_info cpu = *pm__cpu_info();
    cpu.index = PM_NO_INDEX;
    PM_TRY(check_choice(desc, &cpu));
    return open_chosen(desc, &cpu, device);
}

pm_status pm_device_open(const pm_device_desc *desc, pm_device **out) {
    static const pm_device_desc defaults = {0};
    if (desc == NULL)
        desc = &defaults;
    if (desc->name != NULL && desc->name[0] == '\0')
        return pm__fail(PM_ARGUMENT, "device: its name is empty; leave it out for the best device");
    pm_device *device = calloc(1, sizeof *device);
    if (device == NULL)
        return pm__fail_memory("device", sizeof *device);
    const bool cpu = desc->name != NULL && same_name(desc->name, "cpu");
    const double begun = pm__clock_seconds();
    const pm_status status = cpu ? open_cpu(desc, device) : open_listed(desc, device);
    if (status != PM_OK) {
        pm_device_close(device);
        return status;
    }
    device->open_seconds = pm__clock_seconds() - begun;
    *out = device;
    return PM_OK;
}

void pm_device_close(pm_device *device) {
    if (device == NULL)
        return;
    if (device->handle.device != NULL)
        device->handle.backend->close(device->handle.device);
    free(device);
}

const pm_device_info *pm_device_get_info(const pm_device *device) {
    return &device->info;
}
