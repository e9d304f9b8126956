/* command_results.c: assay results: what an experiment did, as a table for a person or JSON for a machine. */
#include <math.h>
#include <stdio.h>

#include "tools/answer.h"
#include "tools/client.h"
#include "tools/plot.h"
#include "tools/terminal.h"

#define QUERIES 10
#define CELL    40
#define WIDE    128u /* columns that the whole table takes; narrower ones leave out what the plot shows as well */
#define DAYS_MAX 1000u

/* The query options are passed on as they are: the server checks them. Rows of the options' table as well. */
struct query_row {
    const char *option;
    const char *parameter;
    const char *value;
    const char *text;
};

static const struct query_row query_rows[QUERIES] = {
    {"start-date",       "start_date",       "DAY",        "from this day on, such as 2026-01-31 (UTC)"    },
    {"end-date",         "end_date",         "DAY",        "up to this day, included"                      },
    {"metrics",          "metrics",          "A,B,...",    "these; else the experiment's"                  },
    {"group-by",         "group_by",         "day",        "a value a day, too (in --json)"                },
    {"confidence-level", "confidence_level", "LEVEL",      "of the intervals; else 0.95"                   },
    {"test",             "test",             "TEST",       "welch, sequential or bayesian: for the verdict"},
    {"correction",       "correction",       "NAME",       "none, holm or bh: for several comparisons"     },
    {"cuped",            "cuped",            "true",       "with less variance, from before the experiment"},
    {"anchor",           "anchor",           "assignment", "count days from each user's assignment"        },
    {"breakdown",        "breakdown",        "ATTRIBUTE",  "by the values of an attribute"                 },
};

struct results_options {
    struct client_options client;
    const char *queries[QUERIES];
    bool json;
};

/* ---- numbers as text ---- */

static const char *value_text(struct bytes document, const char *path, char out_text[CELL])
{
    double value = 0.0;
    if (answer_number(document, path, &value)) {
        (void)snprintf(out_text, CELL, "%.4g", value);
    } else {
        (void)snprintf(out_text, CELL, "-");
    }
    return out_text;
}

static const char *percent_text(struct bytes document, const char *path, char out_text[CELL])
{
    double value = 0.0;
    if (answer_number(document, path, &value)) {
        (void)snprintf(out_text, CELL, "%+.1f %%", 100.0 * value);
    } else {
        (void)snprintf(out_text, CELL, "-");
    }
    return out_text;
}

static const char *p_text(struct bytes document, const char *path, char out_text[CELL])
{
    double value = 0.0;
    if (!answer_number(document, path, &value)) {
        (void)snprintf(out_text, CELL, "-");
    } else if (value < 0.0001) {
        (void)snprintf(out_text, CELL, "< 0.0001");
    } else {
        (void)snprintf(out_text, CELL, "%.4f", value);
    }
    return out_text;
}

/* "[0.1, 0.2]", times `scale`. */
static const char *interval_text(struct bytes document, const char *path, bool is_percent,
                                 char out_text[CELL])
{
    struct answer_items items = answer_items(document, path);
    double bounds[2] = {NAN, NAN};
    struct bytes item;
    for (size_t i = 0; i < COUNT_OF(bounds) && answer_next(&items, &item); i++) {
        (void)answer_number(item, "", &bounds[i]);
    }
    if (isnan(bounds[0]) || isnan(bounds[1])) {
        (void)snprintf(out_text, CELL, "-");
    } else if (is_percent) {
        (void)snprintf(out_text, CELL, "[%+.1f, %+.1f]", 100.0 * bounds[0], 100.0 * bounds[1]);
    } else {
        (void)snprintf(out_text, CELL, "[%.4g, %.4g]", bounds[0], bounds[1]);
    }
    return out_text;
}

/* ---- the table ---- */

static size_t variant_column_width(struct bytes results)
{
    struct answer_items variants = answer_items(results, "variants");
    struct bytes variant;
    size_t width = strlen("variant");
    while (answer_next(&variants, &variant)) {
        struct bytes name = {NULL, 0};
        (void)answer_text(variant, "name", &name);
        const size_t own =
            text_width(name) + (answer_is_true(variant, "is_control") ? strlen(" (control)") : 0);
        width = own > width ? own : width;
    }
    return width;
}

