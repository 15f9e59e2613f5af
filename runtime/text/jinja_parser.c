/* jinja_parser.c: statements of a template. */
#include "jinja_tree.h"

#include <stdlib.h>
#include <string.h>

/* Statements up to one of the words (separated by blanks), whose tag is open behind it; *found is
 * its index. NULL: up to the end. */
static pm_status parse_body(pm__j_parser *p, const char *until, const pm__j_node **first,
                            size_t *found);

static pm_status close_block(pm__j_parser *p) {
    if (pm__j_peek(p)->kind != PM__J_CLOSE_BLOCK)
        return pm__j_unexpected(p, "%}");
    p->at++;
    return PM_OK;
}

/* A body and the end of its statement. */
static pm_status parse_closed(pm__j_parser *p, const char *until, const pm__j_node **body) {
    size_t found;
    PM_TRY(close_block(p));
    PM_TRY(parse_body(p, until, body, &found));
    return close_block(p);
}

static pm_status parse_for(pm__j_parser *p, pm__j_node *node) {
    size_t found;
    PM_TRY(pm__j_parse_target(p, false, &node->a));
    if (!pm__j_take_name(p, "in"))
        return pm__j_unexpected(p, "in");
    PM_TRY(pm__j_parse_tuple(p, true, &node->b));
    if (pm__j_take_name(p, "if"))
        PM_TRY(pm__j_parse_expression(p, &node->c));
    node->flag = pm__j_take_name(p, "recursive");
    PM_TRY(close_block(p));
    p->n_loop++;
    PM_TRY(parse_body(p, "endfor else", &node->items, &found));
    p->n_loop--;
    return found == 1 ? parse_closed(p, "endfor", &node->other) : close_block(p);
}

/* Branches are a chain through `other`; an else is a branch without a condition. */
static pm_status parse_if(pm__j_parser *p, pm__j_node *node) {
    for (size_t found = 1; found > 0;) {
        if (found == 1)
            PM_TRY(pm__j_parse_tuple(p, false, &node->a));
        PM_TRY(close_block(p));
        const bool is_last = found == 2;
        PM_TRY(parse_body(p, is_last ? "endif" : "endif elif else", &node->items, &found));
        if (found == 0)
            break;
        pm__j_node *next = pm__j_new_node(p, PM__J_IF);
        if (next == NULL)
            return PM_OUT_OF_MEMORY;
        node->other = next;
        node = next;
    }
    return close_block(p);
}

static pm_status parse_set(pm__j_parser *p, pm__j_node *node) {
    PM_TRY(pm__j_parse_target(p, true, &node->a));
    if (pm__j_take_sign(p, "=")) {
        PM_TRY(pm__j_parse_tuple(p, false, &node->b));
        return close_block(p);
    }
    node->kind = PM__J_SET_BLOCK;
    if (pm__j_take_sign(p, "|"))
        PM_TRY(pm__j_parse_filters(p, &node->b));
    return parse_closed(p, "endset", &node->items);
}

/* A loop around a macro is not one that its body can leave. */
static pm_status parse_apart(pm__j_parser *p, const char *until, pm__j_node *node) {
    const uint32_t n_loop = p->n_loop;
    const uint8_t extras = p->extras;
    p->n_loop = 0;
    p->extras = 0;
    PM_TRY(parse_closed(p, until, &node->items));
    node->sign = p->extras;
    p->extras |= extras;
    p->n_loop = n_loop;
    return PM_OK;
}

static pm_status parse_macro(pm__j_parser *p, pm__j_node *node) {
    PM_TRY(pm__j_expect_name(p, &node->name));
    PM_TRY(pm__j_parse_parameters(p, &node->parameters));
    return parse_apart(p, "endmacro", node);
}

