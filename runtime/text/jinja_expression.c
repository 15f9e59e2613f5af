/* jinja_expression.c: expressions of a template, by the precedence of Jinja. */
#include "jinja_tree.h"

#include <string.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool is_text(pm__span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

static bool is_token(const pm__j_token *token, pm__j_token_kind kind, const char *text) {
    return token->kind == kind && is_text(token->text, text);
}

bool pm__j_is_sign(const pm__j_parser *parser, const char *sign) {
    return is_token(pm__j_peek(parser), PM__J_SIGN, sign);
}

bool pm__j_is_name(const pm__j_parser *parser, const char *name) {
    return is_token(pm__j_peek(parser), PM__J_NAME, name);
}

bool pm__j_take_sign(pm__j_parser *parser, const char *sign) {
    const bool found = pm__j_is_sign(parser, sign);
    parser->at += found;
    return found;
}

bool pm__j_take_name(pm__j_parser *parser, const char *name) {
    const bool found = pm__j_is_name(parser, name);
    parser->at += found;
    return found;
}

pm_status pm__j_unexpected(const pm__j_parser *parser, const char *expected) {
    const pm__j_token *token = pm__j_peek(parser);
    const int n = token->text.size < 40 ? (int)token->text.size : 40;
    switch (token->kind) {
    case PM__J_END:
        return pm__j_bad(token->line, "%s is missing, the template ends here", expected);
    case PM__J_DATA:
        return pm__j_bad(token->line, "%s is missing", expected);
    case PM__J_LITERAL:
        return pm__j_bad(token->line, "%s is missing before a string", expected);
    default:
        return pm__j_bad(token->line, "%s is missing before '%.*s'", expected, n, token->text.data);
    }
}

pm_status pm__j_expect_sign(pm__j_parser *parser, const char *sign) {
    return pm__j_take_sign(parser, sign) ? PM_OK : pm__j_unexpected(parser, sign);
}

