#define _GNU_SOURCE /* environ */
#include "checker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check_events.h"
#include "report.h"

extern char **environ;

enum {
    DEFAULT_LIMIT = 120, /* seconds of silence */
    MOST_RESTARTS = 64,
    MOST_ARGUMENTS = 34,
    SKIP_SIZE = 4096
};

static const char nodes_name[] = "model nodes";

/* ---- the child ------------------------------------------------------------------------------- */

static pm_check_level level_of(const pm__options *options) {
    return options->deep ? PM_CHECK_DEEP : options->quick ? PM_CHECK_QUICK : PM_CHECK_STANDARD;
}

static pm_status open_model(pm__cli *cli, bool no_weights, FILE *events) {
    pm__synthetic synthetic;
    const bool is_synthetic =
        cli->options->synthetic && pm__cli_synthetic(cli->options->synthetic, &synthetic) == 0;
    const pm_model_desc desc = {.path = cli->options->model,
                                .synth = is_synthetic ? &synthetic.desc : NULL,
                                .no_weights = no_weights,
                                .progress = pm__event_print_alive,
                                .user = events};
    return desc.path || desc.synth ? pm_model_open(cli->device, &desc, &cli->model) : PM_OK;
}

/* job  "used" or "all", first node, kernels that are left out: "all:0:matvec,rope" */
static pm_status run_job(pm__cli *cli, const char *job, FILE *events) {
    const bool used_only = strncmp(job, "used:", 5) == 0;
    const char *first = strchr(job, ':'), *skip = strrchr(job, ':');
    pm_status status = open_model(cli, used_only, events);
    if (status != PM_OK)
        return status;
    const pm_check_desc desc = {.level = level_of(cli->options),
                                .only = cli->options->kernel,
                                .skip = skip[1] ? skip + 1 : NULL,
                                .first_node = (uint32_t)strtoul(first + 1, NULL, 10),
                                .seed = cli->options->sampling.seed,
                                .used_only = used_only,
                                .cache_type_k = cli->options->cache_type_k,
                                .cache_type_v = cli->options->cache_type_v,
                                .on_case = pm__event_print_case,
                                .user = events};
    status = pm_check(cli->device, cli->model, &desc, NULL);
    return status == PM_CHECK_FAILED ? PM_OK : status;
}

/* Drivers print what they like, so standard output is theirs from now on. */
static FILE *take_stdout(void) {
    const int fd = dup(STDOUT_FILENO);
    if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return NULL;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fdopen(fd, "w");
}

/* The parent holds the other end of standard input and never writes: its end is the parent's. */
static void *end_with_parent(void *none) {
    char byte;
    ssize_t n;
    do
        n = read(STDIN_FILENO, &byte, 1);
    while (n > 0 || (n < 0 && errno == EINTR));
    if (n == 0)
        _exit(PM__EXIT_CANCELLED); /* whatever a driver is at */
    return none;
}

static int watch_parent(void) {
    pthread_t thread;
    const int error = pthread_create(&thread, NULL, end_with_parent, NULL);
    if (error)
        return pm__cli_error(PM__EXIT_FAILURE, "check: no thread: %s", strerror(error));
    pthread_detach(thread);
    return 0;
}

int pm__check_child(const pm__options *options) {
    pm__cli cli = {0};
    const char *first = strchr(options->child, ':');
    if (!first || !strchr(first + 1, ':'))
        return pm__cli_error(PM__EXIT_ARGUMENT, "check: '%s' is no job of a child", options->child);
    PM__CHECK(watch_parent());
    FILE *events = take_stdout();
    if (!events)
        return pm__cli_error(PM__EXIT_FAILURE, "check: no file for events: %s", strerror(errno));
    int code = pm__cli_open_device(&cli, options);
    if (code == 0)
        code = pm_status_exit_code(run_job(&cli, options->child, events));
    pm__event_print_end(events, code ? pm_last_error() : NULL);
    if (fclose(events) != 0 && code == 0)
        code = PM__EXIT_FAILURE;
    pm__cli_close(&cli);
    return code;
}

/* ---- the parent: one child ------------------------------------------------------------------- */

typedef struct supervisor {
    const pm__check_job *job;
    pm__check_results *out;
    pm__progress progress;
    char skip[SKIP_SIZE]; /* kernels whose cases need not run again */
    uint32_t first_node;
    uint32_t n_before; /* cases of children before */
    pid_t pid;
    int pipe; /* read end */
    int life; /* write end of what the child has for standard input */
    pm__events events;
    bool finished;       /* the child said so */
    char sentence[1024]; /* why it stopped */
    bool running;        /* a case has begun and not ended */
    pm_check_case present;
    char kernel[48], name[160];
} supervisor;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef struct arguments {
    char *items[MOST_ARGUMENTS];
    size_t n;
    char numbers[5][24], child[SKIP_SIZE + 32], program[PM__PATH_SIZE];
} arguments;

