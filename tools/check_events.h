/* check_events.h: what the child of a check tells its parent: a line an event, tabs between fields.
 * The child holds a driver, so a line that is not whole is no event. */
#ifndef PM_TOOLS_CHECK_EVENTS_H
#define PM_TOOLS_CHECK_EVENTS_H

#include <stdio.h>

#include "pumice.h"

/* ---- the child ------------------------------------------------------------------------------- */

/* pm_check_fn; to: FILE */
bool pm__event_print_case(void *to, const pm_check_case *c);
/* pm_progress_fn: loading a large model takes a while, and is no silence. to: FILE */
bool pm__event_print_alive(void *to, const char *what, uint64_t done, uint64_t total);
/* The last line. sentence  why the child stopped before its end; NULL: it did not */
void pm__event_print_end(FILE *to, const char *sentence);

/* ---- the parent ------------------------------------------------------------------------------ */

typedef enum pm__event_kind {
    PM__EVENT_CASE,
    PM__EVENT_ALIVE,
    PM__EVENT_FINISHED,
    PM__EVENT_STOPPED
} pm__event_kind;

typedef struct pm__event {
    pm__event_kind kind;
    pm_check_case c;      /* of a CASE */
    const char *sentence; /* of STOPPED */
} pm__event;

/* Texts of an event are plain, and gone after the call. */
typedef void (*pm__event_fn)(void *user, const pm__event *event);

/* Zeros at first. */
typedef struct pm__events {
    char line[2048];
    size_t n;
    bool too_long;
} pm__events;

/* The next bytes of the pipe. */
void pm__events_take(pm__events *events, const char *bytes, size_t n, pm__event_fn take,
                     void *user);

#endif
