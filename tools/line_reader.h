/* line_reader.h: messages a line: with editing and history on a terminal, plain from a pipe. */
#ifndef PM_TOOLS_LINE_READER_H
#define PM_TOOLS_LINE_READER_H

#include "common.h"

typedef struct pm__line_reader pm__line_reader;

typedef enum pm__line {
    PM__LINE_TEXT,
    PM__LINE_END,
    PM__LINE_INTERRUPTED,
    PM__LINE_FAILED
} pm__line;

int pm__line_reader_create(pm__line_reader **out);
void pm__line_reader_destroy(pm__line_reader *reader);
bool pm__line_reader_is_terminal(const pm__line_reader *reader);
/* The next line without its end; *line is the reader's until the next call. */
pm__line pm__line_reader_next(pm__line_reader *reader, const char **line, size_t *n_byte);

#endif
