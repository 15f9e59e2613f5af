#include "compose.h"

#include "../../shaders/params.h"
#include "../../shaders/params_stack.h"
#include "../base/grow.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

typedef struct token {
    const char *at;
    uint32_t n;
    bool word;       /* an identifier or a keyword */
    const char *gap; /* what separates it from the one before */
} token;

typedef struct tokens {
    token *items;
    uint32_t n;
    size_t capacity;
} tokens;

static bool is(const token *t, const char *text) {
    return t->n == strlen(text) && memcmp(t->at, text, t->n) == 0;
}

static bool same(const token *a, const token *b) {
    return a->n == b->n && memcmp(a->at, b->at, a->n) == 0;
}

/* Blanks, comments and lines of the preprocessor. */
static const char *skip_gap(const char *at, bool *line) {
    for (;;) {
        if (isspace((unsigned char)*at)) {
            *line = *line || *at == '\n';
            at++;
        } else if (*at == '#' || (at[0] == '/' && at[1] == '/')) {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*' && strstr(at, "*/") != NULL) {
            at = strstr(at, "*/") + 2;
        } else {
            return at;
        }
    }
}

static bool is_of_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static uint32_t length_of(const char *at) {
    uint32_t n = 1;
    while (is_of_word(at[0]) && is_of_word(at[n]))
        n++;
    /* 1.5e-8: a number with a dot or a sign in it has no name after the dot */
    while (isdigit((unsigned char)at[0]) &&
           (is_of_word(at[n]) || at[n] == '.' ||
            ((at[n] == '-' || at[n] == '+') && tolower((unsigned char)at[n - 1]) == 'e' &&
             at[1] != 'x')))
        n++;
    return n;
}

