/* main.c: assayd: what is built from what, the first start, and the end.
 *
 *   settings -> engine -> founding records (an admin token, the built-in metrics) -> server -> wait for a signal
 *
 * Output: one line on stdout when ready; traces on stderr. Exit: see exit_codes below.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/guard.h"
#include "api/listen.h"
#include "api/routes.h"
#include "api/server.h"
#include "api/settings.h"
#include "api/supervisor.h"
#include "api/tls.h"
#include "api/trace.h"

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_DAMAGE = 1,
    EXIT_USAGE = 2,
    EXIT_CANNOT = 3,
};

#define FAILED_DRAIN_US  500000 /* time to answer 503 to those who wait, after the storage failed */
#define WATCH_NS         200000000

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
    (void)sigaddset(out_signals, SIGHUP);
    /* Before any thread is made, so that all of them inherit it and only wait() below sees these. */
    (void)sigprocmask(SIG_BLOCK, out_signals, NULL);
}

/* The running program: what it was told, and what it goes by. */
struct program {
    int argument_count;
    char **arguments;
    struct settings settings; /* as of the start: what only a restart changes */
    struct engine *engine;
    struct engine_info info;
    struct server *server;
    int listen_file; /* handed over; -1: none */
    sigset_t signals;
};

#define CERTIFICATE_DAYS_FEW 14 /* before it ends: time to say so */

/* The certificate of the settings; NULL with STATUS_OK where they name none. */
static enum status tls_of(const struct settings *settings, struct error *error, struct ssl_ctx_st **out_tls)
{
    int days = 0;
    *out_tls = NULL;
    if ((settings->tls_certificate != NULL) != (settings->tls_key != NULL)) {
        return error_set(error, STATUS_INVALID, "tls-certificate and tls-key go together: give both, or neither");
    }
    if (settings->tls_certificate == NULL) {
        return STATUS_OK;
    }
    const enum status status = tls_load(settings->tls_certificate, settings->tls_key, error, out_tls, &days);
    if (status == STATUS_OK && days < 0) {
        trace_note("the certificate %s has ended: clients will refuse it; renew it, then send SIGHUP", settings->tls_certificate);
    } else if (status == STATUS_OK && days < CERTIFICATE_DAYS_FEW) {
        trace_note("the certificate %s ends in %d days: renew it, then send SIGHUP", settings->tls_certificate, days);
    }
    return status;
}

static struct policy *policy_of(const struct settings *settings, struct error *error)
{
    struct ssl_ctx_st *tls = NULL;
    if (tls_of(settings, error, &tls) != STATUS_OK) {
        return NULL;
    }
    const struct policy wanted = {.cors = {settings->origins, settings->origin_count}, .tls = tls};
    struct policy *policy = policy_make(&wanted);
    tls_free(tls);
    if (policy == NULL) {
        (void)error_set(error, STATUS_NO_MEMORY, "memory is out");
    }
    return policy;
}

/* Tokens in the clear on a network are refused unless that was asked for. */
static enum status plaintext_check(const struct settings *settings, int listen_file, struct error *error)
{
    char host[LISTEN_HOST_SIZE];
    const bool is_known = listen_file >= 0 && listen_host(listen_file, host);
    const char *at = is_known ? host : settings->host;
    if (settings->tls_certificate != NULL || settings->allow_plaintext || listen_is_local(at) || (listen_file >= 0 && !is_known)) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID,
                     "%s can be reached by other machines, and without TLS they would send their tokens in the clear: give "
                     "tls-certificate and tls-key; or allow-plaintext, where a proxy in front has TLS or the network is private",
                     at);
}

