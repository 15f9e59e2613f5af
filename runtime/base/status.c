#include "status.h"

#include "log.h"
#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[1024];

const char *pm_last_error(void) {
    return last_error;
}

#define STATUS_TEXT(name, value, exit_code, text) [value] = text,
#define STATUS_EXIT(name, value, exit_code, text) [value] = exit_code,
static const char *const texts[] = {PM_STATUS_LIST(STATUS_TEXT)};
static const int exit_codes[] = {PM_STATUS_LIST(STATUS_EXIT)};

const char *pm_status_text(pm_status status) {
    return (size_t)status < PM__COUNT(texts) ? texts[status] : "unknown status";
}

int pm_status_exit_code(pm_status status) {
    return (size_t)status < PM__COUNT(exit_codes) ? exit_codes[status] : 1;
}

pm_status pm__fail(pm_status code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    /* A sentence may quote the one before it, so it is built beside it. */
    char sentence[sizeof last_error];
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    pm__utf8_make_plain(sentence);
    snprintf(last_error, sizeof last_error, "%s", sentence);
    pm__log(PM_LOG_DEBUG, "%s: %s", pm_status_text(code), last_error);
    return code;
}

pm_status pm__fail_memory(const char *what, size_t bytes) {
    return pm__fail(PM_OUT_OF_MEMORY, "%s: the system refused %zu bytes of memory", what, bytes);
}

void pm__trace(pm_status code, const char *expr, const char *file, int line) {
    pm__log(PM_LOG_DEBUG, "%s:%d: %s -> %s", file, line, expr, pm_status_text(code));
}
