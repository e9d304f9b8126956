/* command_events.c: assay events send and tail; assay export; assay power. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/json.h"
#include "engine/limits.h"
#include "tools/answer.h"
#include "tools/call.h"
#include "tools/terminal.h"

#define BATCH_LINES 1000u
#define BATCH_BYTES (LIMIT_BODY / 2)
#define TAIL_MS     500

static_assert(BATCH_LINES <= LIMIT_EVENTS_PER_REQUEST, "a batch is one request");

/* ---- send ---- */

struct sending {
    struct server_call *call;
    uint64_t lines; /* sent */
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t rejected;
};

/* The first few reasons, with the line of the input that each is about. */
static void rejections_note(const struct sending *sending, struct bytes answer)
{
    struct answer_items items = answer_items(answer, "errors");
    struct bytes item;
    for (int i = 0; i < 5 && answer_next(&items, &item); i++) {
        note("line %llu: %s", (unsigned long long)(sending->lines + answer_count(item, "index") + 1),
             member_text(&sending->call->arena, item, "message"));
    }
}

static bool batch_send(struct sending *sending, const char *text, size_t size, uint32_t lines)
{
    struct server_call *call = sending->call;
    const struct client_request request = {.method = "POST",
                                           .path = "/events",
                                           .content_type = "application/x-ndjson",
                                           .body = bytes_of(text, size),
                                           .is_repeatable = false};
    struct client_reply reply;
    struct bytes answer;
    arena_reset(&call->arena, 64 * 1024);
    call->status = client_send(call->client, &request, &call->error, &reply);
    if (call->status == STATUS_INVALID && reply.status == 422) { /* none of them was taken */
        call->status = answer_read(&call->arena, reply.body, &call->error, &answer);
    } else if (call->status == STATUS_OK) {
        call->status = answer_read(&call->arena, reply.body, &call->error, &answer);
    }
    if (call->status != STATUS_OK) {
        return false;
    }
    const uint64_t accepted = answer_count(answer, "accepted");
    const uint64_t duplicates = answer_count(answer, "duplicates");
    sending->accepted += accepted;
    sending->duplicates += duplicates;
    sending->rejected += lines - accepted - duplicates;
    rejections_note(sending, answer);
    sending->lines += lines;
    return true;
}

/* Lines of JSON from the file, in batches. */
static bool lines_send(struct sending *sending, FILE *in)
{
    struct progress progress;
    char *batch = malloc(BATCH_BYTES);
    char *line = NULL;
    size_t capacity = 0;
    size_t size = 0;
    uint32_t lines = 0;
    bool is_good = batch != NULL;
    progress_begin(&progress, "sending", "events", 0);
    for (ssize_t got = 0; is_good && (got = getline(&line, &capacity, in)) > 0;) {
        if ((size_t)got >= BATCH_BYTES) {
            sending->call->status =
                error_set(&sending->call->error, STATUS_TOO_LARGE, "line %llu is too long", (unsigned long long)(sending->lines + lines + 1));
            is_good = false;
        } else if (lines == BATCH_LINES || size + (size_t)got > BATCH_BYTES) {
            is_good = batch_send(sending, batch, size, lines);
            progress_show(&progress, sending->lines);
            size = 0;
            lines = 0;
        }
        if (is_good && strspn(line, " \t\r\n") != (size_t)got) {
            memcpy(batch + size, line, (size_t)got);
            size += (size_t)got;
            lines++;
        }
    }
    is_good = is_good && (lines == 0 || batch_send(sending, batch, size, lines));
    progress_end(&progress, sending->lines);
    free(line);
    free(batch);
    return is_good;
}

/* One event of the options, as a line. */
static const char *event_make(struct arena *arena, const char *user, const char *type, const struct option_texts *properties)
{
    struct json_writer writer = json_writer_in(arena);
    json_begin_object(&writer);
    json_key(&writer, "user_id");
    json_text(&writer, user);
    json_key(&writer, "event_type");
    json_text(&writer, type);
    json_key(&writer, "properties");
    json_begin_object(&writer);
    for (uint32_t i = 0; i < properties->count; i++) {
        const char *equals = strchr(properties->items[i], '=');
        const char *name_end = equals != NULL ? equals : properties->items[i] + strlen(properties->items[i]);
        const char *value = equals != NULL ? equals + 1 : "";
        char *end = NULL;
        const double number = strtod(value, &end);
        json_key_bytes(&writer, bytes_of(properties->items[i], (size_t)(name_end - properties->items[i])));
        if (*value != '\0' && *end == '\0') {
            json_double(&writer, number);
        } else {
            json_text(&writer, value);
        }
    }
    json_end_object(&writer);
    json_end_object(&writer);
    json_newline(&writer);
    return writer.failed ? NULL : arena_copy(arena, bytes_of(writer.text, writer.size));
}

