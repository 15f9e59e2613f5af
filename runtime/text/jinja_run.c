/* jinja_run.c: statements, macros, and a whole rendering. */
#include "jinja_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- scopes ---------------------------------------------------------------------------------- */

static pm_status push_scope(pm__j_env *env, pm__j_scope *parent) {
    pm__j_scope *scope = pm__j_alloc(env, 1, sizeof *scope);
    if (scope == NULL)
        return env->status;
    scope->parent = parent;
    env->scope = scope;
    return PM_OK;
}

static pm_status set_name(pm__j_env *env, const pm__j_string *name, pm__j_value value) {
    return pm__j_put(env, &env->scope->names, pm__j_text(name), value);
}

static pm_status assign_attribute(pm__j_env *env, const pm__j_node *target, pm__j_value value) {
    pm__j_value space;
    PM_TRY(pm__j_eval(env, target->a, &space));
    if (space.kind != PM__J_NAMESPACE)
        return pm__j_fail(env, "an attribute of a %s is set; only namespaces can be changed",
                          pm__j_type_name(space));
    return pm__j_put(env, space.u.dict, pm__j_text(target->name), value);
}

pm_status pm__j_assign(pm__j_env *env, const pm__j_node *target, pm__j_value value) {
    if (target->kind == PM__J_VARIABLE)
        return set_name(env, target->name, value);
    if (target->kind == PM__J_ATTRIBUTE)
        return assign_attribute(env, target, value);
    pm__j_list items;
    size_t i = 0;
    PM_TRY(pm__j_items(env, value, &items));
    for (const pm__j_node *at = target->items; at != NULL; at = at->next, i++) {
        if (i == items.n)
            return pm__j_fail(env, "%zu values for more names", items.n);
        PM_TRY(pm__j_assign(env, at, items.items[i]));
    }
    return i == items.n ? PM_OK : pm__j_fail(env, "%zu values for %zu names", items.n, i);
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The next item that the loop's condition takes. */
static pm_status fetch(pm__j_env *env, pm__j_loop *loop, pm__j_value *out, bool *found) {
    const pm__j_node *node = loop->node;
    *found = false;
    while (!*found && loop->at < loop->items.n) {
        *out = loop->items.items[loop->at++];
        *found = true;
        if (node->c == NULL)
            break;
        pm__j_scope *const held = env->scope;
        pm__j_value taken;
        PM_TRY(push_scope(env, loop->scope));
        PM_TRY(pm__j_assign(env, node->a, *out));
        PM_TRY(pm__j_eval(env, node->c, &taken));
        *found = pm__j_truth(taken);
        env->scope = held;
    }
    return PM_OK;
}

static pm_status look_ahead(pm__j_env *env, pm__j_loop *loop) {
    if (loop->has_after)
        return PM_OK;
    return fetch(env, loop, &loop->after, &loop->has_after);
}

/* Goes through what is left, so that the items are known. */
static pm_status count(pm__j_env *env, pm__j_loop *loop) {
    pm__j_list rest = {0};
    pm__j_value item;
    bool found;
    if (loop->n != SIZE_MAX)
        return PM_OK;
    PM_TRY(look_ahead(env, loop));
    for (;;) {
        PM_TRY(fetch(env, loop, &item, &found));
        if (!found)
            break;
        PM_TRY(pm__j_push(env, &rest, item));
    }
    loop->n = loop->index + 1 + loop->has_after + rest.n;
    loop->items = rest;
    loop->at = 0;
    return PM_OK;
}

/* Once counted, what is left has passed the condition. */
static pm_status next_item(pm__j_env *env, pm__j_loop *loop, bool *found) {
    loop->before = loop->item;
    *found = true;
    if (loop->has_after) {
        loop->item = loop->after;
        loop->has_after = false;
        return PM_OK;
    }
    if (loop->n == SIZE_MAX || loop->node->c == NULL)
        return fetch(env, loop, &loop->item, found);
    *found = loop->at < loop->items.n;
    if (*found)
        loop->item = loop->items.items[loop->at++];
    return PM_OK;
}

static bool is_word(const pm__j_string *text, const char *word) {
    return text->n == strlen(word) && memcmp(text->data, word, text->n) == 0;
}

pm_status pm__j_loop_attribute(pm__j_env *env, pm__j_loop *loop, const pm__j_string *name,
                               bool *found, pm__j_value *out) {
    static const char *const names[] = {"index",     "index0",   "first",   "depth",
                                        "depth0",    "last",     "length",  "revindex",
                                        "revindex0", "nextitem", "previtem"};
    size_t which = 0;
    while (which < PM__COUNT(names) && !is_word(name, names[which]))
        which++;
    *found = which < PM__COUNT(names);
    if (which >= 6 && which <= 8)
        PM_TRY(count(env, loop));
    else if (*found && (which == 5 || which == 9) && (loop->n == SIZE_MAX || loop->node->c == NULL))
        PM_TRY(look_ahead(env, loop));
    else if (*found && (which == 5 || which == 9) && !loop->has_after) {
        loop->has_after = loop->at < loop->items.n;
        if (loop->has_after)
            loop->after = loop->items.items[loop->at++];
    }
    const pm__j_value values[] = {
        pm__j_int((int64_t)loop->index + 1),
        pm__j_int((int64_t)loop->index),
        pm__j_bool(loop->index == 0),
        pm__j_int((int64_t)loop->depth + 1),
        pm__j_int((int64_t)loop->depth),
        pm__j_bool(!loop->has_after),
        pm__j_int((int64_t)loop->n),
        pm__j_int((int64_t)(loop->n - loop->index)),
        pm__j_int((int64_t)(loop->n - loop->index) - 1),
        loop->has_after ? loop->after : pm__j_undefined(PM__J_LOOP, name),
        loop->index > 0 ? loop->before : pm__j_undefined(PM__J_LOOP, name),
    };
    if (*found)
        *out = values[which];
    return PM_OK;
}

static pm_status run_loop_body(pm__j_env *env, pm__j_loop *loop) {
    static const pm__j_string loop_name = {.data = "loop", .n = 4};
    const pm__j_value self = {.kind = PM__J_LOOP, .u = {.loop = loop}};
    PM_TRY(pm__j_step(env, 0));
    PM_TRY(push_scope(env, loop->scope));
    PM_TRY(set_name(env, &loop_name, self));
    PM_TRY(pm__j_assign(env, loop->node->a, loop->item));
    return pm__j_run(env, loop->node->items);
}

/* Over the value, in the scope that is there now. */
static pm_status run_loop(pm__j_env *env, const pm__j_node *node, pm__j_value value,
                          uint32_t depth) {
    pm__j_scope *const held = env->scope;
    pm__j_loop *loop = pm__j_alloc(env, 1, sizeof *loop);
    if (loop == NULL)
        return env->status;
    *loop = (pm__j_loop){.node = node, .n = SIZE_MAX, .depth = depth, .scope = held};
    PM_TRY(pm__j_items(env, value, &loop->items));
    if (node->c == NULL && value.kind != PM__J_GENERATOR)
        loop->n = loop->items.n;
    bool found = false;
    while (env->flow != PM__J_BREAK) {
        PM_TRY(next_item(env, loop, &found));
        if (!found)
            break;
        env->flow = PM__J_NEXT;
        PM_TRY(run_loop_body(env, loop));
        loop->index++;
    }
    env->flow = PM__J_NEXT;
    env->scope = held;
    if (loop->index > 0)
        return PM_OK;
    PM_TRY(push_scope(env, held));
    PM_TRY(pm__j_run(env, node->other));
    env->scope = held;
    return PM_OK;
}

static pm_status run_for(pm__j_env *env, const pm__j_node *node) {
    pm__j_value value;
    PM_TRY(pm__j_eval(env, node->b, &value));
    return run_loop(env, node, value, 0);
}

/* loop(items) of a recursive loop: what its body writes is the result. */
pm_status pm__j_call_loop(pm__j_call *call, pm__j_loop *loop) {
    pm__j_env *env = call->env;
    pm__j_builder made = {0}, *const held_out = env->out;
    pm__j_scope *const held = env->scope;
    if (!loop->node->flag || call->n != 1 || call->n_named > 0)
        return pm__j_fail(env, "loop() needs a recursive loop and one value");
    PM_TRY(pm__j_enter(env));
    env->out = &made;
    env->scope = loop->scope;
    PM_TRY(run_loop(env, loop->node, call->items[0], loop->depth + 1));
    env->out = held_out;
    env->scope = held;
    pm__j_leave(env);
    return pm__j_built(env, &made, &call->out);
}

/* ---- macros ---------------------------------------------------------------------------------- */

static pm_status make_macro(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_macro *macro = pm__j_alloc(env, 1, sizeof *macro);
    if (macro == NULL)
        return env->status;
    *macro = (pm__j_macro){node, env->scope};
    *out = (pm__j_value){.kind = PM__J_MACRO, .u = {.macro = macro}};
    return PM_OK;
}

static const pm__j_named *find_named(const pm__j_call *call, const pm__j_string *name) {
    for (size_t i = call->n_named; i > 0; i--) {
        const pm__j_string *other = call->named[i - 1].name;
        if (other->n == name->n && memcmp(other->data, name->data, name->n) == 0)
            return &call->named[i - 1];
    }
    return NULL;
}

static bool same(const pm__j_string *a, const pm__j_string *b) {
    return a->n == b->n && memcmp(a->data, b->data, a->n) == 0;
}

static pm_status fail_argument(const pm__j_call *call, const pm__j_macro *macro,
                               const pm__j_string *name) {
    const pm__j_string *own = macro->node->name;
    return pm__j_fail(call->env, "macro '%.*s' has no parameter '%.*s'",
                      own->n < 40 ? (int)own->n : 40, own->data, name->n < 40 ? (int)name->n : 40,
                      name->data);
}

/* kwargs, and the caller of a call block: what is given by a name that no parameter has. */
static pm_status set_named(pm__j_call *call, const pm__j_macro *macro, size_t n_parameter) {
    static const pm__j_string kwargs = {.data = "kwargs", .n = 6},
                              caller = {.data = "caller", .n = 6};
    pm__j_env *env = call->env;
    const uint8_t extras = macro->node->sign;
    pm__j_value more;
    PM_TRY(pm__j_new_dict(env, &more));
    for (size_t i = 0; i < call->n_named; i++) {
        const pm__j_parameter *at = macro->node->parameters;
        const pm__j_string *name = call->named[i].name;
        PM_TRY(pm__j_step(env, 16 * n_parameter));
        while (at != NULL && !same(at->name, name))
            at = at->next;
        if (at != NULL)
            continue;
        const bool is_caller = same(name, &caller) && (extras & PM__J_CALLER) != 0;
        if (!is_caller && (extras & PM__J_KWARGS) == 0)
            return fail_argument(call, macro, name);
        if (is_caller)
            PM_TRY(set_name(env, &caller, call->named[i].value));
        else
            PM_TRY(pm__j_put(env, more.u.dict, pm__j_text(name), call->named[i].value));
    }
    return (extras & PM__J_KWARGS) != 0 ? set_name(env, &kwargs, more) : PM_OK;
}

/* varargs: what is given by place beyond the parameters. */
static pm_status set_others(pm__j_call *call, const pm__j_macro *macro, size_t n_parameter) {
    static const pm__j_string varargs = {.data = "varargs", .n = 7};
    pm__j_value rest;
    if ((macro->node->sign & PM__J_VARARGS) == 0)
        return call->n > n_parameter
                   ? pm__j_fail(call->env, "macro '%.*s' takes %zu values, not %zu",
                                macro->node->name->n < 40 ? (int)macro->node->name->n : 40,
                                macro->node->name->data, n_parameter, call->n)
                   : PM_OK;
    PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, 0, &rest));
    for (size_t i = n_parameter; i < call->n; i++)
        PM_TRY(pm__j_push(call->env, rest.u.list, call->items[i]));
    return set_name(call->env, &varargs, rest);
}