pm_status pm__j_expect_name(pm__j_parser *parser, const pm__j_string **out) {
    if (pm__j_peek(parser)->kind != PM__J_NAME)
        return pm__j_unexpected(parser, "a name");
    *out = pm__j_new_name(parser, pm__j_peek(parser)->text);
    parser->at++;
    return *out != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

pm__j_node *pm__j_new_node(pm__j_parser *parser, pm__j_node_kind kind) {
    pm__j_node *node = pm__arena_alloc(&parser->jinja->arena, sizeof *node);
    if (node != NULL) {
        node->kind = (uint8_t)kind;
        node->line = pm__j_peek(parser)->line;
    }
    return node;
}

const pm__j_string *pm__j_new_name(pm__j_parser *parser, pm__span text) {
    pm__j_string *name = pm__arena_alloc(&parser->jinja->arena, sizeof *name);
    if (name != NULL)
        *name = (pm__j_string){.data = text.data, .n = text.size};
    return name;
}

static pm_status enter(pm__j_parser *p) {
    if (p->depth >= PM__J_MOST_NESTED)
        return pm__j_bad(pm__j_peek(p)->line, "more than %d levels deep", PM__J_MOST_NESTED);
    p->depth++;
    return PM_OK;
}

/* ---- names, constants, lists ----------------------------------------------------------------- */

static pm_status new_constant(pm__j_parser *p, pm__j_value value, const pm__j_node **out) {
    pm__j_node *node = pm__j_new_node(p, PM__J_CONSTANT);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    node->value = value;
    *out = node;
    return PM_OK;
}

static pm_status parse_name(pm__j_parser *p, const pm__j_node **out) {
    static const struct {
        const char *name;
        pm__j_value value;
    } constants[] = {
        {"true", {.kind = PM__J_BOOL, .u = {.boolean = true}}},
        {"True", {.kind = PM__J_BOOL, .u = {.boolean = true}}},
        {"false", {.kind = PM__J_BOOL}},
        {"False", {.kind = PM__J_BOOL}},
        {"none", {.kind = PM__J_NONE}},
        {"None", {.kind = PM__J_NONE}},
    };
    for (size_t i = 0; i < PM__COUNT(constants); i++)
        if (pm__j_take_name(p, constants[i].name))
            return new_constant(p, constants[i].value, out);
    pm__j_node *node = pm__j_new_node(p, PM__J_VARIABLE);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    *out = node;
    p->extras |= (uint8_t)((pm__j_is_name(p, "varargs") ? PM__J_VARARGS : 0) |
                           (pm__j_is_name(p, "kwargs") ? PM__J_KWARGS : 0) |
                           (pm__j_is_name(p, "caller") ? PM__J_CALLER : 0));
    return pm__j_expect_name(p, &node->name);
}

/* Strings side by side are one. */
static pm_status parse_literal(pm__j_parser *p, const pm__j_node **out) {
    size_t n = 0, used = 0;
    for (size_t i = p->at; p->tokens[i].kind == PM__J_LITERAL; i++)
        n += p->tokens[i].text.size;
    pm__j_string *string = pm__arena_alloc(&p->jinja->arena, sizeof *string);
    char *text = pm__arena_alloc(&p->jinja->arena, n + 1);
    if (string == NULL || text == NULL)
        return PM_OUT_OF_MEMORY;
    for (; pm__j_peek(p)->kind == PM__J_LITERAL; p->at++) {
        memcpy(text + used, pm__j_peek(p)->text.data, pm__j_peek(p)->text.size);
        used += pm__j_peek(p)->text.size;
    }
    *string = (pm__j_string){.data = text, .n = n};
    return new_constant(p, pm__j_text(string), out);
}

/* A copy of the node at the end of a list, whose end *link is. */
static pm_status append(pm__j_parser *p, const pm__j_node *item, const pm__j_node ***link) {
    pm__j_node *own = pm__j_new_node(p, PM__J_CONSTANT);
    if (own == NULL)
        return PM_OUT_OF_MEMORY;
    *own = *item;
    **link = own;
    *link = &own->next;
    return PM_OK;
}

/* Expressions up to the closing sign; of a dict, keys and values in turn. */
static pm_status parse_items(pm__j_parser *p, const char *close, const pm__j_node **first) {
    const pm__j_node **link = first;
    const bool is_dict = close[0] == '}';
    for (bool is_key = true; !pm__j_take_sign(p, close); is_key = !is_key) {
        const pm__j_node *item;
        if (*first != NULL)
            PM_TRY(pm__j_expect_sign(p, is_dict && !is_key ? ":" : ","));
        if (is_key && pm__j_take_sign(p, close))
            break;
        PM_TRY(pm__j_parse_expression(p, &item));
        PM_TRY(append(p, item, &link));
        if (is_dict && is_key && !pm__j_is_sign(p, ":"))
            return pm__j_unexpected(p, ":");
    }
    return PM_OK;
}

static pm_status parse_sequence(pm__j_parser *p, pm__j_node_kind kind, const char *close,
                                const pm__j_node **out) {
    pm__j_node *node = pm__j_new_node(p, kind);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    *out = node;
    return parse_items(p, close, &node->items);
}

static pm_status parse_primary(pm__j_parser *p, const pm__j_node **out) {
    const pm__j_token *token = pm__j_peek(p);
    switch (token->kind) {
    case PM__J_NAME:
        return parse_name(p, out);
    case PM__J_LITERAL:
        return parse_literal(p, out);
    case PM__J_WHOLE:
        p->at++;
        return new_constant(p, pm__j_int(token->whole), out);
    case PM__J_REAL:
        p->at++;
        return new_constant(p, pm__j_float(token->real), out);
    default:
        break;
    }
    if (pm__j_take_sign(p, "["))
        return parse_sequence(p, PM__J_MAKE_LIST, "]", out);
    if (pm__j_take_sign(p, "{"))
        return parse_sequence(p, PM__J_MAKE_DICT, "}", out);
    if (!pm__j_take_sign(p, "("))
        return pm__j_unexpected(p, "an expression");
    if (pm__j_is_sign(p, ")"))
        return parse_sequence(p, PM__J_MAKE_TUPLE, ")", out);
    PM_TRY(pm__j_parse_tuple(p, false, out));
    return pm__j_expect_sign(p, ")");
}

/* ---- what follows an expression -------------------------------------------------------------- */

/* Behind the opening bracket. */
static pm_status parse_arguments(pm__j_parser *p, const pm__j_argument **first) {
    const pm__j_argument **link = first;
    while (!pm__j_take_sign(p, ")")) {
        if (*first != NULL) {
            PM_TRY(pm__j_expect_sign(p, ","));
            if (pm__j_take_sign(p, ")"))
                break;
        }
        pm__j_argument *argument = pm__arena_alloc(&p->jinja->arena, sizeof *argument);
        if (argument == NULL)
            return PM_OUT_OF_MEMORY;
        if (pm__j_take_sign(p, "**"))
            argument->stars = 2;
        else if (pm__j_take_sign(p, "*"))
            argument->stars = 1;
        else if (pm__j_peek(p)->kind == PM__J_NAME &&
                 is_token(&p->tokens[p->at + 1], PM__J_SIGN, "=")) {
            PM_TRY(pm__j_expect_name(p, &argument->name));
            p->at++;
        }
        PM_TRY(pm__j_parse_expression(p, &argument->value));
        *link = argument;
        link = &argument->next;
    }
    return PM_OK;
}

static pm_status parse_slice_part(pm__j_parser *p, const pm__j_node **out) {
    if (pm__j_is_sign(p, ":") || pm__j_is_sign(p, "]") || pm__j_is_sign(p, ","))
        return PM_OK;
    return pm__j_parse_expression(p, out);
}

/* Behind [. */
static pm_status parse_subscript(pm__j_parser *p, pm__j_node *node) {
    node->kind = PM__J_ITEM;
    PM_TRY(parse_slice_part(p, &node->b));
    if (pm__j_take_sign(p, ":")) {
        node->kind = PM__J_SLICE;
        PM_TRY(parse_slice_part(p, &node->c));
        if (pm__j_take_sign(p, ":"))
            PM_TRY(parse_slice_part(p, &node->d));
    } else if (node->b == NULL) {
        return pm__j_unexpected(p, "an expression");
    }
    return pm__j_expect_sign(p, "]");
}

/* Behind a dot: a name, or the number of an item. */
static pm_status parse_attribute(pm__j_parser *p, pm__j_node *node) {
    if (pm__j_peek(p)->kind == PM__J_WHOLE) {
        node->kind = PM__J_ITEM;
        const pm__j_value index = pm__j_int(pm__j_peek(p)->whole);
        p->at++;
        return new_constant(p, index, &node->b);
    }
    node->kind = PM__J_ATTRIBUTE;
    return pm__j_expect_name(p, &node->name);
}

static pm_status parse_postfix(pm__j_parser *p, const pm__j_node **expression) {
    for (;;) {
        const bool dot = pm__j_is_sign(p, "."), item = pm__j_is_sign(p, "[");
        if (!dot && !item && !pm__j_is_sign(p, "("))
            return PM_OK;
        pm__j_node *node = pm__j_new_node(p, PM__J_CALL);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        p->at++;
        node->a = *expression;
        *expression = node;
        PM_TRY(dot    ? parse_attribute(p, node)
               : item ? parse_subscript(p, node)
                      : parse_arguments(p, &node->arguments));
    }
}

/* Behind |. */
static pm_status parse_filter(pm__j_parser *p, const pm__j_node **expression) {
    pm__j_node *node = pm__j_new_node(p, PM__J_FILTER);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    node->a = *expression;
    *expression = node;
    PM_TRY(pm__j_expect_name(p, &node->name));
    return pm__j_take_sign(p, "(") ? parse_arguments(p, &node->arguments) : PM_OK;
}

static bool begins_operand(const pm__j_parser *p) {
    const pm__j_token *token = pm__j_peek(p);
    if (token->kind == PM__J_NAME)
        return !pm__j_is_name(p, "else") && !pm__j_is_name(p, "or") && !pm__j_is_name(p, "and") &&
               !pm__j_is_name(p, "is") && !pm__j_is_name(p, "if") && !pm__j_is_name(p, "not") &&
               !pm__j_is_name(p, "in");
    return token->kind == PM__J_LITERAL || token->kind == PM__J_WHOLE ||
           token->kind == PM__J_REAL || pm__j_is_sign(p, "[") || pm__j_is_sign(p, "{");
}

/* Behind `is`: name, name(...), or name and one operand. */
static pm_status parse_test(pm__j_parser *p, const pm__j_node **expression) {
    pm__j_node *node = pm__j_new_node(p, PM__J_TEST);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    node->a = *expression;
    *expression = node;
    node->flag = pm__j_take_name(p, "not");
    PM_TRY(pm__j_expect_name(p, &node->name));
    if (pm__j_take_sign(p, "("))
        return parse_arguments(p, &node->arguments);
    if (!begins_operand(p))
        return PM_OK;
    pm__j_argument *argument = pm__arena_alloc(&p->jinja->arena, sizeof *argument);
    if (argument == NULL)
        return PM_OUT_OF_MEMORY;
    node->arguments = argument;
    PM_TRY(parse_primary(p, &argument->value));
    return parse_postfix(p, &argument->value);
}

static pm_status parse_filters_and_tests(pm__j_parser *p, const pm__j_node **expression) {
    for (;;) {
        if (pm__j_take_sign(p, "|"))
            PM_TRY(parse_filter(p, expression));
        else if (pm__j_take_name(p, "is"))
            PM_TRY(parse_test(p, expression));
        else if (pm__j_is_sign(p, "("))
            PM_TRY(parse_postfix(p, expression));
        else
            return PM_OK;
    }
}

/* ---- operators ------------------------------------------------------------------------------- */

static pm_status parse_unary(pm__j_parser *p, bool with_filters, const pm__j_node **out) {
    const bool minus = pm__j_is_sign(p, "-");
    PM_TRY(enter(p));
    if (minus || pm__j_is_sign(p, "+")) {
        pm__j_node *node = pm__j_new_node(p, minus ? PM__J_NEGATE : PM__J_PLUS);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        p->at++;
        PM_TRY(parse_unary(p, false, &node->a));
        *out = node;
    } else {
        PM_TRY(parse_primary(p, out));
    }
    PM_TRY(parse_postfix(p, out));
    if (with_filters)
        PM_TRY(parse_filters_and_tests(p, out));
    p->depth--;
    return PM_OK;
}

typedef struct operator_row {
    const char *sign;
    pm__j_sign means;
} operator_row;

/* From the loosest to the tightest, all from left to right. */
static const operator_row additions[] = {{"+", PM__J_ADD}, {"-", PM__J_SUBTRACT}, {0}};
static const operator_row concats[] = {{"~", PM__J_CONCAT}, {0}};
static const operator_row products[] = {{"*", PM__J_MULTIPLY},
                                        {"/", PM__J_DIVIDE},
                                        {"//", PM__J_FLOOR_DIVIDE},
                                        {"%", PM__J_MODULO},
                                        {0}};
static const operator_row powers[] = {{"**", PM__J_POWER}, {0}};
static const operator_row *const levels[] = {additions, concats, products, powers};

static pm_status parse_binary(pm__j_parser *p, size_t level, const pm__j_node **out) {
    if (level == PM__COUNT(levels))
        return parse_unary(p, true, out);
    PM_TRY(parse_binary(p, level + 1, out));
    for (const operator_row *row = levels[level]; row->sign != NULL;) {
        if (!pm__j_is_sign(p, row->sign)) {
            row++;
            continue;
        }
        pm__j_node *node = pm__j_new_node(p, PM__J_BINARY);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        p->at++;
        node->sign = (uint8_t)row->means;
        node->a = *out;
        *out = node;
        PM_TRY(parse_binary(p, level + 1, &node->b));
        row = levels[level];
    }
    return PM_OK;
}

static bool take_comparison(pm__j_parser *p, pm__j_sign *out) {
    static const operator_row signs[] = {{"==", PM__J_EQUAL},  {"!=", PM__J_UNEQUAL},
                                         {"<", PM__J_LESS},    {"<=", PM__J_LESS_EQUAL},
                                         {">", PM__J_GREATER}, {">=", PM__J_GREATER_EQUAL}};
    for (size_t i = 0; i < PM__COUNT(signs); i++)
        if (pm__j_take_sign(p, signs[i].sign)) {
            *out = signs[i].means;
            return true;
        }
    if (pm__j_take_name(p, "in")) {
        *out = PM__J_IN;
        return true;
    }
    if (!pm__j_is_name(p, "not") || !is_token(&p->tokens[p->at + 1], PM__J_NAME, "in"))
        return false;
    p->at += 2;
    *out = PM__J_NOT_IN;
    return true;
}

/* a < b <= c: operands that carry the sign before them. */
static pm_status parse_compare(pm__j_parser *p, const pm__j_node **out) {
    pm__j_sign sign;
    pm__j_node *compare = NULL;
    const pm__j_node **link = NULL;
    PM_TRY(parse_binary(p, 0, out));
    while (take_comparison(p, &sign)) {
        if (compare == NULL) {
            compare = pm__j_new_node(p, PM__J_COMPARE);
            if (compare == NULL)
                return PM_OUT_OF_MEMORY;
            compare->a = *out;
            *out = compare;
            link = &compare->items;
        }
        pm__j_node *operand = pm__j_new_node(p, PM__J_COMPARE);
        if (operand == NULL)
            return PM_OUT_OF_MEMORY;
        operand->sign = (uint8_t)sign;
        PM_TRY(parse_binary(p, 0, &operand->a));
        *link = operand;
        link = &operand->next;
    }
    return PM_OK;
}

static pm_status parse_not(pm__j_parser *p, const pm__j_node **out) {
    if (!pm__j_is_name(p, "not"))
        return parse_compare(p, out);
    pm__j_node *node = pm__j_new_node(p, PM__J_NOT);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    p->at++;
    *out = node;
    PM_TRY(enter(p));
    PM_TRY(parse_not(p, &node->a));
    p->depth--;
    return PM_OK;
}

static pm_status parse_logic(pm__j_parser *p, bool is_or, const pm__j_node **out) {
    PM_TRY(is_or ? parse_logic(p, false, out) : parse_not(p, out));
    while (pm__j_is_name(p, is_or ? "or" : "and")) {
        pm__j_node *node = pm__j_new_node(p, is_or ? PM__J_OR : PM__J_AND);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        p->at++;
        node->a = *out;
        *out = node;
        PM_TRY(is_or ? parse_logic(p, false, &node->b) : parse_not(p, &node->b));
    }
    return PM_OK;
}

pm_status pm__j_parse_plain(pm__j_parser *parser, const pm__j_node **out) {
    PM_TRY(enter(parser));
    PM_TRY(parse_logic(parser, true, out));
    parser->depth--;
    return PM_OK;
}

pm_status pm__j_parse_expression(pm__j_parser *parser, const pm__j_node **out) {
    PM_TRY(pm__j_parse_plain(parser, out));
    while (pm__j_is_name(parser, "if")) {
        pm__j_node *node = pm__j_new_node(parser, PM__J_IF_ELSE);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        parser->at++;
        node->b = *out;
        *out = node;
        PM_TRY(pm__j_parse_plain(parser, &node->a));
        if (pm__j_take_name(parser, "else")) {
            PM_TRY(enter(parser));
            PM_TRY(pm__j_parse_expression(parser, &node->c));
            parser->depth--;
        }
    }
    return PM_OK;
}

/* ---- tuples, targets, filters of a block, parameters ----------------------------------------- */

static bool ends_tuple(const pm__j_parser *p) {
    const pm__j_token_kind kind = pm__j_peek(p)->kind;
    return kind == PM__J_CLOSE_PRINT || kind == PM__J_CLOSE_BLOCK || pm__j_is_sign(p, ")") ||
           pm__j_is_name(p, "recursive");
}

pm_status pm__j_parse_tuple(pm__j_parser *parser, bool plain, const pm__j_node **out) {
    pm__j_node *tuple = pm__j_new_node(parser, PM__J_MAKE_TUPLE);
    if (tuple == NULL)
        return PM_OUT_OF_MEMORY;
    const pm__j_node **link = &tuple->items;
    for (;;) {
        const pm__j_node *item;
        PM_TRY(plain ? pm__j_parse_plain(parser, &item) : pm__j_parse_expression(parser, &item));
        if (tuple->items == NULL && !pm__j_is_sign(parser, ",")) {
            *out = item;
            return PM_OK;
        }
        PM_TRY(append(parser, item, &link));
        if (!pm__j_take_sign(parser, ",") || ends_tuple(parser))
            break;
    }
    *out = tuple;
    return PM_OK;
}

static pm_status parse_target_name(pm__j_parser *p, bool may_be_attribute, const pm__j_node **out) {
    pm__j_node *name = pm__j_new_node(p, PM__J_VARIABLE);
    if (name == NULL)
        return PM_OUT_OF_MEMORY;
    *out = name;
    PM_TRY(pm__j_expect_name(p, &name->name));
    if (!may_be_attribute || !pm__j_take_sign(p, "."))
        return PM_OK;
    pm__j_node *node = pm__j_new_node(p, PM__J_ATTRIBUTE);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    node->a = name;
    *out = node;
    return pm__j_expect_name(p, &node->name);
}

pm_status pm__j_parse_target(pm__j_parser *parser, bool may_be_attribute, const pm__j_node **out) {
    pm__j_node *tuple = pm__j_new_node(parser, PM__J_MAKE_TUPLE);
    if (tuple == NULL)
        return PM_OUT_OF_MEMORY;
    const bool bracket = pm__j_take_sign(parser, "(");
    const pm__j_node **link = &tuple->items;
    do {
        const pm__j_node *item;
        if (tuple->items != NULL && pm__j_peek(parser)->kind != PM__J_NAME)
            break; /* a comma at the end */
        PM_TRY(parse_target_name(parser, may_be_attribute, &item));
        if (!bracket && tuple->items == NULL && !pm__j_is_sign(parser, ",")) {
            *out = item;
            return PM_OK;
        }
        PM_TRY(append(parser, item, &link));
    } while (pm__j_take_sign(parser, ","));
    *out = tuple;
    return bracket ? pm__j_expect_sign(parser, ")") : PM_OK;
}

pm_status pm__j_parse_filters(pm__j_parser *parser, const pm__j_node **out) {
    *out = NULL;
    do {
        PM_TRY(parse_filter(parser, out));
    } while (pm__j_take_sign(parser, "|"));
    return PM_OK;
}

pm_status pm__j_parse_parameters(pm__j_parser *parser, const pm__j_parameter **out) {
    const pm__j_parameter **link = out;
    *out = NULL;
    PM_TRY(pm__j_expect_sign(parser, "("));
    while (!pm__j_take_sign(parser, ")")) {
        if (*out != NULL) {
            PM_TRY(pm__j_expect_sign(parser, ","));
            if (pm__j_take_sign(parser, ")"))
                break;
        }
        pm__j_parameter *parameter = pm__arena_alloc(&parser->jinja->arena, sizeof *parameter);
        if (parameter == NULL)
            return PM_OUT_OF_MEMORY;
        PM_TRY(pm__j_expect_name(parser, &parameter->name));
        if (pm__j_take_sign(parser, "="))
            PM_TRY(pm__j_parse_expression(parser, &parameter->value));
        *link = parameter;
        link = &parameter->next;
    }
    return PM_OK;
}