/* SIGHUP: the settings are read again. Where anything is wrong with them, all stays as it is. */
static void reload(struct program *program)
{
    struct error error = {""};
    struct settings next;
    supervisor_tell_reloading();
    enum status status = settings_read(program->argument_count, program->arguments, &next, &error);
    const bool had_tls = program->settings.tls_certificate != NULL;
    if (status == STATUS_OK && had_tls != (next.tls_certificate != NULL)) {
        status = error_set(&error, STATUS_INVALID, "TLS is %s: that needs a restart", had_tls ? "on, and would be off" : "off, and would be on");
    }
    struct policy *policy = status == STATUS_OK ? policy_of(&next, &error) : NULL;
    if (policy == NULL) {
        trace_note("SIGHUP: nothing is changed: %s", error.text);
        settings_deinit(&next);
        return;
    }
    for (size_t i = 0; i < setting_row_count; i++) {
        if (!setting_rows[i].is_live && !settings_row_equal(&program->settings, &next, i)) {
            trace_note("SIGHUP: %s is not what the server was started with: that needs a restart", setting_rows[i].name);
        }
    }
    trace_begin(program->settings.trace_format, next.trace_requests);
    server_adopt(program->server, policy);
    policy_unref(policy);
    settings_deinit(&next);
    trace_note("SIGHUP: the settings were read again");
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

/* Until a signal to end comes (true) or the storage fails (false). */
static bool wait_for_end(struct program *program)
{
    const struct engine *engine = program->engine;
    const struct timespec pause = {.tv_nsec = WATCH_NS};
    const int64_t watchdog_us = supervisor_watchdog_us();
    int64_t told_us = 0;
    bool is_full = false;
    while (engine_healthy(engine)) {
        if (watchdog_us > 0 && monotonic_us() - told_us >= watchdog_us - WATCH_NS / 1000) {
            told_us = monotonic_us();
            supervisor_tell("WATCHDOG=1");
        }
        if (engine_disk_full(engine) != is_full) {
            is_full = !is_full;
            trace_note(is_full ? "the disk is full: writes are refused, reads go on; make room, and writes go on too"
                               : "there is room on the disk again: writes go on");
        }
        const int number = sigtimedwait(&program->signals, NULL, &pause);
        if (number == SIGHUP) {
            reload(program);
            supervisor_tell("READY=1");
        } else if (number > 0) {
            trace_note("%s: finishing what is in flight; once more to end at once",
                       number == SIGTERM ? "SIGTERM" : "SIGINT");
            return true;
        }
    }
    return false;
}

static void trace_start(const struct settings *settings, const struct engine_info *info)
{
    trace_note("%s %s, log written by %s, %llu records replayed%s", info->created ? "made" : "opened",
               settings->directory, info->io_backend, (unsigned long long)info->replayed,
               info->rebuilt ? ", store rebuilt from the log" : "");
    if (info->cut_bytes > 0) {
        trace_note("cut an unacknowledged tail of %llu bytes from the log (kept in %s/log/quarantine)",
                   (unsigned long long)info->cut_bytes, settings->directory);
    }
    if (settings->tls_certificate == NULL && !listen_is_local(settings->host)) {
        trace_note("listening on %s without TLS, as asked for: tokens and data travel in the clear", settings->host);
    }
}

/* The first line of the secret's file, into the caller's buffer. */
static enum status secret_read(const struct settings *settings, char out_line[257], struct error *error)
{
    out_line[0] = '\0';
    if (settings->webhook_secret_file == NULL) {
        return STATUS_OK;
    }
    FILE *file = fopen(settings->webhook_secret_file, "re");
    const bool is_read = file != NULL && fgets(out_line, 257, file) != NULL;
    const int cause = errno;
    if (file != NULL) {
        (void)fclose(file);
    }
    out_line[strcspn(out_line, "\r\n")] = '\0';
    return is_read && out_line[0] != '\0' ? STATUS_OK
                                          : error_set(error, STATUS_INVALID, "webhook-secret-file: %s: %s", settings->webhook_secret_file,
                                                      file == NULL ? strerrordesc_np(cause) : "its first line is empty");
}

static enum status guard_make(const struct program *program, struct error *error, struct guard **out_guard)
{
    char secret[257];
    enum status status = secret_read(&program->settings, secret, error);
    if (status != STATUS_OK) {
        return status;
    }
    const struct guard_options options = {
        .engine = program->engine, .webhook_url = program->settings.webhook_url, .webhook_secret = bytes_of_text(secret)};
    status = guard_start(&options, out_guard);
    explicit_bzero(secret, sizeof(secret));
    return status == STATUS_OK ? status : error_set(error, status, "memory is out");
}

static enum exit_code serve(struct program *program, struct policy *policy)
{
    const struct settings *settings = &program->settings;
    struct error error = {""};
    const struct server_options server_options = {
        .host = settings->host,
        .port = settings->port,
        .listen_file = program->listen_file,
        .loops = settings->loops,
        .policy = policy,
        .engine = program->engine,
        .info = &program->info,
        .directory = settings->directory,
    };
    struct guard *guard = NULL;
    enum status status = guard_make(program, &error, &guard);
    if (status == STATUS_OK) {
        status = server_start(&server_options, &error, &program->server);
    }
    if (status != STATUS_OK) {
        trace_note("%s", error.text);
        guard_stop(guard);
        return EXIT_CANNOT;
    }
    char host[LISTEN_HOST_SIZE];
    const char *at = program->listen_file >= 0 && listen_host(program->listen_file, host) ? host : settings->host;
    const bool is_six = strchr(at, ':') != NULL;
    (void)printf("assay is ready on %s://%s%s%s:%u\n", settings->tls_certificate != NULL ? "https" : "http", is_six ? "[" : "", at,
                 is_six ? "]" : "", server_port(program->server));
    (void)fflush(stdout);
    supervisor_tell("READY=1");
    if (!wait_for_end(program)) {
        trace_note("the storage failed: %s; nothing more can be acknowledged; ending, a restart verifies "
                   "the log",
                   engine_failure(program->engine));
        server_stop(program->server, FAILED_DRAIN_US);
        _exit(EXIT_DAMAGE); /* closing the engine would write to what has failed */
    }
    supervisor_tell("STOPPING=1");
    guard_stop(guard);
    (void)signal(SIGHUP, SIG_IGN);
    (void)sigprocmask(SIG_UNBLOCK, &program->signals, NULL);
    server_stop(program->server, settings->drain_seconds * 1000000ll);
    return EXIT_GOOD;
}

static enum exit_code run(struct program *program)
{
    const struct settings *settings = &program->settings;
    trace_begin(settings->trace_format, settings->trace_requests);
    signals_take(&program->signals);
    const struct engine_options options = {.directory = settings->directory, .io_backend = settings->io_backend};
    struct error error = {""};
    struct policy *policy = policy_of(settings, &error);
    if (policy == NULL || supervisor_socket(&error, &program->listen_file) != STATUS_OK ||
        plaintext_check(settings, program->listen_file, &error) != STATUS_OK) {
        trace_note("%s", error.text);
        policy_unref(policy);
        return EXIT_USAGE;
    }
    enum status status = engine_open(&options, &error, &program->info, &program->engine);
    if (status != STATUS_OK) {
        trace_note("%s", error.text);
        policy_unref(policy);
        return status == STATUS_DAMAGED ? EXIT_DAMAGE : EXIT_CANNOT;
    }
    trace_start(settings, &program->info);
    enum exit_code code = EXIT_CANNOT;
    if (found(program->engine, settings->directory, &error) == STATUS_OK) {
        code = serve(program, policy);
    } else {
        trace_note("%s", error.text);
    }
    engine_close(program->engine);
    policy_unref(policy);
    return code;
}

/* --check-config: the settings were read; is what they name good as well? */
static enum exit_code check(const struct settings *settings)
{
    struct error error = {""};
    struct policy *policy = policy_of(settings, &error);
    if (policy == NULL || plaintext_check(settings, -1, &error) != STATUS_OK) {
        trace_note("%s", error.text);
        policy_unref(policy);
        return EXIT_USAGE;
    }
    policy_unref(policy);
    settings_show(settings);
    return EXIT_GOOD;
}

int main(int count, char **arguments)
{
    struct program program = {.argument_count = count, .arguments = arguments};
    struct error error = {""};
    enum exit_code code = EXIT_GOOD;
    if (settings_read(count, arguments, &program.settings, &error) != STATUS_OK) {
        trace_note("%s", error.text);
        code = EXIT_USAGE;
    } else {
        switch (program.settings.task) {
        case SETTINGS_SERVE:
            code = run(&program);
            break;
        case SETTINGS_CHECK:
            code = check(&program.settings);
            break;
        case SETTINGS_PRINT:
            settings_sample();
            break;
        case SETTINGS_HELP:
            settings_help();
            break;
        case SETTINGS_VERSION:
            (void)puts("assayd " ASSAY_VERSION);
            break;
        }
    }
    settings_deinit(&program.settings);
    return (int)code;
}
