/* command_import.c: assay import: a table with one row a user, of an experiment that was run elsewhere. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "tools/import.h"
#include "tools/terminal.h"

/* What of an event id is neither the experiment's key nor the column: "import-", dashes, the row, "-1000". */
#define EVENT_ID_REST 28u

struct import_options {
    struct client_options client;
    struct option_texts events;
    struct option_texts values;
    const char *weights;
    const char *assigned_at;
    const char *event_time;
    bool json;
};

static bool time_read(const char *name, const char *text, int64_t *out_us)
{
    int32_t day = 0;
    if (text == NULL) {
        return true;
    }
    if (day_parse(bytes_of_text(text), &day) == STATUS_OK) {
        *out_us = (int64_t)day * MICROSECONDS_PER_DAY;
        return true;
    }
    if (timestamp_parse(bytes_of_text(text), out_us) == STATUS_OK) {
        return true;
    }
    (void)complain(EXIT_USAGE,
                   "--%s takes a time such as 2026-01-31T10:00:00Z or 2026-01-31, not '%s'", name,
                   text);
    return false;
}

/* "COL", "COL=event_type" or, for a value, "COL=event_type.property". */
static bool source_add(struct import *import, const char *text, bool is_value)
{
    const char *equals = strrchr(text, '=');
    const char *dot = is_value && equals != NULL ? strrchr(equals, '.') : NULL;
    struct import_source source = {
        .column = equals != NULL ? bytes_of(text, (size_t)(equals - text)) : bytes_of_text(text)};
    source.event_type = source.column;
    if (equals != NULL) {
        source.event_type = dot != NULL ? bytes_of(equals + 1, (size_t)(dot - equals) - 1)
                                        : bytes_of_text(equals + 1);
    }
    if (dot != NULL) {
        source.property = bytes_of_text(dot + 1);
    }
    const bool is_whole = source.column.size > 0 && source.event_type.size > 0 &&
                          source.event_type.size <= LIMIT_EVENT_TYPE &&
                          source.property.size <= LIMIT_NAME &&
                          is_value == (source.property.size > 0);
    if (!is_whole) {
        (void)complain(
            EXIT_USAGE,
            is_value ? "--value takes COLUMN=event_type.property, such as spend=purchase.amount, "
                       "not '%s'"
                     : "--event takes COLUMN or COLUMN=event_type, not '%s'",
            text);
        return false;
    }
    for (uint32_t i = 0; i < import->source_count; i++) {
        if (bytes_equal(import->sources[i].column, source.column)) {
            (void)complain(EXIT_USAGE, "the column '%.*s' is given twice", (int)source.column.size,
                           text);
            return false;
        }
    }
    if (import->source_count == IMPORT_SOURCES_MAX) {
        (void)complain(EXIT_USAGE, "at most %u columns can be imported", IMPORT_SOURCES_MAX);
        return false;
    }
    import->sources[import->source_count++] = source;
    return true;
}

static bool sources_add(struct import *import, const struct import_options *options)
{
    bool is_good = true;
    for (uint32_t i = 0; i < options->events.count && is_good; i++) {
        is_good = source_add(import, options->events.items[i], false);
    }
    for (uint32_t i = 0; i < options->values.count && is_good; i++) {
        is_good = source_add(import, options->values.items[i], true);
    }
    return is_good;
}

/* Ids are made of the key, the row and the column: all of it must fit. */
static bool names_fit(const struct import *import)
{
    for (uint32_t i = 0; i < import->source_count; i++) {
        const size_t size =
            strlen(import->experiment) + import->sources[i].column.size + EVENT_ID_REST;
        if (size > LIMIT_EVENT_ID) {
            (void)complain(
                EXIT_USAGE,
                "--experiment and the column '%.*s' are too long together for an event id",
                (int)import->sources[i].column.size, (const char *)import->sources[i].column.data);
            return false;
        }
    }
    if (strlen(import->user_prefix) > LIMIT_USER_ID - 20) {
        (void)complain(EXIT_USAGE, "--user-prefix is too long for a user id");
        return false;
    }
    return true;
}