static bool send_any(struct sending *sending, const char *file, const char *user, const char *type, const struct option_texts *properties)
{
    struct server_call *call = sending->call;
    if (user != NULL) {
        const char *event = event_make(&call->arena, user, type, properties);
        char *copy = event != NULL ? strdup(event) : NULL; /* sending resets the arena */
        const bool is_sent = copy != NULL && batch_send(sending, copy, strlen(copy), 1);
        free(copy);
        return is_sent;
    }
    const bool is_input = file == NULL || strcmp(file, "-") == 0;
    FILE *in = is_input ? stdin : fopen(file, "re");
    if (in == NULL) {
        call->status = error_set(&call->error, STATUS_NOT_FOUND, "%s: %s", file, strerrordesc_np(errno));
        return false;
    }
    const bool is_sent = lines_send(sending, in);
    if (!is_input) {
        (void)fclose(in);
    }
    return is_sent;
}

static enum exit_code send_run(const struct command *command, int count, char **arguments)
{
    struct client_options client = {0};
    const char *user = NULL;
    const char *type = NULL;
    struct option_texts properties = {{NULL}, 0};
    bool json = false;
    struct option_operands operands = {0, 1, "FILE, lines of JSON; - for standard input", {NULL}, 0};
    struct option_row rows[4 + CLIENT_OPTION_COUNT] = {
        {"user",     "ID",         OPTION_TEXT,  &user,       "one event of this user, in the place of a file"},
        {"type",     "TYPE",       OPTION_TEXT,  &type,       "of that event"                                 },
        {"property", "NAME=VALUE", OPTION_TEXTS, &properties, "of that event; once for each"                  },
        {"json",     NULL,         OPTION_FLAG,  &json,       "the counts as JSON"                            },
    };
    client_option_rows(&client, &rows[4]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if ((user != NULL) != (type != NULL) || (user != NULL && operands.count > 0)) {
        return complain(EXIT_USAGE, "give a FILE, or --user and --type; see: assay events send --help");
    }
    struct server_call call;
    struct sending sending = {.call = &call};
    if (server_call_begin(&call, &client) && send_any(&sending, operands.count > 0 ? operands.items[0] : NULL, user, type, &properties)) {
        (void)printf(json ? "{\"accepted\":%llu,\"duplicates\":%llu,\"rejected\":%llu}\n"
                          : "%llu accepted, %llu duplicates, %llu rejected\n",
                     (unsigned long long)sending.accepted, (unsigned long long)sending.duplicates, (unsigned long long)sending.rejected);
    }
    code = server_call_end(&call);
    return code == EXIT_GOOD && sending.rejected > 0 ? EXIT_DIFFERENCE : code;
}

const struct command command_events_send = {
    .name = "events send",
    .arguments = "[FILE]",
    .summary = "Send events: lines of JSON from a file or standard input, or one by hand.",
    .lesson = "A line each: {\"event_id\": \"e1\", \"user_id\": \"u1\", \"event_type\": \"purchase\", \"properties\": {\"amount\": 9.5}}.\n"
              "With event ids it can be run again after a failure: each event counts once. Exit code 1 where\n"
              "events were rejected; the reasons are on stderr.\n"
              "\n"
              "  assay events send purchases.ndjson\n"
              "  assay events send --user u1 --type purchase --property amount=9.5\n",
    .run = send_run,
};

/* ---- reading back: tail and export ---- */

struct reading {
    struct server_call *call;
    const char *filters; /* "&user_id=..." */
    bool json;
    char cursor[64];
    uint64_t from_lsn; /* where there is no cursor yet */
};

static void event_print(struct arena *arena, struct bytes event, bool json)
{
    if (json) {
        document_print(arena, event);
        return;
    }
    (void)printf("%s  %-16s  ", member_text(arena, event, "timestamp"), member_text(arena, event, "event_type"));
    print_padded(bytes_of_text(member_text(arena, event, "user_id")), 24);
    (void)printf("  %s\n", member_text(arena, event, "properties"));
}

/* One page; *out_more: another follows. */
static bool page_read(struct reading *reading, bool *out_more)
{
    struct server_call *call = reading->call;
    struct bytes page;
    struct bytes event;
    struct bytes cursor = {NULL, 0};
    arena_reset(&call->arena, 64 * 1024);
    const char *path = reading->cursor[0] != '\0'
                           ? arena_format(&call->arena, "/events?limit=500&cursor=%s%s", reading->cursor, reading->filters)
                           : arena_format(&call->arena, "/events?limit=500&from_lsn=%llu%s", (unsigned long long)reading->from_lsn,
                                          reading->filters);
    if (path == NULL || !server_call_send(call, "GET", path, NULL, &page)) {
        return false;
    }
    struct answer_items items = answer_items(page, "events");
    while (answer_next(&items, &event)) {
        const uint64_t lsn = answer_count(event, "lsn");
        reading->from_lsn = lsn >= reading->from_lsn ? lsn + 1 : reading->from_lsn;
        event_print(&call->arena, event, reading->json);
    }
    *out_more = answer_text(page, "next_cursor", &cursor) && cursor.size < sizeof(reading->cursor);
    reading->cursor[0] = '\0';
    if (*out_more) {
        memcpy(reading->cursor, cursor.data, cursor.size);
        reading->cursor[cursor.size] = '\0';
    }
    return true;
}

/* The filters as part of a query; NULL when memory is out. */
static const char *filters_make(struct server_call *call, const char *user, const char *type)
{
    const char *escaped_user = user != NULL ? client_escape(call->client, &call->arena, bytes_of_text(user)) : NULL;
    const char *escaped_type = type != NULL ? client_escape(call->client, &call->arena, bytes_of_text(type)) : NULL;
    const char *text = arena_format(&call->arena, "%s%s%s%s", escaped_user != NULL ? "&user_id=" : "", escaped_user != NULL ? escaped_user : "",
                                    escaped_type != NULL ? "&event_type=" : "", escaped_type != NULL ? escaped_type : "");
    return text != NULL ? strdup(text) : NULL; /* reading resets the arena */
}

/* Where the log ends now. */
static bool end_find(struct server_call *call, uint64_t *out_lsn)
{
    struct bytes status;
    if (!server_call_send(call, "GET", "/status", NULL, &status)) {
        return false;
    }
    *out_lsn = answer_count(status, "log.durable_lsn") + 1;
    return true;
}

static enum exit_code events_read(const struct command *command, int count, char **arguments, bool is_tail)
{
    struct client_options client = {0};
    const char *user = NULL;
    const char *type = NULL;
    bool json = false;
    struct option_operands operands = {0};
    struct option_row rows[3 + CLIENT_OPTION_COUNT] = {
        {"user", "ID",   OPTION_TEXT, &user, "of this user alone"},
        {"type", "TYPE", OPTION_TEXT, &type, "of this type alone"},
        {"json", NULL,   OPTION_FLAG, &json, is_tail ? "a line of JSON each" : "what it always is"},
    };
    client_option_rows(&client, &rows[3]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct reading reading = {.call = &call, .json = json || !is_tail, .from_lsn = 1};
    char *filters = NULL;
    if (server_call_begin(&call, &client) && (!is_tail || end_find(&call, &reading.from_lsn))) {
        filters = (char *)(uintptr_t)filters_make(&call, user, type);
        reading.filters = filters;
        for (bool has_more = filters != NULL; (has_more || (is_tail && filters != NULL)) && page_read(&reading, &has_more);) {
            (void)fflush(stdout);
            if (is_tail && !has_more) {
                (void)nanosleep(&(struct timespec){.tv_nsec = TAIL_MS * 1000000l}, NULL);
            }
            if (ferror(stdout) != 0) {
                break; /* whoever read them has gone */
            }
        }
    }
    free(filters);
    return server_call_end(&call);
}

static enum exit_code tail_run(const struct command *command, int count, char **arguments)
{
    return events_read(command, count, arguments, true);
}

static enum exit_code export_events_run(const struct command *command, int count, char **arguments)
{
    return events_read(command, count, arguments, false);
}

const struct command command_events_tail = {
    .name = "events tail",
    .arguments = "",
    .summary = "Show events as they come in, until Ctrl-C. Needs an admin token.",
    .lesson = "  assay events tail --type purchase\n",
    .run = tail_run,
};

const struct command command_export_events = {
    .name = "export events",
    .arguments = "",
    .summary = "All events in the log, or some, a line of JSON each. Needs an admin token.",
    .lesson = "  assay export events --user u1 > u1.ndjson\n",
    .run = export_events_run,
};

/* What a path answers, as it is, page by page where `member` names what is on them. */
static enum exit_code export_path(const struct command *command, int count, char **arguments, const char *what, const char *before,
                                  const char *after, const char *member)
{
    struct client_options client = {0};
    struct option_operands operands = {1, 1, what, {NULL}, 0};
    struct option_row rows[CLIENT_OPTION_COUNT];
    client_option_rows(&client, rows);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    char cursor[80] = "";
    if (server_call_begin(&call, &client)) {
        for (bool has_more = true; has_more && call.status == STATUS_OK;) {
            struct client_reply reply = {0};
            struct bytes page;
            struct bytes next = {NULL, 0};
            struct bytes item;
            arena_reset(&call.arena, 64 * 1024);
            const char *path = server_call_path(&call, before, operands.items[0], after);
            path = path != NULL && member != NULL ? arena_format(&call.arena, "%s?limit=500%s", path, cursor) : path;
            const struct client_request request = {.method = "GET", .path = path, .is_repeatable = true};
            has_more = false;
            if (path == NULL || (call.status = client_send(call.client, &request, &call.error, &reply)) != STATUS_OK) {
                break;
            }
            if (member == NULL) {
                (void)fwrite(reply.body.data, 1, reply.body.size, stdout);
                break;
            }
            call.status = answer_read(&call.arena, reply.body, &call.error, &page);
            if (call.status == STATUS_OK) {
                struct answer_items items = answer_items(page, member);
                while (answer_next(&items, &item)) {
                    document_print(&call.arena, item);
                }
                has_more = answer_text(page, "next_cursor", &next) && next.size < 64;
                (void)snprintf(cursor, sizeof(cursor), "&cursor=%.*s", (int)next.size, (const char *)next.data);
            }
        }
    }
    return server_call_end(&call);
}

static enum exit_code export_results_run(const struct command *command, int count, char **arguments)
{
    return export_path(command, count, arguments, "EXPERIMENT, a key or an id", "/experiments/", "/results?format=csv", NULL);
}

static enum exit_code export_assignments_run(const struct command *command, int count, char **arguments)
{
    return export_path(command, count, arguments, "EXPERIMENT, a key or an id", "/experiments/", "/assignments", "assignments");
}

const struct command command_export_results = {
    .name = "export results",
    .arguments = "EXPERIMENT",
    .summary = "The results as CSV: a row a variant and metric, and a row a day.",
    .lesson = "  assay export results homepage-cta > results.csv\n",
    .run = export_results_run,
};

const struct command command_export_assignments = {
    .name = "export assignments",
    .arguments = "EXPERIMENT",
    .summary = "Who is in which variant, a line of JSON each.",
    .lesson = "  assay export assignments homepage-cta > assignments.ndjson\n",
    .run = export_assignments_run,
};

/* ---- power ---- */

static enum exit_code power_run(const struct command *command, int count, char **arguments)
{
    static const struct {
        const char *option;
        const char *parameter;
        const char *value;
        const char *text;
    } questions[] = {
        {"baseline",      "baseline",      "VALUE", "the control's: a share of users, or with --std-dev a mean"},
        {"mde",           "mde",           "LIFT",  "the relative lift to detect, such as 0.05"                },
        {"power",         "power",         "SHARE", "chance to detect it; else 0.8"                            },
        {"alpha",         "alpha",         "SHARE", "chance of a false finding; else 0.05"                     },
        {"variants",      "variants",      "N",     "the control included; else 2"                             },
        {"std-dev",       "std_dev",       "VALUE", "of one user's value, for a mean"                          },
        {"users-per-day", "users_per_day", "N",     "to know how many days it takes"                           },
    };
    struct client_options client = {0};
    const char *values[COUNT_OF(questions)] = {NULL};
    bool json = false;
    struct option_operands operands = {0};
    struct option_row rows[1 + COUNT_OF(questions) + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &json, "the server's answer as JSON"}};
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        rows[1 + i] = (struct option_row){questions[i].option, questions[i].value, OPTION_TEXT, &values[i], questions[i].text};
    }
    client_option_rows(&client, &rows[1 + COUNT_OF(questions)]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes answer;
    if (server_call_begin(&call, &client)) {
        const char *path = "/power";
        const char *separator = "?";
        for (size_t i = 0; i < COUNT_OF(questions) && path != NULL; i++) {
            const char *value = values[i] != NULL ? client_escape(call.client, &call.arena, bytes_of_text(values[i])) : NULL;
            if (value != NULL) {
                path = arena_format(&call.arena, "%s%s%s=%s", path, separator, questions[i].parameter, value);
                separator = "&";
            }
        }
        if (path != NULL && server_call_send(&call, "GET", path, NULL, &answer)) {
            if (json) {
                document_print(&call.arena, answer);
            } else {
                struct answer_items members = answer_members(answer, "");
                struct bytes name;
                struct bytes value;
                while (answer_next_member(&members, &name, &value)) {
                    (void)printf("%-22.*s %s\n", (int)name.size, (const char *)name.data, member_text(&call.arena, value, ""));
                }
            }
        }
    }
    return server_call_end(&call);
}

const struct command command_power = {
    .name = "power",
    .arguments = "--baseline VALUE --mde LIFT",
    .summary = "How many users an experiment needs.",
    .lesson = "  assay power --baseline 0.1 --mde 0.05 --users-per-day 2000\n",
    .run = power_run,
};