static pm_status parse_call(pm__j_parser *p, pm__j_node *node) {
    static const pm__j_string caller = {.data = "caller", .n = 6};
    node->name = &caller;
    if (pm__j_is_sign(p, "("))
        PM_TRY(pm__j_parse_parameters(p, &node->parameters));
    PM_TRY(pm__j_parse_expression(p, &node->a));
    if (node->a->kind != PM__J_CALL)
        return pm__j_bad(node->line, "a call block without a call");
    return parse_apart(p, "endcall", node);
}

static pm_status parse_filter_block(pm__j_parser *p, pm__j_node *node) {
    PM_TRY(pm__j_parse_filters(p, &node->a));
    return parse_closed(p, "endfilter", &node->items);
}

/* Each pair is a node of its own. */
static pm_status parse_with(pm__j_parser *p, pm__j_node *node) {
    const pm__j_node **link = &node->other;
    while (pm__j_peek(p)->kind != PM__J_CLOSE_BLOCK) {
        if (node->other != NULL)
            PM_TRY(pm__j_expect_sign(p, ","));
        pm__j_node *pair = pm__j_new_node(p, PM__J_SET);
        if (pair == NULL)
            return PM_OUT_OF_MEMORY;
        PM_TRY(pm__j_parse_target(p, false, &pair->a));
        PM_TRY(pm__j_expect_sign(p, "="));
        PM_TRY(pm__j_parse_expression(p, &pair->b));
        *link = pair;
        link = &pair->next;
    }
    return parse_closed(p, "endwith", &node->items);
}

static pm_status parse_generation(pm__j_parser *p, pm__j_node *node) {
    return parse_closed(p, "endgeneration", &node->items);
}

static pm_status parse_leave(pm__j_parser *p, pm__j_node *node) {
    if (p->n_loop == 0)
        return pm__j_bad(node->line, "break or continue outside of a loop");
    return close_block(p);
}

static const struct {
    const char *name;
    pm__j_node_kind kind;
    pm_status (*parse)(pm__j_parser *p, pm__j_node *node); /* NULL: refused */
} statements[] = {
    {"for", PM__J_FOR, parse_for},
    {"if", PM__J_IF, parse_if},
    {"set", PM__J_SET, parse_set},
    {"macro", PM__J_MACRO_NODE, parse_macro},
    {"call", PM__J_CALL_BLOCK, parse_call},
    {"filter", PM__J_FILTER_BLOCK, parse_filter_block},
    {"with", PM__J_WITH, parse_with},
    {"generation", PM__J_SCOPED, parse_generation},
    {"break", PM__J_DO_BREAK, parse_leave},
    {"continue", PM__J_DO_CONTINUE, parse_leave},
    {"import", PM__J_TEXT, NULL},
    {"from", PM__J_TEXT, NULL},
    {"include", PM__J_TEXT, NULL},
    {"extends", PM__J_TEXT, NULL},
    {"block", PM__J_TEXT, NULL},
    {"autoescape", PM__J_TEXT, NULL},
    {"trans", PM__J_TEXT, NULL},
    {"do", PM__J_TEXT, NULL},
};

static pm_status parse_statement(pm__j_parser *p, const pm__j_node **out) {
    const uint32_t line = pm__j_peek(p)->line;
    for (size_t i = 0; i < PM__COUNT(statements); i++) {
        if (!pm__j_take_name(p, statements[i].name))
            continue;
        if (statements[i].parse == NULL)
            return pm__fail(PM_UNSUPPORTED,
                            "template, line %u: '%s' is nothing that chat templates do: they are "
                            "one text, and see no files",
                            line, statements[i].name);
        pm__j_node *node = pm__j_new_node(p, statements[i].kind);
        if (node == NULL)
            return PM_OUT_OF_MEMORY;
        node->line = line;
        *out = node;
        if (p->depth >= PM__J_MOST_NESTED)
            return pm__j_bad(line, "more than %d levels deep", PM__J_MOST_NESTED);
        p->depth++;
        PM_TRY(statements[i].parse(p, node));
        p->depth--;
        return PM_OK;
    }
    return pm__j_unexpected(p, "a statement");
}

