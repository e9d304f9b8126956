/* command_metric.c: assay metric create, list, show and archive. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/call.h"
#include "tools/terminal.h"

/* Texts of a definition, and numbers as the server reads them: it checks them all. */
struct member_row {
    const char *option;
    const char *member;
    const char *value;
    bool is_number;
    const char *text;
};

static const struct member_row member_rows[] = {
    {"type",             "type",             "TYPE",    false, "proportion, mean, ratio, retention or quantile; else proportion"},
    {"event-type",       "event_type",       "TYPE",    false, "of the events that it counts"                                   },
    {"property",         "property",         "NAME",    false, "whose values it takes"                                          },
    {"aggregation",      "aggregation",      "NAME",    false, "of a mean: sum, count, max or unique_days"                      },
    {"numerator",        "numerator",        "METRIC",  false, "of a ratio"                                                     },
    {"denominator",      "denominator",      "METRIC",  false, "of a ratio"                                                     },
    {"from-day",         "from_day",         "N",       true,  "of a retention: the first day that counts"                      },
    {"to-day",           "to_day",           "N",       true,  "of a retention: the last one"                                   },
    {"quantile",         "quantile",         "SHARE",   true,  "of a quantile, such as 0.95"                                    },
    {"window-hours",     "window_hours",     "N",       true,  "events count so long after the assignment; else for ever"       },
    {"direction",        "direction",        "NAME",    false, "increase or decrease: which is better"                          },
    {"guardrail-margin", "guardrail_margin", "SHARE",   true,  "how much worse a variant may be, such as 0.05"                  },
    {"description",      "description",      "TEXT",    false, "for people"                                                     },
};

#define MEMBERS COUNT_OF(member_rows)

static const char *definition_make(struct arena *arena, const char *name, const char *const values[MEMBERS])
{
    struct json_writer writer = json_writer_in(arena);
    json_begin_object(&writer);
    json_key(&writer, "name");
    json_text(&writer, name);
    for (size_t i = 0; i < MEMBERS; i++) {
        if (values[i] == NULL) {
            continue;
        }
        char *end = NULL;
        const double number = member_rows[i].is_number ? strtod(values[i], &end) : 0.0;
        json_key(&writer, member_rows[i].member);
        if (member_rows[i].is_number && end != values[i] && *end == '\0') {
            json_double(&writer, number);
        } else {
            json_text(&writer, values[i]); /* also what is no number: the server says what it wants there */
        }
    }
    json_end_object(&writer);
    return writer.failed ? NULL : arena_copy(arena, bytes_of(writer.text, writer.size));
}

static void metric_print(struct arena *arena, struct bytes metric)
{
    static const char *const members[] = {"type", "event_type", "property", "aggregation", "numerator", "denominator", "from_day", "to_day",
                                          "quantile", "window_hours", "cap", "filters", "direction", "guardrail_margin", "archived",
                                          "description"};
    (void)printf("%s, version %s\n", member_text(arena, metric, "name"), member_text(arena, metric, "version"));
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        const char *text = member_text(arena, metric, members[i]);
        if (strcmp(text, "-") != 0 && strcmp(text, "[]") != 0 && *text != '\0') {
            (void)printf("  %-17s %s\n", members[i], text);
        }
    }
}

static enum exit_code create_run(const struct command *command, int count, char **arguments)
{
    struct client_options client = {0};
    const char *values[MEMBERS] = {"proportion"};
    bool json = false;
    struct option_operands operands = {1, 1, "NAME, what the metric is called", {NULL}, 0};
    struct option_row rows[1 + MEMBERS + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &json, "the server's answer as JSON"}};
    for (size_t i = 0; i < MEMBERS; i++) {
        rows[1 + i] = (struct option_row){member_rows[i].option, member_rows[i].value, OPTION_TEXT, &values[i], member_rows[i].text};
    }
    client_option_rows(&client, &rows[1 + MEMBERS]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes metric;
    if (server_call_begin(&call, &client)) {
        const char *definition = definition_make(&call.arena, operands.items[0], values);
        if (definition == NULL) {
            call.status = error_set(&call.error, STATUS_NO_MEMORY, "out of memory");
        } else if (server_call_send(&call, "POST", "/metric-definitions", definition, &metric)) {
            if (json) {
                document_print(&call.arena, metric);
            } else {
                metric_print(&call.arena, metric);
            }
        }
    }
    return server_call_end(&call);
}

