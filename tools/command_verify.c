/* command_verify.c: assay verify: is the state that a server would start with what its log says?
 *
 *   log    every block and record is read and checked, properties too
 *   live   the store's rows, then the log behind them: what a start makes
 *   full   the whole log into an empty state
 *
 * Both states are written out as rows in canonical order and compared row by row. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "engine/pack.h"
#include "tools/offline.h"
#include "tools/options.h"

#define ROW_HEADER 12u /* u32 table, u32 key size, u32 value size */
#define SHOWN_MAX  600u
#define SHOWN_LEAD 80u /* what is shown before the first place that differs */

/* Rows back to back. */
struct row_list {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

struct row {
    enum state_table table;
    struct bytes key;
    struct bytes value;
};

struct verify {
    struct offline *offline;
    struct error error;
    uint64_t records;
    uint64_t kinds[RECORD_KIND_END];
    bool has_store;
    uint64_t store_lsn; /* the last one in the store */
    uint64_t next_lsn;
    /* The comparison. */
    struct row_list live;
    size_t live_at;
    uint64_t rows[STATE_TABLE_END];
    uint64_t row_count;
    uint64_t differences;
    enum state_table table; /* of the first difference */
    char *row_text;
    char *live_text; /* NULL: there is no such row */
    char *full_text;
    struct arena arena;
    struct progress progress;
};

/* ---- the log by itself ---- */

static enum status record_check(const struct record *record)
{
    struct event event;
    struct assignment assignment;
    struct definition definition;
    struct user_set_part part;
    enum status status = STATUS_DAMAGED;
    switch (record->kind) {
    case RECORD_EVENT:
        status = event_decode(record, &event);
        break;
    case RECORD_ASSIGNMENT:
        status = assignment_decode(record, &assignment);
        break;
    case RECORD_EXPERIMENT:
    case RECORD_METRIC:
    case RECORD_TOKEN:
    case RECORD_OVERRIDES:
    case RECORD_ERASURE:
        status = definition_decode(record, &definition);
        break;
    case RECORD_USER_SET:
        status = user_set_part_decode(record, &part);
        break;
    }
    return status == STATUS_OK && !pack_check(record->payload) ? STATUS_DAMAGED : status;
}

static enum status record_visit(void *context, const struct record *record)
{
    struct verify *verify = context;
    const enum status status = record_check(record);
    if (status != STATUS_OK) {
        return error_set(
            &verify->error, status, "record %llu is not what a record of kind %s must be",
            (unsigned long long)record->lsn, record_kind_row((uint8_t)record->kind)->name);
    }
    verify->records++;
    verify->kinds[record->kind]++;
    if (verify->records % 1024 == 0) {
        progress_show(&verify->progress, verify->records);
    }
    return STATUS_OK;
}

static enum status log_check(struct verify *verify)
{
    const struct log_reader_options options = {
        .io = verify->offline->io, .directory = OFFLINE_LOG, .from_lsn = 0, .buffered = true};
    progress_begin(&verify->progress, "reading the log", "records", 0);
    const enum status status = log_scan(&options, &verify->error, record_visit, verify);
    progress_end(&verify->progress, verify->records);
    return status;
}

/* ---- rows ---- */

static enum status row_keep(void *context, enum state_table table, struct bytes key,
                            struct bytes value)
{
    struct row_list *list = context;
    const size_t size = ROW_HEADER + key.size + value.size;
    if (list->capacity - list->size < size) {
        const size_t capacity = 2 * list->capacity + size + 65536;
        uint8_t *grown = realloc(list->data, capacity);
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        list->data = grown;
        list->capacity = capacity;
    }
    uint8_t *to = list->data + list->size;
    store_u32(to, (uint32_t)table);
    store_u32(to + 4, (uint32_t)key.size);
    store_u32(to + 8, (uint32_t)value.size);
    memcpy(to + ROW_HEADER, key.data, key.size);
    memcpy(to + ROW_HEADER + key.size, value.data, value.size);
    list->size += size;
    return STATUS_OK;
}

static struct row row_at(const struct row_list *list, size_t at)
{
    const uint8_t *from = list->data + at;
    const struct bytes key = bytes_of(from + ROW_HEADER, load_u32(from + 4));
    return (struct row){(enum state_table)load_u32(from), key,
                        bytes_of(key.data + key.size, load_u32(from + 8))};
}

static int row_order(const struct row *one, const struct row *other)
{
    if (one->table != other->table) {
        return one->table < other->table ? -1 : 1;
    }
    const int order =
        memcmp(one->key.data, other->key.data, size_min(one->key.size, other->key.size));
    return order != 0 ? order
                      : (one->key.size > other->key.size) - (one->key.size < other->key.size);
}

/* ---- showing a difference ---- */

static void hexadecimal(struct bytes bytes, char *to, size_t capacity)
{
    static const char digits[] = "0123456789abcdef";
    size_t size = 0;
    for (size_t i = 0; i < bytes.size && size + 3 < capacity; i++) {
        to[size++] = digits[bytes.data[i] >> 4];
        to[size++] = digits[bytes.data[i] & 15];
    }
    to[size] = '\0';
}

/* A definition's row holds its record's payload as bytes: what is in there is worth reading. */
static struct bytes row_content(const struct row *row)
{
    struct pack_cursor cursor = pack_cursor_on(row->value);
    struct bytes payload = {NULL, 0};
    uint32_t count = 0;
    const bool has_payload = row->table == TABLE_DEFINITIONS && pack_read_array(&cursor, &count) &&
                             count == 3 && pack_skip(&cursor) && pack_skip(&cursor) &&
                             pack_read_bin(&cursor, &payload);
    return has_payload ? payload : row->value;
}

/* The whole value as JSON, or its bytes where it is none. */
static char *value_text(struct arena *arena, const struct row *row)
{
    const struct bytes value = row_content(row);
    struct json_writer writer = json_writer_in(arena);
    if (pack_check(value) && json_pack(&writer, value) && !writer.failed) {
        return arena_copy(arena, bytes_of(writer.text, writer.size));
    }
    char *text = arena_take(arena, 2 * value.size + 4);
    if (text != NULL) {
        hexadecimal(value, text, 2 * value.size + 4);
    }
    return text;
}

/* Long values: what leads up to `place`, and what follows. */
static char *excerpt(struct arena *arena, const char *text, size_t place)
{
    const size_t size = strlen(text);
    const size_t first =
        size <= SHOWN_MAX || place < SHOWN_LEAD ? 0 : size_min(place, size) - SHOWN_LEAD;
    const size_t shown = size_min(size - first, SHOWN_MAX);
    return arena_format(arena, "%s%.*s%s", first > 0 ? "..." : "", (int)shown, text + first,
                        first + shown < size ? "..." : "");
}

/* Counts a difference and keeps the first. live, full: NULL where that side has no such row. */
static void differ(struct verify *verify, const struct row *live, const struct row *full)
{
    verify->differences++;
    if (verify->differences > 1) {
        return;
    }
    const struct row *row = full != NULL ? full : live;
    char description[128];
    state_row_describe(row->table, row->key, row->value, description, sizeof(description));
    verify->table = row->table;
    verify->row_text = arena_copy(&verify->arena, bytes_of_text(description));
    const char *live_text = live != NULL ? value_text(&verify->arena, live) : NULL;
    const char *full_text = full != NULL ? value_text(&verify->arena, full) : NULL;
    size_t place = 0;
    while (live_text != NULL && full_text != NULL && live_text[place] != '\0' &&
           live_text[place] == full_text[place]) {
        place++;
    }
    verify->live_text = live_text != NULL ? excerpt(&verify->arena, live_text, place) : NULL;
    verify->full_text = full_text != NULL ? excerpt(&verify->arena, full_text, place) : NULL;
}

static void live_skip(struct verify *verify, const struct row *row)
{
    verify->live_at += ROW_HEADER + row->key.size + row->value.size;
}

/* The next row of the full replay against what is left of the live rows. */
static enum status row_compare(void *context, enum state_table table, struct bytes key,
                               struct bytes value)
{
    struct verify *verify = context;
    const struct row full = {table, key, value};
    int order = 1;
    verify->rows[table]++;
    verify->row_count++;
    while (verify->live_at < verify->live.size && order > 0) {
        const struct row live = row_at(&verify->live, verify->live_at);
        order = row_order(&full, &live);
        if (order > 0) {
            differ(verify, &live, NULL);
            live_skip(verify, &live);
        } else if (order == 0) {
            if (!bytes_equal(full.value, live.value)) {
                differ(verify, &live, &full);
            }
            live_skip(verify, &live);
        }
    }
    if (order != 0) {
        differ(verify, NULL, &full);
    }
    return STATUS_OK;
}

static void live_rest(struct verify *verify)
{
    while (verify->live_at < verify->live.size) {
        const struct row live = row_at(&verify->live, verify->live_at);
        differ(verify, &live, NULL);
        live_skip(verify, &live);
    }
}

/* ---- the two states ---- */

/* STATUS_NOT_FOUND: there is no store, and so nothing to compare with. */
static enum status live_make(struct verify *verify)
{
    struct state *state = NULL;
    enum status status = offline_state(verify->offline, &verify->error, &state);
    if (status == STATUS_OK) {
        status = offline_load_store(verify->offline, state, &verify->error);
    }
    if (status == STATUS_OK) {
        verify->has_store = true;
        verify->store_lsn = state_next_lsn(state) - 1;
        status = offline_replay(verify->offline, state, "live: applying the log behind the store",
                                verify->records - size_min(verify->records, verify->store_lsn),
                                &verify->error);
    }
    if (status == STATUS_OK) {
        status = state_export(state, row_keep, &verify->live);
    }
    state_close(state);
    return status;
}

static enum status full_compare(struct verify *verify)
{
    struct state *state = NULL;
    enum status status = offline_state(verify->offline, &verify->error, &state);
    if (status == STATUS_OK) {
        status = offline_replay(verify->offline, state, "full: applying the whole log",
                                verify->records, &verify->error);
    }
    if (status == STATUS_OK) {
        verify->next_lsn = state_next_lsn(state);
    }
    if (status == STATUS_OK && verify->has_store) {
        status = state_export(state, row_compare, verify);
        live_rest(verify);
    }
    state_close(state);
    return status;
}

/* ---- the answer ---- */

static void report_json(struct verify *verify, const char *verdict, const char *trouble)
{
    struct json_writer writer = json_writer_in(&verify->arena);
    json_begin_object(&writer);
    json_key(&writer, "verdict");
    json_text(&writer, verdict);
    json_key(&writer, "error");
    json_text(&writer, trouble);
    json_key(&writer, "last_lsn");
    json_uint(&writer, verify->next_lsn - 1);
    json_key(&writer, "store_lsn");
    json_uint(&writer, verify->store_lsn);
    json_key(&writer, "records");
    json_begin_object(&writer);
    for (uint8_t kind = 0; kind < RECORD_KIND_END; kind++) {
        if (record_kind_row(kind) != NULL) {
            json_key(&writer, record_kind_row(kind)->name);
            json_uint(&writer, verify->kinds[kind]);
        }
    }
    json_end_object(&writer);
    json_key(&writer, "rows_compared");
    json_begin_object(&writer);
    for (int table = 0; table < STATE_TABLE_END; table++) {
        json_key(&writer, state_table_name((enum state_table)table));
        json_uint(&writer, verify->rows[table]);
    }
    json_end_object(&writer);
    json_key(&writer, "differences");
    json_uint(&writer, verify->differences);
    json_key(&writer, "first_difference");
    if (verify->differences == 0) {
        json_null(&writer);
    } else {
        json_begin_object(&writer);
        json_key(&writer, "table");
        json_text(&writer, state_table_name(verify->table));
        json_key(&writer, "row");
        json_text(&writer, verify->row_text);
        json_key(&writer, "live");
        json_text(&writer, verify->live_text);
        json_key(&writer, "replayed");
        json_text(&writer, verify->full_text);
        json_end_object(&writer);
    }
    json_end_object(&writer);
    (void)printf("%.*s\n", (int)writer.size, writer.text);
}

static void counts_print(const struct verify *verify)
{
    char number[NUMBER_TEXT_SIZE];
    (void)printf("log      %s records:", number_text(verify->records, number));
    for (uint8_t kind = 0; kind < RECORD_KIND_END; kind++) {
        if (record_kind_row(kind) != NULL) {
            (void)printf(" %s %s", record_kind_row(kind)->name,
                         number_text(verify->kinds[kind], number));
        }
    }
    (void)printf("\n");
    if (verify->has_store) {
        (void)printf("store    includes records up to %s\n",
                     number_text(verify->store_lsn, number));
        (void)printf("compared %s rows:", number_text(verify->row_count, number));
        for (int table = 0; table < STATE_TABLE_END; table++) {
            (void)printf(" %s %s", state_table_name((enum state_table)table),
                         number_text(verify->rows[table], number));
        }
        (void)printf("\n");
    }
}

static enum exit_code report(struct verify *verify, bool json)
{
    const bool is_same = verify->differences == 0;
    if (json) {
        report_json(verify, is_same ? "same" : "different", NULL);
        return is_same ? EXIT_GOOD : EXIT_DIFFERENCE;
    }
    counts_print(verify);
    if (!verify->has_store) {
        (void)printf(
            "good: the log is whole. There is no store to compare; the next start makes one\n");
        return EXIT_GOOD;
    }
    if (is_same) {
        (void)printf(
            "good: the state that a server starts with is the replay of its log, bit for bit\n");
        return EXIT_GOOD;
    }
    char number[NUMBER_TEXT_SIZE];
    (void)printf("DIFFERENT in %s rows; the first is %s\n  live      %s\n  replayed  %s\n",
                 number_text(verify->differences, number), verify->row_text,
                 verify->live_text != NULL ? verify->live_text : "(no such row)",
                 verify->full_text != NULL ? verify->full_text : "(no such row)");
    (void)printf(
        "The log is the truth. To have the store made anew: move %s away and start the server\n",
        verify->offline->store_path);
    return EXIT_DIFFERENCE;
}

static enum exit_code report_trouble(struct verify *verify, enum status status, const char *what,
                                     bool json)
{
    const char *text = verify->error.text[0] != '\0' ? verify->error.text : status_name(status);
    if (json) {
        report_json(verify, status == STATUS_DAMAGED ? "damaged" : "unable", text);
    }
    return complain(offline_exit(status), "%s%s", what, text);
}

static enum exit_code verify_run(struct verify *verify, const char *directory, bool json)
{
    verify->next_lsn = 1;
    enum status status = offline_open(directory, &verify->error, &verify->offline);
    if (status != STATUS_OK) {
        return report_trouble(verify, status, "", json);
    }
    status = log_check(verify);
    if (status != STATUS_OK) {
        return report_trouble(verify, status, "the log: ", json);
    }
    const enum status live = live_make(verify);
    if (live != STATUS_OK && live != STATUS_NOT_FOUND) {
        const bool is_store = live == STATUS_DAMAGED && !verify->has_store;
        const enum exit_code code = report_trouble(
            verify, live, is_store ? "the store cannot be used: " : "the live state: ", json);
        if (is_store) {
            note("The log itself is whole. To have the store made anew: move %s away and start the "
                 "server",
                 verify->offline->store_path);
        }
        return code;
    }
    verify->error.text[0] = '\0';
    status = full_compare(verify);
    return status == STATUS_OK ? report(verify, json)
                               : report_trouble(verify, status, "the full replay: ", json);
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    const char *directory = NULL;
    bool json = false;
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"data", "DIR", OPTION_TEXT, &directory, "the data directory of a stopped server"},
        {"json", NULL,  OPTION_FLAG, &json,      "the answer as one JSON object"         },
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (directory == NULL) {
        return complain(EXIT_USAGE, "--data DIR is needed; see: assay verify --help");
    }
    struct verify *verify = calloc(1, sizeof(*verify));
    if (verify == NULL) {
        return complain(EXIT_CANNOT, "out of memory");
    }
    arena_init(&verify->arena, 64 * 1024);
    code = verify_run(verify, directory, json);
    offline_close(verify->offline);
    arena_deinit(&verify->arena);
    free(verify->live.data);
    free(verify);
    return code;
}

const struct command command_verify = {
    .name = "verify",
    .arguments = "--data DIR",
    .summary = "Is a stopped server's state exactly what its log says?",
    .lesson = "Reads the whole log and checks every block and record. Then makes the state twice: "
              "once as a\n"
              "server starts (the rows of the store, then the log behind them), once from the log "
              "alone; and\n"
              "compares them row by row: definitions, users, aggregates, event ids. Names the "
              "first row that\n"
              "differs, with both values. Changes nothing.\n"
              "\n"
              "Exit codes: 0 the same, 1 a difference or damage, 3 it could not be done (a server "
              "is running on\n"
              "DIR, no permission, ...).\n"
              "\n"
              "  assay verify --data /var/lib/assay && echo good\n",
    .run = run,
};
