/* main.c: assayd: what is built from what, the first start, and the end.
 *
 *   options -> engine -> founding records (an admin token, the built-in metrics) -> server -> wait for a signal
 *
 * Output: one line on stdout when ready; traces on stderr. Exit: see exit_codes below.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/routes.h"
#include "api/server.h"
#include "api/trace.h"

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_DAMAGE = 1,
    EXIT_USAGE = 2,
    EXIT_CANNOT = 3,
};

#define DRAIN_TIMEOUT_US 10000000
#define FAILED_DRAIN_US  500000 /* time to answer 503 to those who wait, after the storage failed */
#define WATCH_NS         200000000

static const char help[] =
    "assayd: an experimentation platform in one process\n"
    "\n"
    "  assayd --data DIR [options]\n"
    "\n"
    "  --data DIR          everything is kept here; made where missing. One server a directory.\n"
    "  --listen HOST:PORT  where to answer HTTP (default 127.0.0.1:8080; port 0 takes a free one;\n"
    "                      IPv6 as [::1]:8080). There is no TLS here: beyond this machine, put a\n"
    "                      proxy with TLS in front.\n"
    "  --loops N           threads that read and answer requests (default 2, or one a processor\n"
    "                      where there are fewer)\n"
    "  --cors-origin URL   an origin, such as https://shop.example, whose pages may call from a\n"
    "                      browser; give it once for each. Without it, no page of another origin "
    "may\n"
    "  --io BACKEND        auto (default), uring or sync: how the log is written\n"
    "  --trace FORMAT      text (default) or json: the form of what is said on stderr\n"
    "  --trace-requests W  none, failed (default: those answered 5xx, or after more than a second)\n"
    "                      or all: which requests get a line on stderr\n"
    "  --help              this text\n"
    "  --version           the version\n"
    "\n"
    "The first start makes an admin token and keeps its secret in DIR/admin-token. Try:\n"
    "\n"
    "  assayd --data /var/lib/assay &\n"
    "  TOKEN=$(cat /var/lib/assay/admin-token)\n"
    "  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/experiments \\\n"
    "       --json '{\"name\": \"First\", \"variants\": [{\"name\": \"a\"}, {\"name\": \"b\"}]}'\n"
    "\n"
    "SIGTERM or SIGINT finishes what is in flight and ends. Exit codes: 0 good, 1 damage found or\n"
    "the storage failed, 2 usage, 3 could not start.\n";

struct options {
    const char *directory;
    char host[64];
    uint16_t port;
    uint32_t loops;
    enum io_backend io_backend;
    const char *origins[CORS_ORIGINS_MAX];
    uint32_t origin_count;
    enum trace_format trace_format;
    enum trace_requests trace_requests;
};

/* Options. */

static bool number_parse(const char *text, unsigned long most, unsigned long *out_value)
{
    const size_t size = strlen(text);
    if (size == 0 || size > 9 || strspn(text, "0123456789") != size) {
        return false;
    }
    const unsigned long value = strtoul(text, NULL, 10);
    *out_value = value;
    return value <= most;
}

static bool is_numeric_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* "127.0.0.1:8080", "localhost:8080" or "[::1]:8080" */
static bool listen_parse(const char *text, struct options *options)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    unsigned long port = 0;
    if (size == 0 || size >= sizeof(options->host) || !number_parse(colon + 1, UINT16_MAX, &port)) {
        return false;
    }
    memcpy(options->host, host, size);
    options->host[size] = '\0';
    options->port = (uint16_t)port;
    if (strcmp(options->host, "localhost") == 0) {
        memcpy(options->host, "127.0.0.1", sizeof("127.0.0.1"));
    }
    return is_numeric_address(options->host);
}

static bool loops_parse(const char *text, struct options *options)
{
    unsigned long loops = 0;
    const bool is_valid = number_parse(text, 64, &loops) && loops > 0;
    options->loops = (uint32_t)loops;
    return is_valid;
}

