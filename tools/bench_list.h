/* bench_list.h: lists of numbers on a command line: "512", "128,256", "1-8", "0-4096+512",
 * "1-64*2". */
#ifndef PM_TOOLS_BENCH_LIST_H
#define PM_TOOLS_BENCH_LIST_H

#include "common.h"

enum { PM__MOST_NUMBERS = 4096 };

typedef struct pm__numbers {
    uint32_t items[PM__MOST_NUMBERS];
    size_t n;
} pm__numbers;

/* All numbers of all texts, in order; one that comes again is left out.
 * option       for the sentence, "-p"
 * least, most  of each number
 * Gives an exit code. */
int pm__numbers_read(pm__numbers *out, const pm__texts *texts, const char *option, uint32_t least,
                     uint32_t most);
/* The same with one number where there are no texts. */
int pm__numbers_read_or(pm__numbers *out, const pm__texts *texts, const char *option,
                        const uint32_t limits[2], uint32_t otherwise);

enum { PM__MOST_WORDS = 32, PM__MOST_WORD = 16 };

/* Words between commas. */
typedef struct pm__words {
    char items[PM__MOST_WORDS][PM__MOST_WORD];
    size_t n;
} pm__words;

int pm__words_read(pm__words *out, const pm__texts *texts, const char *option,
                   const char *otherwise);

#endif
