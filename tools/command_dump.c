/* command_dump.c: assay dump: the records of a log as lines of JSON. */
#include <stdio.h>

#include "api/json.h"
#include "engine/pack.h"
#include "tools/offline.h"
#include "tools/options.h"

#define LINE_KEPT ((size_t)1024 * 1024)

struct dump {
    uint64_t from_lsn;
    uint64_t to_lsn; /* inclusive; 0: the end */
    uint8_t kind;    /* 0: all */
    struct arena arena;
};

/* 16 bytes are an id; other bytes are written as hexadecimal text. */
static bool scalar_write(struct json_writer *writer, struct bytes encoded)
{
    struct pack_cursor cursor = pack_cursor_on(encoded);
    struct bytes bytes = {NULL, 0};
    struct uuid uuid;
    if (pack_read_bin(&cursor, &bytes) && bytes.size == sizeof(uuid)) {
        memcpy(&uuid, bytes.data, sizeof(uuid));
        json_uuid(writer, &uuid);
        return true;
    }
    return json_pack(writer, encoded);
}

/* An array or object that is being written. */
struct nesting {
    bool is_map;
    uint32_t left;
};

/* Writes the value at the cursor, or opens it where it holds others. */
static bool value_begin(struct json_writer *writer, struct pack_cursor *cursor,
                        struct nesting *nestings, uint32_t *depth)
{
    struct pack_cursor start = *cursor;
    struct pack_value value;
    struct bytes encoded;
    if (!pack_read(&start, &value)) {
        return false;
    }
    if (value.type != PACK_MAP && value.type != PACK_ARRAY) {
        return pack_read_raw(cursor, &encoded) && scalar_write(writer, encoded);
    }
    if (*depth == PACK_DEPTH_MAX) {
        return false;
    }
    *cursor = start;
    nestings[*depth] = (struct nesting){value.type == PACK_MAP, value.as.count};
    *depth += 1;
    if (value.type == PACK_MAP) {
        json_begin_object(writer);
    } else {
        json_begin_array(writer);
    }
    return true;
}

/* As json_pack(), but with ids wherever they are. False where the value is not well-formed. */
static bool value_write(struct json_writer *writer, struct bytes encoded)
{
    struct pack_cursor cursor = pack_cursor_on(encoded);
    struct nesting nestings[PACK_DEPTH_MAX];
    uint32_t depth = 0;
    bool is_good = value_begin(writer, &cursor, nestings, &depth);
    while (is_good && depth > 0) {
        struct nesting *nesting = &nestings[depth - 1];
        struct bytes key;
        if (nesting->left == 0 && nesting->is_map) {
            json_end_object(writer);
            depth--;
        } else if (nesting->left == 0) {
            json_end_array(writer);
            depth--;
        } else {
            nesting->left--;
            is_good = !nesting->is_map || pack_read_text(&cursor, &key);
            if (is_good && nesting->is_map) {
                json_key_bytes(writer, key);
            }
            is_good = is_good && value_begin(writer, &cursor, nestings, &depth);
        }
    }
    return is_good;
}

static enum status record_write(struct json_writer *writer, const struct record *record)
{
    const struct record_kind_row *row = record_kind_row((uint8_t)record->kind);
    struct pack_cursor cursor = pack_cursor_on(record->payload);
    uint32_t count = 0;
    assert(row != NULL); /* the reader refuses unknown kinds */
    json_begin_object(writer);
    json_key(writer, "lsn");
    json_uint(writer, record->lsn);
    json_key(writer, "kind");
    json_text(writer, row->name);
    json_key(writer, "received_at");
    json_time(writer, record->received_at_us);
    bool is_good = pack_read_array(&cursor, &count);
    for (uint32_t i = 0; is_good && i < count && row->fields[i] != NULL; i++) {
        struct bytes encoded;
        json_key(writer, row->fields[i]);
        is_good = pack_read_raw(&cursor, &encoded) && value_write(writer, encoded);
    }
    if (!is_good) {
        return STATUS_DAMAGED;
    }
    json_end_object(writer);
    json_newline(writer);
    return writer->failed ? STATUS_NO_MEMORY : STATUS_OK;
}