static bool origin_parse(const char *text, struct options *options)
{
    if (!cors_origin_is_valid(text) || options->origin_count >= CORS_ORIGINS_MAX) {
        return false;
    }
    options->origins[options->origin_count++] = text;
    return true;
}

/* The place of `text` in the list; -1 where it is not there. */
static int word_find(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool io_parse(const char *text, struct options *options)
{
    static const char *const names[] = {
        [IO_BACKEND_AUTO] = "auto",
        [IO_BACKEND_URING] = "uring",
        [IO_BACKEND_SYNC] = "sync",
    };
    const int found = word_find(text, names, COUNT_OF(names));
    options->io_backend = (enum io_backend)found;
    return found >= 0;
}

static bool trace_format_parse(const char *text, struct options *options)
{
    static const char *const names[] = {[TRACE_TEXT] = "text", [TRACE_JSON] = "json"};
    const int found = word_find(text, names, COUNT_OF(names));
    options->trace_format = (enum trace_format)found;
    return found >= 0;
}

static bool trace_requests_parse(const char *text, struct options *options)
{
    static const char *const names[] = {
        [TRACE_NO_REQUESTS] = "none",
        [TRACE_FAILED_REQUESTS] = "failed",
        [TRACE_ALL_REQUESTS] = "all",
    };
    const int found = word_find(text, names, COUNT_OF(names));
    options->trace_requests = (enum trace_requests)found;
    return found >= 0;
}

static bool directory_parse(const char *text, struct options *options)
{
    options->directory = text;
    return text[0] != '\0';
}

struct option_row {
    const char *name;
    bool (*parse)(const char *text, struct options *options); /* NULL: prints `text` and ends */
    const char *text; /* what is expected, or what is printed */
};

static const struct option_row option_rows[] = {
    {"data",        directory_parse, "a directory"                                                   },
    {"listen",      listen_parse,    "a numeric address and a port, such as 127.0.0.1:8080"          },
    {"loops",       loops_parse,     "a number from 1 to 64"                                         },
    {"cors-origin", origin_parse,    "scheme://host[:port] as a browser sends it, up to 64 in number"},
    {"io",          io_parse,        "auto, uring or sync"                                           },
    {"trace",       trace_format_parse, "text or json"},
    {"trace-requests", trace_requests_parse, "none, failed or all"},
    {"help",        NULL,            help                                                            },
    {"version",     NULL,            "assayd " ASSAY_VERSION "\n"                                    },
};

/* False where the program is to end at once, with *out_exit. */
static bool options_read(int count, char **arguments, struct options *options,
                         enum exit_code *out_exit)
{
    struct option long_options[COUNT_OF(option_rows) + 1] = {{0}};
    for (size_t i = 0; i < COUNT_OF(option_rows); i++) {
        const int argument = option_rows[i].parse != NULL ? required_argument : no_argument;
        long_options[i] = (struct option){option_rows[i].name, argument, NULL, 0};
    }
    int row = 0;
    int result = 0;
    *out_exit = EXIT_USAGE;
    while ((result = getopt_long(count, arguments, "", long_options, &row)) == 0) {
        const struct option_row *option = &option_rows[row];
        if (option->parse == NULL) {
            (void)fputs(option->text, stdout);
            *out_exit = EXIT_GOOD;
            return false;
        }
        if (!option->parse(optarg, options)) {
            trace_note("--%s takes %s, not '%s'", option->name, option->text, optarg);
            return false;
        }
    }
    if (result != -1) { /* getopt_long has said why */
        trace_note("try --help");
        return false;
    }
    if (optind < count) {
        trace_note("'%s' is not an option; try --help", arguments[optind]);
        return false;
    }
    if (options->directory == NULL) {
        trace_note("--data DIR is needed: where everything is kept; try --help");
        return false;
    }
    return true;
}

/* The admin token's file. */

static bool file_write_durable(int directory, const char *name, const char *line)
{
    const int file =
        openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return false;
    }
    const size_t size = strlen(line);
    const bool is_written =
        fchmod(file, 0600) == 0 && write(file, line, size) == (ssize_t)size && fsync(file) == 0;
    return close(file) == 0 && is_written;
}

