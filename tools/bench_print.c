/* bench_print.c: rows of `pumice bench` as a table for people, or for programs. */
#include "bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int pm__bench_format_read(const char *name, pm__bench_format *out) {
    static const char *const names[] = {"md", "csv", "json", "jsonl"};
    if (!name)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (pm__bench_format)i;
            return 0;
        }
    }
    return pm__cli_error(PM__EXIT_ARGUMENT, "bench: -o: '%.40s' is none of md, csv, json, jsonl",
                         name);
}

/* 0 stands for what is not known. */
static double known(double x) {
    return x > 0 ? x : (double)NAN;
}

/* ---- for programs ---------------------------------------------------------------------------- */

typedef enum field_kind { FIELD_TEXT, FIELD_COUNT, FIELD_REAL } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    const char *text;
    double number;
} field;

#define FIELD_OF_TEXT(value)  .text = (value)
#define FIELD_OF_COUNT(value) .number = (double)(value)
#define FIELD_OF_REAL(value)  .number = (value)

enum {
#define PM_BENCH_FIELD(name, kind, value) INDEX_OF_##name,
#include "bench_fields.def"
    N_FIELD
};

static void get_fields(const pm__bench_row *r, field out[N_FIELD]) {
    const field all[N_FIELD] = {
#define PM_BENCH_FIELD(name, kind, value) {#name, FIELD_##kind, FIELD_OF_##kind(value)},
#include "bench_fields.def"
    };
    memcpy(out, all, sizeof all);
}

static void add_samples(const pm__bench_row *row, cJSON *object) {
    cJSON *times = cJSON_AddArrayToObject(object, "samples_ns");
    cJSON *rates = cJSON_AddArrayToObject(object, "samples_ts");
    cJSON *begun = cJSON_AddArrayToObject(object, "samples_at_s");
    const double n_token = pm__bench_tokens(&row->what);
    for (uint32_t i = 0; i < row->n; i++) {
        const pm__bench_sample *s = &row->samples[i];
        cJSON_AddItemToArray(times, cJSON_CreateNumber(1e9 * s->seconds));
        cJSON_AddItemToArray(rates, cJSON_CreateNumber(n_token / s->seconds));
        cJSON_AddItemToArray(begun, cJSON_CreateNumber(s->at - row->place->since));
    }
}

static cJSON *to_json(const pm__bench_row *row) {
    field fields[N_FIELD];
    get_fields(row, fields);
    cJSON *object = cJSON_CreateObject();
    for (size_t i = 0; i < N_FIELD; i++) {
        const field *f = &fields[i];
        cJSON *value = f->kind == FIELD_TEXT ? pm__json_text(f->text, strlen(f->text))
                       : isfinite(f->number) ? cJSON_CreateNumber(f->number)
                                             : cJSON_CreateNull();
        cJSON_AddItemToObject(object, f->name, value);
    }
    add_samples(row, object);
    if (row->profile)
        cJSON_AddItemToObject(object, "profile", cJSON_Duplicate(row->profile, true));
    return object;
}

static void print_csv_head(void) {
    static const char *const names[] = {
#define PM_BENCH_FIELD(name, kind, value) #name,
#include "bench_fields.def"
    };
    for (size_t i = 0; i < N_FIELD; i++)
        printf("%s%s", i > 0 ? "," : "", names[i]);
    putchar('\n');
}

static void print_csv_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const pm__bench_row *row) {
    field fields[N_FIELD];
    get_fields(row, fields);
    for (size_t i = 0; i < N_FIELD; i++) {
        if (i > 0)
            putchar(',');
        if (fields[i].kind == FIELD_TEXT)
            print_csv_text(fields[i].text);
        else if (isfinite(fields[i].number))
            printf("\"%.*g\"", fields[i].kind == FIELD_COUNT ? 17 : 9, fields[i].number);
        else
            fputs("\"\"", stdout);
    }
    putchar('\n');
}