static void add(arguments *a, const char *flag, const char *value) {
    if (flag && a->n + 3 < MOST_ARGUMENTS) {
        a->items[a->n++] = (char *)(uintptr_t)flag;
        if (value)
            a->items[a->n++] = (char *)(uintptr_t)value;
    }
}

static void add_number(arguments *a, size_t slot, const char *flag, uint64_t value) {
    snprintf(a->numbers[slot], sizeof a->numbers[slot], "%" PRIu64, value);
    add(a, value ? flag : NULL, a->numbers[slot]);
}

static void collect_arguments(const supervisor *s, arguments *a) {
    const pm__options *options = s->job->options;
    const pm_device_info *info = pm_device_get_info(s->job->device);
    const ssize_t n = readlink("/proc/self/exe", a->program, sizeof a->program - 1);
    if (n > 0)
        a->program[n] = '\0';
    else
        snprintf(a->program, sizeof a->program, "%s", options->program);
    snprintf(a->child, sizeof a->child, "%s:%" PRIu32 ":%s", s->job->used_only ? "used" : "all",
             s->first_node, s->skip);
    snprintf(a->numbers[0], sizeof a->numbers[0], "%" PRIu32, info->index);
    add(a, a->program, NULL);
    add(a, "check", NULL);
    add(a, "--child", a->child);
    add(a, "--device", strcmp(info->kind, "cpu") == 0 ? "cpu" : a->numbers[0]);
    add(a, s->job->model ? "-m" : NULL, s->job->model);
    add(a, options->synthetic ? "--synthetic" : NULL, options->synthetic);
    add(a, options->cache_dir ? "--cache-dir" : NULL, options->cache_dir);
    add(a, options->no_cache ? "--no-cache" : NULL, NULL);
    add(a, options->kernel ? "--kernel" : NULL, options->kernel);
    if (!s->job->used_only) {
        add(a, options->cache_type_k ? "-ctk" : NULL, options->cache_type_k);
        add(a, options->cache_type_v ? "-ctv" : NULL, options->cache_type_v);
    }
    add(a, options->quick || s->job->used_only ? "--quick" : NULL, NULL);
    add(a, options->deep ? "--deep" : NULL, NULL);
    add(a, options->verbose ? "-v" : NULL, NULL);
    add_number(a, 1, "-t", options->n_thread);
    add_number(a, 2, "--submit-ms", options->submit_ms);
    /* The limit of a run is for its model and session. */
    snprintf(a->numbers[4], sizeof a->numbers[4], "%" PRIu64 "B", options->max_vram);
    add(a, options->max_vram && !s->job->used_only ? "--max-vram" : NULL, a->numbers[4]);
    /* A seed of a run is one of its sampler. */
    add_number(a, 3, "-s", s->job->used_only ? 0 : options->sampling.seed);
    a->items[a->n] = NULL;
}

