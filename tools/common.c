#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checker.h"
#include "report.h"

#define MOST_TEXT_BYTES ((size_t)1 << 30)

int pm__cli_error(int exit_code, const char *fmt, ...) {
    char sentence[PM__PATH_SIZE + 1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    pm__make_plain(sentence);
    fprintf(stderr, "pumice: %s\n", sentence);
    return exit_code;
}

int pm__cli_status(pm_status status) {
    if (status == PM_OK)
        return 0;
    const char *sentence = pm_last_error();
    return pm__cli_error(pm_status_exit_code(status), "%s",
                         sentence[0] ? sentence : pm_status_text(status));
}

int pm__cli_grow(const char *who, void *array, size_t n, size_t *capacity, size_t size) {
    const size_t more = *capacity + *capacity / 2 + 16;
    void *items; /* a pointer to items of any type: copied, since it is no void pointer */
    if (n < *capacity)
        return 0;
    memcpy(&items, array, sizeof items);
    items = realloc(items, more * size);
    if (!items)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "%s: no memory for %zu bytes", who,
                             more * size);
    memcpy(array, &items, sizeof items);
    *capacity = more;
    return 0;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* The folder this program lies in; false where the system does not tell. */
static bool program_folder(const char *program, char folder[PM__PATH_SIZE]) {
    ssize_t n = readlink("/proc/self/exe", folder, PM__PATH_SIZE - 1);
    if (n < 0 && strchr(program, '/'))
        n = snprintf(folder, PM__PATH_SIZE, "%s", program);
    if (n <= 0 || n >= PM__PATH_SIZE)
        return false;
    folder[n] = '\0';
    char *slash = strrchr(folder, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return true;
}

/* The bundled model: beside the build tree, or where it was installed. */
static bool find_bundled(const char *program, char path[PM__PATH_SIZE]) {
    static const char *const places[] = {"../models/pebble/pebble.gguf",
                                         "../../models/pebble/pebble.gguf",
                                         "../share/pumice/pebble.gguf"};
    char folder[PM__PATH_SIZE];
    if (program_folder(program, folder)) {
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            const int n = snprintf(path, PM__PATH_SIZE, "%s/%s", folder, places[i]);
            if (n > 0 && n < PM__PATH_SIZE && access(path, R_OK) == 0)
                return true;
        }
    }
    snprintf(path, PM__PATH_SIZE, "%s", PUMICE_DATA_DIR "/pebble.gguf");
    return access(path, R_OK) == 0;
}

int pm__cli_synthetic(const char *text, pm__synthetic *out) {
    if (strlen(text) >= sizeof out->shape || text[0] == '\0')
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "--synthetic: '%.64s' is not SHAPE:TYPE, such as llama-8b:q4_0", text);
    strcpy(out->shape, text);
    char *colon = strchr(out->shape, ':');
    if (colon)
        *colon = '\0';
    out->desc = (pm_synth_desc){.shape = out->shape, .type = colon ? colon + 1 : NULL, .seed = 1};
    return 0;
}

static int find_model(pm__cli *cli) {
    if (cli->options->synthetic) {
        snprintf(cli->model_path, PM__PATH_SIZE, "%s", cli->options->synthetic);
        return cli->options->model
                   ? pm__cli_error(PM__EXIT_ARGUMENT,
                                   "-m and --synthetic are two models; give one of them")
                   : 0;
    }
    if (!cli->options->model) {
        return find_bundled(cli->options->program, cli->model_path)
                   ? 0
                   : pm__cli_error(PM__EXIT_BAD_FILE,
                                   "the bundled model (pebble.gguf) is neither beside the program "
                                   "nor in %s; give a model with -m FILE",
                                   PUMICE_DATA_DIR);
    }
    const int n = snprintf(cli->model_path, PM__PATH_SIZE, "%s", cli->options->model);
    return n < PM__PATH_SIZE
               ? 0
               : pm__cli_error(PM__EXIT_BAD_FILE, "the model's path is longer than %d",
                               PM__PATH_SIZE - 1);
}

int pm__cli_open_model(pm__cli *cli, pm__cli_need need) {
    PM__CHECK(find_model(cli));
    pm__progress progress = {0};
    pm__synthetic synthetic;
    const bool is_synthetic = cli->options->synthetic != NULL;
    if (is_synthetic)
        PM__CHECK(pm__cli_synthetic(cli->options->synthetic, &synthetic));
    const pm_session_desc session = pm__cli_session_desc(cli->options);
    const pm_model_desc desc = {.path = is_synthetic ? NULL : cli->model_path,
                                .synth = is_synthetic ? &synthetic.desc : NULL,
                                .info_only = need == PM__NEED_INFO,
                                .vocab_only = need == PM__NEED_VOCAB,
                                .no_weights = need == PM__NEED_PLAN,
                                .session = need == PM__NEED_SESSION ? &session : NULL,
                                .check_first = !cli->options->no_check,
                                .progress = pm__report_progress,
                                .user = &progress};
    const pm_status status = pm_model_open(cli->device, &desc, &cli->model);
    pm__report_progress_end(&progress);
    return pm__cli_status(status);
}

