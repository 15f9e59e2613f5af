/* fuzz_template.c: a chat template, and after a zero byte, if there is one, its variables as
 * JSON. */
#include "input.h"

#include "base/utf8.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

/* A character that no template writes by itself, unless it stands in its source. */
#define PRIVATE "\xee\x80\x80"

static const char usual[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"" PRIVATE "\"}, {\"role\": \"user\", "
    "\"content\": \"" PRIVATE "a B " PRIVATE "\\n<" PRIVATE ">\"}, {\"role\": \"assistant\", "
    "\"content\": \"\", \"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": 1.5, "
    "\"" PRIVATE "\": null}}]}], \"add_generation_prompt\": true}";

/* Ranges in order, apart, inside of the text; and all private characters are in one. */
static void check_text(const pm__jinja_text *text, bool private_is_data) {
    size_t end = 0;
    PM__HOLDS(text->text[text->n_byte] == '\0');
    PM__HOLDS(pm__utf8_check(text->text, text->n_byte) == text->n_byte);
    for (size_t i = 0; i < text->n_data; i++) {
        PM__HOLDS(text->data[i].begin >= end + (i > 0) && text->data[i].end > text->data[i].begin);
        end = text->data[i].end;
    }
    PM__HOLDS(end <= text->n_byte);
    for (size_t at = 0, i = 0; private_is_data && at + 3 <= text->n_byte; at++) {
        if (memcmp(text->text + at, PRIVATE, 3) != 0)
            continue;
        while (i < text->n_data && text->data[i].end <= at)
            i++;
        PM__HOLDS(i < text->n_data && text->data[i].begin <= at && text->data[i].end >= at + 3);
    }
}

static pm_status render(const pm__jinja *jinja, pm__span variables, pm__jinja_text *out) {
    static const pm__jinja_limits limits = {
        .n_step = 30000, .depth = 150, .output_bytes = 1 << 16, .memory_bytes = 1 << 22};
    static const pm__jinja_time now = {2026, 1, 31, 9, 30, 0};
    pm__j_env *env = NULL;
    PM_TRY(pm__jinja_begin(&limits, &now, &env));
    pm_status status = pm__jinja_set_json(env, "variables", variables.data, variables.size);
    if (status == PM_OK)
        status = pm__jinja_render(jinja, env, out);
    pm__jinja_end(env);
    return status;
}

/* Twice the same, and within the limits. */
static void check_template(pm__span source, pm__span variables, bool private_is_data) {
    static const pm_status allowed[] = {PM_BAD_FILE, PM_UNSUPPORTED, PM_FAILURE};
    pm__jinja *jinja = NULL;
    pm__jinja_text text = {0}, again = {0};
    pm_status status = pm__jinja_create(source.data, source.size, &jinja);
    if (status == PM_OK)
        status = render(jinja, variables, &text);
    if (status == PM_OK) {
        PM__HOLDS(text.n_byte <= 1 << 16);
        check_text(&text, private_is_data);
        PM__HOLDS(render(jinja, variables, &again) == PM_OK && again.n_byte == text.n_byte);
        PM__HOLDS(memcmp(again.text, text.text, text.n_byte) == 0);
    } else {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    }
    pm__jinja_text_finish(&text);
    pm__jinja_text_finish(&again);
    pm__jinja_destroy(jinja);
}

/* A template that has the character, or escapes, may write it. */
static bool has_private(pm__span source) {
    for (size_t i = 0; i < source.size; i++)
        if (source.data[i] == PRIVATE[0] || source.data[i] == '\\')
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input_quiet();
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t n = zero != NULL ? (size_t)(zero - data) : size;
    char *copy = (char *)pm__input_copy(data, n);
    const pm__span source = {copy, n};
    pm__span variables = {usual, sizeof usual - 1};
    char *given = zero != NULL ? (char *)pm__input_copy(zero + 1, size - n - 1) : NULL;
    if (given != NULL)
        variables = (pm__span){given, size - n - 1};
    check_template(source, variables, given == NULL && !has_private(source));
    free(given);
    free(copy);
    return 0;
}