/* Defaults are looked at in order, and see the parameters before them. */
static pm_status set_parameters(pm__j_call *call, const pm__j_macro *macro) {
    pm__j_env *env = call->env;
    size_t i = 0;
    for (const pm__j_parameter *at = macro->node->parameters; at != NULL; at = at->next, i++) {
        const pm__j_named *named = find_named(call, at->name);
        PM_TRY(pm__j_step(env, 16 * call->n_named));
        pm__j_value value = pm__j_undefined(PM__J_MISSING, at->name);
        if (i < call->n && named != NULL)
            return pm__j_fail(env, "a macro is given '%.*s' twice",
                              at->name->n < 40 ? (int)at->name->n : 40, at->name->data);
        if (i < call->n)
            value = call->items[i];
        else if (named != NULL)
            value = named->value;
        else if (at->value != NULL)
            PM_TRY(pm__j_eval(env, at->value, &value));
        PM_TRY(set_name(env, at->name, value));
    }
    PM_TRY(set_others(call, macro, i));
    return set_named(call, macro, i);
}

pm_status pm__j_call_macro(pm__j_call *call, const pm__j_macro *macro) {
    pm__j_env *env = call->env;
    pm__j_scope *const held = env->scope;
    PM_TRY(pm__j_enter(env));
    PM_TRY(push_scope(env, macro->scope));
    PM_TRY(set_parameters(call, macro));
    PM_TRY(pm__j_run_to_string(env, macro->node->items, &call->out));
    env->scope = held;
    pm__j_leave(env);
    return PM_OK;
}