static pm_status parse_print(pm__j_parser *p, const pm__j_node **out) {
    pm__j_node *node = pm__j_new_node(p, PM__J_PRINT);
    if (node == NULL)
        return PM_OUT_OF_MEMORY;
    *out = node;
    PM_TRY(pm__j_parse_tuple(p, false, &node->a));
    if (pm__j_peek(p)->kind != PM__J_CLOSE_PRINT)
        return pm__j_unexpected(p, "}}");
    p->at++;
    return PM_OK;
}

static pm_status parse_text(pm__j_parser *p, const pm__j_node **out) {
    pm__j_node *node = pm__j_new_node(p, PM__J_TEXT);
    const pm__j_string *text = pm__j_new_name(p, pm__j_peek(p)->text);
    if (node == NULL || text == NULL)
        return PM_OUT_OF_MEMORY;
    node->value = pm__j_text(text);
    *out = node;
    return PM_OK;
}

/* Whether the open tag is one of the words. */
static bool is_end(const pm__j_parser *p, const char *words, size_t *index) {
    const pm__j_token *token = pm__j_peek(p);
    if (words == NULL || token->kind != PM__J_NAME)
        return false;
    for (*index = 0;; ++*index) {
        const size_t n = strcspn(words, " ");
        if (n == token->text.size && memcmp(words, token->text.data, n) == 0)
            return true;
        if (words[n] == '\0')
            return false;
        words += n + 1;
    }
}

static pm_status parse_body(pm__j_parser *p, const char *until, const pm__j_node **first,
                            size_t *found) {
    const uint32_t line = pm__j_peek(p)->line;
    const pm__j_node **link = first;
    for (;;) {
        const pm__j_node *node = NULL;
        const pm__j_token_kind kind = pm__j_peek(p)->kind;
        if (kind == PM__J_END) {
            if (until == NULL)
                return PM_OK;
            return pm__j_bad(line, "what begins here has no %.*s", (int)strcspn(until, " "), until);
        }
        if (kind == PM__J_DATA)
            PM_TRY(parse_text(p, &node));
        p->at++;
        if (kind == PM__J_OPEN_BLOCK && is_end(p, until, found)) {
            p->at++;
            return PM_OK;
        }
        if (kind == PM__J_OPEN_PRINT)
            PM_TRY(parse_print(p, &node));
        else if (kind == PM__J_OPEN_BLOCK)
            PM_TRY(parse_statement(p, &node));
        pm__j_node *own = pm__j_new_node(p, PM__J_TEXT);
        if (own == NULL)
            return PM_OUT_OF_MEMORY;
        *own = *node;
        *link = own;
        link = &own->next;
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static pm_status parse(pm__jinja *jinja, const char *source, size_t n) {
    pm__j_parser parser = {.jinja = jinja};
    size_t found;
    pm_status status = pm__j_lex(&parser, source, n);
    if (status == PM_OK)
        status = parse_body(&parser, NULL, &jinja->body, &found);
    free(parser.tokens);
    return status;
}

pm_status pm__jinja_create(const char *source, size_t n, pm__jinja **out) {
    enum { MOST_BYTES = 1 << 20 };
    if (n > MOST_BYTES)
        return pm__fail(PM_BAD_FILE, "template: %zu bytes are more than the %d a template may have",
                        n, MOST_BYTES);
    pm__jinja *jinja = calloc(1, sizeof *jinja);
    if (jinja == NULL)
        return pm__fail_memory("template", sizeof *jinja);
    const pm_status status = parse(jinja, source, n);
    if (status != PM_OK)
        pm__jinja_destroy(jinja);
    else
        *out = jinja;
    return status;
}

void pm__jinja_destroy(pm__jinja *jinja) {
    if (jinja == NULL)
        return;
    pm__arena_finish(&jinja->arena);
    free(jinja);
}
