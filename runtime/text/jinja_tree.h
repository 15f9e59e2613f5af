/* jinja_tree.h: tokens and the tree of a template. For jinja_lexer.c, jinja_parser.c,
 * jinja_expression.c, jinja_eval.c and jinja_run.c. */
#ifndef PM_TEXT_JINJA_TREE_H
#define PM_TEXT_JINJA_TREE_H

#include "jinja_value.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

typedef enum pm__j_token_kind {
    PM__J_END,
    PM__J_DATA, /* text outside of tags */
    PM__J_OPEN_PRINT,
    PM__J_CLOSE_PRINT,
    PM__J_OPEN_BLOCK,
    PM__J_CLOSE_BLOCK,
    PM__J_NAME,
    PM__J_LITERAL, /* a string */
    PM__J_WHOLE,
    PM__J_REAL,
    PM__J_SIGN /* an operator; text says which */
} pm__j_token_kind;

typedef struct pm__j_token {
    pm__j_token_kind kind;
    uint32_t line;
    pm__span text; /* of data, name, string (escapes done), sign */
    int64_t whole;
    double real;
} pm__j_token;

/* What a macro takes beside its parameters, by naming it. */
enum { PM__J_VARARGS = 1, PM__J_KWARGS = 2, PM__J_CALLER = 4 };

/* A template that is being read. */
typedef struct pm__j_parser {
    pm__jinja *jinja;
    pm__j_token *tokens; /* malloc'ed */
    size_t n, capacity, at;
    uint32_t depth, n_loop; /* of loops around */
    uint8_t extras;         /* PM__J_VARARGS ... that the macro's body names */
} pm__j_parser;

/* BAD_FILE: "template, line 12: ..." */
PM__COLD pm_status pm__j_bad(uint32_t line, const char *fmt, ...) PM__PRINTF(2, 3);
/* Tokens of the source; ends with PM__J_END. */
pm_status pm__j_lex(pm__j_parser *parser, const char *source, size_t n);

/* ---- the tree -------------------------------------------------------------------------------- */

typedef enum pm__j_node_kind {
    /* expressions */
    PM__J_CONSTANT, /* value */
    PM__J_VARIABLE, /* name */
    PM__J_MAKE_LIST,
    PM__J_MAKE_TUPLE,
    PM__J_MAKE_DICT, /* items: key, value, key ... */
    PM__J_ATTRIBUTE, /* a.name */
    PM__J_ITEM,      /* a[b] */
    PM__J_SLICE,     /* a[b:c:d]; each may be NULL */
    PM__J_CALL,      /* a(...) */
    PM__J_FILTER,    /* a | name(...); a is NULL in a filter block */
    PM__J_TEST,      /* a is name(...) */
    PM__J_NOT,
    PM__J_NEGATE,
    PM__J_PLUS,
    PM__J_AND,
    PM__J_OR,
    PM__J_BINARY,  /* a sign b */
    PM__J_COMPARE, /* a, then items with the signs of names */
    PM__J_IF_ELSE, /* b if a else c; c may be NULL */
    /* statements */
    PM__J_TEXT,         /* value */
    PM__J_PRINT,        /* a */
    PM__J_FOR,          /* a: target, b: what, c: if (or NULL); body, other */
    PM__J_IF,           /* a; body, other */
    PM__J_SET,          /* a: target, b */
    PM__J_SET_BLOCK,    /* a: target, b: a chain of filters or NULL; body */
    PM__J_MACRO_NODE,   /* name, parameters; body */
    PM__J_CALL_BLOCK,   /* a: a call; parameters; body */
    PM__J_FILTER_BLOCK, /* a: a chain of filters; body */
    PM__J_WITH,         /* items: target, value ...; body */
    PM__J_SCOPED,       /* body */
    PM__J_DO_BREAK,
    PM__J_DO_CONTINUE
} pm__j_node_kind;