/* DIR/admin-token holds this secret, durably, or is as it was. */
static enum status secret_keep(const char *directory, const char *secret, struct error *error)
{
    static const char name[] = "admin-token";
    static const char draft[] = "admin-token.new";
    char line[AUTH_SECRET_SIZE + 1];
    (void)snprintf(line, sizeof(line), "%s\n", secret);
    const int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_kept = file >= 0 && file_write_durable(file, draft, line) &&
                         renameat(file, draft, file, name) == 0 && fsync(file) == 0;
    const int cause = errno;
    if (file >= 0) {
        (void)close(file);
    }
    explicit_bzero(line, sizeof(line));
    return is_kept ? STATUS_OK
                   : error_set(error, STATUS_IO, "cannot write %s/%s: %s", directory, name,
                               strerrordesc_np(cause));
}

/* Founding records: what a store has from its first start on. */

struct founding {
    struct engine *engine;
    struct engine_port *port;
    const char *directory;
    struct arena arena;
};

static struct definition_context founding_context(struct founding *founding)
{
    uint8_t random[10];
    engine_random(founding->engine, random, sizeof(random));
    const int64_t now_us = engine_now_us(founding->engine);
    return (struct definition_context){
        .id = uuid_make(now_us, random), .version = 1, .now_us = now_us};
}

static enum status founding_write(struct founding *founding, enum record_kind kind,
                                  const struct definition *definition, struct error *error)
{
    const size_t capacity = definition->document.size + 256;
    void *data = arena_take(&founding->arena, capacity);
    struct pack_writer frame = pack_writer_on(data, data != NULL ? capacity : 0);
    definition_encode(&frame, kind, definition, engine_now_us(founding->engine));
    if (frame.overflow) {
        return error_set(error, STATUS_NO_MEMORY, "memory is out");
    }
    struct engine_request request = {
        .kind = ENGINE_WRITE,
        .commit = {.records = bytes_of(frame.data, frame.size), .record_count = 1},
        .port = founding->port,
    };
    enum status status = engine_call(founding->engine, &request);
    if (status == STATUS_OK) {
        status = request.commit.status;
    }
    return status == STATUS_OK ? status
                               : error_set(error, status, "cannot write the first records: %s",
                                           status_name(status));
}

static bool has_admin(const struct catalog *catalog, int64_t now_us)
{
    for (uint32_t i = 0; i < catalog->token_count; i++) {
        const struct token *token = catalog->tokens[i]->current;
        const bool is_active = token->revoked_at_us == 0 &&
                               (token->expires_at_us == 0 || now_us < token->expires_at_us);
        if (is_active && (token->scopes & SCOPE_ADMIN) != 0) {
            return true;
        }
    }
    return false;
}

/* The secret is on disk before the token exists: a crash in between leaves a file that opens nothing, and the next start
 * comes here again. */
static enum status founding_token(struct founding *founding, struct error *error)
{
    uint8_t text[128];
    struct pack_writer document = pack_writer_on(text, sizeof(text));
    pack_map(&document, 2);
    pack_text_z(&document, "name");
    pack_text_z(&document, "admin");
    pack_text_z(&document, "scopes");
    pack_array(&document, 1);
    pack_text_z(&document, token_scope_name(SCOPE_ADMIN));
    char secret[AUTH_SECRET_SIZE];
    uint8_t digest[TOKEN_DIGEST_SIZE];
    auth_secret_make(founding->engine, secret, digest);
    const struct definition_context context = founding_context(founding);
    struct field_errors errors = field_errors_in(&founding->arena);
    struct token *token = NULL;
    enum status status =
        token_create(bytes_of(document.data, document.size), &context, digest, &errors, &token);
    assert(status != STATUS_INVALID); /* the document is ours */
    status = status == STATUS_OK ? secret_keep(founding->directory, secret, error)
                                 : error_set(error, status, "memory is out");
    explicit_bzero(secret, sizeof(secret));
    if (status == STATUS_OK) {
        const struct definition definition = {
            .id = token->id, .version = token->version, .document = token->document};
        status = founding_write(founding, RECORD_TOKEN, &definition, error);
    }
    if (status == STATUS_OK) {
        trace_note("made an admin token: its secret is in %s/admin-token", founding->directory);
    }
    token_free(token);
    return status;
}

