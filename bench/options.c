/* options.c: the rows of the command line. */
#include "bench/options.h"

#include "engine/limits.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum option_kind {
    OPTION_TEXT,
    OPTION_COUNT, /* a whole number; k and M are understood */
    OPTION_REAL,
    OPTION_FLAG,
};

struct option_row {
    const char *name;
    const char *argument; /* as named in the help; NULL for a flag */
    enum option_kind kind;
    size_t offset; /* of the field in struct options */
    double least;
    double most;
    const char *help;
};

#define FIELD(name) offsetof(struct options, name)

/* clang-format off */
static const struct option_row option_rows[] = {
    {"--url", "URL", OPTION_TEXT, FIELD(url), 0, 0, "the server (http://127.0.0.1:8080)"},
    {"--token", "TOKEN", OPTION_TEXT, FIELD(token), 0, 0, "else ASSAY_TOKEN, else DIR/admin-token of --data"},
    {"--data", "DIR", OPTION_TEXT, FIELD(data), 0, 0,
     "the server's data directory: token, filesystem, flush statistics; the disk `flush` measures"},
    {"--connections", "N", OPTION_COUNT, FIELD(connections), 1, BENCH_CONNECTIONS_MAX, "kept open, in all (16)"},
    {"--threads", "N", OPTION_COUNT, FIELD(threads), 1, BENCH_THREADS_MAX,
     "load threads; one is right on two cores (1)"},
    {"--rate", "R", OPTION_REAL, FIELD(rate), 0, 1e8,
     "offered requests a second; 0 is the closed loop: as fast as the connections go (0)"},
    {"--poisson", NULL, OPTION_FLAG, FIELD(poisson), 0, 0, "arrivals at random moments, instead of evenly spaced"},
    {"--duration", "SECONDS", OPTION_REAL, FIELD(duration), 0.1, 86400, "measured part of a run (10)"},
    {"--warmup", "SECONDS", OPTION_REAL, FIELD(warmup), 0, 86400, "the same load before it, not measured (2)"},
    {"--drain", "SECONDS", OPTION_REAL, FIELD(drain), 0, 3600, "how long to wait for the last replies (5)"},
    {"--repeat", "N", OPTION_COUNT, FIELD(repeat), 1, BENCH_REPEAT_MAX,
     "runs; the median and the spread are shown (3)"},
    {"--batch", "N", OPTION_COUNT, FIELD(batch), 1, 1000000, "events in a request (1000)"},
    {"--format", "NAME", OPTION_TEXT, FIELD(format), 0, 0,
     "json (an array; the bare event when the batch is 1), array, events ({\"events\": [...]}), ndjson (json)"},
    {"--event-size", "BYTES", OPTION_COUNT, FIELD(event_size), 1, BENCH_EVENT_SIZE_MAX,
     "events are padded up to this (200)"},
    {"--users", "N", OPTION_COUNT, FIELD(users), 1, 1000000000, "population the users are drawn from (100k)"},
    {"--zipf", "S", OPTION_REAL, FIELD(zipf), 0, 10,
     "skew of the users, 1 is a usual web population; 0 is even (0)"},
    {"--duplicates", "SHARE", OPTION_REAL, FIELD(duplicates), 0, 1, "events sent once more, byte for byte (0)"},
    {"--late", "SHARE", OPTION_REAL, FIELD(late), 0, 1, "events whose time lies in the past (0)"},
    {"--late-hours", "H", OPTION_REAL, FIELD(late_hours), 0.01, 8760, "how far in the past at most (48)"},
    {"--experiment", "KEY", OPTION_TEXT, FIELD(experiment), 0, 0,
     "created where absent, users are assigned before the run; for ingest, `none` leaves it out (assay-bench)"},
    {"--pid", "PID", OPTION_COUNT, FIELD(pid), 1, 1e9, "the server's process; else whoever listens on the port"},
    {"--json", NULL, OPTION_FLAG, FIELD(json), 0, 0, "one JSON object instead of text"},
    {"--help", NULL, OPTION_FLAG, FIELD(help), 0, 0, "this text"},
};

/* clang-format on */

