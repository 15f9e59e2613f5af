#include "conversation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "new_file.h"
#include "report.h"

/* As templates know them; the first can only be that of the first message. */
static const char *const roles[] = {"system",    "user",     "assistant", "tool",
                                    "developer", "function", "ipython"};

static void free_message(pm_message *message) {
    free((void *)(uintptr_t)message->content); /* role is one of the static names */
    cJSON_free((void *)(uintptr_t)message->fields);
    *message = (pm_message){0};
}

void pm__conversation_clear(pm__conversation *c, bool keep_system) {
    const size_t first = keep_system && c->n > 0 && c->messages[0].role == roles[0] ? 1 : 0;
    while (c->n > first)
        pm__conversation_drop(c);
}

void pm__conversation_finish(pm__conversation *c) {
    pm__conversation_clear(c, false);
    free(c->messages);
    free(c->held);
    *c = (pm__conversation){0};
}

void pm__conversation_drop(pm__conversation *c) {
    if (c->n > 0)
        free_message(&c->messages[--c->n]);
}

static const char *known_role(const char *role) {
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(roles[i], role) == 0)
            return roles[i];
    return NULL;
}

int pm__conversation_add(pm__conversation *c, const char *role, const char *content,
                         size_t n_byte) {
    PM__CHECK(pm__cli_grow("chat", &c->messages, c->n, &c->capacity, sizeof *c->messages));
    char *copy = malloc(n_byte + 1);
    if (!copy)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "chat: no memory for a message of %zu bytes",
                             n_byte);
    memcpy(copy, content, n_byte);
    copy[n_byte] = '\0';
    c->messages[c->n++] = (pm_message){.role = known_role(role), .content = copy};
    return 0;
}

int pm__conversation_system(pm__conversation *c, const char *content) {
    const bool has_system = c->n > 0 && c->messages[0].role == roles[0];
    if (content[0] == '\0') {
        if (has_system) {
            free_message(&c->messages[0]);
            memmove(c->messages, c->messages + 1, --c->n * sizeof *c->messages);
        }
        return 0;
    }
    PM__CHECK(pm__conversation_add(c, roles[0], content, strlen(content)));
    const pm_message added = c->messages[c->n - 1];
    if (has_system) {
        c->n--;
        free_message(&c->messages[0]);
    } else {
        memmove(c->messages + 1, c->messages, (c->n - 1) * sizeof *c->messages);
    }
    c->messages[0] = added;
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* One message on a line. Text by text, so that no message can be left out for want of memory. */
static int write_message(FILE *to, const pm_message *message, bool first) {
    cJSON *content = pm__json_text(message->content, strlen(message->content));
    char *quoted = content ? cJSON_PrintUnformatted(content) : NULL;
    cJSON_Delete(content);
    if (!quoted) {
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY,
                             "chat: no memory to save a message of %zu bytes",
                             strlen(message->content));
    }
    fprintf(to, "%s\n  {\"role\": \"%s\", \"content\": %s", first ? "" : ",", message->role,
            quoted);
    if (message->fields)
        fprintf(to, ", %s", message->fields + 1); /* from its first member to its last bracket */
    else
        fputc('}', to);
    cJSON_free(quoted);
    return 0;
}

int pm__conversation_save(const pm__conversation *c, const char *path) {
    pm__new_file file;
    if (!pm__new_file_open(&file, path))
        return pm__cli_error(PM__EXIT_FAILURE, "cannot create %s: %s", path, strerror(errno));
    int code = 0;
    fputc('[', file.stream);
    for (size_t i = 0; i < c->n && code == 0; i++)
        code = write_message(file.stream, &c->messages[i], i == 0);
    fputs("\n]\n", file.stream);
    if (!pm__new_file_close(&file, code == 0) && code == 0)
        code = pm__cli_error(PM__EXIT_FAILURE, "cannot write %s: %s", path, strerror(errno));
    if (code == 0)
        fprintf(stderr, "pumice: %zu messages in %s\n", c->n, path);
    return code;
}

/* What a message has beside its role and content, such as tool_calls, goes to templates as it is.
 * fields  a JSON object with at least one member, or NULL */