/* ---- for people ------------------------------------------------------------------------------ */

/* Programs that read such tables count columns from the right, so ours stand before the last
 * two. */
typedef struct column {
    const char *title;
    int width;
    bool left;
    size_t shown; /* offset of its switch in the printer; 0: always there */
} column;

enum {
    MODEL,
    SIZE,
    PARAMS,
    BACKEND,
    THREADS,
    BATCH,
    TYPE_K,
    TYPE_V,
    BANDWIDTH,
    OF_COPY,
    DISPATCHES,
    HOST,
    ENERGY,
    CLIFF,
    BEST,
    TEST,
    RATE,
    N_COLUMN
};

static const column columns[N_COLUMN] = {
    [MODEL] = {"model", 30, true, 0},
    [SIZE] = {"size", 10, false, 0},
    [PARAMS] = {"params", 10, false, 0},
    [BACKEND] = {"backend", 10, true, 0},
    [THREADS] = {"threads", 7, false, offsetof(pm__bench_printer, threads)},
    [BATCH] = {"n_ubatch", 8, false, offsetof(pm__bench_printer, batches)},
    [TYPE_K] = {"type_k", 6, false, offsetof(pm__bench_printer, types_k)},
    [TYPE_V] = {"type_v", 6, false, offsetof(pm__bench_printer, types_v)},
    [BANDWIDTH] = {"GB/s", 7, false, 0},
    [OF_COPY] = {"of copy", 7, false, 0},
    [DISPATCHES] = {"disp/barr", 9, false, 0},
    [HOST] = {"host us", 7, false, 0},
    [ENERGY] = {"J/token", 8, false, 0},
    [CLIFF] = {"cliff", 24, true, offsetof(pm__bench_printer, cliffs)},
    [BEST] = {"best t/s", 8, false, offsetof(pm__bench_printer, cliffs)},
    [TEST] = {"test", 15, false, 0},
    [RATE] = {"t/s", 20, false, 0},
};

static bool is_shown(const pm__bench_printer *printer, size_t i) {
    return columns[i].shown == 0 || *((const bool *)printer + columns[i].shown);
}