/* Signs of binary operators and of comparisons. */
typedef enum pm__j_sign {
    PM__J_ADD,
    PM__J_SUBTRACT,
    PM__J_MULTIPLY,
    PM__J_DIVIDE,
    PM__J_FLOOR_DIVIDE,
    PM__J_MODULO,
    PM__J_POWER,
    PM__J_CONCAT,
    PM__J_EQUAL,
    PM__J_UNEQUAL,
    PM__J_LESS,
    PM__J_LESS_EQUAL,
    PM__J_GREATER,
    PM__J_GREATER_EQUAL,
    PM__J_IN,
    PM__J_NOT_IN
} pm__j_sign;

typedef struct pm__j_node pm__j_node;

/* What a call is given. */
typedef struct pm__j_argument {
    const struct pm__j_argument *next;
    const pm__j_node *value;
    const pm__j_string *name; /* NULL: by its place */
    uint8_t stars;            /* 1: *list, 2: **dict */
} pm__j_argument;

/* Of a macro. */
typedef struct pm__j_parameter {
    const struct pm__j_parameter *next;
    const pm__j_string *name;
    const pm__j_node *value; /* default, or NULL */
} pm__j_parameter;

struct pm__j_node {
    uint8_t kind; /* pm__j_node_kind */
    uint8_t sign; /* pm__j_sign, of a binary operator or of an operand that is compared; of a macro
                     PM__J_VARARGS ... */
    bool flag;    /* of a test: negated; of a for: recursive; of a call block's macro: is one */
    uint32_t line;
    const pm__j_node *next; /* in a list of statements, items or operands */
    const pm__j_node *a, *b, *c, *d;
    const pm__j_string *name;
    const pm__j_node *items; /* also the body of a statement */
    const pm__j_node *other;
    const pm__j_argument *arguments;
    const pm__j_parameter *parameters;
    pm__j_value value;
};

struct pm__jinja {
    pm__arena arena;
    const pm__j_node *body;
};

/* ---- parsing --------------------------------------------------------------------------------- */

enum { PM__J_MOST_NESTED = 200 }; /* of statements and expressions in a source */

static inline const pm__j_token *pm__j_peek(const pm__j_parser *parser) {
    return &parser->tokens[parser->at];
}
bool pm__j_is_sign(const pm__j_parser *parser, const char *sign);
bool pm__j_is_name(const pm__j_parser *parser, const char *name);
bool pm__j_take_sign(pm__j_parser *parser, const char *sign);
bool pm__j_take_name(pm__j_parser *parser, const char *name);
pm_status pm__j_expect_sign(pm__j_parser *parser, const char *sign);
pm_status pm__j_expect_name(pm__j_parser *parser, const pm__j_string **out);
/* BAD_FILE: what was expected, and what is there. */
PM__COLD pm_status pm__j_unexpected(const pm__j_parser *parser, const char *expected);
/* NULL without memory. */
pm__j_node *pm__j_new_node(pm__j_parser *parser, pm__j_node_kind kind);
const pm__j_string *pm__j_new_name(pm__j_parser *parser, pm__span text);

pm_status pm__j_parse_expression(pm__j_parser *parser, const pm__j_node **out);
/* Without a trailing `if`, as for the list of a loop. */
pm_status pm__j_parse_plain(pm__j_parser *parser, const pm__j_node **out);
/* One or, separated by commas, a tuple. */
pm_status pm__j_parse_tuple(pm__j_parser *parser, bool plain, const pm__j_node **out);
/* A name, several, or, where a namespace may be, name.name. */
pm_status pm__j_parse_target(pm__j_parser *parser, bool may_be_attribute, const pm__j_node **out);
/* name(...) | name(...): the innermost has no `a`. */
pm_status pm__j_parse_filters(pm__j_parser *parser, const pm__j_node **out);
/* (a, b=1) */
pm_status pm__j_parse_parameters(pm__j_parser *parser, const pm__j_parameter **out);

#endif