static enum status count_parse(const char *text, double *out_value)
{
    char *end = NULL;
    const double number = strtod(text, &end);
    double scale = 1;
    if (*end == 'k') {
        scale = 1e3;
        end++;
    } else if (*end == 'M') {
        scale = 1e6;
        end++;
    }
    if (end == text || *end != '\0' || !isfinite(number)) {
        return STATUS_INVALID;
    }
    *out_value = number * scale;
    return STATUS_OK;
}

static enum status option_store(const struct option_row *row, const char *text,
                                struct options *options, struct error *error)
{
    char *field = (char *)options + row->offset;
    if (row->kind == OPTION_FLAG) {
        const bool value = true;
        memcpy(field, &value, sizeof(value));
        return STATUS_OK;
    }
    if (row->kind == OPTION_TEXT) {
        memcpy(field, &text, sizeof(text));
        return STATUS_OK;
    }
    double value = 0;
    if (count_parse(text, &value) != STATUS_OK || value < row->least || value > row->most) {
        return error_set(error, STATUS_INVALID, "%s takes a number from %g to %g, not '%s'",
                         row->name, row->least, row->most, text);
    }
    if (row->kind == OPTION_COUNT) {
        const uint64_t count = (uint64_t)(value + 0.5);
        memcpy(field, &count, sizeof(count));
    } else {
        memcpy(field, &value, sizeof(value));
    }
    return STATUS_OK;
}

static const struct option_row *option_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(option_rows); i++) {
        if (strcmp(option_rows[i].name, name) == 0) {
            return &option_rows[i];
        }
    }
    return NULL;
}

/* The first line of DIR/admin-token. A directory without one is no error: `flush` needs none. */
static void token_read(struct options *options)
{
    char path[4096];
    const int size = snprintf(path, sizeof(path), "%s/admin-token", options->data);
    FILE *file = size > 0 && (size_t)size < sizeof(path) ? fopen(path, "re") : NULL;
    if (file == NULL) {
        return;
    }
    if (fgets(options->token_text, sizeof(options->token_text), file) != NULL) {
        options->token_text[strcspn(options->token_text, "\r\n")] = '\0';
        options->token = options->token_text;
    }
    (void)fclose(file);
}

static void options_default(struct options *options)
{
    *options = (struct options){
        .url = "http://127.0.0.1:8080",
        .experiment = "assay-bench",
        .format = "json",
        .connections = 16,
        .threads = 1,
        .batch = 1000,
        .event_size = 200,
        .users = 100000,
        .repeat = 3,
        .duration = 10,
        .warmup = 2,
        .drain = 5,
        .late_hours = 48,
    };
}

enum status options_parse(int count, char **arguments, struct options *options, struct error *error)
{
    options_default(options);
    for (int i = 0; i < count; i++) {
        const struct option_row *row = option_find(arguments[i]);
        if (row == NULL) {
            return error_set(error, STATUS_INVALID, "unknown option '%s'", arguments[i]);
        }
        if (row->kind != OPTION_FLAG && i + 1 == count) {
            return error_set(error, STATUS_INVALID, "%s needs a value: %s", row->name,
                             row->argument);
        }
        i += row->kind != OPTION_FLAG;
        const enum status status = option_store(row, arguments[i], options, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (options->connections < options->threads) {
        return error_set(error, STATUS_INVALID, "each of the %lu threads needs a connection",
                         (unsigned long)options->threads);
    }
    if (options->poisson && options->rate <= 0) {
        return error_set(error, STATUS_INVALID, "--poisson needs a --rate");
    }
    if (options->token == NULL) {
        options->token =
            getenv("ASSAY_TOKEN"); /* NOLINT(concurrency-mt-unsafe): no thread runs yet */
    }
    if (options->token == NULL && options->data != NULL) {
        token_read(options);
    }
    return STATUS_OK;
}

void options_explain(FILE *out)
{
    for (size_t i = 0; i < COUNT_OF(option_rows); i++) {
        const struct option_row *row = &option_rows[i];
        char left[32];
        (void)snprintf(left, sizeof(left), "%s%s%s", row->name, row->argument != NULL ? " " : "",
                       row->argument != NULL ? row->argument : "");
        (void)fprintf(out, "  %-20s %s\n", left, row->help);
    }
}
