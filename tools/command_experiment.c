/* command_experiment.c: assay experiment create, list, show, history, start, pause, complete and archive; assay assign. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/call.h"
#include "tools/terminal.h"

struct experiment_options {
    struct client_options client;
    const char *variants;
    const char *metrics;
    const char *key;
    const char *status;
    struct option_texts attributes;
    bool draft;
    bool json;
};

/* ---- create ---- */

/* "control=0.5,blue=0.5" or "control,blue" as the variants of a definition. False where a weight is none. */
static bool variants_write(struct json_writer *writer, const char *text)
{
    bool is_good = true;
    json_begin_array(writer);
    while (*text != '\0') {
        const size_t size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size);
        const size_t name_size = equals != NULL ? (size_t)(equals - text) : size;
        json_begin_object(writer);
        json_key(writer, "name");
        json_text_bytes(writer, bytes_of(text, name_size));
        if (equals != NULL) {
            char *end = NULL;
            const double weight = strtod(equals + 1, &end);
            is_good = is_good && end == text + size && end != equals + 1;
            json_key(writer, "weight");
            json_double(writer, weight);
        }
        json_end_object(writer);
        text += size + (text[size] == ',' ? 1 : 0);
    }
    json_end_array(writer);
    return is_good;
}

static void names_write(struct json_writer *writer, const char *text)
{
    json_begin_array(writer);
    while (*text != '\0') {
        const size_t size = strcspn(text, ",");
        json_text_bytes(writer, bytes_of(text, size));
        text += size + (text[size] == ',' ? 1 : 0);
    }
    json_end_array(writer);
}

/* NULL where the options cannot be made a definition of. */
static const char *definition_make(struct arena *arena, const struct experiment_options *options, const char *name)
{
    struct json_writer writer = json_writer_in(arena);
    json_begin_object(&writer);
    json_key(&writer, "name");
    json_text(&writer, name);
    json_key(&writer, "variants");
    const bool is_good = variants_write(&writer, options->variants);
    if (options->key != NULL) {
        json_key(&writer, "key");
        json_text(&writer, options->key);
    }
    if (options->metrics != NULL) {
        json_key(&writer, "metrics");
        names_write(&writer, options->metrics);
    }
    json_key(&writer, "status");
    json_text(&writer, options->draft ? "draft" : "running");
    json_end_object(&writer);
    return is_good && !writer.failed ? arena_copy(arena, bytes_of(writer.text, writer.size)) : NULL;
}

static void experiment_print(struct arena *arena, struct bytes experiment)
{
    (void)printf("%s: %s, version %s\n", member_text(arena, experiment, "key"), member_text(arena, experiment, "status"),
                 member_text(arena, experiment, "version"));
    (void)printf("  name      %s\n  id        %s\n", member_text(arena, experiment, "name"), member_text(arena, experiment, "id"));
    (void)printf("  traffic   %s\n  layer     %s\n", member_text(arena, experiment, "traffic_allocation"),
                 member_text(arena, experiment, "layer"));
    (void)printf("  metrics   %s\n", member_text(arena, experiment, "metrics"));
    (void)printf("  variants\n");
    struct answer_items variants = answer_items(experiment, "variants");
    struct bytes variant;
    while (answer_next(&variants, &variant)) {
        (void)printf("    ");
        print_padded(bytes_of_text(member_text(arena, variant, "name")), 24);
        (void)printf("  %8s%s\n", member_text(arena, variant, "weight"), answer_is_true(variant, "is_control") ? "  control" : "");
    }
}

