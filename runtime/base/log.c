#include "log.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>

static void log_to_stderr(void *user, pm_log_level level, const char *line) {
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static pm_log_fn sink = log_to_stderr;
static void *sink_user;
static pm_log_level sink_level = PM_LOG_WARN;

void pm_set_log(pm_log_level most, pm_log_fn fn, void *user) {
    sink = fn != NULL ? fn : log_to_stderr;
    sink_user = user;
    sink_level = most;
}

void pm__log(pm_log_level level, const char *fmt, ...) {
    if (level > sink_level)
        return;
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    pm__utf8_make_plain(line);
    sink(sink_user, level, line);
}