static bool options_check(struct import *import, struct import_options *options)
{
    if (import->experiment == NULL || import->experiment[0] == '\0') {
        (void)complain(EXIT_USAGE, "--experiment KEY is needed: which experiment the table is of");
        return false;
    }
    if (import->variant_column == NULL) {
        (void)complain(
            EXIT_USAGE,
            "--variant-column COLUMN is needed: where the table says who got which variant");
        return false;
    }
    if (!sources_add(import, options) || !names_fit(import) ||
        !time_read("assigned-at", options->assigned_at, &import->assigned_at_us) ||
        !time_read("event-time", options->event_time, &import->event_time_us)) {
        return false;
    }
    /* An event before the assignment does not count. */
    if (import->event_time_us != 0 &&
        (import->assigned_at_us == 0 || import->event_time_us < import->assigned_at_us)) {
        (void)complain(EXIT_USAGE,
                       "--event-time goes with --assigned-at, and may not be before it");
        return false;
    }
    return true;
}

/* The variant whose name and "=" the text begins with; the longest, since names may hold "=" and ",". */
static struct import_variant *variant_named(struct import *import, const char *text)
{
    struct import_variant *found = NULL;
    for (uint32_t i = 0; i < import->variant_count; i++) {
        struct import_variant *variant = &import->variants[i];
        const struct bytes name = variant->name;
        const bool begins =
            strncmp(text, (const char *)name.data, name.size) == 0 && text[name.size] == '=';
        if (begins && (found == NULL || found->name.size < name.size)) {
            found = variant;
        }
    }
    return found;
}

/* "name=w,name=w": the variants' weights, once the table has said which there are. */
static bool weights_read(struct import *import, const char *text)
{
    uint32_t given = 0;
    for (const char *at = text; at != NULL && *at != '\0';) {
        struct import_variant *variant = variant_named(import, at);
        const char *number = variant != NULL ? at + variant->name.size + 1 : at;
        char *end = NULL;
        const double weight = strtod(number, &end);
        if (variant == NULL || end == number || (*end != ',' && *end != '\0') || !(weight >= 0.0)) {
            (void)complain(
                EXIT_USAGE,
                "--weights: '%s' does not begin with NAME=WEIGHT of a variant of the table", at);
            return false;
        }
        given += variant->weight == NULL;
        variant->weight = number;
        at = end + (*end == ',');
    }
    if (text != NULL && given != import->variant_count) {
        (void)complain(EXIT_USAGE, "--weights must give one to each of the %u variants",
                       import->variant_count);
        return false;
    }
    return true;
}

/* ---- the summary ---- */

static void summary_json(const struct import *import)
{
    struct arena arena;
    arena_init(&arena, 4096);
    struct json_writer writer = json_writer_in(&arena);

    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"rows",                    import->rows                },
        {"rows_without_variant",    import->rows_without_variant},
        {"assignments_new",         import->assigned_new        },
        {"assignments_existing",    import->assigned_before     },
        {"assignments_in_conflict", import->conflicts           },
        {"assignments_refused",     import->refused             },
        {"events_sent",             import->events              },
        {"events_accepted",         import->events_accepted     },
        {"events_duplicate",        import->events_duplicate    },
        {"events_rejected",         import->events_rejected     },
    };

    json_begin_object(&writer);
    json_key(&writer, "experiment");
    json_text(&writer, import->experiment);
    json_key(&writer, "variants");
    json_begin_object(&writer);
    for (uint32_t i = 0; i < import->variant_count; i++) {
        json_key_bytes(&writer, import->variants[i].name);
        json_uint(&writer, import->variants[i].rows);
    }
    json_end_object(&writer);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        json_key(&writer, counts[i].name);
        json_uint(&writer, counts[i].count);
    }
    json_key(&writer, "metrics");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < import->source_count; i++) {
        json_text(&writer, import->sources[i].metric);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    (void)printf("%.*s\n", (int)writer.size, writer.text);
    arena_deinit(&arena);
}