static enum exit_code create_run(const struct command *command, int count, char **arguments)
{
    struct experiment_options options = {.variants = "control,treatment"};
    struct option_operands operands = {1, 1, "NAME, what the experiment is called", {NULL}, 0};
    struct option_row rows[5 + CLIENT_OPTION_COUNT] = {
        {"variants", "A,B=0.3,...", OPTION_TEXT, &options.variants, "the first one is the control; with weights that add up to 1, or evenly"},
        {"metrics",  "A,B,...",     OPTION_TEXT, &options.metrics,  "the first one gives the verdict; else conversion_rate and revenue"    },
        {"key",      "KEY",         OPTION_TEXT, &options.key,      "as programs name it; else made of the name"                           },
        {"draft",    NULL,          OPTION_FLAG, &options.draft,    "do not start it yet"                                                  },
        {"json",     NULL,          OPTION_FLAG, &options.json,     "the server's answer as JSON"                                          },
    };
    client_option_rows(&options.client, &rows[5]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes experiment;
    if (server_call_begin(&call, &options.client)) {
        const char *definition = definition_make(&call.arena, &options, operands.items[0]);
        if (definition == NULL) {
            (void)server_call_end(&call);
            return complain(EXIT_USAGE, "--variants: a weight is a number, as in control=0.5,blue=0.5");
        }
        if (server_call_send(&call, "POST", "/experiments", definition, &experiment)) {
            if (options.json) {
                document_print(&call.arena, experiment);
            } else {
                experiment_print(&call.arena, experiment);
                note("next: assay assign %s USER", member_text(&call.arena, experiment, "key"));
            }
        }
    }
    return server_call_end(&call);
}

/* ---- list, show, history ---- */

static void list_visit(void *context, struct server_call *call, struct bytes experiment)
{
    const struct experiment_options *options = context;
    if (options->json) {
        document_print(&call->arena, experiment);
        return;
    }
    print_padded(bytes_of_text(member_text(&call->arena, experiment, "key")), 32);
    (void)printf("  %-10s  %-24.19s  ", member_text(&call->arena, experiment, "status"), member_text(&call->arena, experiment, "created_at"));
    struct answer_items variants = answer_items(experiment, "variants");
    struct bytes variant;
    for (const char *comma = ""; answer_next(&variants, &variant); comma = ", ") {
        (void)printf("%s%s %s", comma, member_text(&call->arena, variant, "name"), member_text(&call->arena, variant, "weight"));
    }
    (void)printf("\n");
}

static enum exit_code list_run(const struct command *command, int count, char **arguments)
{
    struct experiment_options options = {0};
    struct option_operands operands = {0};
    struct option_row rows[2 + CLIENT_OPTION_COUNT] = {
        {"status", "STATUS", OPTION_TEXT, &options.status, "draft, running, paused, completed or archived only"},
        {"json",   NULL,     OPTION_FLAG, &options.json,   "a line of JSON each"                               },
    };
    client_option_rows(&options.client, &rows[2]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    if (server_call_begin(&call, &options.client)) {
        const char *path = options.status != NULL ? server_call_path(&call, "/experiments?status=", options.status, "") : "/experiments";
        if (path != NULL) {
            (void)server_call_list(&call, path, "experiments", list_visit, &options);
        }
    }
    return server_call_end(&call);
}

static enum exit_code show_run(const struct command *command, int count, char **arguments)
{
    struct experiment_options options = {0};
    struct option_operands operands = {1, 1, "EXPERIMENT, a key or an id", {NULL}, 0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &options.json, "the whole definition as JSON"}};
    client_option_rows(&options.client, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes experiment;
    if (server_call_begin(&call, &options.client)) {
        const char *path = server_call_path(&call, "/experiments/", operands.items[0], "");
        if (path != NULL && server_call_send(&call, "GET", path, NULL, &experiment)) {
            if (options.json) {
                document_print(&call.arena, experiment);
            } else {
                experiment_print(&call.arena, experiment);
            }
        }
    }
    return server_call_end(&call);
}

/* ---- start, pause, complete, archive ---- */

struct move {
    const char *command;
    const char *status;
};

/* By the last word of the command's name. */
static const struct move moves[] = {
    {"experiment start", "running"}, {"experiment pause", "paused"}, {"experiment complete", "completed"}, {"experiment archive", "archived"}};

static enum exit_code move_run(const struct command *command, int count, char **arguments)
{
    struct experiment_options options = {0};
    struct option_operands operands = {1, 1, "EXPERIMENT, a key or an id", {NULL}, 0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {{"json", NULL, OPTION_FLAG, &options.json, "the new definition as JSON"}};
    client_option_rows(&options.client, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    const struct move *move = moves;
    while (strcmp(move->command, command->name) != 0) {
        move++;
    }
    struct server_call call;
    struct bytes experiment;
    if (server_call_begin(&call, &options.client)) {
        const char *path = server_call_path(&call, "/experiments/", operands.items[0], "");
        const char *body = arena_format(&call.arena, "{\"status\":\"%s\"}", move->status);
        if (path != NULL && server_call_send(&call, "PATCH", path, body, &experiment)) {
            if (options.json) {
                document_print(&call.arena, experiment);
            } else {
                (void)printf("%s is %s, version %s\n", member_text(&call.arena, experiment, "key"),
                             member_text(&call.arena, experiment, "status"), member_text(&call.arena, experiment, "version"));
            }
        }
    }
    return server_call_end(&call);
}

/* ---- assign ---- */

/* NULL where an attribute is not NAME=VALUE. */
static const char *assignment_make(struct arena *arena, const char *user, const struct option_texts *attributes)
{
    struct json_writer writer = json_writer_in(arena);
    json_begin_object(&writer);
    json_key(&writer, "user_id");
    json_text(&writer, user);
    json_key(&writer, "attributes");
    json_begin_object(&writer);
    for (uint32_t i = 0; i < attributes->count; i++) {
        const char *equals = strchr(attributes->items[i], '=');
        if (equals == NULL) {
            return NULL;
        }
        json_key_bytes(&writer, bytes_of(attributes->items[i], (size_t)(equals - attributes->items[i])));
        json_text(&writer, equals + 1);
    }
    json_end_object(&writer);
    json_end_object(&writer);
    return !writer.failed ? arena_copy(arena, bytes_of(writer.text, writer.size)) : NULL;
}

static enum exit_code assign_run(const struct command *command, int count, char **arguments)
{
    struct experiment_options options = {0};
    struct option_operands operands = {2, 2, "EXPERIMENT and USER", {NULL}, 0};
    struct option_row rows[2 + CLIENT_OPTION_COUNT] = {
        {"attribute", "NAME=VALUE", OPTION_TEXTS, &options.attributes, "what targeting may ask about the user; as often as wanted"},
        {"json",      NULL,         OPTION_FLAG,  &options.json,       "the server's answer as JSON"                              },
    };
    client_option_rows(&options.client, &rows[2]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct server_call call;
    struct bytes answer;
    if (server_call_begin(&call, &options.client)) {
        const char *path = server_call_path(&call, "/experiments/", operands.items[0], "/assignment");
        const char *body = assignment_make(&call.arena, operands.items[1], &options.attributes);
        if (body == NULL) {
            (void)server_call_end(&call);
            return complain(EXIT_USAGE, "--attribute is NAME=VALUE, such as --attribute country=US");
        }
        if (path != NULL && server_call_send(&call, "POST", path, body, &answer)) {
            if (options.json) {
                document_print(&call.arena, answer);
            } else {
                (void)printf("%s (%s%s)\n", member_text(&call.arena, answer, "variant"), member_text(&call.arena, answer, "reason"),
                             answer_is_true(answer, "new") ? ", new" : "");
            }
        }
    }
    return server_call_end(&call);
}

const struct command command_experiment_create = {
    .name = "experiment create",
    .arguments = "NAME",
    .summary = "Define an experiment, and start it.",
    .lesson = "For targeting, layers, schedules and values send the definition itself: docs/api.md, POST /experiments.\n"
              "\n"
              "  assay experiment create \"Homepage CTA\" --variants control,blue\n"
              "  assay experiment create \"Prices\" --variants old=0.9,new=0.1 --metrics revenue --draft\n",
    .run = create_run,
};

const struct command command_experiment_list = {
    .name = "experiment list",
    .arguments = "",
    .summary = "List the experiments: key, status, when made, variants with weights.",
    .lesson = "  assay experiment list --status running\n",
    .run = list_run,
};

const struct command command_experiment_show = {
    .name = "experiment show",
    .arguments = "EXPERIMENT",
    .summary = "Show an experiment's definition.",
    .lesson = "What it has done so far: assay results EXPERIMENT.\n",
    .run = show_run,
};

const struct command command_experiment_start = {
    .name = "experiment start",
    .arguments = "EXPERIMENT",
    .summary = "Start a draft, or go on after a pause: new users are assigned.",
    .lesson = "",
    .run = move_run,
};

const struct command command_experiment_pause = {
    .name = "experiment pause",
    .arguments = "EXPERIMENT",
    .summary = "Take no new users; those assigned keep their variant.",
    .lesson = "",
    .run = move_run,
};

const struct command command_experiment_complete = {
    .name = "experiment complete",
    .arguments = "EXPERIMENT",
    .summary = "End it: the results stay, nobody new is assigned.",
    .lesson = "",
    .run = move_run,
};

const struct command command_experiment_archive = {
    .name = "experiment archive",
    .arguments = "EXPERIMENT",
    .summary = "Put a completed one away; its results can still be read.",
    .lesson = "",
    .run = move_run,
};

const struct command command_assign = {
    .name = "assign",
    .arguments = "EXPERIMENT USER",
    .summary = "Which variant a user gets; enrols the user, for good.",
    .lesson = "  assay assign homepage-cta user-1 --attribute country=US --attribute version=2.1.0\n"
              "\n"
              "Who would get what, without enrolling anybody: POST /experiments/EXPERIMENT/evaluate.\n",
    .run = assign_run,
};
