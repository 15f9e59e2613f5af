#include "check_events.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

enum { N_CASE_FIELD = 11 };

/* ---- the child ------------------------------------------------------------------------------- */

static void print_text(FILE *to, const char *text) {
    putc('\t', to);
    for (; *text; text++)
        putc(*text == '\t' || *text == '\n' ? ' ' : *text, to);
}

bool pm__event_print_case(void *to, const pm_check_case *c) {
    fprintf(to, "%s\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%d\t%.17g\t%.17g\t%.17g",
            c->done ? "end" : "begin", c->index, c->n, c->node, (int)c->status, c->error, c->bound,
            c->seconds);
    print_text(to, c->kernel);
    print_text(to, c->name);
    print_text(to, c->why);
    putc('\n', to);
    return fflush(to) == 0;
}

bool pm__event_print_alive(void *to, const char *what, uint64_t done, uint64_t total) {
    (void)what;
    fprintf(to, "alive\t%" PRIu64 "\t%" PRIu64 "\n", done, total);
    fflush(to);
    return true;
}

void pm__event_print_end(FILE *to, const char *sentence) {
    fputs(sentence ? "stopped" : "finished", to);
    print_text(to, sentence ? sentence : "");
    putc('\n', to);
    fflush(to);
}

/* ---- the parent ------------------------------------------------------------------------------ */

/* Splits at tabs, and makes each field plain; 0 if there are more than `most`. */
static size_t split(char *line, char *fields[], size_t most) {
    for (size_t n = 0; n < most;) {
        char *tab = strchr(line, '\t');
        if (tab)
            *tab = '\0';
        pm__make_plain(line);
        fields[n++] = line;
        if (!tab)
            return n;
        line = tab + 1;
    }
    return 0;
}

static bool read_u32(const char *text, uint32_t *out) {
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    *out = (uint32_t)value;
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && value <= UINT32_MAX;
}

static bool read_f64(const char *text, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return text[0] != '\0' && *end == '\0';
}

static bool read_case(char *fields[], pm_check_case *c) {
    uint32_t status = 0;
    *c = (pm_check_case){.done = strcmp(fields[0], "end") == 0,
                         .kernel = fields[8],
                         .name = fields[9],
                         .why = fields[10]};
    const bool whole = (c->done || strcmp(fields[0], "begin") == 0) &&
                       read_u32(fields[1], &c->index) && read_u32(fields[2], &c->n) &&
                       read_u32(fields[3], &c->node) && read_u32(fields[4], &status) &&
                       read_f64(fields[5], &c->error) && read_f64(fields[6], &c->bound) &&
                       read_f64(fields[7], &c->seconds);
    c->status = (pm_status)status;
    return whole && status < PM_STATUS_END;
}

static bool read_event(char *line, pm__event *out) {
    char *fields[N_CASE_FIELD];
    const size_t n = split(line, fields, N_CASE_FIELD);
    *out = (pm__event){.kind = PM__EVENT_CASE};
    if (n == N_CASE_FIELD)
        return read_case(fields, &out->c);
    if (n == 3 && strcmp(fields[0], "alive") == 0) {
        out->kind = PM__EVENT_ALIVE;
        return true;
    }
    if (n != 2)
        return false;
    const bool finished = strcmp(fields[0], "finished") == 0;
    out->kind = finished ? PM__EVENT_FINISHED : PM__EVENT_STOPPED;
    out->sentence = fields[1];
    return finished ? fields[1][0] == '\0' : strcmp(fields[0], "stopped") == 0;
}

void pm__events_take(pm__events *events, const char *bytes, size_t n, pm__event_fn take,
                     void *user) {
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            pm__event event;
            events->line[events->n] = '\0';
            if (!events->too_long && read_event(events->line, &event))
                take(user, &event);
            events->n = 0;
            events->too_long = false;
        } else if (events->n + 1 < sizeof events->line) {
            events->line[events->n++] = bytes[i] != '\0' ? bytes[i] : '?';
        } else {
            events->too_long = true;
        }
    }
}
