#include "chat_format.h"

#include <string.h>

#include "jinja_value.h"
#include "vocabulary.h"

/* ---- formats known by name ------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} formats[] = {
#define PM_CHAT_TEMPLATE(name, text) {name, text},
#include "chat_templates.def"
#undef PM_CHAT_TEMPLATE
};

const char *pm__chat_format_find(const char *name) {
    for (size_t i = 0; i < PM__COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].text;
    return NULL;
}

const char *pm__chat_format_names(void) {
    static const char names[] =
#define PM_CHAT_TEMPLATE(name, text) ", " name
#include "chat_templates.def"
#undef PM_CHAT_TEMPLATE
        ;
    return names + 2;
}

/* ---- variables ------------------------------------------------------------------------------- */

static const char *const roles[] = {"system",    "user",     "assistant", "tool",
                                    "developer", "function", "ipython"};

/* The role as a word of the program, which is not marked; NULL: unknown. */
static const char *known_role(const char *role, size_t n) {
    for (size_t i = 0; i < PM__COUNT(roles); i++)
        if (strlen(roles[i]) == n && memcmp(roles[i], role, n) == 0)
            return roles[i];
    return NULL;
}

static pm_status fail_role(size_t i, const char *role) {
    return pm__fail(PM_ARGUMENT,
                    "chat: message %zu has the role '%.40s', not system, user, assistant, tool, "
                    "developer, function or ipython",
                    i, role != NULL ? role : "");
}

static pm_status read_object(pm__j_env *env, const char *what, const char *text, pm__j_value *out) {
    PM_TRY(pm__j_read_json(env, what, text, strlen(text), out));
    return out->kind == PM__J_DICT ? PM_OK : pm__fail(PM_BAD_FILE, "%s: not a JSON object", what);
}

static pm_status put_role(pm__j_env *env, pm__j_dict *message, const char *role) {
    pm__j_value value;
    PM_TRY(pm__j_new_string(env, role, strlen(role), false, &value));
    return pm__j_put_name(env, message, "role", value);
}

/* Role and content first: some templates write messages as JSON. */
static pm_status add_message(pm__j_env *env, const pm_message *message, size_t i,
                             pm__j_value *out) {
    const char *role = message->role;
    const char *known = role != NULL ? known_role(role, strlen(role)) : NULL;
    pm__j_value content = pm__j_none(), fields = {0};
    if (known == NULL)
        return fail_role(i, role);
    if (message->content == NULL && message->fields == NULL)
        return pm__fail(PM_ARGUMENT, "chat: message %zu has no content", i);
    if (message->content != NULL)
        PM_TRY(pm__j_copy_string(env, message->content, strlen(message->content), true, &content));
    PM_TRY(pm__j_new_dict(env, out));
    PM_TRY(put_role(env, out->u.dict, known));
    PM_TRY(pm__j_put_name(env, out->u.dict, "content", content));
    if (message->fields == NULL)
        return PM_OK;
    PM_TRY(read_object(env, "chat: fields of a message", message->fields, &fields));
    for (size_t k = 0; k < fields.u.dict->n; k++)
        PM_TRY(pm__j_put(env, out->u.dict, fields.u.dict->entries[k].key,
                         fields.u.dict->entries[k].value));
    if (message->content != NULL)
        PM_TRY(pm__j_put_name(env, out->u.dict, "content", content));
    return put_role(env, out->u.dict, known);
}

static pm_status set_messages(pm__j_env *env, const pm__chat_input *in) {
    pm__j_value list;
    PM_TRY(pm__j_new_list(env, PM__J_LIST, in->n_message, &list));
    for (size_t i = 0; i < in->n_message; i++) {
        pm__j_value message;
        PM_TRY(add_message(env, &in->messages[i], i, &message));
        PM_TRY(pm__j_push(env, list.u.list, message));
    }
    return pm__j_put_name(env, &env->variables, "messages", list);
}

/* Known roles among the messages of the variables lose their mark. */
static pm_status trust_roles(pm__j_env *env, pm__j_value messages) {
    if (messages.kind != PM__J_LIST)
        return PM_OK;
    for (size_t i = 0; i < messages.u.list->n; i++) {
        const pm__j_value message = messages.u.list->items[i];
        const pm__j_value *role =
            message.kind == PM__J_DICT ? pm__j_get_name(env, message.u.dict, "role") : NULL;
        if (role == NULL || role->kind != PM__J_STRING)
            continue;
        const char *known = known_role(role->u.string->data, role->u.string->n);
        if (known != NULL)
            PM_TRY(put_role(env, message.u.dict, known));
    }
    return PM_OK;
}

static pm_status set_variables(pm__j_env *env, const pm__chat_input *in) {
    PM_TRY(pm__jinja_set_text(env, "bos_token", in->bos.data, in->bos.size, false));
    PM_TRY(pm__jinja_set_text(env, "eos_token", in->eos.data, in->eos.size, false));
    PM_TRY(pm__jinja_set_bool(env, "add_generation_prompt", in->open_answer));
    if (in->variables != NULL) {
        pm__j_value fields;
        PM_TRY(read_object(env, "chat: template variables", in->variables, &fields));
        for (size_t i = 0; i < fields.u.dict->n; i++)
            PM_TRY(pm__j_put(env, &env->variables, fields.u.dict->entries[i].key,
                             fields.u.dict->entries[i].value));
    }
    const pm__j_value *messages = pm__j_get_name(env, &env->variables, "messages");
    if (in->n_message > 0 || messages == NULL)
        return set_messages(env, in);
    return trust_roles(env, *messages);
}

/* ---- rendering and ids ----------------------------------------------------------------------- */

static pm_status render(const pm__jinja *jinja, const pm__chat_input *in, pm__jinja_text *out) {
    pm__j_env *env = NULL;
    PM_TRY(pm__jinja_begin(NULL, &in->now, &env));
    pm_status status = set_variables(env, in);
    if (status == PM_OK)
        status = pm__jinja_render(jinja, env, out);
    pm__jinja_end(env);
    return status;
}

pm_status pm__chat_format_render(const pm__chat_input *in, pm__jinja_text *out) {
    pm__jinja *jinja = NULL;
    PM_TRY(pm__jinja_create(in->chat_template.data, in->chat_template.size, &jinja));
    const pm_status status = render(jinja, in, out);
    pm__jinja_destroy(jinja);
    return status;
}

pm_status pm__chat_format_encode(const pm__tokenizer *tokenizer, const pm__jinja_text *text,
                                 bool open_answer, pm__ids *out) {
    const pm__ranges data = {text->data, text->n_data};
    const size_t before = out->n;
    PM_TRY(pm__tokenizer_encode_around(tokenizer, (pm__span){text->text, text->n_byte}, data, true,
                                       out));
    int32_t *ids = out->data + before;
    size_t n = out->n - before;
    if (tokenizer->adds_eos && n > 0 && (open_answer || (n > 1 && ids[n - 2] == tokenizer->eos)))
        n--;
    if (tokenizer->adds_bos && n > 1 && ids[1] == tokenizer->bos)
        memmove(ids, ids + 1, --n * sizeof *ids);
    out->n = before + n;
    return PM_OK;
}