/* The metrics that everyone starts with, as their documents' members. */
struct founding_metric_row {
    const char *name;
    const char *members[6][2];
};

// clang-format off
static const struct founding_metric_row founding_metrics[] = {
    {"conversion_rate",
     {{"name", "conversion_rate"},
      {"description", "Share of users with at least one conversion."},
      {"type", "proportion"},
      {"event_type", "conversion"}}},
    {"revenue",
     {{"name", "revenue"},
      {"description", "Sum of the amounts of a user's purchases, per assigned user."},
      {"type", "mean"},
      {"event_type", "purchase"},
      {"property", "amount"},
      {"aggregation", "sum"}}},
};

// clang-format on

static enum status founding_metric(struct founding *founding, const struct founding_metric_row *row,
                                   struct error *error)
{
    uint8_t text[512];
    struct pack_writer document = pack_writer_on(text, sizeof(text));
    const size_t place = pack_map_begin(&document);
    uint32_t count = 0;
    for (; count < COUNT_OF(row->members) && row->members[count][0] != NULL; count++) {
        pack_text_z(&document, row->members[count][0]);
        pack_text_z(&document, row->members[count][1]);
    }
    pack_container_end(&document, place, count);
    const struct definition_context context = founding_context(founding);
    struct field_errors errors = field_errors_in(&founding->arena);
    struct metric *metric = NULL;
    enum status status =
        metric_create(bytes_of(document.data, document.size), &context, &errors, &metric);
    if (status != STATUS_OK) {
        return error_set(error, status, "cannot make the metric '%s': %s", row->name,
                         errors.count > 0 ? errors.items[0].message : status_name(status));
    }
    const struct definition definition = {
        .id = metric->id, .version = metric->version, .document = metric->document};
    status = founding_write(founding, RECORD_METRIC, &definition, error);
    metric_free(metric);
    return status;
}

/* Each piece by itself, and only where it is missing: a first start that was cut short is finished by the next. */
static enum status found(struct engine *engine, const char *directory, struct error *error)
{
    struct founding founding = {.engine = engine, .directory = directory};
    enum status status = engine_port_open(engine, &founding.port);
    if (status != STATUS_OK) {
        return error_set(error, status, "no engine port: %s", status_name(status));
    }
    arena_init(&founding.arena, 4096);
    const struct catalog *catalog = engine_catalog(engine);
    if (!has_admin(catalog, engine_now_us(engine))) {
        status = founding_token(&founding, error);
    }
    for (size_t i = 0; i < COUNT_OF(founding_metrics) && status == STATUS_OK; i++) {
        const struct founding_metric_row *row = &founding_metrics[i];
        if (catalog_find_metric(catalog, bytes_of_text(row->name)) == CATALOG_NONE) {
            status = founding_metric(&founding, row, error);
        }
    }
    catalog_unref(catalog);
    arena_deinit(&founding.arena);
    engine_port_close(founding.port);
    return status;
}

/* Running. */

static void signals_take(sigset_t *out_signals)
{
    (void)signal(SIGPIPE, SIG_IGN); /* a client that goes away is seen by its write failing */
    (void)sigemptyset(out_signals);
    (void)sigaddset(out_signals, SIGTERM);
    (void)sigaddset(out_signals, SIGINT);
    /* Before any thread is made, so that all of them inherit it and only wait() below sees these. */
    (void)sigprocmask(SIG_BLOCK, out_signals, NULL);
}