/* The body becomes a macro, `caller`, of the call before it. */
static pm_status run_call_block(pm__j_env *env, const pm__j_node *node) {
    static const pm__j_string caller = {.data = "caller", .n = 6};
    pm__j_value value;
    pm__j_argument argument = {.next = node->a->arguments, .name = &caller};
    pm__j_node block = *node->a, constant = {.kind = PM__J_CONSTANT, .line = node->line};
    PM_TRY(make_macro(env, node, &constant.value));
    argument.value = &constant;
    block.arguments = &argument;
    PM_TRY(pm__j_eval(env, &block, &value));
    return pm__j_add_str(env, env->out, value);
}

/* ---- statements ------------------------------------------------------------------------------ */

pm_status pm__j_run_to_string(pm__j_env *env, const pm__j_node *first, pm__j_value *out) {
    pm__j_builder made = {0}, *const held = env->out;
    env->out = &made;
    PM_TRY(pm__j_run(env, first));
    env->out = held;
    return pm__j_built(env, &made, out);
}

static pm_status run_if(pm__j_env *env, const pm__j_node *node) {
    for (; node != NULL; node = node->other) {
        pm__j_value condition = pm__j_bool(true);
        if (node->a != NULL)
            PM_TRY(pm__j_eval(env, node->a, &condition));
        if (pm__j_truth(condition))
            return pm__j_run(env, node->items);
    }
    return PM_OK;
}

