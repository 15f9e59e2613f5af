#include "chat_format.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A template is brought to a normal form: what it writes stands as it is, the role and the content
 * of a message are one byte each, a statement stands in brackets with its blanks taken out. A
 * template is plain ChatML if that form is one of a few. It never is if it does anything that is
 * not understood here. */
#define ROLE    "\x01"
#define CONTENT "\x02"
#define OPEN    "\x03"
#define CLOSE   "\x04"
#define TURN    "<|im_start|>" ROLE "\n" CONTENT "<|im_end|>\n"

enum { MOST_TEMPLATE = 4096 };

typedef struct reader {
    const char *begin, *at, *end;
    char variable[32]; /* of the loop over the messages */
    char form[MOST_TEMPLATE + 1];
    size_t n; /* bytes of form */
} reader;

/* ---- normal form ----------------------------------------------------------------------------- */

static bool put(reader *in, const char *text, size_t n) {
    if (n > MOST_TEMPLATE - in->n)
        return false;
    memcpy(in->form + in->n, text, n);
    in->n += n;
    in->form[in->n] = '\0';
    return true;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static void skip_space(reader *in) {
    while (in->at < in->end && isspace((unsigned char)*in->at))
        in->at++;
}

static bool starts(const reader *in, const char *text) {
    const size_t n = strlen(text);
    return (size_t)(in->end - in->at) >= n && memcmp(in->at, text, n) == 0;
}

static bool take(reader *in, const char *text) {
    skip_space(in);
    if (!starts(in, text))
        return false;
    in->at += strlen(text);
    return true;
}

static bool is_quote(const reader *in) {
    return in->at < in->end && (*in->at == '\'' || *in->at == '"');
}

/* A string in either kind of quotes, with the escapes that templates use. */
static bool read_string(reader *in, char *out, size_t size, size_t *n) {
    skip_space(in);
    if (!is_quote(in))
        return false;
    const char quote = *in->at++;
    for (*n = 0; in->at < in->end && *in->at != quote && *n < size; (*n)++) {
        char c = *in->at++;
        if (c == '\\') {
            if (in->at == in->end)
                return false;
            c = *in->at++;
            if (c == 'n')
                c = '\n';
            else if (c != '\\' && c != '\'' && c != '"')
                return false;
        }
        if ((unsigned char)c < ' ' && c != '\n' && c != '\t')
            return false; /* the form's own marks */
        out[*n] = c;
    }
    return in->at < in->end && *in->at++ == quote;
}

/* What follows the loop's variable: ['role'] or .role, and the same for the content. */
static bool read_name(reader *in, char *name, size_t size, size_t *n) {
    if (take(in, "["))
        return read_string(in, name, size, n) && take(in, "]");
    if (!take(in, "."))
        return false;
    for (*n = 0; in->at < in->end && is_word(*in->at) && *n < size; (*n)++)
        name[*n] = *in->at++;
    return in->at == in->end || !is_word(*in->at);
}

/* The role or the content of the loop's message; else nothing is read. */
static bool read_field(reader *in, const char **mark) {
    const char *const from = in->at;
    char name[8];
    size_t n = 0;
    *mark = NULL;
    if (in->variable[0] != '\0' && take(in, in->variable) && read_name(in, name, sizeof name, &n)) {
        if (n == 4 && memcmp(name, "role", n) == 0)
            *mark = ROLE;
        if (n == 7 && memcmp(name, "content", n) == 0)
            *mark = CONTENT;
    }
    if (*mark == NULL)
        in->at = from;
    return *mark != NULL;
}

/* Terms joined by + or ~, up to }} or -}}. */
static bool read_output(reader *in) {
    char text[MOST_TEMPLATE];
    for (;;) {
        size_t n;
        const char *mark;
        skip_space(in);
        if (is_quote(in)) {
            if (!read_string(in, text, sizeof text, &n) || !put(in, text, n))
                return false;
        } else if (!read_field(in, &mark) || !put(in, mark, 1)) {
            return false;
        }
        skip_space(in);
        if (starts(in, "}}") || starts(in, "-}}"))
            return true;
        if (!take(in, "+") && !take(in, "~"))
            return false;
    }
}

/* A statement up to %} or -%}, blanks only between words, strings in single quotes. */
static bool read_statement(reader *in) {
    if (!put(in, OPEN, 1))
        return false;
    for (;;) {
        skip_space(in);
        if (in->at == in->end)
            return false;
        if (starts(in, "%}") || starts(in, "-%}"))
            return put(in, CLOSE, 1);
        char text[64];
        size_t n;
        const char *mark;
        if (is_quote(in)) {
            if (!read_string(in, text, sizeof text, &n) || !put(in, "'", 1) || !put(in, text, n) ||
                !put(in, "'", 1))
                return false;
        } else if (read_field(in, &mark)) {
            if (!put(in, mark, 1))
                return false;
        } else if (is_word(*in->at)) {
            if (is_word(in->form[in->n - 1]) && !put(in, " ", 1))
                return false;
            while (in->at < in->end && is_word(*in->at))
                if (!put(in, in->at++, 1))
                    return false;
        } else if ((unsigned char)*in->at < ' ' || !put(in, in->at++, 1)) {
            return false;
        }
    }
}

/* The loop's variable is named at its head and called the same from there on. */
static bool name_variable(reader *in, size_t from) {
    static const char head[] = OPEN "for ", tail[] = " in messages" CLOSE;
    const char *text = in->form + from;
    if (strncmp(text, head, strlen(head)) != 0)
        return true;
    const char *name = text + strlen(head);
    size_t n = 0;
    while (is_word(name[n]))
        n++;
    if (n == 0 || n >= sizeof in->variable || in->variable[0] != '\0' ||
        strcmp(name + n, tail) != 0)
        return false;
    memcpy(in->variable, name, n);
    in->n = from;
    return put(in, OPEN "for" CLOSE, 5);
}

/* Says what training may see; writes nothing. */
static void drop_generation(reader *in, size_t from) {
    const char *text = in->form + from;
    if (strcmp(text, OPEN "generation" CLOSE) == 0 || strcmp(text, OPEN "endgeneration" CLOSE) == 0)
        in->n = from;
    in->form[in->n] = '\0';
}

/* Text outside of tags; Jinja takes out blanks before a statement that begins a line, and, with a
 * -, all before and after a tag. */
static bool read_text(reader *in) {
    const char *start = in->at;
    while (in->at < in->end && !starts(in, "{{") && !starts(in, "{%") && !starts(in, "{#"))
        if ((unsigned char)*in->at < ' ' && !isspace((unsigned char)*in->at))
            return false;
        else
            in->at++;
    const char *stop = in->at;
    if (in->end - in->at > 2 && in->at[2] == '-') {
        while (stop > start && isspace((unsigned char)stop[-1]))
            stop--;
    } else if (in->at < in->end && in->at[1] != '{') {
        const char *line = stop;
        while (line > start && (line[-1] == ' ' || line[-1] == '\t'))
            line--;
        if (line == in->begin || line[-1] == '\n')
            stop = line;
    }
    return put(in, start, (size_t)(stop - start));
}

static void skip_after_tag(reader *in, bool trim_all, bool is_output) {
    if (trim_all)
        skip_space(in);
    else if (!is_output && in->at < in->end && *in->at == '\n')
        in->at++;
}

static bool read_tag(reader *in) {
    const char kind = in->at[1];
    in->at += 2;
    if (in->at < in->end && *in->at == '-')
        in->at++;
    if (kind == '#') {
        while (in->at < in->end && !starts(in, "#}"))
            in->at++;
        const bool trims = in->at < in->end && in->at[-1] == '-';
        if (!take(in, "#}"))
            return false;
        skip_after_tag(in, trims, false);
        return true;
    }
    const size_t from = in->n;
    if (kind == '{' ? !read_output(in) : !read_statement(in))
        return false;
    if (kind == '%') {
        if (!name_variable(in, from))
            return false;
        drop_generation(in, from);
    }
    const bool trims = *in->at == '-';
    in->at += trims ? 3 : 2;
    skip_after_tag(in, trims, kind == '{');
    return true;
}

static bool read_template(reader *in) {
    while (in->at < in->end) {
        if (!read_text(in))
            return false;
        if (in->at < in->end && !read_tag(in))
            return false;
    }
    return true;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool skip(const char **form, const char *text) {
    const size_t n = strlen(text);
    if (strncmp(*form, text, n) != 0)
        return false;
    *form += n;
    return true;
}

/* One way through the body of the loop, for messages of `role` (NULL: any) is a plain turn. */
static bool is_turn(const char *text, size_t n, const char *role) {
    char plain[64];
    if (n == strlen(TURN) && memcmp(text, TURN, n) == 0)
        return true;
    if (role == NULL)
        return false;
    const int size = snprintf(plain, sizeof plain, "<|im_start|>%s\n" CONTENT "<|im_end|>\n", role);
    return size > 0 && (size_t)size == n && memcmp(text, plain, n) == 0;
}

static const char *const roles[] = {"system", "user", "assistant"};
enum { ALL_ROLES = 7, MOST_BRANCHES = 4 };

typedef struct part {
    const char *text, *role; /* NULL: of any role */
    size_t n;
} part;

/* [if role == 'x'] or [elif role == 'x'] at *form; *role: its index. */
static bool skip_branch(const char **form, const char *word, size_t *role) {
    for (*role = 0; *role < PM__COUNT(roles); (*role)++) {
        char text[64];
        snprintf(text, sizeof text, OPEN "%s" ROLE "=='%s'" CLOSE, word, roles[*role]);
        if (skip(form, text))
            return true;
        snprintf(text, sizeof text, OPEN "%s(" ROLE "=='%s')" CLOSE, word, roles[*role]);
        if (skip(form, text))
            return true;
    }
    return false;
}

/* What is written up to the next statement. */
static bool skip_text(const char **form, part *out) {
    const char *open = strchr(*form, OPEN[0]);
    if (open == NULL)
        return false;
    out->text = *form;
    out->n = (size_t)(open - *form);
    *form = open;
    return true;
}

/* The branches after the first condition, up to [endif]; every role must have one. */
static bool read_branches(const char **form, size_t role, part *branches, size_t *n) {
    unsigned seen = 0;
    bool is_last = false;
    for (*n = 0; *n < MOST_BRANCHES; (*n)++) {
        part *branch = &branches[*n];
        branch->role = is_last ? NULL : roles[role];
        if (!skip_text(form, branch))
            return false;
        seen |= is_last ? ALL_ROLES : 1u << role;
        if (skip(form, OPEN "endif" CLOSE)) {
            ++*n;
            return seen == ALL_ROLES;
        }
        if (is_last)
            return false;
        is_last = skip(form, OPEN "else" CLOSE);
        if (!is_last && !skip_branch(form, "elif", &role))
            return false;
    }
    return false;
}

/* The body of the loop: a turn, the same or in part the same for all roles. */
static bool skip_body(const char **form) {
    part prefix, suffix, branches[MOST_BRANCHES];
    size_t n, role;
    if (!skip_text(form, &prefix))
        return false;
    if (!skip_branch(form, "if", &role))
        return is_turn(prefix.text, prefix.n, NULL);
    if (!read_branches(form, role, branches, &n) || !skip_text(form, &suffix))
        return false;
    for (size_t i = 0; i < n; i++) {
        char whole[MOST_TEMPLATE + 1];
        const part *branch = &branches[i];
        memcpy(whole, prefix.text, prefix.n);
        memcpy(whole + prefix.n, branch->text, branch->n);
        memcpy(whole + prefix.n + branch->n, suffix.text, suffix.n);
        if (!is_turn(whole, prefix.n + branch->n + suffix.n, branch->role))
            return false;
    }
    return true;
}

static bool is_plain_form(const char *form) {
    static const char *const preludes[] = {
        OPEN "if not add_generation_prompt is defined" CLOSE OPEN
             "set add_generation_prompt=false" CLOSE OPEN "endif" CLOSE,
        OPEN "if add_generation_prompt is not defined" CLOSE OPEN
             "set add_generation_prompt=false" CLOSE OPEN "endif" CLOSE,
    };
    for (size_t i = 0; i < PM__COUNT(preludes); i++)
        if (skip(&form, preludes[i]))
            break;
    if (!skip(&form, OPEN "for" CLOSE) || !skip_body(&form) || !skip(&form, OPEN "endfor" CLOSE))
        return false;
    return strcmp(form, OPEN "if add_generation_prompt" CLOSE "<|im_start|>assistant\n" OPEN
                             "endif" CLOSE) == 0;
}

bool pm__chat_format_is_chatml(const char *chat_template, size_t n) {
    if (n > MOST_TEMPLATE)
        return false;
    if (n > 0 && chat_template[n - 1] == '\n')
        n--; /* Jinja does not keep the last line end */
    reader in = {.begin = chat_template, .at = chat_template, .end = chat_template + n};
    return read_template(&in) && is_plain_form(in.form);
}

/* ---- rendering ------------------------------------------------------------------------------- */

static bool contains(const char *text, size_t n, const char *what) {
    const size_t size = strlen(what);
    for (size_t i = 0; i + size <= n; i++)
        if (memcmp(text + i, what, size) == 0)
            return true;
    return false;
}

/* Why a template is not rendered, from what stands in it. */
static pm_status refuse(const char *text, size_t n) {
    static const struct {
        const char *mark, *means;
    } signs[] = {
        {"[INST]", "[INST] turns"},
        {"<|start_header_id|>", "<|start_header_id|> turns"},
        {"<start_of_turn>", "<start_of_turn> turns"},
        {"<|turn>", "<|turn> turns"},
        {"<|user|>", "<|user|> turns"},
        {"<|start|>", "<|start|> turns"},
        {"<|START_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|> turns"},
        {"<|im_start|>", "<|im_start|> turns"},
        {"tool", "tools"},
        {"You are", "a system text of its own"},
        {"<think>", "thinking"},
        {"bos_token", "bos_token"},
    };
    char seen[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < PM__COUNT(signs) && used < sizeof seen; i++)
        if (contains(text, n, signs[i].mark))
            used += (size_t)snprintf(seen + used, sizeof seen - used, "%s%s", used ? ", " : "",
                                     signs[i].means);
    const bool opens = contains(text, n, "add_generation_prompt");
    return pm__fail(PM_UNSUPPORTED,
                    "chat: the model's template is not plain ChatML (seen in it: %s%s), and pumice "
                    "cannot render others yet; --raw completes plain text",
                    used > 0 ? seen : "no turns that are known",
                    opens ? "" : ", no opening of the answer");
}

static pm_status check(const pm_message *messages, size_t n, size_t *bytes) {
    *bytes = strlen("<|im_start|>assistant\n") + 1;
    for (size_t i = 0; i < n; i++) {
        const char *role = messages[i].role;
        size_t known = 0;
        while (known < PM__COUNT(roles) && (role == NULL || strcmp(role, roles[known]) != 0))
            known++;
        if (known == PM__COUNT(roles))
            return pm__fail(PM_ARGUMENT,
                            "chat: message %zu has the role '%s', not system, user or assistant", i,
                            role != NULL ? role : "");
        if (messages[i].content == NULL)
            return pm__fail(PM_ARGUMENT, "chat: message %zu has no content", i);
        *bytes += strlen(TURN) + strlen(role) + strlen(messages[i].content);
    }
    return PM_OK;
}

static void append(pm__chat_text *out, const char *text) {
    const size_t n = strlen(text);
    memcpy(out->text + out->n_byte, text, n);
    out->n_byte += n;
}

static void append_data(pm__chat_text *out, const char *text) {
    const size_t begin = out->n_byte;
    append(out, text);
    if (out->n_byte > begin)
        out->data[out->n_data++] = (pm__range){begin, out->n_byte};
}

void pm__chat_text_finish(pm__chat_text *chat) {
    free(chat->text);
    free(chat->data);
    *chat = (pm__chat_text){0};
}

pm_status pm__chat_format_render(const char *chat_template, size_t template_bytes,
                                 const pm_message *messages, size_t n, bool open_answer,
                                 pm__chat_text *out) {
    if (chat_template == NULL)
        return pm__fail(PM_UNSUPPORTED, "chat: the model file has no chat template; --raw "
                                        "completes plain text");
    if (!pm__chat_format_is_chatml(chat_template, template_bytes))
        return refuse(chat_template, template_bytes);
    size_t bytes;
    PM_TRY(check(messages, n, &bytes));
    pm__chat_text made = {.text = malloc(bytes), .data = calloc(n + 1, 2 * sizeof(pm__range))};
    if (made.text == NULL || made.data == NULL) {
        pm__chat_text_finish(&made);
        return pm__fail_memory("chat", bytes);
    }
    for (size_t i = 0; i < n; i++) {
        append(&made, "<|im_start|>");
        append_data(&made, messages[i].role);
        append(&made, "\n");
        append_data(&made, messages[i].content);
        append(&made, "<|im_end|>\n");
    }
    if (open_answer)
        append(&made, "<|im_start|>assistant\n");
    made.text[made.n_byte] = '\0';
    *out = made;
    return PM_OK;
}
