/* import.h: a table of an experiment made elsewhere, on its way into a server. For the import_....c files.
 *
 *   command_import.c  options, the order of the steps, the summary
 *   import_table.c    reads the table once without sending anything: its columns, its variants, every cell checked
 *   import_define.c   the metrics and the experiment: found on the server, or made
 *   import_send.c     reads the table again and sends it: assignments, then the events of the same rows
 *
 * Repeatable    User ids, event ids and times follow from the table and the experiment alone. What an import sent before it
 *               was cut short is recognised when it runs again: assignments are kept, events are duplicates.
 */
#ifndef ASSAY_TOOLS_IMPORT_H
#define ASSAY_TOOLS_IMPORT_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/limits.h"
#include "engine/timestamp.h"
#include "tools/client.h"
#include "tools/csv.h"

#define IMPORT_SOURCES_MAX 64u
#define IMPORT_CELL_EVENTS 1000u /* events of one cell of a count column */
#define IMPORT_NO_COLUMN   UINT32_MAX
#define IMPORT_METRIC_NAME (LIMIT_KEY + 1)

/* A column whose cells become events: --event or --value. */
struct import_source {
    struct bytes column;
    struct bytes event_type;
    struct bytes property;           /* of a --value; empty for an --event */
    uint32_t index;                  /* of the column */
    char metric[IMPORT_METRIC_NAME]; /* the metric that shows it, once defined */
    bool is_metric_new;
};

struct import_variant {
    struct bytes name;
    const char *weight; /* as given; NULL where not */
    uint64_t rows;
};

struct import {
    /* What the command line says. */
    const char *path;
    const char *experiment; /* its key */
    const char *name;       /* NULL: the key */
    const char *variant_column;
    const char *control;     /* NULL: see table_scan */
    const char *user_column; /* NULL: the number of the row */
    const char *user_prefix; /* before the number of the row */
    int64_t assigned_at_us;  /* 0: the experiment's created_at */
    int64_t event_time_us;   /* 0: a second after the assignment */
    struct import_source sources[IMPORT_SOURCES_MAX];
    uint32_t source_count;

    /* What the table says. */
    struct arena arena;
    uint32_t column_count;
    uint32_t variant_index;
    uint32_t user_index; /* IMPORT_NO_COLUMN: the number of the row */
    struct import_variant variants[LIMIT_VARIANTS];
    uint32_t variant_count;
    uint32_t control_index;
    uint64_t rows;
    uint64_t rows_without_variant; /* left out */
    uint64_t events;

    /* What the server said. */
    struct client *client;
    const char *experiment_path; /* "/experiments/KEY" */
    bool is_experiment_new;
    char assigned_at[TIMESTAMP_TEXT_SIZE];
    char event_time[TIMESTAMP_TEXT_SIZE];
    uint64_t assigned_new;
    uint64_t assigned_before;
    uint64_t conflicts;
    uint64_t refused;
    uint64_t events_accepted;
    uint64_t events_duplicate;
    uint64_t events_rejected;
};

/* Reads the whole table. STATUS_INVALID names the line and the column that cannot be used. */
MUST_USE enum status import_table_scan(struct import *import, struct error *error);
/* Finds or makes the metrics, then the experiment; fills the times. */
MUST_USE enum status import_define(struct import *import, struct error *error);
MUST_USE enum status import_send(struct import *import, struct error *error);

/* The cell of a --event: how many events. False where it is no count of at most IMPORT_CELL_EVENTS. */
bool import_cell_count(struct bytes cell, uint32_t *out_count);

/* The cell of a --value as a number, written the way it is sent. False where it is no number. Empty and zero: no event. */
enum import_number_kind {
    IMPORT_NUMBER_NONE,
    IMPORT_NUMBER_INTEGER,
    IMPORT_NUMBER_MILLIONTHS,
    IMPORT_NUMBER_DOUBLE,
};

struct import_number {
    enum import_number_kind kind;
    int64_t integer; /* or millionths */
    double number;
};

bool import_cell_number(struct bytes cell, struct import_number *out_number);

#endif