static pm_status run_set_block(pm__j_env *env, const pm__j_node *node) {
    pm__j_scope *const held = env->scope;
    pm__j_value value;
    PM_TRY(push_scope(env, held));
    PM_TRY(pm__j_run_to_string(env, node->items, &value));
    env->scope = held;
    if (node->b != NULL)
        PM_TRY(pm__j_eval_filters(env, node->b, value, &value));
    return pm__j_assign(env, node->a, value);
}

static pm_status run_filter_block(pm__j_env *env, const pm__j_node *node) {
    pm__j_scope *const held = env->scope;
    pm__j_value value;
    PM_TRY(push_scope(env, held));
    PM_TRY(pm__j_run_to_string(env, node->items, &value));
    env->scope = held;
    PM_TRY(pm__j_eval_filters(env, node->a, value, &value));
    return pm__j_add_str(env, env->out, value);
}

/* The values see the scope outside. */
static pm_status run_with(pm__j_env *env, const pm__j_node *node) {
    pm__j_scope *const held = env->scope;
    PM_TRY(push_scope(env, held));
    pm__j_scope *const inner = env->scope;
    for (const pm__j_node *pair = node->other; pair != NULL; pair = pair->next) {
        pm__j_value value;
        env->scope = held;
        PM_TRY(pm__j_eval(env, pair->b, &value));
        env->scope = inner;
        PM_TRY(pm__j_assign(env, pair->a, value));
    }
    PM_TRY(pm__j_run(env, node->items));
    env->scope = held;
    return PM_OK;
}

/* A generation block says what training may see, and writes its body. */
static pm_status run_scoped(pm__j_env *env, const pm__j_node *node) {
    pm__j_scope *const held = env->scope;
    PM_TRY(push_scope(env, held));
    PM_TRY(pm__j_run(env, node->items));
    env->scope = held;
    return PM_OK;
}

static pm_status run(pm__j_env *env, const pm__j_node *node) {
    pm__j_value value;
    switch (node->kind) {
    case PM__J_TEXT:
        return pm__j_add_string(env, env->out, node->value.u.string);
    case PM__J_PRINT:
        PM_TRY(pm__j_eval(env, node->a, &value));
        return pm__j_add_str(env, env->out, value);
    case PM__J_FOR:
        return run_for(env, node);
    case PM__J_IF:
        return run_if(env, node);
    case PM__J_SET:
        PM_TRY(pm__j_eval(env, node->b, &value));
        return pm__j_assign(env, node->a, value);
    case PM__J_SET_BLOCK:
        return run_set_block(env, node);
    case PM__J_MACRO_NODE:
        PM_TRY(make_macro(env, node, &value));
        return set_name(env, node->name, value);
    case PM__J_CALL_BLOCK:
        return run_call_block(env, node);
    case PM__J_FILTER_BLOCK:
        return run_filter_block(env, node);
    case PM__J_WITH:
        return run_with(env, node);
    case PM__J_SCOPED:
        return run_scoped(env, node);
    default:
        env->flow = node->kind == PM__J_DO_BREAK ? PM__J_BREAK : PM__J_CONTINUE;
        return PM_OK;
    }
}