pm_session_desc pm__cli_session_desc(const pm__options *options) {
    const pm_session_desc desc = {.n_ctx = options->n_ctx,
                                  .n_batch = options->n_batch,
                                  .n_seq = options->n_answer,
                                  .deterministic = options->deterministic,
                                  .no_fuse = options->no_fuse,
                                  .int8 = options->int8,
                                  .embeddings = options->embeddings,
                                  .profile = options->profile,
                                  .cache_type_k = options->cache_type_k,
                                  .cache_type_v = options->cache_type_v};
    return desc;
}

int pm__cli_open_device(pm__cli *cli, const pm__options *options) {
    cli->options = options;
    const pm_device_desc desc = {.name = options->device,
                                 .require_gpu = options->require_gpu,
                                 .n_thread = options->n_thread,
                                 .cache_dir = options->no_cache ? "" : options->cache_dir,
                                 .submit_ms = options->submit_ms,
                                 .max_memory_bytes = options->max_vram,
                                 .one_dispatch = options->one_dispatch};
    return pm__cli_status(pm_device_open(&desc, &cli->device));
}

static int interrupted(void) {
    return pm__interrupts() ? PM__EXIT_CANCELLED : 0;
}

int pm__cli_open(pm__cli *cli, const pm__options *options, pm__cli_need need) {
    cli->options = options;
    if (need != PM__NEED_VOCAB && need != PM__NEED_INFO) {
        PM__CHECK(pm__cli_open_device(cli, options));
        pm__report_device(pm_device_get_info(cli->device));
        pm__report_tuning(cli->device);
        PM__CHECK(interrupted());
    }
    if (need != PM__NEED_DEVICE)
        PM__CHECK(pm__cli_open_model(cli, need));
    PM__CHECK(interrupted());
    if (need == PM__NEED_SESSION) {
        PM__CHECK(pm__check_first_use(cli));
        pm__report_quarantine(cli->device);
        const pm_session_desc desc = pm__cli_session_desc(options);
        PM__CHECK(pm__cli_status(pm_session_open(cli->model, &desc, &cli->session)));
        if (desc.n_ctx == PM_CTX_AUTO)
            pm__report_auto(cli->model, pm_session_n_ctx(cli->session));
        if (options->profile || options->verbose)
            pm__report_start(cli->session);
    }
    return interrupted();
}

void pm__cli_close(pm__cli *cli) {
    pm_session_close(cli->session);
    pm_model_close(cli->model);
    pm_device_close(cli->device);
    free(cli->chat_template);
    *cli = (pm__cli){0};
}

/* ---- texts ----------------------------------------------------------------------------------- */

static int read_all(int fd, const char *shown, char **text, size_t *n_byte) {
    size_t capacity = 65536, n = 0;
    char *bytes = malloc(capacity);
    while (bytes) {
        const ssize_t got = pm__interruptible_read(fd, bytes + n, capacity - n - 1);
        if (got < 0) {
            free(bytes);
            return errno == EINTR ? PM__EXIT_CANCELLED
                                  : pm__cli_error(PM__EXIT_BAD_FILE, "cannot read %s: %s", shown,
                                                  strerror(errno));
        }
        n += (size_t)got;
        if (got == 0) {
            bytes[n] = '\0';
            *text = bytes;
            *n_byte = n;
            return 0;
        }
        if (n > MOST_TEXT_BYTES) {
            free(bytes);
            return pm__cli_error(PM__EXIT_BAD_FILE, "%s is longer than 1 GiB", shown);
        }
        if (capacity - n < 2) {
            char *more = realloc(bytes, capacity * 2);
            if (!more)
                break;
            bytes = more;
            capacity *= 2;
        }
    }
    free(bytes);
    return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory to read %s (%zu bytes so far)", shown,
                         n);
}

