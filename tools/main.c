/* pumice: the program. A subcommand is a row of commands.def and a file tools/cmd_<name>.c. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "report.h"

#define PM_COMMAND_WITH(name, arguments, summary) extern const pm__spec pm__spec_##name;
#include "commands.def"

static const pm__command commands[] = {
#define PM_COMMAND_WITH(name, arguments, summary) {#name, summary, &pm__spec_##name, arguments},
#include "commands.def"
};

#define N_COMMAND (sizeof commands / sizeof commands[0])

static const pm__command *find(const char *name) {
    for (size_t i = 0; i < N_COMMAND; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_usage(FILE *to) {
    fputs("usage: pumice COMMAND [OPTION]...\n\nLarge language models on any GPU with a Vulkan "
          "driver.\n\n",
          to);
    for (size_t i = 0; i < N_COMMAND; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`pumice help COMMAND` lists the options of a command; `pumice --version` says which "
          "pumice this is.\n"
          "Exit codes: 0 success, 1 failure, 2 usage, 3 bad input file, 4 no suitable device, 5 "
          "out of memory,\n"
          "6 device lost, 7 check failed, 130 interrupted.\n",
          to);
}

static int unknown(const char *name) {
    return pm__cli_error(PM__EXIT_ARGUMENT, "unknown command '%s'; pumice help lists them all",
                         name);
}

static int help(int argc, char **argv) {
    if (argc == 0) {
        print_usage(stdout);
        return 0;
    }
    const pm__command *command = find(argv[0]);
    if (!command)
        return unknown(argv[0]);
    if (argc > 1) {
        return pm__cli_error(PM__EXIT_ARGUMENT, "unexpected argument '%s' after help %s", argv[1],
                             argv[0]);
    }
    pm__args_help(command, stdout);
    return 0;
}

/* Words for the shell's completion: commands, or the options of one. */
static int words(int argc, char **argv) {
    const pm__command *command = argc > 0 ? find(argv[0]) : NULL;
    if (command) {
        pm__args_words(command, stdout);
    } else {
        for (size_t i = 0; i < N_COMMAND; i++)
            printf("%s ", commands[i].name);
        fputs("help --help --version --list-devices", stdout);
    }
    putchar('\n');
    return 0;
}

static void log_line(void *user, pm_log_level level, const char *line) {
    static const char *const names[] = {"error: ", "warning: ", "", ""};
    (void)user;
    fprintf(stderr, "pumice: %s%s\n", names[level], line);
}

static int run(const char *program, const pm__command *command, int argc, char **argv) {
    pm__options options = {.program = program, .sampling = pm_sampling_default()};
    char message[PM__ARGS_MESSAGE];
    if (!pm__args_parse(command, argc, argv, &options, message))
        return pm__cli_error(PM__EXIT_ARGUMENT, "%s", message);
    if (options.help) {
        pm__args_help(command, stdout);
        return 0;
    }
    pm__json_begin();
    pm_set_log(options.verbose ? PM_LOG_DEBUG : PM_LOG_WARN, log_line, NULL);
    return options.list_devices ? find("devices")->spec->run(&options)
                                : command->spec->run(&options);
}

/* What is opened must not take the number of a stream that was closed before this program began:
 * text would go into it. Reading and writing such a stream still fail. */
static void hold_streams(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

static int start(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return PM__EXIT_ARGUMENT;
    }
    const char *name = argv[1];
    char **rest = argv + 2;
    const int n_rest = argc - 2;
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(n_rest, rest);
    if (strcmp(name, "--completion-words") == 0)
        return words(n_rest, rest);
    if (strcmp(name, "--version") == 0 && n_rest == 0) {
        puts("pumice " PM_VERSION);
        return 0;
    }
    const pm__command *command = find(strcmp(name, "--list-devices") == 0 ? "devices" : name);
    return command ? run(argv[0], command, n_rest, rest) : unknown(name);
}

/* Success is said only if all of the output has gone where it was to go. */
static int finish(int code) {
    const bool failed = ferror(stdout) != 0;
    const bool closed = fclose(stdout) == 0;
    if (code == 0 && (failed || !closed))
        return pm__cli_error(PM__EXIT_FAILURE, "standard output cannot be written%s%s",
                             closed ? "" : ": ", closed ? "" : strerror(errno));
    if (code == 0 && pm__json_starved())
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory for all of the output");
    return code;
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, ""); /* for line editing; numbers keep their point */
    hold_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file that may grow no more is a write error */
    return finish(start(argc, argv));
}
