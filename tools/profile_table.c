#include "profile_table.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_NODES = 20 };

static double share_of(const pm_profile *p, double seconds) {
    const double all = p->seconds + p->gap_seconds;
    return all > 0 ? 100 * seconds / all : 0;
}

static double rate(double amount, double seconds) {
    return seconds > 0 ? amount / seconds : 0;
}

/* "42.1" of the ceiling, or "-" where that is not known. */
static const char *percent(double value, double ceiling, char text[16]) {
    if (ceiling > 0)
        snprintf(text, 16, "%.1f", 100 * value / ceiling);
    else
        snprintf(text, 16, "-");
    return text;
}

static void print_row(const pm_profile *p, const pm_profile_row *row) {
    char of_copy[16], of_flops[16];
    const double bytes = rate(row->bytes, row->seconds), flops = rate(row->flops, row->seconds);
    fprintf(stderr, "%-28s %-5s %9" PRIu64 " %10.3f %9.1f %6.1f %10.2f %8.2f %6s %9.2f %6s %8.3f\n",
            row->node ? row->node : row->kernel, row->one ? "one" : "many", row->n_launch,
            1e3 * row->seconds, 1e6 * rate(row->seconds, (double)row->n_launch),
            share_of(p, row->seconds), 1e-6 * row->bytes, 1e-9 * bytes,
            percent(bytes, p->speed.copy_bytes_per_second, of_copy), 1e-9 * flops,
            percent(flops, p->speed.flops_per_second, of_flops), 1e3 * row->gap_seconds);
}

static void print_head(const char *what) {
    fprintf(stderr, "%-28s %-5s %9s %10s %9s %6s %10s %8s %6s %9s %6s %8s\n", what, "rows",
            "launches", "ms", "us each", "%", "MB", "GB/s", "% copy", "GFLOP/s", "% fma",
            "gaps ms");
}

void pm__profile_print(const pm_profile *p, bool nodes) {
    if (p->why[0]) {
        fprintf(stderr, "pumice: no profile: %s\n", p->why);
        return;
    }
    print_head("kernel");
    for (size_t i = 0; i < p->n_kernel; i++)
        print_row(p, &p->kernels[i]);
    if (nodes)
        print_head("node");
    for (size_t i = 0; nodes && i < p->n_node && i < MOST_NODES; i++)
        print_row(p, &p->nodes[i]);
    fprintf(stderr, "kernels %.3f ms, gaps between them %.3f ms (%.1f%%)", 1e3 * p->seconds,
            1e3 * p->gap_seconds, share_of(p, p->gap_seconds));
    if (p->speed.copy_bytes_per_second > 0)
        fprintf(stderr, "; this device copies %.1f GB/s and does %.1f GFLOP/s",
                1e-9 * p->speed.copy_bytes_per_second, 1e-9 * p->speed.flops_per_second);
    fputc('\n', stderr);
}

static void add_rows(cJSON *document, const char *name, const pm_profile *p,
                     const pm_profile_row *rows, size_t n) {
    cJSON *array = cJSON_AddArrayToObject(document, name);
    for (size_t i = 0; i < n; i++) {
        const pm_profile_row *r = &rows[i];
        const double ceiling = p->speed.copy_bytes_per_second;
        cJSON *row = cJSON_CreateObject();
        if (r->node)
            cJSON_AddItemToObject(row, "node", pm__json_text(r->node, strlen(r->node)));
        cJSON_AddStringToObject(row, "kernel", r->kernel);
        cJSON_AddStringToObject(row, "rows", r->one ? "one" : "many");
        cJSON_AddNumberToObject(row, "launches", (double)r->n_launch);
        cJSON_AddNumberToObject(row, "seconds", r->seconds);
        cJSON_AddNumberToObject(row, "gap_seconds", r->gap_seconds);
        cJSON_AddNumberToObject(row, "bytes", r->bytes);
        cJSON_AddNumberToObject(row, "flops", r->flops);
        cJSON_AddNumberToObject(row, "bytes_per_second", rate(r->bytes, r->seconds));
        if (ceiling > 0)
            cJSON_AddNumberToObject(row, "of_copy", rate(r->bytes, r->seconds) / ceiling);
        cJSON_AddItemToArray(array, row);
    }
}

cJSON *pm__profile_json(const pm_profile *p) {
    cJSON *document = cJSON_CreateObject();
    cJSON_AddStringToObject(document, "why", p->why);
    cJSON_AddNumberToObject(document, "seconds", p->seconds);
    cJSON_AddNumberToObject(document, "gap_seconds", p->gap_seconds);
    cJSON_AddNumberToObject(document, "copy_bytes_per_second", p->speed.copy_bytes_per_second);
    cJSON_AddNumberToObject(document, "flops_per_second", p->speed.flops_per_second);
    add_rows(document, "kernels", p, p->kernels, p->n_kernel);
    add_rows(document, "nodes", p, p->nodes, p->n_node);
    return document;
}

int pm__profile_report(pm_session *session, const pm__options *options, cJSON *document) {
    pm_profile *profile = NULL;
    if (!options->profile || !session)
        return 0;
    PM__CHECK(pm__cli_status(pm_session_get_profile(session, &profile)));
    pm__profile_print(profile, options->verbose);
    if (document)
        cJSON_AddItemToObject(document, "profile", pm__profile_json(profile));
    pm_profile_free(profile);
    return 0;
}
