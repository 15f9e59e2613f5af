/* fuzz_tuning.c: the tuning of a device, a text that people edit and hand on. First byte 0: the
 * rest is the text; else: choices that are written and must come back, and one byte of that text
 * changed, which must do no harm. */
#include "input.h"

#include "gpu/kernels.h"
#include "gpu/tuning.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CHOICES = 12 };

static const pm_status allowed[] = {PM_BAD_FILE};
static unsigned n_unused;

static void say(void *user, unsigned line, const char *why) {
    PM__HOLDS(user == &n_unused && line > 1);
    PM__HOLDS(why[0] != '\0' && pm__input_is_plain(why, strlen(why)));
    n_unused++;
}

static void check_choices(const pm__tuning *tuning) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    PM__HOLDS(tuning->n <= PM__MOST_TUNED);
    for (uint32_t i = 0; i < tuning->n; i++) {
        const pm__choice *c = &tuning->items[i];
        PM__HOLDS(c->kernel >= 0 && (size_t)c->kernel < n);
        PM__HOLDS(c->instead >= 0 && (size_t)c->instead < n);
        PM__HOLDS(c->shape.op == table[c->kernel].op && c->shape.type <= PM__TYPE_COUNT);
        PM__HOLDS(c->shape.rows < PM__ROWS_CLASSES);
        PM__HOLDS(pm__tuning_find(tuning, &c->shape) == c->kernel);
    }
}

static bool read_text(const char *text, pm__tuning *out) {
    char made_for[48];
    n_unused = 0;
    *out = (pm__tuning){.n = 0};
    const pm_status status = pm__tuning_parse(out, text, made_for, say, &n_unused);
    if (status != PM_OK)
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    else
        PM__HOLDS(strlen(made_for) < sizeof made_for);
    check_choices(out);
    return status == PM_OK;
}

/* What was understood is understood again. */
static void write_again(const pm__tuning *tuning) {
    char *text;
    pm__tuning again;
    PM__HOLDS(pm__tuning_compose(tuning, "a \xc3\xa9 device\n", "1:2:3", &text) == PM_OK);
    PM__HOLDS(read_text(text, &again) && n_unused == 0 && again.n == tuning->n);
    for (uint32_t i = 0; i < again.n; i++)
        PM__HOLDS(pm__node_shape_equal(&again.items[i].shape, &tuning->items[i].shape) &&
                  again.items[i].kernel == tuning->items[i].kernel &&
                  again.items[i].ns == tuning->items[i].ns);
    pm__tuning_finish(&again);
    free(text);
}

static void run_text(const uint8_t *data, size_t size) {
    pm__tuning tuning;
    char *text = malloc(size + 1);
    PM__HOLDS(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (read_text(text, &tuning))
        write_again(&tuning);
    pm__tuning_finish(&tuning);
    free(text);
}

static void run_choices(pm__input *in) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    pm__tuning tuning = {.n = 0}, edited;
    char *text;
    for (int i = 0; i < MOST_CHOICES && in->left > 0; i++) {
        const int kernel = pm__input_u8(in) % (int)n;
        const pm__choice choice = {.kernel = kernel,
                                   .instead = pm__input_u8(in) % (int)n,
                                   .ns = pm__input_u64(in),
                                   .shape = {.op = table[kernel].op,
                                             .type = pm__input_u8(in) % (PM__TYPE_COUNT + 1),
                                             .n_out = pm__input_u16(in),
                                             .inputs = pm__input_u8(in),
                                             .rows = pm__input_u8(in) % PM__ROWS_CLASSES}};
        PM__HOLDS(pm__tuning_add(&tuning, &choice) == PM_OK);
    }
    write_again(&tuning);
    PM__HOLDS(pm__tuning_compose(&tuning, "", "1:2:3", &text) == PM_OK);
    text[pm__input_u16(in) % strlen(text)] = (char)pm__input_u8(in);
    read_text(text, &edited);
    pm__tuning_finish(&edited);
    pm__tuning_finish(&tuning);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input in = {data, size};
    pm__input_quiet();
    if (pm__input_u8(&in) != 0)
        run_choices(&in);
    else
        run_text(in.at, in.left);
    return 0;
}