static void summary_line(const char *label, const uint64_t *counts, const char *const *words,
                         size_t count)
{
    (void)printf("%-13s", label);
    for (size_t i = 0; i < count; i++) {
        char number[NUMBER_TEXT_SIZE];
        (void)printf("%s%s %s", i > 0 ? ", " : "", number_text(counts[i], number), words[i]);
    }
    (void)printf("\n");
}

static void summary_print(const struct import *import)
{
    static const char *const assignment_words[] = {"new", "there before",
                                                   "in conflict (the stored one stays)", "refused"};
    static const char *const event_words[] = {"counted", "duplicates", "rejected"};
    const uint64_t assignments[] = {import->assigned_new, import->assigned_before,
                                    import->conflicts, import->refused};
    const uint64_t events[] = {import->events_accepted, import->events_duplicate,
                               import->events_rejected};
    char number[NUMBER_TEXT_SIZE];
    (void)printf("%s: %s rows into %s experiment\n", import->experiment,
                 number_text(import->rows, number),
                 import->is_experiment_new ? "a new" : "the existing");
    for (uint32_t i = 0; i < import->variant_count; i++) {
        (void)printf("  ");
        print_padded(import->variants[i].name, 24);
        (void)printf(" %12s users%s\n", number_text(import->variants[i].rows, number),
                     i == import->control_index ? "  (control)" : "");
    }
    if (import->rows_without_variant != 0) {
        (void)printf("  %-24s %12s rows, left out\n", "without a variant",
                     number_text(import->rows_without_variant, number));
    }
    summary_line("assignments", assignments, assignment_words, COUNT_OF(assignments));
    summary_line("events", events, event_words, COUNT_OF(events));
    (void)printf("metrics      ");
    for (uint32_t i = 0; i < import->source_count; i++) {
        const struct import_source *source = &import->sources[i];
        (void)printf("%s%s (%.*s%s)", i > 0 ? ", " : "", source->metric, (int)source->column.size,
                     (const char *)source->column.data, source->is_metric_new ? ", new" : "");
    }
    (void)printf("%s\n\nassay results %s\n", import->source_count == 0 ? "none" : "",
                 import->experiment);
}

/* ---- the steps ---- */

