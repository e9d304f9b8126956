/* command_replay.c: assay replay: a second data directory, made of the log of the first alone; or its events, sent to a
 * server (replay_send.c).
 *
 * Sealed segments never change, so they are linked where the filesystem can; the last one is always copied, because a server
 * goes on writing to it. The store is written anew from what the replay gave. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/store.h"
#include "engine/timestamp.h"
#include "tools/files.h"
#include "tools/offline.h"
#include "tools/options.h"
#include "tools/replay_send.h"

/* ---- the new directory ---- */

static enum status segment_place(const char *source, const char *target, bool is_last,
                                 struct error *error)
{
    if (!is_last && link(source, target) == 0) {
        return STATUS_OK;
    }
    return file_copy(source, target, FILE_WHOLE, error);
}

static enum status log_place(const struct offline *offline, const char *target, struct error *error)
{
    char log[OFFLINE_PATH + 8];
    (void)snprintf(log, sizeof(log), "%s/" OFFLINE_LOG, target);
    if (mkdir(log, 0700) != 0) {
        return path_error(error, "make", log);
    }
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < offline->segment_count && status == STATUS_OK; i++) {
        char name[SEGMENT_NAME_SIZE];
        char from[OFFLINE_PATH + 8 + SEGMENT_NAME_SIZE];
        char to[OFFLINE_PATH + 8 + SEGMENT_NAME_SIZE];
        segment_name(offline->segments[i], name);
        (void)snprintf(from, sizeof(from), "%s/" OFFLINE_LOG "/%s", offline->path, name);
        (void)snprintf(to, sizeof(to), "%s/%s", log, name);
        status = segment_place(from, to, i + 1 == offline->segment_count, error);
    }
    return status == STATUS_OK ? directory_sync(log, error) : status;
}

static enum status store_place(struct state *state, const char *target, struct error *error)
{
    char path[OFFLINE_PATH + 8];
    struct store *store = NULL;
    struct store_batch batch = {0};
    (void)snprintf(path, sizeof(path), "%s/store", target);
    enum status status = state_export_changes(state, store_batch_add, &batch);
    if (status != STATUS_OK) {
        (void)error_set(error, status, "out of memory");
    } else {
        status = store_open(path, error, &store);
    }
    if (status == STATUS_OK) {
        status = store_write(store, &batch, error);
    }
    store_close(store);
    store_batch_deinit(&batch);
    return status;
}

static enum status target_make(const struct offline *offline, struct state *state,
                               const char *target, struct error *error)
{
    if (mkdir(target, 0700) != 0 && errno != EEXIST) {
        return path_error(error, "make", target);
    }
    enum status status = log_place(offline, target, error);
    if (status == STATUS_OK) {
        status = store_place(state, target, error);
    }
    if (status == STATUS_OK) {
        status = token_copy(offline->path, target, error);
    }
    if (status == STATUS_OK) {
        status = directory_sync(target, error);
    }
    if (status != STATUS_OK) {
        note("%s is not complete: delete it", target);
    }
    return status;
}

static void report(const struct offline *offline, const struct state *state, const char *target)
{
    struct state_totals totals;
    char number[4][NUMBER_TEXT_SIZE];
    state_totals(state, &totals);
    (void)printf("%s holds the same log (%u segment%s) and a store made of it\n", target,
                 offline->segment_count, offline->segment_count == 1 ? "" : "s");
    (void)printf("  records %s, users %s, assignments %s, events %s\n",
                 number_text(state_next_lsn(state) - 1, number[0]),
                 number_text(totals.users, number[1]), number_text(totals.assignments, number[2]),
                 number_text(totals.events, number[3]));
}

static enum exit_code replay_run(const char *source, const char *target)
{
    struct error error = {""};
    struct offline *offline = NULL;
    struct state *state = NULL;
    enum status status = directory_check_free(target, &error);
    if (status == STATUS_OK && strlen(target) >= OFFLINE_PATH) {
        status = error_set(&error, STATUS_INVALID, "--to: the path is too long");
    }
    if (status == STATUS_OK) {
        status = offline_open(source, &error, &offline);
    }
    if (status == STATUS_OK) {
        status = offline_state(offline, &error, &state);
    }
    if (status == STATUS_OK) {
        status = offline_replay(offline, state, "replaying", 0, &error);
    }
    if (status == STATUS_OK) {
        status = target_make(offline, state, target, &error);
    }
    if (status == STATUS_OK) {
        report(offline, state, target);
    }
    state_close(state);
    offline_close(offline);
    return status == STATUS_OK ? EXIT_GOOD : complain(offline_exit(status), "%s", error.text);
}

