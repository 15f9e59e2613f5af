/* jinja_value.h: the values of a template, and the memory they live in. For the jinja_*.c files,
 * and for who builds variables. */
#ifndef PM_TEXT_JINJA_VALUE_H
#define PM_TEXT_JINJA_VALUE_H

#include "jinja.h"

typedef enum pm__j_kind {
    PM__J_MISSING, /* a parameter that was not given; never seen by a template */
    PM__J_UNDEFINED,
    PM__J_NONE,
    PM__J_BOOL,
    PM__J_INT,
    PM__J_FLOAT,
    PM__J_STRING,
    PM__J_LIST,
    PM__J_TUPLE,
    PM__J_RANGE,
    PM__J_VIEW,      /* keys(), values(), items() */
    PM__J_GENERATOR, /* what map, select ... give: can be gone through once */
    PM__J_DICT,
    PM__J_NAMESPACE,
    PM__J_MACRO,
    PM__J_METHOD,
    PM__J_GLOBAL,
    PM__J_LOOP,
    PM__J_CYCLER,
    PM__J_JOINER
} pm__j_kind;

/* UTF-8, never changed. Parts of a string share its bytes. */
typedef struct pm__j_string {
    const char *data;
    size_t n;
    const pm__range
        *marks; /* [n_mark] in order, apart, none empty; unless `marked`, which is all */
    size_t n_mark;
    bool marked;
    bool markup; /* went through `safe` or `escape`: + escapes what is put beside it */
} pm__j_string;

typedef struct pm__j_list pm__j_list;
typedef struct pm__j_dict pm__j_dict;
typedef struct pm__j_macro pm__j_macro;
typedef struct pm__j_bound pm__j_bound;
typedef struct pm__j_loop pm__j_loop;
typedef struct pm__j_cycler pm__j_cycler;

typedef struct pm__j_value {
    uint8_t kind;   /* pm__j_kind */
    uint8_t owner;  /* of an undefined value: the kind it was looked for in; MISSING: a variable */
    bool forbidden; /* of an undefined value: it is there, but not for templates */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const pm__j_string *string; /* of an undefined value its name, or NULL */
        pm__j_list *list;
        pm__j_dict *dict; /* also of a namespace */
        const pm__j_macro *macro;
        const pm__j_bound *bound;
        const struct pm__j_row *global;
        pm__j_loop *loop;
        pm__j_cycler *cycler; /* also of a joiner */
    } u;
} pm__j_value;

struct pm__j_list {
    pm__j_value *items;
    size_t n, capacity;
    bool used;        /* of a generator: gone through */
    const char *view; /* of a view: "dict_items" */
    bool group;       /* a tuple of groupby, whose parts have names */
};

typedef struct pm__j_entry {
    pm__j_value key, value;
    uint64_t hash;
} pm__j_entry;

/* In the order of insertion. */
struct pm__j_dict {
    pm__j_entry *entries;
    size_t n, capacity;
    uint32_t *table; /* [n_table] entry + 1, 0: free; NULL while there are few */
    size_t n_table;  /* a power of two */
};

struct pm__j_cycler {
    const pm__j_value *items;
    size_t n, at;
    const pm__j_string *separator; /* of a joiner */
};

/* Text under construction. Zeroed is empty. */
typedef struct pm__j_builder {
    char *data;
    size_t n, capacity;
    pm__range *marks;
    size_t n_mark, mark_capacity;
    size_t most; /* bytes; 0: only memory bounds it */
} pm__j_builder;

typedef enum pm__j_flow { PM__J_NEXT, PM__J_BREAK, PM__J_CONTINUE } pm__j_flow;

typedef struct pm__j_scope {
    struct pm__j_scope *parent; /* NULL: variables of the rendering come next */
    pm__j_dict names;
} pm__j_scope;

struct pm__j_env {
    pm__arena arena;
    pm__jinja_limits limits;
    size_t taken; /* bytes of the arena's memory */
    uint64_t n_step;
    uint32_t depth;
    uint32_t line;    /* of what is being run; 0: nothing yet */
    pm_status status; /* of the last allocation that failed */
    pm__hash_key key;
    pm__jinja_time now;
    pm__j_dict variables;
    pm__j_scope *scope;
    pm__j_builder *out;
    pm__j_flow flow;
};