int pm__cli_read_file(const char *path, char **text, size_t *n_byte) {
    if (!path) {
        if (isatty(STDIN_FILENO)) {
            fputs("pumice: reading the text from the terminal; Ctrl-D on a new line ends it\n",
                  stderr);
        }
        return read_all(STDIN_FILENO, "standard input", text, n_byte);
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pm__cli_error(PM__EXIT_BAD_FILE, "cannot open %s: %s", path, strerror(errno));
    const int code = read_all(fd, path, text, n_byte);
    close(fd);
    return code;
}

int pm__cli_read_text(const pm__options *options, bool trim, char **text, size_t *n_byte) {
    if (options->prompt) {
        *n_byte = strlen(options->prompt);
        *text = malloc(*n_byte + 1);
        if (!*text)
            return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory for a text of %zu bytes",
                                 *n_byte);
        memcpy(*text, options->prompt, *n_byte + 1);
        return 0;
    }
    PM__CHECK(pm__cli_read_file(options->file, text, n_byte));
    if (trim && *n_byte > 0 && (*text)[*n_byte - 1] == '\n')
        (*text)[--*n_byte] = '\0';
    return 0;
}

/* What is to become ids: a text, or messages. */
typedef struct source {
    const pm_model *model;
    const pm_tokenize_desc *text; /* NULL: messages */
    const pm_chat_desc *chat;
} source;

static pm_status tokenize(const source *from, int32_t *ids, size_t capacity, size_t *n_id) {
    return from->text ? pm_tokenize(from->model, from->text, ids, capacity, n_id)
                      : pm_chat_tokenize(from->model, from->chat, ids, capacity, n_id);
}

/* capacity  a first guess that nearly always suffices */
static int tokenize_all(const source *from, size_t capacity, int32_t **ids, size_t *n_id) {
    *ids = malloc(capacity * sizeof **ids);
    pm_status status = *ids ? tokenize(from, *ids, capacity, n_id) : PM_OUT_OF_MEMORY;
    if (*ids && status == PM_FAILURE && *n_id > capacity) {
        capacity = *n_id;
        free(*ids);
        *ids = malloc(capacity * sizeof **ids);
        status = *ids ? tokenize(from, *ids, capacity, n_id) : PM_OUT_OF_MEMORY;
    }
    if (!*ids)
        return pm__cli_error(PM__EXIT_OUT_OF_MEMORY, "no memory for %zu token ids", capacity);
    if (status != PM_OK) {
        free(*ids);
        *ids = NULL;
    }
    return pm__cli_status(status);
}

int pm__cli_tokenize(const pm_model *model, const pm_tokenize_desc *desc, int32_t **ids,
                     size_t *n_id) {
    const source from = {.model = model, .text = desc};
    /* No more tokens than bytes, and a few special ones. */
    return tokenize_all(&from, desc->n_byte + 8, ids, n_id);
}

/* A text has tags in it; what names no file is a name. */
static bool is_text(const char *template) {
    return strstr(template, "{{") || strstr(template, "{%") || strstr(template, "{#");
}

static int read_template(pm__cli *cli) {
    const pm__options *options = cli->options;
    const char *choice = options->chat_template, *path = options->chat_template_file;
    size_t n_byte = 0;
    if (path && choice)
        return pm__cli_error(PM__EXIT_ARGUMENT, "a chat template and a file with one are given; "
                                                "one of them will do");
    if (choice && !is_text(choice) && access(choice, R_OK) == 0)
        path = choice;
    if (!path || cli->chat_template)
        return 0;
    PM__CHECK(pm__cli_read_file(path, &cli->chat_template, &n_byte));
    return strlen(cli->chat_template) == n_byte
               ? 0
               : pm__cli_error(PM__EXIT_BAD_FILE, "%s is no chat template: a zero byte at %zu",
                               path, strlen(cli->chat_template));
}

static void read_clock(pm__cli *cli) {
    const time_t seconds = time(NULL);
    struct tm parts;
    if (localtime_r(&seconds, &parts))
        strftime(cli->now, sizeof cli->now, "%Y-%m-%dT%H:%M:%S", &parts);
}

/* A mistake on the command line is to be told from one in a file. */
static int check_variables(const char *text) {
    cJSON *document = text ? cJSON_Parse(text) : NULL;
    const bool good = !text || cJSON_IsObject(document);
    cJSON_Delete(document);
    return good || pm__json_starved()
               ? 0
               : pm__cli_error(PM__EXIT_ARGUMENT,
                               "--chat-template-kwargs: '%.60s' is no JSON object", text);
}