static void variant_print(struct bytes variant, struct bytes cell, size_t width, bool is_wide)
{
    char text[CELL];
    char number[NUMBER_TEXT_SIZE];
    struct bytes name = {NULL, 0};
    const bool is_control = answer_is_true(variant, "is_control");
    (void)answer_text(variant, "name", &name);
    (void)printf("  %.*s", (int)name.size, (const char *)name.data);
    const char *mark = is_control ? " (control)" : "";
    print_padded(bytes_of_text(mark), width - text_width(name));
    (void)printf("  %11s", number_text(answer_count(variant, "users"), number));
    (void)printf("  %10s", value_text(cell, "value", text));
    if (is_wide) {
        (void)printf("  %-*s", is_control ? 0 : 20, interval_text(cell, "confidence_interval", false, text));
    }
    if (!is_control) {
        (void)printf("  %9s", percent_text(cell, "vs_control.relative.value", text));
        if (is_wide) {
            (void)printf("  %-17s", interval_text(cell, "vs_control.relative.confidence_interval", true, text));
            (void)printf("  %9s", p_text(cell, "vs_control.p_value", text));
        }
        (void)printf("  %12s", p_text(cell, "vs_control.sequential.p_value", text));
    }
    (void)printf("\n");
}

/* The member of this name: a metric's may hold dots, which paths take apart. */
static bool cell_find(struct bytes holder, struct bytes metric, struct bytes *out_cell)
{
    struct answer_items cells = answer_members(holder, "metrics");
    struct bytes name;
    while (answer_next_member(&cells, &name, out_cell)) {
        if (bytes_equal(name, metric)) {
            return true;
        }
    }
    return false;
}

/* ---- the plots ---- */

struct lift {
    double low;
    double value;
    double high;
};

static struct lift lift_of(struct bytes cell)
{
    struct lift lift = {NAN, NAN, NAN};
    struct answer_items bounds = answer_items(cell, "vs_control.relative.confidence_interval");
    struct bytes bound;
    (void)answer_number(cell, "vs_control.relative.value", &lift.value);
    if (answer_next(&bounds, &bound) && answer_number(bound, "", &lift.low) && answer_next(&bounds, &bound)) {
        (void)answer_number(bound, "", &lift.high);
    }
    return lift;
}

/* From 0 to the ends of all intervals, and a little more. False where there is nothing to draw. */
static bool scale_of(struct bytes results, struct bytes metric, struct plot_scale *out_scale)
{
    struct answer_items variants = answer_items(results, "variants");
    struct bytes variant;
    struct bytes cell;
    struct plot_scale scale = {0.0, 0.0};
    while (answer_next(&variants, &variant)) {
        if (cell_find(variant, metric, &cell)) {
            const struct lift lift = lift_of(cell);
            scale.low = fmin(scale.low, fmin(lift.low, lift.value));
            scale.high = fmax(scale.high, fmax(lift.high, lift.value));
        }
    }
    const double spare = 0.05 * (scale.high - scale.low);
    *out_scale = (struct plot_scale){scale.low - spare, scale.high + spare};
    return spare > 0.0 && spare < 1e6;
}

/* The cumulative value of each day; returns how many days there are. */
static uint32_t days_read(struct bytes variant, struct bytes metric, double values[DAYS_MAX])
{
    struct answer_items days = answer_items(variant, "time_series");
    struct bytes day;
    struct bytes cell;
    uint32_t count = 0;
    while (count < DAYS_MAX && answer_next(&days, &day)) {
        values[count] = NAN;
        if (cell_find(day, metric, &cell)) {
            (void)answer_number(cell, "cumulative.value", &values[count]);
        }
        count++;
    }
    return count;
}

/* How the lift moved from day to day, in characters. */
static const char *trend_text(struct bytes control, struct bytes variant, struct bytes metric, char out_text[PLOT_TEXT_SIZE])
{
    static double base[DAYS_MAX];
    static double own[DAYS_MAX];
    const uint32_t base_count = days_read(control, metric, base);
    const uint32_t count = days_read(variant, metric, own);
    for (uint32_t i = 0; i < count; i++) {
        own[i] = i < base_count && fabs(base[i]) > 0.0 ? own[i] / base[i] - 1.0 : (double)NAN;
    }
    return plot_series(own, count, out_text);
}

