/* command_server.c: assay init, serve, bench (other programs of assay, started for you), status and health. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/answer.h"
#include "tools/call.h"
#include "tools/terminal.h"

/* ---- other programs ---- */

/* Becomes the program that lies beside this one, or else the first of its name in PATH. Comes back only where it cannot. */
static enum exit_code become(const char *program, int count, char **arguments)
{
    char path[PATH_MAX];
    const char **list = calloc((size_t)count + 2, sizeof(*list));
    const ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 64);
    if (list == NULL) {
        return complain(EXIT_CANNOT, "out of memory");
    }
    list[0] = program;
    for (int i = 0; i < count; i++) {
        list[i + 1] = arguments[i];
    }
    if (size > 0) {
        path[size] = '\0';
        char *name = strrchr(path, '/') + 1;
        (void)snprintf(name, 64, "%s", program);
        (void)execv(path, (char *const *)(uintptr_t)list);
    }
    (void)execvp(program, (char *const *)(uintptr_t)list);
    const int cause = errno;
    free(list);
    return complain(EXIT_CANNOT, "cannot start %s: %s", program, strerrordesc_np(cause));
}

static enum exit_code serve_run(const struct command *command, int count, char **arguments)
{
    (void)command;
    return become("assayd", count, arguments);
}

static enum exit_code bench_run(const struct command *command, int count, char **arguments)
{
    (void)command;
    return become("assay-bench", count, arguments);
}

const struct command command_serve = {
    .name = "serve",
    .arguments = "[option of assayd ...]",
    .summary = "Start the server: the same as assayd.",
    .lesson = "",
    .run = serve_run,
};

const struct command command_bench = {
    .name = "bench",
    .arguments = "[argument of assay-bench ...]",
    .summary = "Measure a server: the same as assay-bench.",
    .lesson = "",
    .run = bench_run,
};

/* ---- init ---- */

static bool settings_write(const char *path, const char *directory)
{
    const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    FILE *out = file >= 0 ? fdopen(file, "w") : NULL;
    if (out == NULL) {
        return false;
    }
    (void)fprintf(out,
                  "# Settings of assayd; all there are, explained: assayd --print-config\n"
                  "data = %s/data\n"
                  "listen = 127.0.0.1:8080\n",
                  directory);
    return fclose(out) == 0;
}

static enum exit_code init_run(const struct command *command, int count, char **arguments)
{
    struct option_operands operands = {0, 1, "DIR, where to put it", {NULL}, 0};
    enum exit_code code = EXIT_GOOD;
    char path[PATH_MAX];
    char directory[PATH_MAX];
    if (!options_read(command, NULL, 0, count, arguments, &operands, &code)) {
        return code;
    }
    const char *wanted = operands.count > 0 ? operands.items[0] : "assay";
    if (mkdir(wanted, 0755) != 0 && errno != EEXIST) {
        return complain(EXIT_CANNOT, "cannot make %s: %s", wanted, strerrordesc_np(errno));
    }
    if (realpath(wanted, directory) == NULL ||
        snprintf(path, sizeof(path), "%s/assayd.conf", directory) >= (int)sizeof(path)) {
        return complain(EXIT_CANNOT, "%s: %s", wanted, strerrordesc_np(errno));
    }
    if (!settings_write(path, directory)) {
        return complain(EXIT_CANNOT, "cannot write %s: %s", path,
                        errno == EEXIST ? "it is there already; nothing is changed" : strerrordesc_np(errno));
    }
    (void)printf("Made %s. Next:\n\n"
                 "  assay serve --config %s\n\n"
                 "and in another terminal:\n\n"
                 "  export ASSAY_TOKEN=$(cat %s/data/admin-token)\n"
                 "  assay demo\n",
                 path, path, directory);
    return EXIT_GOOD;
}

const struct command command_init = {
    .name = "init",
    .arguments = "[DIR]",
    .summary = "A directory with settings to start from; else ./assay.",
    .lesson = "Writes DIR/assayd.conf, for a server that keeps its data in DIR/data and answers on this\n"
              "machine, and says how to start it. What is there already is never changed.\n"
              "\n"
              "  assay init ./shop\n",
    .run = init_run,
};

/* ---- status and health ---- */

static void status_print(struct arena *arena, struct bytes status)
{
    static const struct {
        const char *what;
        const char *path;
    } rows[] = {
        {"version", "version"},
        {"up, seconds", "uptime_seconds"},
        {"log written by", "io_backend"},
        {"durable records", "log.durable_lsn"},
        {"not yet counted", "log.apply_lag"},
        {"a flush, us", "log.flush_us_mean"},
        {"experiments", "counts.experiments"},
        {"users", "counts.users"},
        {"assignments", "counts.assignments"},
        {"events", "counts.events_applied"},
        {"disk free, bytes", "disk.free_bytes"},
    };
    (void)printf("%s\n", member_text(arena, status, "status"));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        (void)printf("  %-18s %s\n", rows[i].what, member_text(arena, status, rows[i].path));
    }
}

static enum exit_code status_run(const struct command *command, int count, char **arguments)
{
    struct client_options options = {0};
    struct option_operands operands = {0};
    bool json = false;
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &json, "the server's answer as JSON"}};
    client_option_rows(&options, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes status;
    bool is_well = true;
    if (server_call_begin(&call, &options) && server_call_send(&call, "GET", "/status", NULL, &status)) {
        struct bytes word = {NULL, 0};
        is_well = answer_text(status, "status", &word) && bytes_equal_text(word, "ok");
        if (json) {
            document_print(&call.arena, status);
        } else {
            status_print(&call.arena, status);
        }
    }
    code = server_call_end(&call);
    return code == EXIT_GOOD && !is_well ? EXIT_DIFFERENCE : code;
}

const struct command command_status = {
    .name = "status",
    .arguments = "",
    .summary = "How a server is: positions, counts, disk. Needs an admin token.",
    .lesson = "Exit code 1 where it answers, but cannot take writes.\n"
              "\n"
              "  assay status --data /var/lib/assay\n",
    .run = status_run,
};

static enum exit_code health_run(const struct command *command, int count, char **arguments)
{
    const char *url = NULL;
    struct option_operands operands = {0};
    const struct option_row rows[] = {{"url", "URL", OPTION_TEXT, &url, "the server; else ASSAY_URL, else http://127.0.0.1:8080"}};
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    const struct client_options options = {.url = url, .token = "none"}; /* the path is public */
    struct server_call call;
    struct bytes answer;
    if (server_call_begin(&call, &options) && server_call_send(&call, "GET", "/readyz", NULL, &answer)) {
        (void)puts("ready");
    }
    return server_call_end(&call);
}

const struct command command_health = {
    .name = "health",
    .arguments = "",
    .summary = "Can a server take writes? Exit code 0 or 3; needs no token. For health checks.",
    .lesson = "  assay health --url http://127.0.0.1:8080\n",
    .run = health_run,
};