static enum exit_code run_steps(struct import *import, const struct import_options *options)
{
    struct error error = {""};
    enum status status = import_table_scan(import, &error);
    if (status != STATUS_OK) {
        return complain(status == STATUS_INVALID ? EXIT_USAGE : EXIT_CANNOT, "%s", error.text);
    }
    if (!weights_read(import, options->weights)) {
        return EXIT_USAGE;
    }
    status = client_open(&options->client, &error, &import->client);
    if (status != STATUS_OK) {
        return complain(status == STATUS_INVALID ? EXIT_USAGE : EXIT_CANNOT, "%s", error.text);
    }
    status = import_define(import, &error);
    if (status != STATUS_OK) {
        return complain(EXIT_CANNOT, "%s", error.text);
    }
    status = import_send(import, &error);
    if (status != STATUS_OK) {
        return complain(
            EXIT_CANNOT,
            "%s\nassay: the import is not complete: run it again, what is there already is not "
            "counted twice",
            error.text);
    }
    if (options->json) {
        summary_json(import);
    } else {
        summary_print(import);
    }
    const bool is_whole =
        import->conflicts == 0 && import->refused == 0 && import->events_rejected == 0;
    return is_whole ? EXIT_GOOD : EXIT_DIFFERENCE;
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct import *import = calloc(1, sizeof(*import));
    if (import == NULL) {
        return complain(EXIT_CANNOT, "out of memory");
    }
    struct import_options options = {.json = false};
    struct option_operands operands = {1, 1, "FILE.csv, the table", {NULL}, 0};
    struct option_row rows[12 + CLIENT_OPTION_COUNT] = {
        {"experiment",     "KEY",           OPTION_TEXT,  &import->experiment,
         "of the experiment; it is made where it is missing"                                                          },
        {"variant-column", "COL",           OPTION_TEXT,  &import->variant_column,
         "who got which variant; its different values are the variants.\nRows where it is empty "
         "are left out, and counted"                                                                                  },
        {"control",        "NAME",          OPTION_TEXT,  &import->control,
         "the variant that the others are compared with; else the one\ncalled control, else the "
         "first in the file"                                                                                          },
        {"user-column",    "COL",           OPTION_TEXT,  &import->user_column,
         "the users' ids; without it they are KEY-1, KEY-2, ... by row"                                               },
        {"user-prefix",    "TEXT",          OPTION_TEXT,  &import->user_prefix,
         "before the row's number, in place of KEY-"                                                                  },
        {"event",          "COL[=TYPE]",    OPTION_TEXTS, &options.events,
         "a column of 0 and 1, or of counts up to 1000: so many events\nof this type (else of the "
         "column's name). Repeatable"                                                                                 },
        {"value",          "COL=TYPE.PROP", OPTION_TEXTS, &options.values,
         "a column of numbers: an event of this type with the number\nas this property, unless it "
         "is empty or 0. Repeatable"                                                                                  },
        {"weights",        "NAME=W,...",    OPTION_TEXT,  &options.weights,
         "how users were meant to be split, adding up to 1; else equally.\nThe sample-ratio check "
         "compares with it"                                                                                           },
        {"assigned-at",    "TIME",          OPTION_TEXT,  &options.assigned_at,
         "when all users were assigned; else when the experiment was made\nhere, which is the same "
         "each time the import is run"                                                                                },
        {"event-time",     "TIME",          OPTION_TEXT,  &options.event_time,
         "when all events happened, not before --assigned-at;\nelse a second after it"                                },
        {"name",           "NAME",          OPTION_TEXT,  &import->name,           "of a new experiment; else its key"},
        {"json",           NULL,            OPTION_FLAG,  &options.json,           "the summary as one JSON object"   },
    };
    client_option_rows(&options.client, &rows[12]);
    enum exit_code code = EXIT_GOOD;
    arena_init(&import->arena, 64 * 1024);
    if (options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        import->path = operands.items[0];
        if (import->user_prefix == NULL && import->experiment != NULL) {
            import->user_prefix = arena_format(&import->arena, "%s-", import->experiment);
        }
        code = options_check(import, &options) ? run_steps(import, &options) : EXIT_USAGE;
    }
    client_close(import->client);
    arena_deinit(&import->arena);
    free(import);
    return code;
}

const struct command command_import = {
    .name = "import",
    .arguments = "FILE.csv",
    .summary = "Bring in a table of an experiment that was run elsewhere.",
    .lesson =
        "The file is CSV (RFC 4180, UTF-8). Its first line names the columns, each further line is "
        "one\n"
        "user. It is read twice: first every cell is checked, and nothing is sent unless all of "
        "them can\n"
        "be used; then assignments and events go out in large requests.\n"
        "\n"
        "A column given by --event shows as a proportion (the share of users with such an event), "
        "one by\n"
        "--value as a mean a user of the sum of its property. Where such a metric is defined "
        "already it is\n"
        "used, whatever its name; else one is made, named after the event type or the property. "
        "The\n"
        "summary says which. The first --event is the metric that the verdict is about.\n"
        "\n"
        "An import that was cut short is run again as it was: every assignment and event is "
        "recognised\n"
        "and counts once. Assignments are never overwritten: where the server has another one for "
        "a user,\n"
        "that is reported, and the exit code is 1.\n"
        "\n"
        "The Hillstrom e-mail experiment has 64,000 customers in three arms (the column treatment: "
        "No\n"
        "E-Mail, Mens E-Mail, Womens E-Mail) and what they did in the two weeks after (visit and\n"
        "conversion, 0 or 1; spend in dollars). It has no column of user ids:\n"
        "\n"
        "  assay import hillstrom.csv --experiment hillstrom --variant-column treatment \\\n"
        "        --control \"No E-Mail\" --event visit --event conversion --value "
        "spend=purchase.amount\n"
        "  assay results hillstrom\n"
        "\n"
        "makes the users hillstrom-1 to hillstrom-64000, events of the types visit and conversion, "
        "and for\n"
        "each customer who spent anything a purchase with the property amount. Its metrics are "
        "visit (made\n"
        "for it), conversion_rate and revenue (built in).\n",
    .run = run,
};
