/* utf8.h: UTF-8 (RFC 3629) in small steps. */
#ifndef PM_BASE_UTF8_H
#define PM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the character at text[0]. Returns its bytes; 0 if n is 0. A broken sequence yields U+FFFD
 * and the length of its longest valid start (at least 1), as the Unicode standard recommends
 * (section 3.9, U+FFFD substitution of maximal subparts). */
size_t pm__utf8_decode(const char *text, size_t n, uint32_t *code);
/* The first byte that is not part of a whole character, n if all is well formed. */
size_t pm__utf8_check(const char *text, size_t n);
/* Writes up to 4 bytes, returns how many. */
size_t pm__utf8_encode(uint32_t code, char out[4]);
/* How many bytes at the end of text belong to a character that is not complete yet (0 to 3). */
size_t pm__utf8_incomplete(const char *text, size_t n);
/* C0, DEL or C1: what a terminal may obey. */
bool pm__utf8_is_control(uint32_t code);
/* Makes text fit for a terminal, in place: '?' for each byte of a control character or of a broken
 * sequence. For sentences and log lines, which quote what files say. */
void pm__utf8_make_plain(char *text);
/* Printable characters of ASCII, and no others. */
bool pm__is_plain_ascii(const char *text);

#endif