int pm__cli_chat_desc(pm__cli *cli, pm_chat_desc *out) {
    const pm__options *options = cli->options;
    PM__CHECK(check_variables(options->chat_template_kwargs));
    PM__CHECK(read_template(cli));
    if (cli->now[0] == '\0')
        read_clock(cli);
    *out = (pm_chat_desc){.open_answer = true,
                          .variables = options->chat_template_kwargs,
                          .chat_template = cli->chat_template,
                          .now = options->now ? options->now : cli->now};
    if (!cli->chat_template && options->chat_template && is_text(options->chat_template))
        out->chat_template = options->chat_template;
    else if (!cli->chat_template)
        out->template_name = options->chat_template;
    return 0;
}

int pm__cli_tokenize_chat(pm__cli *cli, const pm_message *messages, size_t n, int32_t **ids,
                          size_t *n_id) {
    pm_chat_desc desc;
    size_t capacity = 256;
    PM__CHECK(pm__cli_chat_desc(cli, &desc));
    desc.messages = messages;
    desc.n_message = n;
    for (size_t i = 0; i < n; i++)
        capacity += (messages[i].content ? strlen(messages[i].content) : 0) + 64;
    const source from = {.model = cli->model, .chat = &desc};
    return tokenize_all(&from, capacity, ids, n_id);
}

/* ---- generation ------------------------------------------------------------------------------ */

void pm__cli_seed(pm__options *options) {
    if (options->given[PM__OPT_SEED])
        return;
    /* 32 bits: short enough to type again. */
    uint32_t seed = 0;
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &seed, sizeof seed) != (ssize_t)sizeof seed) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec ^ (uint32_t)getpid();
    }
    if (fd >= 0)
        close(fd);
    options->sampling.seed = seed;
}

pm_generate_desc pm__cli_generate_desc(const pm__options *options, const int32_t *prompt,
                                       size_t n_prompt) {
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = n_prompt,
                                   .sampling = &options->sampling,
                                   .n_predict = options->n_predict,
                                   .n_answer = options->n_answer,
                                   .stop = options->stop.items,
                                   .n_stop = options->stop.n,
                                   .ignore_eos = options->ignore_eos,
                                   .run_ahead = options->run_ahead};
    return desc;
}

/* ---- interruption ---------------------------------------------------------------------------- */

/* Handlers may run on any thread. */
static atomic_int interrupts;
static atomic_int deliveries; /* since the last take; whoever is not heard in time is obeyed */

/* A byte for each delivery: a wait for input waits for this too. -1 where no pipe can be had. */
static int wake[2] = {-1, -1};

/* A terminal first signals and then throws away what it has not shown yet; what is said about the
 * interruption must come after that. */
static bool settled;

static void on_signal(int signal_number) {
    const int held = errno;
    atomic_fetch_add(&interrupts, signal_number == SIGTERM ? 2 : 1);
    if (atomic_fetch_add(&deliveries, 1) >= 2)
        _exit(128 + signal_number);
    if (wake[1] >= 0 && write(wake[1], "", 1) < 0)
        errno = 0; /* full: it wakes anyway */
    errno = held;
}

static void open_wake(void) {
    if (wake[0] >= 0 || pipe(wake) != 0)
        return;
    for (size_t i = 0; i < 2; i++) {
        fcntl(wake[i], F_SETFL, O_NONBLOCK);
        fcntl(wake[i], F_SETFD, FD_CLOEXEC);
    }
}

void pm__interrupt_catch(void) {
    struct sigaction action = {0};
    open_wake();
    action.sa_handler = on_signal; /* without SA_RESTART: a wait for a line ends */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

int pm__interrupts(void) {
    static const struct timespec moment = {.tv_nsec = 50000000};
    if (atomic_load(&interrupts) && !settled) {
        settled = true;
        nanosleep(&moment, NULL);
    }
    return atomic_load(&interrupts);
}

/* Counts are looked at after this: a handler counts first, and then writes. */
static void drain_wake(void) {
    char bytes[64];
    while (wake[0] >= 0 && read(wake[0], bytes, sizeof bytes) > 0)
        ;
}

int pm__interrupt_take(void) {
    const int n = atomic_exchange(&interrupts, 0);
    atomic_store(&deliveries, 0);
    settled = false;
    return n;
}

ssize_t pm__interruptible_read(int fd, void *bytes, size_t n) {
    struct pollfd inputs[] = {{.fd = fd, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    while (!pm__interrupts()) {
        const int n_ready = poll(inputs, 2, -1);
        if (n_ready < 0 && errno != EINTR)
            return -1;
        if (n_ready > 0 && inputs[1].revents != 0)
            drain_wake();
        if (n_ready <= 0 || inputs[0].revents == 0)
            continue; /* a resized window, a stop and go, or an interruption */
        const ssize_t got = read(fd, bytes, n);
        if (got >= 0 || errno != EINTR)
            return got;
    }
    errno = EINTR;
    return -1;
}
