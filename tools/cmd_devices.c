/* pumice devices: every Vulkan device and the CPU path. */
#include <inttypes.h>
#include <string.h>

#include "report.h"

/* Choices of the tuning that is kept for a device. */
static size_t count_tuned(const pm_device_info *info) {
    char index[16];
    pm_device *device = NULL;
    snprintf(index, sizeof index, "%" PRIu32, info->index);
    const pm_device_desc desc = {.name = index};
    if (!info->usable || strcmp(info->kind, "cpu") == 0 || pm_device_open(&desc, &device) != PM_OK)
        return 0;
    const size_t n = pm__count_tuned(device);
    pm_device_close(device);
    return n;
}

static cJSON *device_json(const pm_device_info *info) {
    cJSON *device = pm__json_device(info);
    cJSON_AddNumberToObject(device, "index", info->index);
    cJSON_AddStringToObject(device, "api", info->api);
    cJSON_AddStringToObject(device, "pci", info->pci);
    cJSON_AddNumberToObject(device, "memory_bytes", (double)info->memory_bytes);
    const int subgroup[] = {(int)info->subgroup_min, (int)info->subgroup_max};
    cJSON_AddItemToObject(device, "subgroup", cJSON_CreateIntArray(subgroup, 2));
    cJSON_AddBoolToObject(device, "usable", info->usable);
    cJSON_AddStringToObject(device, "why", info->why);
    cJSON_AddNumberToObject(device, "tuned", (double)count_tuned(info));
    cJSON *tiers = cJSON_AddArrayToObject(device, "tiers");
    for (size_t i = 0; i < info->n_tier; i++) {
        cJSON *tier = cJSON_CreateObject();
        cJSON_AddStringToObject(tier, "tier", info->tiers[i].tier);
        cJSON_AddBoolToObject(tier, "available", info->tiers[i].available);
        cJSON_AddBoolToObject(tier, "used", info->tiers[i].used);
        cJSON_AddStringToObject(tier, "why", info->tiers[i].why);
        cJSON_AddItemToArray(tiers, tier);
    }
    return device;
}

static int print_json(const pm_device_info *list, size_t n, const char *note) {
    cJSON *document = cJSON_CreateObject();
    cJSON *devices = cJSON_AddArrayToObject(document, "devices");
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(devices, device_json(&list[i]));
    if (note[0])
        cJSON_AddStringToObject(document, "note", note);
    return pm__json_print(document);
}

static void print_device(const pm_device_info *info) {
    printf("%" PRIu32 "  %s (%s)\n", info->index, info->name, info->kind);
    if (info->driver[0])
        printf("   driver    %s\n", info->driver);
    if (info->api[0])
        printf("   api       Vulkan %s\n", info->api);
    if (info->pci[0])
        printf("   pci       %s\n", info->pci);
    printf("   memory    %s\n", pm__report_bytes(info->memory_bytes));
    if (info->subgroup_max)
        printf("   subgroup  %" PRIu32 " to %" PRIu32 "\n", info->subgroup_min, info->subgroup_max);
    for (size_t i = 0; i < info->n_tier; i++) {
        printf("   tier      %-10s %-4s %s\n", info->tiers[i].tier,
               info->tiers[i].used        ? "yes"
               : info->tiers[i].available ? "idle"
                                          : "no",
               info->tiers[i].why);
    }
    printf("   %-9s %s\n", info->usable ? "usable" : "unusable", info->why);
    const size_t n_tuned = count_tuned(info);
    if (n_tuned > 0)
        printf("   tuned     for %zu shapes, by pumice tune\n", n_tuned);
}

static int devices(pm__options *options) {
    pm_device_info *list = NULL;
    size_t n = 0;
    const char *note = "";
    PM__CHECK(pm__cli_status(pm_device_list(&list, &n, &note)));
    int code = 0;
    if (options->json) {
        code = print_json(list, n, note);
    } else {
        for (size_t i = 0; i < n; i++)
            print_device(&list[i]);
        if (note[0])
            fprintf(stderr, "pumice: %s\n", note);
    }
    pm_device_list_free(list);
    return code;
}

static const unsigned char options_taken[] = {PM__OPT_JSON, PM__OPT_VERBOSE};

const pm__spec pm__spec_devices = {options_taken, sizeof options_taken, devices,
                                   "The number before a name, or any part of the name that fits no "
                                   "other device, is what --device takes."};