/* Errors of the child are the parent's, but not the noise of a driver that dies. */
static int spawn(const arguments *a, int in, int out, bool verbose, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (!verbose)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    error = posix_spawn(pid, a->program, &actions, NULL, a->items, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Two pipes of the parent alone: the child gets copies of one end of each. */
static int open_pipes(int in[2], int out[2]) {
    if (pipe(in) != 0)
        return pm__cli_error(PM__EXIT_FAILURE, "check: no pipe: %s", strerror(errno));
    if (pipe(out) != 0) {
        const int error = errno;
        close(in[0]);
        close(in[1]);
        return pm__cli_error(PM__EXIT_FAILURE, "check: no pipe: %s", strerror(error));
    }
    for (size_t i = 0; i < 2; i++) {
        fcntl(in[i], F_SETFD, FD_CLOEXEC);
        fcntl(out[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static int start(supervisor *s) {
    arguments a = {.n = 0};
    int in[2], out[2];
    PM__CHECK(open_pipes(in, out));
    collect_arguments(s, &a);
    const int error = spawn(&a, in[0], out[1], s->job->options->verbose, &s->pid);
    close(in[0]);
    close(out[1]);
    if (error) {
        close(in[1]);
        close(out[0]);
        return pm__cli_error(PM__EXIT_FAILURE, "check: %s cannot be started: %s", a.program,
                             strerror(error));
    }
    s->pipe = out[0];
    s->life = in[1];
    s->events = (pm__events){.n = 0};
    s->finished = s->running = false;
    s->sentence[0] = '\0';
    return 0;
}

/* ---- the parent: what children say ----------------------------------------------------------- */

static pm__checked_kernel *kernel_of(pm__check_results *out, const char *name) {
    for (size_t i = 0; i < out->n_kernel; i++)
        if (strcmp(out->kernels[i].name, name) == 0)
            return &out->kernels[i];
    if (out->n_kernel == PM__MOST_CHECKED)
        return &out->kernels[PM__MOST_CHECKED - 1];
    pm__checked_kernel *kernel = &out->kernels[out->n_kernel++];
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    return kernel;
}

static bool is_fault(pm_status status) {
    return status == PM_CHECK_FAILED || status == PM_FAILURE || status == PM_DEVICE_LOST;
}

static void keep_failure(supervisor *s, pm_status status, const char *why) {
    pm__check_results *out = s->out;
    char reason[400];
    const char *shape = strchr(s->name, '/');
    snprintf(reason, sizeof reason, "%s (%s)", why, shape ? shape + 1 : s->name);
    if (is_fault(status) && pm_device_get_info(s->job->device)->n_tier > 0)
        (void)pm_device_quarantine(s->job->device, s->kernel, reason);
    if (out->n_failure < PM__MOST_FAILURES) {
        pm__check_failure *failure = &out->failures[out->n_failure++];
        snprintf(failure->name, sizeof failure->name, "%s", s->name);
        snprintf(failure->kernel, sizeof failure->kernel, "%s", s->kernel);
        snprintf(failure->why, sizeof failure->why, "%s", why);
        pm__make_plain(failure->why); /* where it was cut */
        failure->status = status;
    }
}

static void count(supervisor *s, const pm_check_case *c) {
    const bool node = c->node != PM_NO_INDEX;
    pm__checked_kernel *kernel = kernel_of(s->out, node ? nodes_name : s->kernel);
    const bool fault = is_fault(c->status), unchecked = !fault && c->status != PM_OK;
    kernel->n_case++;
    kernel->n_failed += fault;
    kernel->n_unchecked += unchecked;
    kernel->seconds += c->seconds;
    if (c->error > kernel->worst || c->error != c->error)
        kernel->worst = c->error;
    if (c->bound > kernel->bound)
        kernel->bound = c->bound;
    s->out->n_case++;
    s->out->n_failed += fault;
    s->out->n_unchecked += unchecked;
    if (c->status != PM_OK)
        keep_failure(s, c->status, c->why);
}

static void take_case(supervisor *s, const pm_check_case *c) {
    snprintf(s->kernel, sizeof s->kernel, "%s", c->kernel);
    snprintf(s->name, sizeof s->name, "%s", c->name);
    s->running = !c->done;
    s->present = *c;
    s->present.kernel = s->kernel;
    s->present.name = s->name;
    s->present.why = "";
    if (c->done)
        count(s, c);
    pm__report_progress(&s->progress, s->job->label, s->n_before + c->index + c->done,
                        s->n_before + c->n);
}

static void take_event(void *user, const pm__event *event) {
    supervisor *s = user;
    if (event->kind == PM__EVENT_CASE)
        take_case(s, &event->c);
    else if (event->kind == PM__EVENT_STOPPED)
        snprintf(s->sentence, sizeof s->sentence, "%s", event->sentence);
    s->finished = event->kind == PM__EVENT_FINISHED;
}

/* Reads what is there; false at the end. */
static bool read_events(supervisor *s) {
    char bytes[2048];
    const ssize_t n = read(s->pipe, bytes, sizeof bytes);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    pm__events_take(&s->events, bytes, (size_t)n, take_event, s);
    return true;
}

/* Until the child ends, is silent for too long, or somebody interrupts. *silent: the second. */
static void watch(supervisor *s, bool *silent) {
    const uint32_t limit =
        s->job->options->time_limit ? s->job->options->time_limit : DEFAULT_LIMIT;
    double heard = now();
    *silent = false;
    while (!*silent && !pm__interrupts()) {
        struct pollfd pipe_end = {.fd = s->pipe, .events = POLLIN};
        const int ready = poll(&pipe_end, 1, 200);
        if (ready > 0) {
            if (!read_events(s))
                return;
            heard = now();
        }
        *silent = now() - heard > limit;
    }
}

/* How the child ended, in words; 0: by itself with *code. */
static void end_child(supervisor *s, bool silent, int *code, char *how, size_t size) {
    int status = 0;
    how[0] = '\0';
    *code = 0;
    if (silent || pm__interrupts())
        kill(s->pid, SIGKILL);
    while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close(s->pipe);
    close(s->life);
    if (silent) {
        snprintf(
            how, size, "no answer for %u s: the driver hangs",
            (unsigned)(s->job->options->time_limit ? s->job->options->time_limit : DEFAULT_LIMIT));
    } else if (WIFSIGNALED(status)) {
        snprintf(how, size, "the driver crashed (signal %d)", WTERMSIG(status));
    } else {
        *code = WEXITSTATUS(status);
    }
}

/* ---- the parent: child after child ----------------------------------------------------------- */

/* Kernels seen so far need not run again. */
static void skip_seen(supervisor *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->out->n_kernel; i++) {
        const char *name = s->out->kernels[i].name;
        if (strcmp(name, nodes_name) != 0 && n + strlen(name) + 2 < SKIP_SIZE)
            n += (size_t)snprintf(s->skip + n, SKIP_SIZE - n, "%s%s", n ? "," : "", name);
    }
    if (s->present.node != PM_NO_INDEX)
        s->first_node = s->present.node + 1;
    s->n_before = s->out->n_case;
}

static int run_child(supervisor *s, bool *again) {
    char how[128];
    bool silent = false;
    int code = 0;
    *again = false;
    PM__CHECK(start(s));
    watch(s, &silent);
    end_child(s, silent, &code, how, sizeof how);
    if (pm__interrupts())
        return PM__EXIT_CANCELLED;
    if (s->finished && !s->running) {
        if (how[0])
            fprintf(stderr, "pumice: warning: after the last case %s\n", how);
        return 0;
    }
    if (s->running) {
        s->present.status = PM_CHECK_FAILED;
        s->present.why = how[0] ? how : "the process ended in the middle of it";
        count(s, &s->present);
    } else if (code != PM__EXIT_DEVICE_LOST || s->out->n_case == s->n_before) {
        return pm__cli_error(code ? code : PM__EXIT_FAILURE, "%s",
                             how[0]           ? how
                             : s->sentence[0] ? s->sentence
                                              : "check: its process ended early; -v says more");
    }
    *again = true;
    skip_seen(s);
    return 0;
}

int pm__check_supervise(const pm__check_job *job, pm__check_results *out) {
    supervisor s = {.job = job, .out = out, .present = {.node = PM_NO_INDEX}};
    const double started = now();
    *out = (pm__check_results){.n_kernel = 0};
    int code = 0;
    bool again = true;
    for (int i = 0; i < MOST_RESTARTS && again && code == 0; i++)
        code = run_child(&s, &again);
    pm__report_progress_end(&s.progress);
    out->seconds = now() - started;
    if (code == 0 && again) {
        code = pm__cli_error(PM__EXIT_FAILURE, "check: the driver failed %d times; giving up",
                             MOST_RESTARTS);
    }
    return code;
}

/* ---- the first use of a device --------------------------------------------------------------- */

static int interrupted(void) {
    return pm__interrupts() ? PM__EXIT_CANCELLED : 0;
}

int pm__check_first_use(pm__cli *cli) {
    if (cli->options->no_check || !pm_check_is_due(cli->device, cli->model))
        return 0;
    static pm__check_results results;
    const pm__check_job job = {.options = cli->options,
                               .device = cli->device,
                               .model = cli->options->synthetic ? NULL : cli->model_path,
                               .used_only = true,
                               .label = "check kernels"};
    const int code = pm__check_supervise(&job, &results);
    if (code == PM__EXIT_CANCELLED)
        return code;
    if (code != 0) {
        fputs("pumice: warning: the kernels could not be checked on this device; `pumice check -v` "
              "says more\n",
              stderr);
        return 0;
    }
    fprintf(stderr,
            "pumice: first use of this device and driver: %" PRIu32 " cases of %zu kernels checked "
            "in %.1f s, %" PRIu32 " failed\n",
            results.n_case, results.n_kernel, results.seconds, results.n_failed);
    pm_check_note(cli->device, cli->model);
    /* For the last line of runs; what cannot be measured is not said there. */
    pm_device_speed speed;
    if (!pm_device_get_speed(cli->device, &speed) &&
        pm_device_measure(cli->device, &speed) == PM_OK)
        fprintf(stderr, "pumice: its memory copies %.4g GB/s\n",
                1e-9 * speed.copy_bytes_per_second);
    return interrupted();
}