/* Columns that a terminal takes for it: one a character. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(const column *c, const char *text) {
    const int pad = c->width > width_of(text) ? c->width - width_of(text) : 0;
    if (c->left)
        printf("| %s%*s ", text, pad, "");
    else
        printf("| %*s%s ", pad, "", text);
}

static void print_head(const pm__bench_printer *printer) {
    for (size_t i = 0; i < N_COLUMN; i++)
        if (is_shown(printer, i))
            print_cell(&columns[i], columns[i].title);
    puts("|");
    for (size_t i = 0; i < N_COLUMN; i++) {
        if (!is_shown(printer, i))
            continue;
        fputs("| ", stdout);
        for (int k = 0; k < columns[i].width - !columns[i].left; k++)
            putchar('-');
        fputs(columns[i].left ? " " : ": ", stdout);
    }
    puts("|");
}

enum { CELL_SIZE = 96 };

static void print_size(char cell[CELL_SIZE], uint64_t bytes) {
    if (bytes >= (uint64_t)1 << 30)
        snprintf(cell, CELL_SIZE, "%.2f GiB", ldexp((double)bytes, -30));
    else
        snprintf(cell, CELL_SIZE, "%.2f MiB", ldexp((double)bytes, -20));
}

static void print_params(char cell[CELL_SIZE], uint64_t n) {
    if (n >= 1000000000)
        snprintf(cell, CELL_SIZE, "%.2f B", 1e-9 * (double)n);
    else
        snprintf(cell, CELL_SIZE, "%.2f M", 1e-6 * (double)n);
}

static void print_known(char cell[CELL_SIZE], const char *format, double x) {
    if (isfinite(x))
        snprintf(cell, CELL_SIZE, format, x);
    else
        snprintf(cell, CELL_SIZE, "n/a");
}

static void fill_cells(const pm__bench_row *r, char cells[N_COLUMN][CELL_SIZE]) {
    snprintf(cells[MODEL], CELL_SIZE, "%s", r->model->type);
    print_size(cells[SIZE], r->model->bytes);
    print_params(cells[PARAMS], r->model->n_parameter);
    snprintf(cells[BACKEND], CELL_SIZE, "%s", r->place->backend);
    snprintf(cells[THREADS], CELL_SIZE, "%" PRIu32, r->what.n_thread);
    snprintf(cells[BATCH], CELL_SIZE, "%" PRIu32, r->what.n_ubatch);
    snprintf(cells[TYPE_K], CELL_SIZE, "%s", r->what.type_k);
    snprintf(cells[TYPE_V], CELL_SIZE, "%s", r->what.type_v);
    print_known(cells[BANDWIDTH], "%.3g", 1e-9 * r->bytes_per_second);
    print_known(cells[OF_COPY], "%.0f %%", r->copy_percent);
    if (isfinite(r->n_dispatch))
        snprintf(cells[DISPATCHES], CELL_SIZE, "%.0f/%.0f", r->n_dispatch, r->n_barrier);
    else
        print_known(cells[DISPATCHES], "", r->n_dispatch);
    print_known(cells[HOST], "%.1f", r->host_us);
    print_known(cells[ENERGY], "%.3g", r->joules);
    snprintf(cells[CLIFF], CELL_SIZE, "%s", r->cliff);
    snprintf(cells[BEST], CELL_SIZE, "%.2f", r->best_ts);
    snprintf(cells[TEST], CELL_SIZE, "%s", r->test);
    snprintf(cells[RATE], CELL_SIZE, "%.2f \xc2\xb1 %.2f", r->avg_ts, r->stddev_ts);
}

static void print_place(const pm__bench_place *place) {
    printf("%s: %s, driver %s", place->backend, place->device, place->driver);
    if (place->tier[0])
        printf(", tier %s", place->tier);
    printf("; %s; pumice " PM_VERSION "\n", place->os);
    if (place->copy_rate > 0)
        printf("measured: copies %.4g GB/s, multiply-adds %.4g GFLOP/s\n", 1e-9 * place->copy_rate,
               1e-9 * place->flop_rate);
    putchar('\n');
}

static void print_md(const pm__bench_printer *printer, const pm__bench_row *row) {
    char cells[N_COLUMN][CELL_SIZE];
    fill_cells(row, cells);
    for (size_t i = 0; i < N_COLUMN; i++)
        if (is_shown(printer, i))
            print_cell(&columns[i], cells[i]);
    puts("|");
}

/* ---- both ------------------------------------------------------------------------------------ */

static void begin(pm__bench_printer *printer, const pm__bench_row *row) {
    printer->begun = true;
    if (printer->format == PM__BENCH_CSV)
        print_csv_head();
    if (printer->format != PM__BENCH_MD)
        return;
    print_place(row->place);
    print_head(printer);
}

int pm__bench_print(pm__bench_printer *printer, const pm__bench_row *row) {
    if (!printer->begun)
        begin(printer, row);
    if (printer->format == PM__BENCH_JSONL)
        return pm__json_print(to_json(row));
    if (printer->format == PM__BENCH_MD)
        print_md(printer, row);
    else if (printer->format == PM__BENCH_CSV)
        print_csv(row);
    else if (!printer->all)
        printer->all = cJSON_CreateArray();
    if (printer->format == PM__BENCH_JSON)
        cJSON_AddItemToArray(printer->all, to_json(row));
    else if (fflush(stdout) != 0)
        return pm__cli_error(PM__EXIT_FAILURE, "bench: standard output cannot be written");
    return 0;
}

int pm__bench_print_end(pm__bench_printer *printer) {
    if (printer->format != PM__BENCH_JSON)
        return 0;
    cJSON *all = printer->all ? printer->all : cJSON_CreateArray();
    printer->all = NULL;
    return pm__json_print(all);
}
