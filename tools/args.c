#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_type {
    FLAG,
    TEXT,
    LIST,
    U32,
    U32_AUTO, /* also `auto`: UINT32_MAX */
    U64,
    F32,
    SIZE /* bytes in a U64, as 512M, 1.5G or 6GiB; a plain number is in MiB */
} option_type;

typedef struct option {
    char letter;
    const char *name;
    option_type type;
    size_t offset;
    double least, most;
    const char *ask; /* asks for the default; NULL: no word does */
    const char *value, *help;
} option;

static const option options[] = {
#define PM_OPTION(id, letter, name, type, field, least, most, ask, value, help)                    \
    {letter, name, type, offsetof(pm__options, field), least, most, ask, value, help},
#include "options.def"
};

static const struct {
    size_t id;
    const char *word;
} shorts[] = {
#define PM_SHORT(id, word) {PM__OPT_##id, "-" word},
#include "options.def"
};

/* Where a parse stands, and where its sentence goes. */
typedef struct parser {
    const pm__command *command;
    int argc, next;
    char **argv;
    pm__options *out;
    char *message;
} parser;

static bool fail(const parser *p, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = snprintf(p->message, PM__ARGS_MESSAGE, "%s: ", p->command->name);
    vsnprintf(p->message + n, (size_t)(PM__ARGS_MESSAGE - n), fmt, args);
    va_end(args);
    return false;
}

static bool takes(const pm__command *command, size_t id) {
    for (size_t i = 0; i < command->spec->n_option; i++)
        if (command->spec->options[i] == id)
            return true;
    return id == PM__OPT_HELP;
}

static bool whole_number(const char *text, uint64_t *out) {
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    *out = errno == ERANGE ? UINT64_MAX : value;
    return *end == '\0';
}