/* Until a signal comes (true) or the storage fails (false). */
static bool wait_for_end(const struct engine *engine, const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = WATCH_NS};
    bool is_full = false;
    while (engine_healthy(engine)) {
        if (engine_disk_full(engine) != is_full) {
            is_full = !is_full;
            trace_note(is_full ? "the disk is full: writes are refused, reads go on; make room, and writes go on too"
                          : "there is room on the disk again: writes go on");
        }
        const int number = sigtimedwait(signals, NULL, &pause);
        if (number > 0) {
            trace_note("%s: finishing what is in flight; once more to end at once",
                  number == SIGTERM ? "SIGTERM" : "SIGINT");
            return true;
        }
    }
    return false;
}

static void trace_start(const struct options *options, const struct engine_info *info)
{
    trace_note("%s %s, log written by %s, %llu records replayed%s", info->created ? "made" : "opened",
          options->directory, info->io_backend, (unsigned long long)info->replayed,
          info->rebuilt ? ", store rebuilt from the log" : "");
    if (info->cut_bytes > 0) {
        trace_note("cut an unacknowledged tail of %llu bytes from the log (kept in %s/log/quarantine)",
              (unsigned long long)info->cut_bytes, options->directory);
    }
    if (strncmp(options->host, "127.", 4) != 0 && strcmp(options->host, "::1") != 0) {
        trace_note("listening on %s without TLS: tokens and data travel in the clear; put a proxy with "
              "TLS in front",
              options->host);
    }
}

static enum exit_code serve(const struct options *options, struct engine *engine,
                            const struct engine_info *info, const sigset_t *signals)
{
    struct error error = {""};
    const struct server_options server_options = {
        .host = options->host,
        .port = options->port,
        .loops = options->loops,
        .cors = {options->origins, options->origin_count},
        .engine = engine,
        .info = info,
        .directory = options->directory,
    };
    struct server *server = NULL;
    if (server_start(&server_options, &error, &server) != STATUS_OK) {
        trace_note("%s", error.text);
        return EXIT_CANNOT;
    }
    const bool is_six = strchr(options->host, ':') != NULL;
    (void)printf("assay is ready on http://%s%s%s:%u\n", is_six ? "[" : "", options->host,
                 is_six ? "]" : "", server_port(server));
    (void)fflush(stdout);
    if (!wait_for_end(engine, signals)) {
        trace_note("the storage failed: %s; nothing more can be acknowledged; ending, a restart verifies "
              "the log",
              engine_failure(engine));
        server_stop(server, FAILED_DRAIN_US);
        _exit(EXIT_DAMAGE); /* closing the engine would write to what has failed */
    }
    (void)sigprocmask(SIG_UNBLOCK, signals, NULL);
    server_stop(server, DRAIN_TIMEOUT_US);
    return EXIT_GOOD;
}

int main(int count, char **arguments)
{
    struct options options = {.host = "127.0.0.1", .port = 8080, .trace_requests = TRACE_FAILED_REQUESTS};
    enum exit_code code = EXIT_GOOD;
    if (!options_read(count, arguments, &options, &code)) {
        return (int)code;
    }
    trace_begin(options.trace_format, options.trace_requests);
    sigset_t signals;
    signals_take(&signals);
    const struct engine_options engine_options = {.directory = options.directory,
                                                  .io_backend = options.io_backend};
    struct engine_info info = {0};
    struct error error = {""};
    struct engine *engine = NULL;
    const enum status status = engine_open(&engine_options, &error, &info, &engine);
    if (status != STATUS_OK) {
        trace_note("%s", error.text);
        return status == STATUS_DAMAGED ? EXIT_DAMAGE : EXIT_CANNOT;
    }
    trace_start(&options, &info);
    if (found(engine, options.directory, &error) == STATUS_OK) {
        code = serve(&options, engine, &info, &signals);
    } else {
        trace_note("%s", error.text);
        code = EXIT_CANNOT;
    }
    engine_close(engine);
    return (int)code;
}
