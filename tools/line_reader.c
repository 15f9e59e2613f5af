#include "line_reader.h"

#include <errno.h>
#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "new_file.h"

#define PATH_SIZE    4096
#define HISTORY_SIZE 1000
#define CHUNK_BYTES  4096
#define CONTROL_D    4

struct pm__line_reader {
    EditLine *editor; /* NULL from a pipe */
    History *history;
    char history_path[PATH_SIZE]; /* "" if there is no place for it */
    /* From a pipe: what is read and not yet given out lies in [begin, end). */
    char *bytes;
    size_t begin, end, capacity;
};

/* ---- where the history lies ------------------------------------------------------------------ */

/* Makes the folders of `path` that are missing; ours alone, since messages are private. */
static bool make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const bool there = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!there)
            return false;
    }
    return true;
}

/* $XDG_STATE_HOME/pumice/chat_history, else below $HOME. */
static void find_history(char path[PATH_SIZE]) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n = -1;
    if (state && state[0] == '/')
        n = snprintf(path, PATH_SIZE, "%s/pumice/chat_history", state);
    else if (home && home[0] == '/')
        n = snprintf(path, PATH_SIZE, "%s/.local/state/pumice/chat_history", home);
    if (n <= 0 || n >= PATH_SIZE || !make_folders(path)) {
        fputs("pumice: no folder for the history of lines (XDG_STATE_HOME, HOME); it ends with "
              "this chat\n",
              stderr);
        path[0] = '\0';
    }
}

/* ---- libedit --------------------------------------------------------------------------------- */

static char *prompt(EditLine *editor) {
    static char text[] = "> ";
    (void)editor;
    return text;
}

/* One character from the terminal. libedit's own reader starts over after a signal; a chat must
 * hear Ctrl-C. */
static int read_character(EditLine *editor, wchar_t *out) {
    mbstate_t state = {0};
    (void)editor;
    for (;;) {
        char byte = 0;
        const ssize_t n = pm__interruptible_read(STDIN_FILENO, &byte, 1);
        if (n <= 0)
            return (int)n;
        if (byte == '\0')
            byte = CONTROL_D; /* as a terminal keeps one that came before the editor's mode */
        const size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1)
            state = (mbstate_t){0};
        else if (used != (size_t)-2)
            return 1;
    }
}

static bool open_editor(pm__line_reader *reader) {
    HistEvent event;
    /* The editor draws on stderr: stdout may be a file, and has answers alone. */
    reader->editor = el_init("pumice", stdin, stderr, stderr);
    reader->history = history_init();
    if (!reader->editor || !reader->history)
        return false;
    el_set(reader->editor, EL_PROMPT, prompt);
    el_set(reader->editor, EL_EDITOR, "emacs");
    el_set(reader->editor, EL_GETCFN, read_character);
    /* Ctrl-C must not take a character away between the wait for it and the read. */
    el_set(reader->editor, EL_SETTY, "-d", "+noflsh", NULL);
    history(reader->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(reader->history, &event, H_SETUNIQUE, 1);
    el_set(reader->editor, EL_HIST, history, reader->history);
    find_history(reader->history_path);
    if (reader->history_path[0])
        history(reader->history, &event, H_LOAD, reader->history_path); /* none yet is no failure */
    return true;
}

int pm__line_reader_create(pm__line_reader **out) {
    pm__line_reader *reader = calloc(1, sizeof *reader);
    if (!reader || (isatty(STDIN_FILENO) && !open_editor(reader))) {
        pm__line_reader_destroy(reader);
        return pm__cli_error(PM__EXIT_FAILURE, "chat: the line editor cannot start (TERM is %s)",
                             getenv("TERM") ? getenv("TERM") : "not set");
    }
    *out = reader;
    return 0;
}

static void save_history(const pm__line_reader *reader) {
    HistEvent event;
    pm__new_file file;
    const mode_t mask = umask(077);
    const bool opened = pm__new_file_open(&file, reader->history_path);
    umask(mask);
    if (opened && fchmod(fileno(file.stream), 0600) != 0)
        errno = 0; /* a file system without modes */
    if (!opened ||
        !pm__new_file_close(&file, history(reader->history, &event, H_SAVE_FP, file.stream) >= 0)) {
        fprintf(stderr, "pumice: the history of lines stays as it was before this chat: %s: %s\n",
                reader->history_path, strerror(errno));
    }
}

void pm__line_reader_destroy(pm__line_reader *reader) {
    if (!reader)
        return;
    if (reader->history && reader->history_path[0])
        save_history(reader);
    if (reader->editor)
        el_end(reader->editor);
    if (reader->history)
        history_end(reader->history);
    free(reader->bytes);
    free(reader);
}

bool pm__line_reader_is_terminal(const pm__line_reader *reader) {
    return reader->editor != NULL;
}

static pm__line next_edited(pm__line_reader *reader, const char **line, size_t *n_byte) {
    int n = 0;
    /* Before the prompt: who answers it at once is not to be echoed by the terminal as well. */
    el_set(reader->editor, EL_PREP_TERM, 1);
    const char *text = el_gets(reader->editor, &n);
    if (!text || n <= 0) {
        fputc('\n', stderr);
        if (!pm__interrupts())
            return PM__LINE_END;
        tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before Ctrl-C goes with its line */
        return PM__LINE_INTERRUPTED;
    }
    HistEvent event;
    if (n > 1)
        history(reader->history, &event, H_ENTER, text);
    *line = text;
    *n_byte = (size_t)n - (text[n - 1] == '\n');
    return PM__LINE_TEXT;
}

/* Reads on behind what is there. */
static ssize_t fill(pm__line_reader *reader) {
    if (reader->begin > 0) {
        memmove(reader->bytes, reader->bytes + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    if (reader->end == reader->capacity) {
        const size_t capacity = reader->capacity > 0 ? 2 * reader->capacity : CHUNK_BYTES;
        char *more = realloc(reader->bytes, capacity);
        if (!more)
            return -1;
        reader->bytes = more;
        reader->capacity = capacity;
    }
    const ssize_t n = pm__interruptible_read(STDIN_FILENO, reader->bytes + reader->end,
                                             reader->capacity - reader->end);
    if (n > 0)
        reader->end += (size_t)n;
    return n;
}

/* Not through stdio, whose reads do not hear of signals that come before them. */
static pm__line next_plain(pm__line_reader *reader, const char **line, size_t *n_byte) {
    size_t n_seen = 0;
    const char *newline = NULL;
    for (;;) {
        const size_t n = reader->end - reader->begin;
        if (n > n_seen)
            newline = memchr(reader->bytes + reader->begin + n_seen, '\n', n - n_seen);
        if (newline)
            break;
        n_seen = n;
        const ssize_t got = fill(reader);
        if (got < 0)
            return pm__interrupts() ? PM__LINE_INTERRUPTED : PM__LINE_FAILED;
        if (got == 0 && n == 0)
            return PM__LINE_END;
        if (got == 0)
            break; /* the last line has no end */
    }
    *line = reader->bytes + reader->begin;
    *n_byte = newline ? (size_t)(newline - *line) : reader->end - reader->begin;
    reader->begin += *n_byte + (newline != NULL);
    while (*n_byte > 0 && (*line)[*n_byte - 1] == '\r')
        --*n_byte;
    return PM__LINE_TEXT;
}

pm__line pm__line_reader_next(pm__line_reader *reader, const char **line, size_t *n_byte) {
    return reader->editor ? next_edited(reader, line, n_byte) : next_plain(reader, line, n_byte);
}