pm_status pm__j_run(pm__j_env *env, const pm__j_node *first) {
    PM_TRY(pm__j_enter(env));
    for (const pm__j_node *node = first; node != NULL && env->flow == PM__J_NEXT;
         node = node->next) {
        env->line = node->line;
        PM_TRY(pm__j_step(env, 0));
        PM_TRY(run(env, node));
    }
    pm__j_leave(env);
    return PM_OK;
}

/* ---- a rendering ----------------------------------------------------------------------------- */

pm_status pm__jinja_begin(const pm__jinja_limits *limits, const pm__jinja_time *now,
                          pm__j_env **out) {
    static const pm__jinja_limits usual = {.n_step = 20000000,
                                           .depth = 800,
                                           .output_bytes = (size_t)32 << 20,
                                           .memory_bytes = (size_t)256 << 20};
    pm__j_env *env = calloc(1, sizeof *env);
    if (env == NULL)
        return pm__fail_memory("template", sizeof *env);
    if (limits != NULL)
        env->limits = *limits;
    if (env->limits.n_step == 0)
        env->limits.n_step = usual.n_step;
    if (env->limits.depth == 0)
        env->limits.depth = usual.depth;
    if (env->limits.output_bytes == 0)
        env->limits.output_bytes = usual.output_bytes;
    if (env->limits.memory_bytes == 0)
        env->limits.memory_bytes = usual.memory_bytes;
    env->now = *now;
    env->key = pm__hash_draw_key();
    *out = env;
    return PM_OK;
}

void pm__jinja_end(pm__j_env *env) {
    if (env == NULL)
        return;
    pm__arena_finish(&env->arena);
    free(env);
}

static pm_status set_variable(pm__j_env *env, const char *name, pm__j_value value) {
    pm__j_value key;
    PM_TRY(pm__j_copy_string(env, name, strlen(name), false, &key));
    return pm__j_put(env, &env->variables, key, value);
}

pm_status pm__jinja_set_text(pm__j_env *env, const char *name, const char *text, size_t n,
                             bool marked) {
    pm__j_value value;
    PM_TRY(pm__j_copy_string(env, text, n, marked, &value));
    return set_variable(env, name, value);
}

pm_status pm__jinja_set_bool(pm__j_env *env, const char *name, bool value) {
    return set_variable(env, name, pm__j_bool(value));
}

pm_status pm__jinja_set_json(pm__j_env *env, const char *what, const char *text, size_t n) {
    pm__j_value value;
    PM_TRY(pm__j_read_json(env, what, text, n, &value));
    if (value.kind != PM__J_DICT)
        return pm__fail(PM_BAD_FILE, "%s: not a JSON object", what);
    for (size_t i = 0; i < value.u.dict->n; i++)
        PM_TRY(pm__j_put(env, &env->variables, value.u.dict->entries[i].key,
                         value.u.dict->entries[i].value));
    return PM_OK;
}

void pm__jinja_text_finish(pm__jinja_text *text) {
    free(text->text);
    free(text->data);
    *text = (pm__jinja_text){0};
}

static pm_status give(const pm__j_builder *made, pm__jinja_text *out) {
    pm__jinja_text text = {.text = malloc(made->n + 1),
                           .n_byte = made->n,
                           .data = malloc((made->n_mark + 1) * sizeof *text.data),
                           .n_data = made->n_mark};
    if (text.text == NULL || text.data == NULL) {
        pm__jinja_text_finish(&text);
        return pm__fail_memory("template", made->n);
    }
    if (made->n > 0)
        memcpy(text.text, made->data, made->n);
    text.text[made->n] = '\0';
    if (made->n_mark > 0)
        memcpy(text.data, made->marks, made->n_mark * sizeof *text.data);
    *out = text;
    return PM_OK;
}

pm_status pm__jinja_render(const pm__jinja *jinja, pm__j_env *env, pm__jinja_text *out) {
    pm__j_builder made = {.most = env->limits.output_bytes};
    env->out = &made;
    env->depth = 0;
    PM_TRY(push_scope(env, NULL));
    PM_TRY(pm__j_run(env, jinja->body));
    return give(&made, out);
}

/* ---- time ------------------------------------------------------------------------------------ */

bool pm__jinja_time_parse(const char *text, pm__jinja_time *out) {
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    pm__jinja_time t;
    char rest;
    if (strlen(text) != 19 || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%c", &t.year, &t.month, &t.day,
                                     &t.hour, &t.minute, &t.second, &rest) != 6)
        return false;
    if (t.year < 1 || t.month < 1 || t.month > 12 || t.day < 1 || t.day > days[t.month - 1] ||
        t.hour < 0 || t.hour > 23 || t.minute < 0 || t.minute > 59 || t.second < 0 || t.second > 60)
        return false;
    *out = t;
    return true;
}