/* ---- failing, limits, memory ----------------------------------------------------------------- */

/* FAILURE: "template, line 12: ..." */
PM__COLD pm_status pm__j_fail(const pm__j_env *env, const char *fmt, ...) PM__PRINTF(2, 3);
/* What using an undefined value says. */
PM__COLD pm_status pm__j_fail_undefined(const pm__j_env *env, pm__j_value value);
/* Counts work: a step, and the bytes that are looked at. */
pm_status pm__j_step(pm__j_env *env, size_t n_byte);
/* One level deeper; pm__j_leave comes back, after a success. */
pm_status pm__j_enter(pm__j_env *env);
static inline void pm__j_leave(pm__j_env *env) {
    env->depth--;
}
/* Zeroed; NULL: env->status says why. */
void *pm__j_alloc(pm__j_env *env, size_t n, size_t size);

/* ---- making values --------------------------------------------------------------------------- */

static inline pm__j_value pm__j_none(void) {
    return (pm__j_value){.kind = PM__J_NONE};
}
static inline pm__j_value pm__j_bool(bool value) {
    return (pm__j_value){.kind = PM__J_BOOL, .u = {.boolean = value}};
}
static inline pm__j_value pm__j_int(int64_t value) {
    return (pm__j_value){.kind = PM__J_INT, .u = {.integer = value}};
}
static inline pm__j_value pm__j_float(double value) {
    return (pm__j_value){.kind = PM__J_FLOAT, .u = {.real = value}};
}
static inline pm__j_value pm__j_text(const pm__j_string *value) {
    return (pm__j_value){.kind = PM__J_STRING, .u = {.string = value}};
}
static inline pm__j_value pm__j_undefined(pm__j_kind owner, const pm__j_string *name) {
    return (pm__j_value){.kind = PM__J_UNDEFINED, .owner = (uint8_t)owner, .u = {.string = name}};
}
static inline pm__j_value pm__j_sequence(pm__j_kind kind, pm__j_list *list) {
    return (pm__j_value){.kind = (uint8_t)kind, .u = {.list = list}};
}

/* The bytes are not copied. */
pm_status pm__j_new_string(pm__j_env *env, const char *text, size_t n, bool marked,
                           pm__j_value *out);
pm_status pm__j_copy_string(pm__j_env *env, const char *text, size_t n, bool marked,
                            pm__j_value *out);
pm_status pm__j_new_list(pm__j_env *env, pm__j_kind kind, size_t capacity, pm__j_value *out);
pm_status pm__j_push(pm__j_env *env, pm__j_list *list, pm__j_value item);
pm_status pm__j_new_dict(pm__j_env *env, pm__j_value *out);
/* errors  FAILURE: the key cannot be one */
pm_status pm__j_put(pm__j_env *env, pm__j_dict *dict, pm__j_value key, pm__j_value value);
/* The same for a name that is a constant of the program. */
pm_status pm__j_put_name(pm__j_env *env, pm__j_dict *dict, const char *name, pm__j_value value);
/* NULL: not there. */
const pm__j_value *pm__j_get(const pm__j_env *env, const pm__j_dict *dict, pm__j_value key);
/* The same, as a step of the template. */
pm_status pm__j_look_up(pm__j_env *env, const pm__j_dict *dict, pm__j_value key,
                        const pm__j_value **out);
const pm__j_value *pm__j_get_name(const pm__j_env *env, const pm__j_dict *dict, const char *name);
/* errors  BAD_FILE: no JSON; all strings are marked */
pm_status pm__j_read_json(pm__j_env *env, const char *what, const char *text, size_t n,
                          pm__j_value *out);

/* All n characters as strtod takes them in the C locale, 400 at most. */
bool pm__j_parse_real(const char *text, size_t n, double *out);

/* ---- strings (jinja_string.c) ---------------------------------------------------------------- */

pm_status pm__j_add_bytes(pm__j_env *env, pm__j_builder *out, const char *text, size_t n,
                          bool marked);
pm_status pm__j_add_word(pm__j_env *env, pm__j_builder *out, const char *text);
/* Bytes [begin, end) with their marks. */
pm_status pm__j_add_part(pm__j_env *env, pm__j_builder *out, const pm__j_string *text, size_t begin,
                         size_t end);