static void list_row(void *context, struct server_call *call, struct bytes metric)
{
    const bool json = *(const bool *)context;
    if (json) {
        document_print(&call->arena, metric);
        return;
    }
    print_padded(bytes_of_text(member_text(&call->arena, metric, "name")), 28);
    (void)printf("  %-10s  %-20s  %s%s\n", member_text(&call->arena, metric, "type"), member_text(&call->arena, metric, "event_type"),
                 member_text(&call->arena, metric, "description"), answer_is_true(metric, "archived") ? " (archived)" : "");
}

static enum exit_code list_run(const struct command *command, int count, char **arguments)
{
    struct client_options client = {0};
    bool json = false;
    struct option_operands operands = {0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &json, "a line of JSON each"}};
    client_option_rows(&client, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    if (server_call_begin(&call, &client)) {
        (void)server_call_list(&call, "/metric-definitions", "metric_definitions", list_row, &json);
    }
    return server_call_end(&call);
}

/* GET or DELETE of one. */
static enum exit_code one_run(const struct command *command, int count, char **arguments, const char *method)
{
    struct client_options client = {0};
    bool json = false;
    struct option_operands operands = {1, 1, "METRIC, its name", {NULL}, 0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &json, "the server's answer as JSON"}};
    client_option_rows(&client, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes metric;
    if (server_call_begin(&call, &client)) {
        const char *path = server_call_path(&call, "/metric-definitions/", operands.items[0], "");
        const bool is_gone = strcmp(method, "DELETE") == 0;
        const struct client_request request = {.method = method, .path = path, .is_repeatable = true};
        struct client_reply reply;
        if (path != NULL && is_gone) {
            call.status = client_send(call.client, &request, &call.error, &reply);
        } else if (path != NULL && server_call_send(&call, method, path, NULL, &metric)) {
            if (json) {
                document_print(&call.arena, metric);
            } else {
                metric_print(&call.arena, metric);
            }
        }
    }
    return server_call_end(&call);
}

static enum exit_code show_run(const struct command *command, int count, char **arguments)
{
    return one_run(command, count, arguments, "GET");
}

static enum exit_code archive_run(const struct command *command, int count, char **arguments)
{
    return one_run(command, count, arguments, "DELETE");
}

const struct command command_metric_create = {
    .name = "metric create",
    .arguments = "NAME",
    .summary = "Define a metric; its history is counted from the log.",
    .lesson = "  assay metric create refund_rate --event-type refund --direction decrease --guardrail-margin 0.1\n"
              "  assay metric create basket --type mean --event-type purchase --property amount --aggregation sum\n"
              "\n"
              "Filters and caps: POST /metric-definitions, or the dashboard.\n",
    .run = create_run,
};

const struct command command_metric_list = {
    .name = "metric list",
    .arguments = "",
    .summary = "List the metrics: name, type, event type, description.",
    .lesson = "  assay metric list\n",
    .run = list_run,
};

const struct command command_metric_show = {
    .name = "metric show",
    .arguments = "METRIC",
    .summary = "Show a metric's definition.",
    .lesson = "  assay metric show revenue\n",
    .run = show_run,
};

const struct command command_metric_archive = {
    .name = "metric archive",
    .arguments = "METRIC",
    .summary = "Archive a metric: it is still counted, but new experiments cannot name it.",
    .lesson = "  assay metric archive refund_rate\n",
    .run = archive_run,
};