/* Green where all of the interval is good, red where all of it is bad. */
static const char *color_of(struct bytes cell, struct lift lift)
{
    struct bytes direction = {NULL, 0};
    const bool is_decrease = answer_text(cell, "direction", &direction) && bytes_equal_text(direction, "decrease");
    if (!terminal_has_colors() || !(lift.low > 0.0 || lift.high < 0.0)) {
        return "";
    }
    return (lift.low > 0.0) != is_decrease ? "\033[32m" : "\033[31m";
}

static void lifts_plot(struct bytes results, struct bytes metric, size_t width)
{
    struct plot_scale scale;
    struct answer_items variants = answer_items(results, "variants");
    struct bytes variant;
    struct bytes control = {NULL, 0};
    struct bytes cell;
    char text[PLOT_TEXT_SIZE];
    char trend[PLOT_TEXT_SIZE];
    if (!scale_of(results, metric, &scale)) {
        return;
    }
    while (answer_next(&variants, &variant)) {
        control = answer_is_true(variant, "is_control") ? variant : control;
    }
    variants = answer_items(results, "variants");
    while (answer_next(&variants, &variant)) {
        struct bytes name = {NULL, 0};
        if (answer_is_true(variant, "is_control") || !answer_text(variant, "name", &name) || !cell_find(variant, metric, &cell)) {
            continue;
        }
        const struct lift lift = lift_of(cell);
        const char *color = color_of(cell, lift);
        (void)printf("  ");
        print_padded(name, width);
        (void)printf("  %s%s%s  %s\n", color, plot_interval(scale, lift.low, lift.value, lift.high, text), *color != '\0' ? "\033[0m" : "",
                     control.data != NULL ? trend_text(control, variant, metric, trend) : "");
    }
    (void)printf("  %-*s  %s\n", (int)width, "lift; day by day", plot_axis(scale, text));
}

static void metric_print(struct bytes results, struct bytes metric, size_t width)
{
    double level = 0.95;
    (void)answer_number(results, "summary.confidence_level", &level);
    char interval[CELL];
    (void)snprintf(interval, sizeof(interval), "%g %% interval", 100.0 * level);
    const bool is_wide = terminal_columns() >= WIDE;
    (void)printf("\n%.*s\n", (int)metric.size, (const char *)metric.data);
    if (is_wide) {
        (void)printf("  %-*s  %11s  %10s  %-20s  %9s  %-17s  %9s  %12s\n", (int)width, "variant",
                     "users", "value", interval, "lift", interval, "p", "sequential p");
    } else {
        (void)printf("  %-*s  %11s  %10s  %9s  %12s\n", (int)width, "variant", "users", "value", "lift", "sequential p");
    }
    struct answer_items variants = answer_items(results, "variants");
    struct bytes variant;
    struct bytes cell;
    while (answer_next(&variants, &variant)) {
        if (cell_find(variant, metric, &cell)) {
            variant_print(variant, cell, width, is_wide);
        }
    }
    lifts_plot(results, metric, width);
}

static void verdict_print(struct bytes results, const char *experiment)
{
    char number[NUMBER_TEXT_SIZE];
    char p[CELL];
    struct bytes status = {NULL, 0};
    struct bytes time = {NULL, 0};
    struct bytes metric = {NULL, 0};
    struct bytes variant = {NULL, 0};
    struct bytes test = {NULL, 0};
    (void)answer_text(results, "summary.status", &status);
    (void)answer_text(results, "as_of.time", &time);
    (void)printf("%s: %.*s\n", experiment, (int)status.size, (const char *)status.data);
    if (answer_text(results, "statistical_significance.metric", &metric) &&
        answer_text(results, "statistical_significance.variant", &variant)) {
        (void)answer_text(results, "statistical_significance.test", &test);
        (void)printf("  %.*s of '%.*s' against the control: p %s (%.*s test)\n", (int)metric.size,
                     (const char *)metric.data, (int)variant.size, (const char *)variant.data,
                     p_text(results, "statistical_significance.p_value", p), (int)test.size,
                     (const char *)test.data);
    }
    (void)printf("  %s users, %llu day(s); sample ratio %s (p %s)\n",
                 number_text(answer_count(results, "summary.total_users"), number),
                 (unsigned long long)answer_count(results, "summary.duration_days"),
                 answer_is_true(results, "summary.srm.ok") ? "ok" : "MISMATCH",
                 p_text(results, "summary.srm.p_value", p));
    (void)printf("  as of record %s, %.*s\n",
                 number_text(answer_count(results, "as_of.lsn"), number), (int)time.size,
                 (const char *)time.data);
}