pm_status pm__j_add_string(pm__j_env *env, pm__j_builder *out, const pm__j_string *text);
pm_status pm__j_built(pm__j_env *env, const pm__j_builder *from, pm__j_value *out);
/* Bytes [begin, end) as a string of their own. */
pm_status pm__j_part(pm__j_env *env, const pm__j_string *text, size_t begin, size_t end,
                     pm__j_value *out);
/* Whether the byte is marked. `hint` (0 at first) remembers where the last answer was found, for
 * bytes that are asked for in order. */
bool pm__j_is_marked(const pm__j_string *text, size_t at, size_t *hint);
/* Characters. */
size_t pm__j_length(const pm__j_string *text);
/* Byte of the character at index i, or the end. */
size_t pm__j_offset(const pm__j_string *text, size_t i);
bool pm__j_is_space(uint32_t code);
/* [*begin, *end) without white space (chars NULL) or the characters of chars at either end. */
pm_status pm__j_strip(pm__j_env *env, const pm__j_string *text, const pm__j_string *chars,
                      bool left, bool right, pm__j_value *out);
/* The next place at or after `from` where `what` stands; SIZE_MAX: none. */
pm_status pm__j_find(pm__j_env *env, const pm__j_string *text, const pm__j_string *what,
                     size_t from, size_t *at);
/* Each character by change(), which writes up to PM__J_MOST_CASE of them. */
enum { PM__J_MOST_CASE = 3 };
typedef size_t (*pm__j_change)(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]);
pm_status pm__j_map_codes(pm__j_env *env, const pm__j_string *text, pm__j_change change, void *user,
                          pm__j_value *out);
/* One character in another case; gives how many it becomes. */
size_t pm__j_to_upper(uint32_t code, uint32_t out[PM__J_MOST_CASE]);
size_t pm__j_to_title(uint32_t code, uint32_t out[PM__J_MOST_CASE]);
size_t pm__j_to_lower(uint32_t code, uint32_t out[PM__J_MOST_CASE]);
pm_status pm__j_upper(pm__j_env *env, const pm__j_string *text, pm__j_value *out);
pm_status pm__j_lower(pm__j_env *env, const pm__j_string *text, pm__j_value *out);
/* At most `most` times; SIZE_MAX: all. */
pm_status pm__j_replace(pm__j_env *env, const pm__j_string *text, const pm__j_string *old,
                        const pm__j_string *new, size_t most, pm__j_value *out);

/* ---- what values are (jinja_value.c) --------------------------------------------------------- */

const char *pm__j_type_name(pm__j_value value); /* "str" */
bool pm__j_is_list(pm__j_value value);          /* list, tuple, range or view */
bool pm__j_truth(pm__j_value value);
bool pm__j_is_number(pm__j_value value); /* int, float or bool */
double pm__j_real(pm__j_value number);
int64_t pm__j_integer(pm__j_value number); /* of an int or bool */
pm_status pm__j_equal(pm__j_env *env, pm__j_value a, pm__j_value b, bool *out);
/* -1, 0, 1, or 2 beside a number that is none, for values that have an order. */
pm_status pm__j_compare(pm__j_env *env, const char *sign, pm__j_value a, pm__j_value b, int *out);
pm_status pm__j_contains(pm__j_env *env, pm__j_value set, pm__j_value item, bool *out);
/* The items of anything that can be gone through: of a string its characters, of a dict its keys. A
 * generator is used up. The list must not be changed. */
pm_status pm__j_items(pm__j_env *env, pm__j_value value, pm__j_list *out);

/* ---- text of values (jinja_print.c) ---------------------------------------------------------- */

/* Python's str(). */
pm_status pm__j_str(pm__j_env *env, pm__j_value value, const pm__j_string **out);
pm_status pm__j_add_str(pm__j_env *env, pm__j_builder *out, pm__j_value value);
pm_status pm__j_add_repr(pm__j_env *env, pm__j_builder *out, pm__j_value value);

enum { PM__J_FLOAT_SIZE = 64 };
/* Python's repr() of a float. */
void pm__j_float_text(double value, char out[PM__J_FLOAT_SIZE]);

typedef struct pm__j_json_style {
    bool ascii, sort;
    const pm__j_string *indent; /* NULL: all on one line */
    const pm__j_string *item, *colon;
} pm__j_json_style;

pm_status pm__j_add_json(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                         pm__j_value value, uint32_t level);

#endif
