/* fuzz_events.c: what the child of a check tells its parent. First byte 0: the rest is what comes
 * through the pipe; else: cases, which are printed and must come back. */
#include "input.h"

#include "tools/check_events.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EVENTS = 64, MOST_TEXT = 96 };

typedef struct said {
    pm__event event;
    char kernel[MOST_TEXT + 1], name[MOST_TEXT + 1], why[MOST_TEXT + 1];
} said;

static said expected[MOST_EVENTS];
static size_t n_expected, n_taken;

static void check_plain(const char *text) {
    PM__HOLDS(pm__input_is_plain(text, strlen(text)));
}

/* ---- any bytes ------------------------------------------------------------------------------- */

static void look_at(void *user, const pm__event *event) {
    (void)user;
    n_taken++;
    if (event->kind == PM__EVENT_CASE) {
        PM__HOLDS((unsigned)event->c.status < PM_STATUS_END);
        check_plain(event->c.kernel);
        check_plain(event->c.name);
        check_plain(event->c.why);
    } else if (event->kind == PM__EVENT_STOPPED) {
        check_plain(event->sentence);
    }
}

/* The same events, whatever pieces the pipe gives; at most one a line. */
static void check_bytes(const char *bytes, size_t n) {
    size_t n_line = 0, n_whole;
    for (size_t i = 0; i < n; i++)
        n_line += bytes[i] == '\n';
    pm__events events = {.n = 0};
    n_taken = 0;
    pm__events_take(&events, bytes, n, look_at, NULL);
    PM__HOLDS(n_taken <= n_line);
    n_whole = n_taken;
    events = (pm__events){.n = 0};
    n_taken = 0;
    for (size_t at = 0, part; at < n; at += part) {
        part = 1 + (uint8_t)bytes[at] % 7;
        part = part < n - at ? part : n - at;
        pm__events_take(&events, bytes + at, part, look_at, NULL);
    }
    PM__HOLDS(n_taken == n_whole);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static bool same_number(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static void compare(void *user, const pm__event *event) {
    (void)user;
    PM__HOLDS(n_taken < n_expected);
    const said *s = &expected[n_taken++];
    PM__HOLDS(event->kind == s->event.kind);
    if (event->kind == PM__EVENT_STOPPED)
        PM__HOLDS(strcmp(event->sentence, s->why) == 0);
    if (event->kind != PM__EVENT_CASE)
        return;
    const pm_check_case *a = &event->c, *b = &s->event.c;
    PM__HOLDS(a->done == b->done && a->index == b->index && a->n == b->n && a->node == b->node);
    PM__HOLDS(a->status == b->status && same_number(a->error, b->error));
    PM__HOLDS(same_number(a->bound, b->bound) && same_number(a->seconds, b->seconds));
    PM__HOLDS(strcmp(a->kernel, s->kernel) == 0 && strcmp(a->name, s->name) == 0);
    PM__HOLDS(strcmp(a->why, s->why) == 0);
}

/* A text as programs have it, and what the parent makes of it. */
static void take_text(pm__input *in, char given[MOST_TEXT + 1], char wanted[MOST_TEXT + 1]) {
    const pm__span bytes = pm__input_bytes(in, pm__input_u8(in) % (MOST_TEXT + 1));
    size_t n = 0, n_clean;
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] != '\0')
            given[n++] = bytes.data[i];
    given[n] = '\0';
    for (size_t i = 0; i < n; i++)
        wanted[i] = given[i] == '\t' || given[i] == '\n' ? ' ' : given[i];
    wanted[n] = '\0';
    for (size_t at = 0; at < n; at += n_clean) {
        n_clean = 1;
        while (n_clean < 4 && at + n_clean < n && !pm__input_is_plain(wanted + at, n_clean))
            n_clean++;
        if (pm__input_is_plain(wanted + at, n_clean))
            continue;
        n_clean = 1;
        wanted[at] = '?';
    }
}

static double take_f64(pm__input *in) {
    const uint64_t bits = pm__input_u64(in);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void print_event(pm__input *in, FILE *to, said *s) {
    char kernel[MOST_TEXT + 1] = "", name[MOST_TEXT + 1] = "", why[MOST_TEXT + 1] = "";
    const uint8_t what = pm__input_u8(in);
    s->event = (pm__event){.kind = (pm__event_kind)(what % 4)};
    if (s->event.kind == PM__EVENT_ALIVE) {
        pm__event_print_alive(to, "what", pm__input_u64(in), pm__input_u64(in));
        return;
    }
    take_text(in, why, s->why);
    if (s->event.kind != PM__EVENT_CASE) {
        pm__event_print_end(to, s->event.kind == PM__EVENT_STOPPED ? why : NULL);
        return;
    }
    take_text(in, kernel, s->kernel);
    take_text(in, name, s->name);
    s->event.c = (pm_check_case){.done = (what & 4) != 0,
                                 .index = (uint32_t)pm__input_u64(in),
                                 .n = pm__input_u16(in),
                                 .node = (what & 8) != 0 ? PM_NO_INDEX : pm__input_u16(in),
                                 .status = (pm_status)(pm__input_u8(in) % PM_STATUS_END),
                                 .error = take_f64(in),
                                 .bound = take_f64(in),
                                 .seconds = take_f64(in),
                                 .kernel = kernel,
                                 .name = name,
                                 .why = why};
    PM__HOLDS(pm__event_print_case(to, &s->event.c));
}

static void check_printed(pm__input *in) {
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    PM__HOLDS(to != NULL);
    for (n_expected = 0; n_expected < MOST_EVENTS && in->left > 0; n_expected++)
        print_event(in, to, &expected[n_expected]);
    PM__HOLDS(fclose(to) == 0);
    pm__events events = {.n = 0};
    n_taken = 0;
    pm__events_take(&events, text, n, compare, NULL);
    PM__HOLDS(n_taken == n_expected);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input_quiet();
    pm__input in = {data, size};
    const bool raw = pm__input_u8(&in) == 0;
    char *copy = (char *)pm__input_copy(in.at, in.left);
    pm__input rest = {(const uint8_t *)copy, in.left};
    if (raw && copy != NULL)
        check_bytes(copy, rest.left);
    else if (!raw)
        check_printed(&rest);
    free(copy);
    return 0;
}