static void results_print(struct bytes results, const char *experiment)
{
    struct answer_items variants = answer_items(results, "variants");
    struct bytes first;
    verdict_print(results, experiment);
    if (answer_next(&variants, &first)) {
        const size_t width = variant_column_width(results);
        struct answer_items metrics = answer_members(first, "metrics");
        struct bytes metric;
        struct bytes cell;
        while (answer_next_member(&metrics, &metric, &cell)) {
            metric_print(results, metric, width);
        }
    }
    struct answer_items warnings = answer_items(results, "warnings");
    struct bytes item;
    while (answer_next(&warnings, &item)) {
        struct bytes text = {NULL, 0};
        (void)answer_text(item, "", &text);
        (void)printf("\nwarning: %.*s\n", (int)text.size, (const char *)text.data);
    }
}

/* ---- the request ---- */

static const char *path_make(struct client *client, struct arena *arena,
                             const struct results_options *options, const char *experiment)
{
    const char *key = client_escape(client, arena, bytes_of_text(experiment));
    const char *path = key != NULL ? arena_format(arena, "/experiments/%s/results", key) : NULL;
    const char *separator = "?";
    for (size_t i = 0; i < QUERIES && path != NULL; i++) {
        if (options->queries[i] == NULL) {
            continue;
        }
        const char *value = client_escape(client, arena, bytes_of_text(options->queries[i]));
        path = value != NULL ? arena_format(arena, "%s%s%s=%s", path, separator,
                                            query_rows[i].parameter, value)
                             : NULL;
        separator = "&";
    }
    return path;
}

static enum status results_get(struct client *client, struct arena *arena,
                               const struct results_options *options, const char *experiment,
                               struct error *error)
{
    const char *path = path_make(client, arena, options, experiment);
    if (path == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    const struct client_request request = {.method = "GET", .path = path, .is_repeatable = true};
    struct client_reply reply;
    struct bytes results;
    enum status status = client_send(client, &request, error, &reply);
    if (status == STATUS_OK && options->json) {
        (void)printf("%.*s\n", (int)reply.body.size, (const char *)reply.body.data);
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = answer_read(arena, reply.body, error, &results);
    }
    if (status == STATUS_OK) {
        results_print(results, experiment);
    }
    return status;
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct results_options options = {.json = false};
    struct option_operands operands = {1, 1, "EXPERIMENT, a key or an id", {NULL}, 0};
    struct option_row rows[1 + QUERIES + CLIENT_OPTION_COUNT] = {
        {"json", NULL, OPTION_FLAG, &options.json, "the server's answer as it is"},
    };
    for (size_t i = 0; i < QUERIES; i++) {
        rows[1 + i] = (struct option_row){query_rows[i].option, query_rows[i].value, OPTION_TEXT,
                                          &options.queries[i], query_rows[i].text};
    }
    client_option_rows(&options.client, &rows[1 + QUERIES]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct error error = {""};
    struct client *client = NULL;
    struct arena arena;
    arena_init(&arena, 64 * 1024);
    enum status status = client_open(&options.client, &error, &client);
    if (status != STATUS_OK) {
        code = complain(status == STATUS_INVALID ? EXIT_USAGE : EXIT_CANNOT, "%s", error.text);
    } else if (results_get(client, &arena, &options, operands.items[0], &error) != STATUS_OK) {
        code = complain(EXIT_CANNOT, "%s", error.text);
    }
    client_close(client);
    arena_deinit(&arena);
    return code;
}

const struct command command_results = {
    .name = "results",
    .arguments = "EXPERIMENT",
    .summary = "What an experiment did, with the statistics to believe it.",
    .lesson = "A table for each metric: the value in each variant, how much it differs from the "
              "control (lift), and\n"
              "two p-values. `p` is for one look at a time fixed beforehand; `sequential p` stays "
              "true however often\n"
              "one looks. A sample-ratio mismatch means that users were not split as intended: "
              "then nothing else is\n"
              "to be believed. Below each table the lifts are drawn with their intervals, and how "
              "they moved from day\n"
              "to day. docs/statistics.md has the formulas.\n"
              "\n"
              "  assay results homepage-cta\n"
              "  assay results homepage-cta --metrics revenue --start-date 2026-01-01 --end-date "
              "2026-01-31\n"
              "  assay results homepage-cta --json | jq .summary\n",
    .run = run,
};