static pm_status split(const char *text, tokens *out) {
    for (const char *at = text;;) {
        bool line = false;
        const char *begin = skip_gap(at, &line);
        if (*begin == '\0')
            return PM_OK;
        PM_TRY(pm__grow("compose: text", &out->items, &out->capacity, out->n, sizeof *out->items));
        out->items[out->n++] = (token){
            .at = begin,
            .n = length_of(begin),
            .word = isalpha((unsigned char)*begin) || *begin == '_',
            .gap = line         ? "\n"
                   : begin > at ? " "
                                : "",
        };
        at = begin + out->items[out->n - 1].n;
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

pm_status pm__part_init(pm__part *part, pm__gpu *gpu, const pm__pipeline_desc *desc) {
    const char *defines[PM__MOST_DEFINES];
    for (uint32_t i = 0; i < desc->n_define; i++)
        defines[i] = desc->defines[i];
    const pm__shader_desc shader = {
        .file = desc->file, .defines = defines, .n_define = desc->n_define, .tier = desc->tier};
    *part = (pm__part){.desc = *desc, .width = desc->spec[0]};
    PM_TRY(pm__shader_preprocess(gpu, &shader, &part->text));
    tokens all = {0};
    const pm_status status = split(part->text, &all);
    for (uint32_t i = 0; i < all.n; i++) {
        const token *t = &all.items[i];
        part->together = part->together || is(t, "barrier") ||
                         (t->n > 8 && memcmp(t->at, "subgroup", 8) == 0) ||
                         (t->n > 11 && memcmp(t->at, "gl_Subgroup", 11) == 0);
    }
    free(all.items);
    return status;
}

void pm__part_finish(pm__part *part) {
    free(part->text);
    *part = (pm__part){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef enum name_kind { GLOBAL, ARRAY, PUSH, HEAD, ROWS } name_kind;

/* Declared at the outermost level. */
typedef struct name {
    token word;
    name_kind kind;
    uint32_t binding; /* of an ARRAY */
    token type;       /* of its elements */
} name;

enum { MOST_NAMES = 256, MOST_LOCALS = 128, MOST_DEPTH = 64 };

typedef struct writer {
    const pm__part *part;
    uint32_t number, width;
    tokens in;
    name names[MOST_NAMES], nobody;
    uint32_t n_name;
    token locals[MOST_LOCALS]; /* of the function */
    uint32_t n_local;
    char *text;
    size_t used, capacity;
    pm_status status;
} writer;

static void put(writer *w, const char *text, size_t n) {
    while (w->status == PM_OK && w->capacity < w->used + n + 1) {
        const size_t capacity = 2 * (w->capacity + 4096);
        char *larger = realloc(w->text, capacity);
        if (larger == NULL) {
            w->status = pm__fail_memory("compose: text", capacity);
            return;
        }
        w->text = larger;
        w->capacity = capacity;
    }
    if (w->status != PM_OK)
        return;
    memcpy(w->text + w->used, text, n);
    w->used += n;
    w->text[w->used] = '\0';
}

static void say(writer *w, const char *format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    put(w, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

static void refuse(writer *w, const token *t, const char *why) {
    if (w->status == PM_OK)
        w->status = pm__fail(PM_UNSUPPORTED, "compose: %s: '%.*s': %s", w->part->desc.file,
                             (int)t->n, t->at, why);
}

static const name *find(const writer *w, const token *t) {
    for (uint32_t i = 0; i < w->n_name; i++)
        if (same(&w->names[i].word, t))
            return &w->names[i];
    return NULL;
}

static name *declare(writer *w, const token *t, name_kind kind) {
    if (w->n_name == MOST_NAMES) {
        refuse(w, t, "too many names");
        return &w->nobody;
    }
    w->names[w->n_name] = (name){.word = *t, .kind = kind};
    return &w->names[w->n_name++];
}

static bool is_local(const writer *w, const token *t) {
    for (uint32_t i = 0; i < w->n_local; i++)
        if (same(&w->locals[i], t))
            return true;
    return false;
}

/* What a launch told a kernel. */
static const char *told(const token *t) {
    static const char *const pairs[][2] = {
        {"gl_WorkGroupID", "stack_group"},
        {"gl_NumWorkGroups", "stack_groups"},
        {"gl_LocalInvocationIndex", "stack_me"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (is(t, pairs[i][0]))
            return pairs[i][1];
    return NULL;
}

static uint32_t bytes_of(writer *w, const token *type) {
    if (is(type, "float") || is(type, "uint"))
        return 4;
    if (is(type, "vec4") || is(type, "uvec4"))
        return 16;
    refuse(w, type, "buffers have float, uint, vec4 or uvec4");
    return 4;
}

/* Up to the index. */
static void put_array(writer *w, const name *array) {
    const uint32_t bytes = bytes_of(w, &array->type);
    const int n = (int)array->type.n;
    switch (w->part->homes[array->binding]) {
    case PM__HOME_ARENA:
        say(w, "%.*s_arena[(stack_at[%u].x / %uu) + (", n, array->type.at, array->binding, bytes);
        return;
    case PM__HOME_HELD:
        say(w, "%.*s_held(stack_at[%u]).at[(", n, array->type.at, array->binding);
        return;
    case PM__HOME_KEPT:
        break;
    }
    say(w, "%.*s_kept(stack_at[%u]).at[(", n, array->type.at, array->binding);
}

/* A word; true: it was an array, and its bracket is to follow. */
static bool put_word(writer *w, const token *t, const token *next) {
    const name *n = is_local(w, t) ? NULL : find(w, t);
    const char *other = told(t);
    if (other != NULL) {
        put(w, other, strlen(other));
    } else if (n == NULL || (n->kind == ARRAY && (next == NULL || !is(next, "[")))) {
        put(w, t->at, t->n);
    } else if (n->kind == ARRAY) {
        put_array(w, n);
        return true;
    } else if (n->kind == PUSH) {
        say(w, "p%u_records[stack_step].push", w->number);
    } else if (n->kind != GLOBAL) {
        say(w, n->kind == HEAD ? "stack_head" : "stack_rows");
    } else {
        say(w, "p%u_%.*s", w->number, (int)t->n, t->at);
    }
    return false;
}

static bool is_no_type(const token *t) {
    static const char *const words[] = {"return", "else", "const", "in",     "out",
                                        "inout",  "do",   "case",  "precise"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (is(t, words[i]))
            return true;
    return !t->word;
}

/* Remembers what a function declares, so that names of its own stay: `type name`, and names after a
 * comma of the same declaration, which began at `depth`. */
static void see_local(writer *w, uint32_t i, int depth, int *declares) {
    const token *t = &w->in.items[i], *before = t - 1, *next = t + 1;
    if (is(t, ";") || depth < *declares)
        *declares = -1;
    if (!t->word || is(before, "."))
        return;
    const bool first = !is_no_type(before) && !is(next, "(");
    const bool further = is(before, ",") && *declares == depth && !next->word;
    if (first)
        *declares = depth;
    if (!first && !further)
        return;
    if (w->n_local == MOST_LOCALS)
        refuse(w, t, "too many names in a function");
    else
        w->locals[w->n_local++] = *t;
}

static int step_of(const token *t) {
    if (is(t, "(") || is(t, "[") || is(t, "{"))
        return 1;
    return is(t, ")") || is(t, "]") || is(t, "}") ? -1 : 0;
}

/* Tokens [from, to), renamed. `in` a function what it declares is watched from its parameters
 * on. */
static void put_tokens(writer *w, uint32_t from, uint32_t to, bool in_function) {
    bool replaced[MOST_DEPTH] = {false}, pending = false;
    int depth = 0, declares = -1;
    w->n_local = 0;
    for (uint32_t i = from; i < to; i++) {
        const token *t = &w->in.items[i];
        const int step = step_of(t);
        if (step > 0 && depth + 1 == MOST_DEPTH) {
            refuse(w, t, "too deep");
            return;
        }
        if (in_function && depth > 0)
            see_local(w, i, depth, &declares);
        put(w, t->gap, strlen(t->gap));
        if (step > 0)
            replaced[++depth] = pending;
        if (step < 0 && depth > 0 && replaced[depth--])
            put(w, ")", 1);
        if (t->word && !(i > from && is(t - 1, ".")))
            pending = put_word(w, t, i + 1 < to ? t + 1 : NULL);
        else if (!pending || step <= 0)
            put(w, t->at, t->n);
        pending = t->word && pending;
    }
}

/* ---- declarations ---------------------------------------------------------------------------- */

/* The end of the declaration that begins at `from`: after its `;`, or the `}` of a function. */
static uint32_t end_of(const writer *w, uint32_t from) {
    int depth = 0;
    bool body = false;
    for (uint32_t i = from; i < w->in.n; i++) {
        const token *t = &w->in.items[i];
        if (depth == 0 && is(t, "{") && i > from)
            body = is(t - 1, ")");
        depth += step_of(t);
        if (depth == 0 && (is(t, ";") || (body && is(t, "}"))))
            return i + 1;
    }
    return w->in.n;
}

/* Position of a word of the declaration, or `to`. */
static uint32_t position_of(const writer *w, uint32_t from, uint32_t to, const char *word) {
    while (from < to && !is(&w->in.items[from], word))
        from++;
    return from;
}

/* The number in `word = number`. */
static uint32_t number_of(const writer *w, uint32_t from, uint32_t to, const char *word) {
    const uint32_t i = position_of(w, from, to, word);
    return i + 2 < to ? (uint32_t)strtoul(w->in.items[i + 2].at, NULL, 10) : 0;
}

/* layout(constant_id = 3) const uint NAME = 1; with the value of the pipeline */
static void put_constant(writer *w, uint32_t from, uint32_t to) {
    const pm__pipeline_desc *desc = &w->part->desc;
    const uint32_t id = number_of(w, from, to, "constant_id");
    const uint32_t type = position_of(w, from, to, "const") + 1;
    if (type + 2 >= to || !is(&w->in.items[type], "uint") || id >= desc->n_spec) {
        refuse(w, &w->in.items[from], "a constant that is no uint, or has no value");
        return;
    }
    declare(w, &w->in.items[type + 1], GLOBAL);
    say(w, "\nconst uint p%u_%.*s = %uu;", w->number, (int)w->in.items[type + 1].n,
        w->in.items[type + 1].at, id == 0 && w->part->together ? w->width : desc->spec[id]);
}

/* layout(push_constant) uniform Push { pm_push_part push; }; as a view of the table */
static void put_push(writer *w, uint32_t from, uint32_t to) {
    const uint32_t brace = position_of(w, from, to, "{");
    if (brace + 4 >= to) {
        refuse(w, &w->in.items[from], "push constants that are no one struct");
        return;
    }
    const token *type = &w->in.items[brace + 1];
    const uint32_t n_word = w->part->desc.push_bytes / 4, k = w->number;
    say(w, "\nstruct p%u_record { uint head[%u]; p%u_%.*s push; uint rest[%u]; };", k,
        PM_STACK_PUSH, k, (int)type->n, type->at, PM_STACK_WORDS - PM_STACK_PUSH - n_word);
    say(w,
        "\nlayout(std430, binding = 0) restrict readonly buffer p%u_Table "
        "{ p%u_record p%u_records[]; };",
        k, k, k);
    declare(w, &w->in.items[brace + 2], PUSH);
}

/* layout(std430, binding = 2) readonly buffer X { float x[]; }; and the rows of the step */
static void take_buffer(writer *w, uint32_t from, uint32_t to) {
    const uint32_t brace = position_of(w, from, to, "{");
    for (uint32_t i = brace + 1; i + 2 < to && !is(&w->in.items[i], "}");) {
        const token *type = &w->in.items[i], *word = type + 1;
        if (is(type, "pm_step_head")) {
            declare(w, word, HEAD);
        } else if (is(type, "pm_step_row")) {
            declare(w, word, ROWS);
        } else {
            name *n = declare(w, word, ARRAY);
            n->binding = number_of(w, from, brace, "binding");
            n->type = *type;
            bytes_of(w, type);
            if (!is(word + 1, "[") || !is(word + 2, "]") || i != brace + 1)
                refuse(w, word, "a buffer that is no one array");
            if (n->binding >= PM__MOST_BINDINGS)
                refuse(w, word, "a binding past the last");
        }
        i = position_of(w, i, to, ";") + 1;
    }
}

static void put_layout(writer *w, uint32_t from, uint32_t to) {
    const uint32_t close = position_of(w, from, to, ")");
    if (position_of(w, from, close, "constant_id") < close)
        put_constant(w, from, to);
    else if (position_of(w, from, close, "push_constant") < close)
        put_push(w, from, to);
    else if (position_of(w, from, to, "buffer") < to)
        take_buffer(w, from, to);
    else if (position_of(w, from, close, "local_size_x_id") == close)
        refuse(w, &w->in.items[from], "a layout that kernels do not have");
}

/* Members keep their names; types of them are renamed. */
static void put_struct(writer *w, uint32_t from, uint32_t to) {
    declare(w, &w->in.items[from + 1], GLOBAL);
    for (uint32_t i = from; i < to; i++) {
        const token *t = &w->in.items[i];
        put(w, t->gap, strlen(t->gap));
        if (i > from && t->word && (i == from + 1 || !(t - 1)->word) && !is(t - 1, ","))
            put_word(w, t, NULL);
        else
            put(w, t->at, t->n);
    }
}

/* Names of variables, or of a function: the first word after a type, and those after commas. */
static bool declare_all(writer *w, uint32_t from, uint32_t to) {
    int depth = 0;
    bool any = false;
    for (uint32_t i = from + 1; i < to; i++) {
        const token *t = &w->in.items[i];
        const bool ends_type = (t - 1)->word && !is_no_type(t - 1) && !is(t - 1, "shared");
        if (depth == 0 && t->word && ((!any && ends_type) || (any && is(t - 1, ",")))) {
            if (find(w, t) == NULL)
                declare(w, t, GLOBAL);
            any = true;
            if (is(t + 1, "("))
                return true;
        }
        depth += step_of(t);
    }
    return false;
}

static void put_declaration(writer *w, uint32_t from, uint32_t to) {
    const token *first = &w->in.items[from];
    if (is(first, ";"))
        return;
    if (is(first, "layout")) {
        put_layout(w, from, to);
    } else if (is(first, "struct")) {
        put_struct(w, from, to);
    } else {
        const bool function = declare_all(w, from, to);
        put_tokens(w, from, to, function);
    }
}

static void put_part(writer *w) {
    w->n_name = 0;
    for (uint32_t from = 0; from < w->in.n && w->status == PM_OK;) {
        const uint32_t to = end_of(w, from);
        put_declaration(w, from, to);
        from = to;
    }
    put(w, "\n", 1);
}

/* A part that works together needs all invocations; another one as many as it has, however many
 * that are. */
static void put_call(writer *w, uint32_t i, const pm__part *part, uint32_t width) {
    say(w,
        "    %sif (part == %uu)\n"
        "        [[dont_unroll]] for (uint v = gl_WorkGroupID.x; v < stack_n;"
        " v += gl_NumWorkGroups.x) {\n"
        "            stack_take(v);\n"
        "            stack_me = gl_LocalInvocationIndex;\n",
        i > 0 ? "else " : "", i);
    if (part->together)
        say(w, "            p%u_main();\n            barrier();\n", i);
    else if (part->width <= width)
        say(w, "            if (stack_me < %uu)\n                p%u_main();\n", part->width, i);
    else
        say(w,
            "            [[dont_unroll]] for (; stack_me < %uu; stack_me += %uu)\n"
            "                p%u_main();\n",
            part->width, width, i);
    say(w, "        }\n");
}

static void put_parts(writer *w, const pm__part *parts, uint32_t n, uint32_t width) {
    for (uint32_t i = 0; i < n && w->status == PM_OK; i++) {
        w->part = &parts[i];
        w->number = i;
        w->width = width;
        w->in.n = 0;
        w->status = split(parts[i].text, &w->in);
        if (w->status == PM_OK)
            put_part(w);
    }
    say(w, "void run_part(uint part) {\n");
    for (uint32_t i = 0; i < n; i++)
        put_call(w, i, &parts[i], width);
    say(w, "}\n");
}

pm_status pm__compose(const pm__part *parts, uint32_t n, uint32_t width, char **text) {
    writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return pm__fail_memory("compose: text", sizeof *w);
    put_parts(w, parts, n, width);
    const pm_status status = w->status;
    if (status == PM_OK)
        *text = w->text;
    else
        free(w->text);
    free(w->in.items);
    free(w);
    return status;
}