static enum status record_dump(void *context, const struct record *record)
{
    struct dump *dump = context;
    if (dump->to_lsn != 0 && record->lsn > dump->to_lsn) {
        return STATUS_END;
    }
    if (record->lsn < dump->from_lsn ||
        (dump->kind != 0 && record->kind != (enum record_kind)dump->kind)) {
        return STATUS_OK;
    }
    arena_reset(&dump->arena, LINE_KEPT);
    struct json_writer writer = json_writer_in(&dump->arena);
    const enum status status = record_write(&writer, record);
    if (status != STATUS_OK) {
        return status;
    }
    /* Who reads may have seen enough, as head does. */
    return fwrite(writer.text, 1, writer.size, stdout) == writer.size ? STATUS_OK : STATUS_END;
}

static bool kind_read(const char *name, uint8_t *out_kind)
{
    char names[128] = "";
    for (uint8_t kind = 0; kind < RECORD_KIND_END; kind++) {
        const struct record_kind_row *row = record_kind_row(kind);
        if (row == NULL) {
            continue;
        }
        if (strcmp(row->name, name) == 0) {
            *out_kind = kind;
            return true;
        }
        const size_t used = strlen(names);
        (void)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "", row->name);
    }
    (void)complain(EXIT_USAGE, "--kind takes one of: %s; not '%s'", names, name);
    return false;
}

static enum exit_code dump_run(const char *directory, struct dump *dump)
{
    struct error error = {""};
    struct offline *offline = NULL;
    enum status status = offline_open(directory, &error, &offline);
    if (status != STATUS_OK) {
        return complain(offline_exit(status), "%s", error.text);
    }
    /* The reader takes a position beyond the end for damage, so start where the log surely has something. */
    const uint64_t last = offline->segments[offline->segment_count - 1];
    const uint64_t first = offline->segments[0];
    const uint64_t from = dump->from_lsn < first  ? first
                          : dump->from_lsn > last ? last
                                                  : dump->from_lsn;
    if (dump->from_lsn < first && dump->from_lsn > 1) {
        note("the log begins at lsn %llu", (unsigned long long)first);
    }
    const struct log_reader_options options = {
        .io = offline->io, .directory = OFFLINE_LOG, .from_lsn = from, .buffered = true};
    status = log_scan(&options, &error, record_dump, dump);
    offline_close(offline);
    if (status != STATUS_OK && status != STATUS_END) {
        return complain(offline_exit(status), "%s",
                        error.text[0] != '\0' ? error.text : status_name(status));
    }
    return EXIT_GOOD;
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    const char *directory = NULL;
    const char *kind = NULL;
    struct dump dump = {.from_lsn = 1};
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"data", "DIR",  OPTION_TEXT,   &directory,     "the data directory of a stopped server"},
        {"from", "LSN",  OPTION_NUMBER, &dump.from_lsn,
         "the first record; else the oldest there is"                                           },
        {"to",   "LSN",  OPTION_NUMBER, &dump.to_lsn,   "the last record; else the newest"      },
        {"kind", "KIND", OPTION_TEXT,   &kind,
         "only these: event, assignment, experiment, metric, token"                             },
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (directory == NULL) {
        return complain(EXIT_USAGE, "--data DIR is needed; see: assay dump --help");
    }
    if (kind != NULL && !kind_read(kind, &dump.kind)) {
        return EXIT_USAGE;
    }
    arena_init(&dump.arena, 64 * 1024);
    code = dump_run(directory, &dump);
    arena_deinit(&dump.arena);
    return code;
}

const struct command command_dump = {
    .name = "dump",
    .arguments = "--data DIR",
    .summary = "The records of a stopped server's log, a line of JSON each.",
    .lesson =
        "Every line has lsn (the record's number), kind and received_at, and then the fields of "
        "its kind\n"
        "as docs/format.md lists them. Times that end in _us are microseconds since 1970; ids are "
        "written\n"
        "as UUIDs, other binary values as hexadecimal text.\n"
        "\n"
        "  assay dump --data /var/lib/assay --kind assignment | jq -r .user_id | sort | uniq -d\n"
        "  assay dump --data /var/lib/assay --from 1000 --to 1009\n",
    .run = run,
};
