/* jinja.h: the Jinja2 that chat templates use.
 *
 *   pm__jinja_create   reads a template into a tree
 *   pm__jinja_begin    a rendering: limits, time, and an empty set of variables
 *   pm__jinja_set ...  variables
 *   pm__jinja_render   text, and which of it came from marked strings
 *
 * A template sees its variables and nothing else: no files, no clock (strftime_now uses the time it
 * is given), no attributes but those in the tables here. Nothing can be changed but namespaces.
 * Strings that come from people are marked, and what is made of them (slices, trim, replace, upper,
 * tojson, join, formatting, ~, +, macros) stays marked byte by byte, so that a tokenizer can be
 * told which text is the template's own.
 *
 * source  Jinja 3.1 as transformers sets it up (immutable sandbox, trim_blocks, lstrip_blocks,
 *         loop controls, generation blocks),
 *         https://jinja.palletsprojects.com/en/3.1.x/templates/ */
#ifndef PM_TEXT_JINJA_H
#define PM_TEXT_JINJA_H

#include "tokenizer.h"

#include "../base/arena.h"
#include "../base/hash.h"

typedef struct pm__jinja pm__jinja;
typedef struct pm__j_env pm__j_env;

/* Reads n bytes of UTF-8.
 * errors  BAD_FILE: no template (names line and what); UNSUPPORTED: a statement of Jinja that chat
 *         templates do not have (import, include, extends, block); OUT_OF_MEMORY */
pm_status pm__jinja_create(const char *source, size_t n, pm__jinja **out);
void pm__jinja_destroy(pm__jinja *jinja);

/* Zero: the default of the field. */
typedef struct pm__jinja_limits {
    uint64_t n_step;     /* nodes run and, 16 to a step, bytes looked at; 20 million */
    uint32_t depth;      /* of nested expressions, statements, calls and values; 800 */
    size_t output_bytes; /* 32 MiB */
    size_t memory_bytes; /* 256 MiB */
} pm__jinja_limits;

/* What strftime_now tells. */
typedef struct pm__jinja_time {
    int year, month, day, hour, minute, second; /* month and day from 1 */
} pm__jinja_time;

/* "2026-01-31T09:30:00"; false for anything else. */
bool pm__jinja_time_parse(const char *text, pm__jinja_time *out);

/* Text, and its marked bytes as pm__ranges wants them. Zeroed is empty. */
typedef struct pm__jinja_text {
    char *text; /* [n_byte], and a zero */
    size_t n_byte;
    pm__range *data; /* [n_data] */
    size_t n_data;
} pm__jinja_text;

void pm__jinja_text_finish(pm__jinja_text *text);

/* One rendering; end frees all that was made in it. limits may be NULL. */
pm_status pm__jinja_begin(const pm__jinja_limits *limits, const pm__jinja_time *now,
                          pm__j_env **out);
void pm__jinja_end(pm__j_env *env);

/* Variables. The texts are copied. */
pm_status pm__jinja_set_text(pm__j_env *env, const char *name, const char *text, size_t n,
                             bool marked);
pm_status pm__jinja_set_bool(pm__j_env *env, const char *name, bool value);
/* Every member of a JSON object [n] becomes a variable, its strings marked. `what` begins the
 * sentence of a failure.
 * errors  BAD_FILE: no JSON object */
pm_status pm__jinja_set_json(pm__j_env *env, const char *what, const char *text, size_t n);

/* Once for each begin.
 * errors  FAILURE: the template refuses, or something in it cannot be done, or a limit is reached
 *         (line and what); OUT_OF_MEMORY */
pm_status pm__jinja_render(const pm__jinja *jinja, pm__j_env *env, pm__jinja_text *out);

#endif