/* An RFC 3339 time, or a day of UTC. */
static bool time_read(const char *name, const char *text, int64_t *out_us)
{
    int32_t day = 0;
    if (text == NULL || timestamp_parse(bytes_of_text(text), out_us) == STATUS_OK) {
        return true;
    }
    if (day_parse(bytes_of_text(text), &day) == STATUS_OK) {
        *out_us = (int64_t)day * MICROSECONDS_PER_DAY;
        return true;
    }
    (void)complain(EXIT_USAGE, "--%s: '%s' is no time such as 2026-01-31 or 2026-01-31T10:00:00Z", name, text);
    return false;
}

static bool is_url(const char *target)
{
    return strncmp(target, "http://", 7) == 0 || strncmp(target, "https://", 8) == 0;
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    const char *target = NULL;
    const char *start = NULL;
    const char *end = NULL;
    struct replay_send send = {.start_us = INT64_MIN, .end_us = INT64_MAX};
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"data",       "DIR",           OPTION_TEXT,   &send.source,       "the data directory of a stopped server"},
        {"to",         "NEWDIR or URL", OPTION_TEXT,   &target,
         "the directory to make, which must not exist or be empty; or the server to send the events to"},
        {"token",      "TOKEN",         OPTION_TEXT,   &send.client.token, "of that server (ASSAY_TOKEN)"},
        {"speed",      "N",             OPTION_NUMBER, &send.speed,
         "to a server: N times as fast as the events came; 0: as fast as it takes them (0)"},
        {"from-lsn",   "N",             OPTION_NUMBER, &send.from_lsn,     "to a server: records from this one on"},
        {"start",      "TIME",          OPTION_TEXT,   &start,             "to a server: events from this timestamp on"},
        {"end",        "TIME",          OPTION_TEXT,   &end,               "to a server: events before this timestamp"},
        {"event-type", "NAME",          OPTION_TEXT,   &send.event_type,   "to a server: only these events"},
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (send.source == NULL || target == NULL) {
        return complain(EXIT_USAGE, "--data DIR and --to NEWDIR or URL are needed; see: assay replay --help");
    }
    if (!time_read("start", start, &send.start_us) || !time_read("end", end, &send.end_us)) {
        return EXIT_USAGE;
    }
    if (is_url(target)) {
        send.client.url = target;
        return replay_send(&send);
    }
    if (send.speed != 0 || send.from_lsn != 0 || start != NULL || end != NULL || send.event_type != NULL) {
        return complain(EXIT_USAGE, "--speed, --from-lsn, --start, --end and --event-type are for --to URL: a new "
                                    "directory is made of the whole log");
    }
    return replay_run(send.source, target);
}

const struct command command_replay = {
    .name = "replay",
    .arguments = "--data DIR --to NEWDIR|URL",
    .summary = "Rebuild a stopped server's state from its log in a new directory, or send its events to a server.",
    .lesson = "The log is the truth, and everything else is computed from it. This computes it again: every\n"
              "record is applied in order to an empty state, which is then written as the store of NEWDIR, beside\n"
              "the same log (hard links where the filesystem has them, and a copy of the last segment). DIR is not\n"
              "changed. NEWDIR is a whole data directory; a server can be started on it:\n"
              "\n"
              "  assay replay --data /var/lib/assay --to /tmp/again\n"
              "  assayd --data /tmp/again --listen 127.0.0.1:8081\n"
              "\n"
              "Damage in the log ends it with exit code 1, and NEWDIR is not made.\n"
              "\n"
              "With a URL the events go to another running server, in their order, with their own timestamps and\n"
              "ids, at the pace in which they came or a multiple of it. Only events are sent: make experiments and\n"
              "metrics there first. What is sent twice counts once, so it may be interrupted and run again:\n"
              "\n"
              "  assay replay --data /var/lib/assay --to http://127.0.0.1:8081 --token $TOKEN --speed 10\n"
              "\n"
              "Exit code 1 where the log is damaged or the server refused events.\n",
    .run = run,
};