static int add_fields(pm__conversation *c, const cJSON *message) {
    cJSON *rest = cJSON_Duplicate(message, true);
    cJSON_DeleteItemFromObjectCaseSensitive(rest, "role");
    cJSON_DeleteItemFromObjectCaseSensitive(rest, "content");
    const bool has_some = rest && rest->child;
    char *text = has_some ? cJSON_PrintUnformatted(rest) : NULL;
    cJSON_Delete(rest);
    if (!rest || (has_some && !text))
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "chat: no memory for the fields of a message");
    c->messages[c->n - 1].fields = text;
    return 0;
}

/* A message that only calls tools may have null as its content, which is kept as "". */
static int add_from_json(pm__conversation *c, const cJSON *message, const char *path) {
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(message, "role");
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content");
    const char *known = cJSON_IsString(role) ? known_role(role->valuestring) : NULL;
    const bool calls = cJSON_GetObjectItemCaseSensitive(message, "tool_calls") &&
                       (!content || cJSON_IsNull(content));
    if (!known || !(calls || cJSON_IsString(content)) || (known == roles[0] && c->n > 0)) {
        return pm__cli_error(
            PM__EXIT_BAD_FILE,
            "%s: message %zu needs a role (user, assistant, tool, developer, function, ipython, or "
            "system as the first) and a text as content",
            path, c->n + 1);
    }
    const char *text = calls ? "" : content->valuestring;
    PM__CHECK(pm__conversation_add(c, known, text, strlen(text)));
    return add_fields(c, message);
}

int pm__conversation_parse(pm__conversation *c, const char *path, const char *text, size_t n_byte) {
    pm__json_begin();
    cJSON *document = cJSON_ParseWithLength(text, n_byte);
    pm__conversation loaded = {0};
    int code = 0;
    if (!document && pm__json_starved())
        code = pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory for the messages of %s", path);
    else if (!cJSON_IsArray(document))
        code = pm__cli_error(PM__EXIT_BAD_FILE, "%s is not a JSON list of messages", path);
    const cJSON *message = NULL;
    cJSON_ArrayForEach(message, document) {
        if (code == 0)
            code = add_from_json(&loaded, message, path);
    }
    cJSON_Delete(document);
    if (code == 0) {
        pm__conversation_clear(c, false);
        free(c->messages);
        c->messages = loaded.messages;
        c->n = loaded.n;
        c->capacity = loaded.capacity;
    } else {
        pm__conversation_finish(&loaded);
    }
    return code;
}

int pm__conversation_load(pm__conversation *c, const char *path) {
    char *text = NULL;
    size_t n_byte = 0;
    PM__CHECK(pm__cli_read_file(path, &text, &n_byte));
    const int code = pm__conversation_parse(c, path, text, n_byte);
    free(text);
    if (code == 0)
        fprintf(stderr, "pumice: %zu messages from %s\n", c->n, path);
    return code;
}

/* ---- the session ----------------------------------------------------------------------------- */

int pm__conversation_prompt(pm__conversation *c, pm__cli *cli, int32_t **ids, size_t *n_id,
                            size_t *n_keep) {
    PM__CHECK(pm__cli_tokenize_chat(cli, c->messages, c->n, ids, n_id));
    size_t keep = 0;
    while (keep < c->n_held && keep + 1 < *n_id && c->held[keep] == (*ids)[keep])
        keep++;
    const pm_status status = pm_session_rewind(cli->session, 0, (uint32_t)keep);
    if (status != PM_OK) {
        free(*ids);
        *ids = NULL;
        return pm__cli_status(status);
    }
    c->n_held = keep;
    *n_keep = keep;
    return 0;
}

int pm__conversation_hold(pm__conversation *c, int32_t *ids, size_t n_id, const pm_answer *answer) {
    int32_t *held = realloc(ids, (n_id + answer->n_token + 1) * sizeof *held);
    free(c->held);
    c->held = held;
    c->n_held = 0;
    if (!held) {
        free(ids);
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "chat: no memory for %zu ids",
                             n_id + answer->n_token);
    }
    if (answer->n_token)
        memcpy(held + n_id, answer->tokens, answer->n_token * sizeof *held);
    c->n_held = n_id + answer->n_token;
    return 0;
}
