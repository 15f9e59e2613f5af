#include "utf8.h"

#include <stdbool.h>
#include <string.h>

enum { REPLACEMENT = 0xfffd };

/* What a first byte says: bytes of the character, and the range its second byte must lie in, which
 * keeps out overlong forms, surrogates and codes above U+10FFFF (RFC 3629 section 4). bytes 0: it
 * starts nothing. */
typedef struct lead {
    uint8_t bytes, least, most;
} lead;

static lead lead_of(uint8_t byte) {
    if (byte < 0x80)
        return (lead){1, 0, 0};
    if (byte < 0xc2 || byte > 0xf4)
        return (lead){0, 0, 0};
    if (byte < 0xe0)
        return (lead){2, 0x80, 0xbf};
    if (byte < 0xf0)
        return (lead){3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    return (lead){4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
}

/* Bytes of text that are a valid start of the character that `first` begins; at least 1. */
static size_t valid_start(const char *text, size_t n, lead first) {
    size_t i = 1;
    for (; i < n && i < first.bytes; i++) {
        const uint8_t byte = (uint8_t)text[i];
        if (i == 1 ? byte < first.least || byte > first.most : (byte & 0xc0) != 0x80)
            break;
    }
    return i;
}

size_t pm__utf8_decode(const char *text, size_t n, uint32_t *code) {
    if (n == 0)
        return 0;
    const uint8_t byte = (uint8_t)text[0];
    const lead first = lead_of(byte);
    const size_t valid = valid_start(text, n, first);
    if (valid != first.bytes) {
        *code = REPLACEMENT;
        return valid;
    }
    *code = valid == 1 ? byte : byte & (0x7fu >> valid);
    for (size_t i = 1; i < valid; i++)
        *code = *code << 6 | ((uint8_t)text[i] & 0x3f);
    return valid;
}

size_t pm__utf8_check(const char *text, size_t n) {
    size_t at = 0;
    while (at < n) {
        const lead first = lead_of((uint8_t)text[at]);
        if (valid_start(text + at, n - at, first) != first.bytes)
            break;
        at += first.bytes;
    }
    return at;
}

size_t pm__utf8_encode(uint32_t code, char out[4]) {
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        code = REPLACEMENT;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(marks[n] | code);
    return n;
}

size_t pm__utf8_incomplete(const char *text, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const lead first = lead_of((uint8_t)text[n - back]);
        if (first.bytes > back && valid_start(text + n - back, back, first) == back)
            return back;
    }
    return 0;
}

bool pm__utf8_is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

void pm__utf8_make_plain(char *text) {
    const size_t n = strlen(text);
    for (size_t at = 0; at < n;) {
        uint32_t code;
        const size_t bytes = pm__utf8_decode(text + at, n - at, &code);
        if (pm__utf8_is_control(code) || pm__utf8_check(text + at, bytes) != bytes)
            memset(text + at, '?', bytes);
        at += bytes;
    }
}

bool pm__is_plain_ascii(const char *text) {
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}
