/* bench_kernels.c: pumice bench --kernels. */
#include "bench.h"
#include "kernel_times.h"

#include <inttypes.h>

typedef struct kernels {
    pm__bench_format format;
    pm_device_speed speed;
    cJSON *rows; /* of one document */
    bool begun, broken;
} kernels;

static void print_csv(const kernels *k, const pm_kernel_time *t) {
    printf("%s,%s,%s,%s,%s,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32
           ",%.9g,%.0f,%.0f,%.6g,%.6g,"
           "%d\n",
           t->kernel, t->op, t->type, t->node, t->rows, t->n_out, t->n_in, t->n_row, t->n_node,
           t->seconds, t->bytes, t->flops, k->speed.copy_bytes_per_second,
           k->speed.flops_per_second, t->used);
}

static bool on_time(void *user, const pm_kernel_time *time) {
    kernels *k = user;
    if (k->format == PM__BENCH_MD) {
        if (!k->begun)
            pm__kernel_times_head(stdout);
        pm__kernel_times_print(stdout, time, &k->speed);
    } else if (k->format == PM__BENCH_CSV) {
        if (!k->begun)
            puts("kernel,op,type,node,rows,n_out,n_in,n_row,n_node,seconds,bytes,flops,"
                 "copy_bytes_per_second,flops_per_second,used");
        print_csv(k, time);
    } else if (k->format == PM__BENCH_JSON) {
        cJSON_AddItemToArray(k->rows, pm__kernel_times_json(time, &k->speed));
    } else {
        k->broken |= pm__json_print(pm__kernel_times_json(time, &k->speed)) != 0;
    }
    k->begun = true;
    k->broken |= fflush(stdout) != 0;
    return !k->broken && !pm__interrupts();
}

static int measure(const pm__cli *cli, kernels *k) {
    const pm_kernels_desc desc = {.all = true, .on_time = on_time, .user = k};
    PM__CHECK(pm__cli_status(pm_device_measure(cli->device, &k->speed)));
    fprintf(stderr, "pumice: copies %.1f GB/s, multiply-adds %.1f GFLOP/s; * marks what runs use\n",
            1e-9 * k->speed.copy_bytes_per_second, 1e-9 * k->speed.flops_per_second);
    const int code = pm__cli_status(pm_bench_kernels(cli->model, &desc));
    if (k->broken)
        return pm__cli_error(PM__EXIT_FAILURE, "bench: standard output cannot be written");
    return code;
}

int pm__bench_kernels(const pm__options *options) {
    pm__cli cli = {0};
    kernels k = {0};
    PM__CHECK(pm__bench_format_read(options->bench.format, &k.format));
    pm__options open = *options;
    open.model = options->bench.models.n ? options->bench.models.items[0] : NULL;
    open.synthetic = options->bench.synthetics.n ? options->bench.synthetics.items[0] : NULL;
    if (options->bench.models.n + options->bench.synthetics.n > 1)
        return pm__cli_error(PM__EXIT_ARGUMENT, "bench: --kernels takes one model");
    pm__interrupt_catch();
    int code = pm__kernel_times_open(&cli, &open);
    k.rows = code == 0 && k.format == PM__BENCH_JSON ? cJSON_CreateArray() : NULL;
    if (code == 0)
        code = measure(&cli, &k);
    if (k.rows && (code == 0 || code == PM__EXIT_CANCELLED)) {
        const int printed = pm__json_print(k.rows);
        code = code ? code : printed;
    } else {
        cJSON_Delete(k.rows);
    }
    pm__cli_close(&cli);
    return code;
}
