#include "kernel_times.h"

#include <inttypes.h>
#include <string.h>

int pm__kernel_times_open(pm__cli *cli, const pm__options *options) {
    PM__CHECK(pm__cli_open(cli, options, PM__NEED_PLAN));
    pm__report_quarantine(cli->device);
    return 0;
}

static double rate(double amount, double seconds) {
    return seconds > 0 ? amount / seconds : 0;
}

/* Of what the device can do at most: of copying, or of multiplying where that would take longer. */
static double percent(const pm_kernel_time *t, const pm_device_speed *speed, bool *of_flops) {
    const double bytes = rate(t->bytes, speed->copy_bytes_per_second);
    const double flops = rate(t->flops, speed->flops_per_second);
    *of_flops = flops > bytes;
    return 100 * rate(flops > bytes ? flops : bytes, t->seconds);
}

void pm__kernel_times_head(FILE *to) {
    fprintf(to, "%-28s %-14s %-8s %14s %5s %6s %11s %9s %9s  %s\n", "kernel", "op", "type",
            "out x in", "rows", "nodes", "us", "GB/s", "GFLOP/s", "% of most");
}

void pm__kernel_times_print(FILE *to, const pm_kernel_time *t, const pm_device_speed *speed) {
    char sizes[32];
    bool of_flops;
    const double share = percent(t, speed, &of_flops);
    snprintf(sizes, sizeof sizes, "%" PRIu32 "x%" PRIu32, t->n_out, t->n_in);
    fprintf(to, "%-28s %-14s %-8s %14s %5" PRIu32 " %6" PRIu32, t->kernel, t->op, t->type, sizes,
            t->n_row, t->n_node);
    if (t->seconds > 0)
        fprintf(to, " %11.2f %9.2f %9.1f  %.1f of %s%s\n", 1e6 * t->seconds,
                1e-9 * rate(t->bytes, t->seconds), 1e-9 * rate(t->flops, t->seconds), share,
                of_flops ? "fma" : "copy", t->used ? "  *" : "");
    else
        fprintf(to, "  not timed: %s\n", t->why);
}

cJSON *pm__kernel_times_json(const pm_kernel_time *t, const pm_device_speed *speed) {
    bool of_flops;
    const double share = percent(t, speed, &of_flops);
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "kernel", t->kernel);
    cJSON_AddStringToObject(row, "op", t->op);
    cJSON_AddStringToObject(row, "type", t->type);
    cJSON_AddItemToObject(row, "node", pm__json_text(t->node, strlen(t->node)));
    cJSON_AddStringToObject(row, "rows", t->rows);
    cJSON_AddNumberToObject(row, "n_out", t->n_out);
    cJSON_AddNumberToObject(row, "n_in", t->n_in);
    cJSON_AddNumberToObject(row, "n_row", t->n_row);
    cJSON_AddNumberToObject(row, "n_node", t->n_node);
    cJSON_AddNumberToObject(row, "seconds", t->seconds);
    cJSON_AddNumberToObject(row, "bytes", t->bytes);
    cJSON_AddNumberToObject(row, "flops", t->flops);
    cJSON_AddNumberToObject(row, "percent", share);
    cJSON_AddStringToObject(row, "percent_of", of_flops ? "fma" : "copy");
    cJSON_AddBoolToObject(row, "default", t->standard);
    cJSON_AddBoolToObject(row, "used", t->used);
    cJSON_AddStringToObject(row, "why", t->why);
    return row;
}

cJSON *pm__tuned_json(const pm_tuned *t) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "kernel", t->kernel);
    cJSON_AddStringToObject(row, "instead_of", t->instead);
    cJSON_AddStringToObject(row, "op", t->op);
    cJSON_AddStringToObject(row, "type", t->type);
    cJSON_AddStringToObject(row, "rows", t->rows);
    cJSON_AddNumberToObject(row, "n_out", t->n_out);
    cJSON_AddNumberToObject(row, "n_in", t->n_in);
    cJSON_AddNumberToObject(row, "seconds", t->seconds);
    cJSON_AddNumberToObject(row, "instead_seconds", t->instead_seconds);
    return row;
}

void pm__tuned_print(FILE *to, const pm_tuned *t) {
    fprintf(to,
            "%s %s%s%" PRIu32 "x%" PRIu32
            ", rows %s: %s, %.2f us; %s, the default, %.2f us (%.2f x)\n",
            t->op, t->type, t->type[0] ? " " : "", t->n_out, t->n_in, t->rows, t->kernel,
            1e6 * t->seconds, t->instead, 1e6 * t->instead_seconds,
            rate(t->instead_seconds, t->seconds));
}