static bool real_number(const char *text, double *out) {
    char *end = NULL;
    if (text[0] == '\0' || isspace((unsigned char)text[0]))
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

/* Bytes of "1.5G"; false for anything else. */
static bool read_size(const char *text, double *out) {
    static const char units[] = "bkmg";
    char *end = NULL;
    if (!isdigit((unsigned char)text[0]))
        return false;
    *out = strtod(text, &end);
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : strchr(units, 'm');
    if (!unit || !isfinite(*out))
        return false;
    *out = ldexp(*out, 10 * (int)(unit - units));
    const char *rest = *end ? end + 1 : end;
    return *rest == '\0' || (unit != units && (strcmp(rest, "iB") == 0 || strcmp(rest, "ib") == 0));
}

static bool set_size(const parser *p, const option *o, const char *shown, const char *text) {
    double value = 0;
    if (!read_size(text, &value)) {
        return fail(p,
                    "%s: '%s' is not a size such as 512M, 1.5G or 6GiB; a plain number is in MiB",
                    shown, text);
    }
    if (value < o->least || value > o->most) {
        return fail(p, "%s: %s is not between %.0f bytes and %.0f TiB", shown, text, o->least,
                    ldexp(o->most, -40));
    }
    const uint64_t bytes = (uint64_t)value;
    memcpy((char *)p->out + o->offset, &bytes, sizeof bytes);
    return true;
}

static bool set_number(const parser *p, const option *o, const char *shown, const char *text) {
    char *field = (char *)p->out + o->offset;
    uint64_t whole = 0;
    double value = 0;
    if (o->ask && strcmp(text, o->ask) == 0) {
        p->out->given[o - options] = false;
        memset(field, 0, o->type == U64 ? sizeof(uint64_t) : sizeof(uint32_t));
        return true;
    }
    if (o->type == U32_AUTO && strcmp(text, "auto") == 0) {
        memset(field, 0xff, sizeof(uint32_t));
        return true;
    }
    if (o->type == F32 ? !real_number(text, &value) : !whole_number(text, &whole))
        return fail(p, "%s: '%s' is not a %snumber", shown, text, o->type == F32 ? "" : "whole ");
    value = o->type == F32 ? value : (double)whole;
    if (value < o->least || value > o->most) {
        return fail(p, "%s: %s is not between %.16g and %.16g%s%s%s", shown, text, o->least,
                    o->most, o->ask ? ", nor " : "", o->ask ? o->ask : "",
                    o->type == U32_AUTO ? ", nor auto" : "");
    }
    if (o->type == F32) {
        const float f32 = (float)value;
        memcpy(field, &f32, sizeof f32);
    } else if (o->type == U32 || o->type == U32_AUTO) {
        const uint32_t u32 = (uint32_t)whole;
        memcpy(field, &u32, sizeof u32);
    } else {
        memcpy(field, &whole, sizeof whole);
    }
    return true;
}

static bool add_text(const parser *p, pm__texts *texts, const char *shown, const char *text) {
    if (text[0] == '\0')
        return fail(p, "%s: the text is empty", shown);
    if (texts->n == PM__MOST_TEXTS)
        return fail(p, "%s: given more than %d times", shown, PM__MOST_TEXTS);
    texts->items[texts->n++] = text;
    return true;
}

static bool set(const parser *p, const option *o, const char *shown, const char *text) {
    char *field = (char *)p->out + o->offset;
    p->out->given[o - options] = true;
    switch (o->type) {
    case FLAG:
        *(bool *)field = true;
        return true;
    case TEXT:
        memcpy(field, &text, sizeof text);
        return true;
    case LIST:
        return add_text(p, (pm__texts *)(void *)field, shown, text);
    case SIZE:
        return set_size(p, o, shown, text);
    default:
        return set_number(p, o, shown, text);
    }
}

/* The option called `name` [n_name] (long), or `letter`: the command's own, else that of another
 * command. */
static const option *find(const pm__command *command, const char *name, size_t n_name,
                          char letter) {
    const option *other = NULL;
    for (size_t i = 0; i < PM__N_OPT; i++) {
        const bool same_name = name && strlen(options[i].name) == n_name &&
                               strncmp(options[i].name, name, n_name) == 0;
        if (!same_name && !(letter && options[i].letter == letter))
            continue;
        if (takes(command, i))
            return &options[i];
        other = other ? other : &options[i];
    }
    return other;
}

static bool know(const parser *p, const option *o, const char *shown) {
    if (o && takes(p->command, (size_t)(o - options)))
        return true;
    return fail(p,
                o ? "option %s is not for this command; see pumice help %s"
                  : "unknown option %s; see pumice help %s",
                shown, p->command->name);
}

/* The value of an option that needs one: the rest of its word, or the next word. */
static bool value_of(parser *p, const char *shown, const char *rest, const char **value) {
    if (rest)
        *value = rest;
    else if (p->next < p->argc)
        *value = p->argv[p->next++];
    else
        return fail(p, "option %s needs a value", shown);
    return true;
}

static bool parse_long(parser *p, const char *word) {
    const char *equals = strchr(word, '=');
    const size_t n_shown = equals ? (size_t)(equals - word) : strlen(word);
    char shown[64];
    snprintf(shown, sizeof shown, "%.*s", (int)(n_shown < 60 ? n_shown : 60), word);
    const option *o = find(p->command, word + 2, n_shown - 2, '\0');
    if (!know(p, o, shown))
        return false;
    if (o->type == FLAG)
        return equals ? fail(p, "option %s takes no value", shown) : set(p, o, shown, NULL);
    const char *value = NULL;
    return value_of(p, shown, equals ? equals + 1 : NULL, &value) && set(p, o, shown, value);
}

/* The word of PM_SHORT, or NULL. */
static const char *short_of(size_t id) {
    for (size_t i = 0; i < sizeof shorts / sizeof shorts[0]; i++)
        if (shorts[i].id == id)
            return shorts[i].word;
    return NULL;
}

static const option *find_short(const pm__command *command, const char *word) {
    const option *other = NULL;
    for (size_t i = 0; i < sizeof shorts / sizeof shorts[0]; i++) {
        if (strcmp(shorts[i].word, word) != 0)
            continue;
        if (takes(command, shorts[i].id))
            return &options[shorts[i].id];
        other = other ? other : &options[shorts[i].id];
    }
    return other;
}

static bool parse_short(parser *p, const option *o, const char *word) {
    const char *value = NULL;
    return know(p, o, word) && value_of(p, word, NULL, &value) && set(p, o, word, value);
}

/* One letter, or several flags, the last of which may have a value: -v, -vn5, -n 5. */
static bool parse_letters(parser *p, const char *word) {
    for (const char *c = word + 1; *c; c++) {
        const char shown[3] = {'-', *c, '\0'};
        const option *o = find(p->command, NULL, 0, *c);
        if (!know(p, o, shown))
            return false;
        if (o->type != FLAG) {
            const char *value = NULL;
            return value_of(p, shown, c[1] ? c + 1 : NULL, &value) && set(p, o, shown, value);
        }
        if (!set(p, o, shown, NULL))
            return false;
    }
    return true;
}

static bool parse_option(parser *p, const char *word) {
    if (word[1] == '-')
        return parse_long(p, word);
    const option *o = find_short(p->command, word);
    return o ? parse_short(p, o, word) : parse_letters(p, word);
}

/* Words of "IN OUT". */
static size_t count_arguments(const pm__command *command) {
    size_t n = command->arguments[0] != '\0';
    for (const char *c = command->arguments; *c; c++)
        n += *c == ' ';
    return n;
}

static bool take_argument(const parser *p, const char *word, size_t *n) {
    if (*n == count_arguments(p->command))
        return fail(p, "unexpected argument '%s'; see pumice help %s", word, p->command->name);
    p->out->arguments[(*n)++] = word;
    return true;
}

bool pm__args_parse(const pm__command *command, int argc, char **argv, pm__options *out,
                    char message[PM__ARGS_MESSAGE]) {
    parser p = {command, argc, 0, argv, out, message};
    size_t n = 0;
    bool only_arguments = false; /* behind "--" */
    message[0] = '\0';
    while (p.next < argc) {
        const char *word = argv[p.next++];
        const bool dashed = word[0] == '-' && word[1] != '\0' && !only_arguments;
        if (dashed && strcmp(word, "--") == 0)
            only_arguments = true;
        else if (!(dashed ? parse_option(&p, word) : take_argument(&p, word, &n)))
            return false;
    }
    if (out->prompt && out->file)
        return fail(&p, "-p and -f are two texts; give one of them");
    if (n < count_arguments(command) && !out->help)
        return fail(&p, "needs %s; see pumice help %s", command->arguments, command->name);
    return true;
}

static void print_wrapped(FILE *to, const char *text, size_t indent) {
    size_t column = indent;
    while (*text) {
        const size_t n = strcspn(text, " ");
        if (column > indent && column + n + 1 > 98) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", (int)n, text);
        column += n;
        text += n + (text[n] == ' ');
    }
    fputc('\n', to);
}

void pm__args_help(const pm__command *command, FILE *to) {
    fprintf(to, "usage: pumice %s [OPTION]...%s%s\n\n%s\n\n", command->name,
            command->arguments[0] ? " " : "", command->arguments, command->summary);
    for (size_t id = 0; id < PM__N_OPT; id++) {
        const option *o = &options[id];
        if (!takes(command, id) || !o->help)
            continue;
        char names[64];
        const char *word = short_of(id);
        const int n = o->letter ? snprintf(names, sizeof names, "-%c, ", o->letter)
                      : word    ? snprintf(names, sizeof names, "%s, ", word)
                                : snprintf(names, sizeof names, "    ");
        snprintf(names + n, sizeof names - (size_t)n, "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        fprintf(to, "  %-28s ", names);
        print_wrapped(to, o->help, 31);
    }
    if (command->spec->notes) {
        fputc('\n', to);
        print_wrapped(to, command->spec->notes, 0);
    }
}

void pm__args_words(const pm__command *command, FILE *to) {
    const char *space = "";
    for (size_t id = 0; id < PM__N_OPT; id++) {
        if (takes(command, id) && options[id].help) {
            fprintf(to, "%s--%s", space, options[id].name);
            space = " ";
            if (options[id].letter)
                fprintf(to, " -%c", options[id].letter);
            if (short_of(id))
                fprintf(to, " %s", short_of(id));
        }
    }
}
