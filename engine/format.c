/* format.c: bytes of the log, in and out. The pictures are in format.h; the offsets below are those pictures again, and
 * the static_asserts hold each row to the one before it.
 *
 * Pairs        Every rule a decoder demands of a header is a ..._valid() predicate that its encoder asserts: what we
 *              write, we can read.
 * Hot path     Encoding and decoding an event. Both know an event's shape beforehand, so they do not go through pack.c
 *              value by value: the encoder makes sure of the room for all values at once, the decoder checks the
 *              bounds once a value. tests/test_format.c compares their bytes with pack.c's.
 */
#include "engine/format.h"

#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* "ASSAYLOG", "ASSAYEND" and "BLK1", read as little-endian integers. */
#define SEGMENT_MAGIC 0x474f4c5941535341ull
#define FOOTER_MAGIC  0x444e455941535341ull
#define BLOCK_MAGIC   0x314b4c42u

/* Where the values lie: each starts where the one before it ends. */
enum segment_header_offset {
    SEGMENT_AT_MAGIC = 0,
    SEGMENT_AT_VERSION = 8,
    SEGMENT_AT_FEATURES = 12,
    SEGMENT_AT_STORE_ID = 16,
    SEGMENT_AT_SALT = 32,
    SEGMENT_AT_FIRST_LSN = 40,
    SEGMENT_AT_CREATED_AT = 48,
    SEGMENT_AT_CHAIN = 56,
    SEGMENT_AT_FILE_SIZE = 64,
    SEGMENT_AT_HASH_SEED = 72,
    SEGMENT_AT_RESERVED = 80,
    SEGMENT_AT_CHECK = 120,
};

static_assert(SEGMENT_AT_VERSION == SEGMENT_AT_MAGIC + 8, "u64");
static_assert(SEGMENT_AT_FEATURES == SEGMENT_AT_VERSION + 4, "u32");
static_assert(SEGMENT_AT_STORE_ID == SEGMENT_AT_FEATURES + 4, "u32");
static_assert(SEGMENT_AT_SALT == SEGMENT_AT_STORE_ID + sizeof(struct uuid), "u128");
static_assert(SEGMENT_AT_FIRST_LSN == SEGMENT_AT_SALT + 8, "u64");
static_assert(SEGMENT_AT_CREATED_AT == SEGMENT_AT_FIRST_LSN + 8, "u64");
static_assert(SEGMENT_AT_CHAIN == SEGMENT_AT_CREATED_AT + 8, "u64");
static_assert(SEGMENT_AT_FILE_SIZE == SEGMENT_AT_CHAIN + 8, "u64");
static_assert(SEGMENT_AT_HASH_SEED == SEGMENT_AT_FILE_SIZE + 8, "u64");
static_assert(SEGMENT_AT_RESERVED == SEGMENT_AT_HASH_SEED + 8, "u64");
static_assert(FORMAT_SEGMENT_HEADER_SIZE == SEGMENT_AT_CHECK + 8, "u64, the last");

enum block_header_offset {
    BLOCK_AT_MAGIC = 0,
    BLOCK_AT_CHECK = 4,
    BLOCK_AT_FIRST_LSN = 8,
    BLOCK_AT_RECORD_COUNT = 16,
    BLOCK_AT_PAYLOAD_SIZE = 20,
    BLOCK_AT_PAYLOAD_CHECK = 24,
    BLOCK_AT_CHAIN = 32,
    BLOCK_AT_DURABLE_LSN = 40,
    BLOCK_AT_WRITTEN_AT = 48,
    BLOCK_AT_OFFSET = 56,
    BLOCK_AT_RESERVED = 60,
};

static_assert(BLOCK_AT_CHECK == BLOCK_AT_MAGIC + 4, "u32");
static_assert(BLOCK_AT_FIRST_LSN == BLOCK_AT_CHECK + 4, "u32");
static_assert(BLOCK_AT_RECORD_COUNT == BLOCK_AT_FIRST_LSN + 8, "u64");
static_assert(BLOCK_AT_PAYLOAD_SIZE == BLOCK_AT_RECORD_COUNT + 4, "u32");
static_assert(BLOCK_AT_PAYLOAD_CHECK == BLOCK_AT_PAYLOAD_SIZE + 4, "u32");
static_assert(BLOCK_AT_CHAIN == BLOCK_AT_PAYLOAD_CHECK + 8, "u64");
static_assert(BLOCK_AT_DURABLE_LSN == BLOCK_AT_CHAIN + 8, "u64");
static_assert(BLOCK_AT_WRITTEN_AT == BLOCK_AT_DURABLE_LSN + 8, "u64");
static_assert(BLOCK_AT_OFFSET == BLOCK_AT_WRITTEN_AT + 8, "u64");
static_assert(BLOCK_AT_RESERVED == BLOCK_AT_OFFSET + 4, "u32");
static_assert(FORMAT_BLOCK_HEADER_SIZE == BLOCK_AT_RESERVED + 4, "u32, the last");

enum footer_offset {
    FOOTER_AT_MAGIC = 0,
    FOOTER_AT_FIRST_LSN = 8,
    FOOTER_AT_END_LSN = 16,
    FOOTER_AT_TIMESTAMP_MIN = 24,
    FOOTER_AT_TIMESTAMP_MAX = 32,
    FOOTER_AT_RECEIVED_MIN = 40,
    FOOTER_AT_RECEIVED_MAX = 48,
    FOOTER_AT_EVENTS = 56,
    FOOTER_AT_ASSIGNMENTS = 64,
    FOOTER_AT_OTHERS = 72,
    FOOTER_AT_BLOCKS = 80,
    FOOTER_AT_CHAIN = 88,
    FOOTER_AT_RESERVED = 96,
    FOOTER_AT_CHECK = 120,
};

static_assert(FOOTER_AT_FIRST_LSN == FOOTER_AT_MAGIC + 8, "u64");
static_assert(FOOTER_AT_END_LSN == FOOTER_AT_FIRST_LSN + 8, "u64");
static_assert(FOOTER_AT_TIMESTAMP_MIN == FOOTER_AT_END_LSN + 8, "u64");
static_assert(FOOTER_AT_TIMESTAMP_MAX == FOOTER_AT_TIMESTAMP_MIN + 8, "i64");
static_assert(FOOTER_AT_RECEIVED_MIN == FOOTER_AT_TIMESTAMP_MAX + 8, "i64");
static_assert(FOOTER_AT_RECEIVED_MAX == FOOTER_AT_RECEIVED_MIN + 8, "i64");
static_assert(FOOTER_AT_EVENTS == FOOTER_AT_RECEIVED_MAX + 8, "i64");
static_assert(FOOTER_AT_ASSIGNMENTS == FOOTER_AT_EVENTS + 8, "u64");
static_assert(FOOTER_AT_OTHERS == FOOTER_AT_ASSIGNMENTS + 8, "u64");
static_assert(FOOTER_AT_BLOCKS == FOOTER_AT_OTHERS + 8, "u64");
static_assert(FOOTER_AT_CHAIN == FOOTER_AT_BLOCKS + 8, "u64");
static_assert(FOOTER_AT_RESERVED == FOOTER_AT_CHAIN + 8, "u64");
static_assert(FORMAT_FOOTER_SIZE == FOOTER_AT_CHECK + 8, "u64, the last");

enum record_offset {
    RECORD_AT_SIZE = 0,
    RECORD_AT_KIND = 4,
    RECORD_AT_VERSION = 5,
    RECORD_AT_RESERVED = 6,
    RECORD_AT_RECEIVED = 8,
};

static_assert(RECORD_AT_KIND == RECORD_AT_SIZE + 4, "u32");
static_assert(RECORD_AT_VERSION == RECORD_AT_KIND + 1, "u8");
static_assert(RECORD_AT_RESERVED == RECORD_AT_VERSION + 1, "u8");
static_assert(RECORD_AT_RECEIVED == RECORD_AT_RESERVED + 2, "u16");
static_assert(FORMAT_RECORD_HEADER_SIZE == RECORD_AT_RECEIVED + 8, "i64, the last");

static void store_i64(uint8_t *to, int64_t value)
{
    store_u64(to, (uint64_t)value);
}

static int64_t load_i64(const uint8_t *from)
{
    return (int64_t)load_u64(from);
}

static int64_t int64_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t int64_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static uint64_t check_seeded(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

static bool time_valid(int64_t time_us)
{
    return time_us >= 0 && time_us <= FORMAT_TIME_MAX_US;
}

bool format_is_zero(const void *data, size_t size)
{
    /* A range is zero when its first byte is, and each byte equals the one before: memcmp does it in wide steps. */
    const uint8_t *bytes = data;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* Segment header */

static bool segment_header_valid(const struct segment_header *header)
{
    return header->first_lsn >= 1 && header->first_lsn <= FORMAT_LSN_MAX &&
           time_valid(header->created_at_us) && header->file_size % LOG_BLOCK_ALIGN == 0 &&
           header->file_size >= FORMAT_SEGMENT_SIZE_MIN &&
           header->file_size <= FORMAT_SEGMENT_SIZE_MAX;
}

void segment_header_encode(const struct segment_header *header,
                           uint8_t out[FORMAT_SEGMENT_HEADER_SIZE])
{
    assert(segment_header_valid(header));
    memset(out, 0, FORMAT_SEGMENT_HEADER_SIZE);
    store_u64(out + SEGMENT_AT_MAGIC, SEGMENT_MAGIC);
    store_u32(out + SEGMENT_AT_VERSION, FORMAT_VERSION);
    memcpy(out + SEGMENT_AT_STORE_ID, header->store_id.bytes, sizeof(header->store_id.bytes));
    store_u64(out + SEGMENT_AT_SALT, header->salt);
    store_u64(out + SEGMENT_AT_FIRST_LSN, header->first_lsn);
    store_i64(out + SEGMENT_AT_CREATED_AT, header->created_at_us);
    store_u64(out + SEGMENT_AT_CHAIN, header->chain);
    store_u64(out + SEGMENT_AT_FILE_SIZE, header->file_size);
    store_u64(out + SEGMENT_AT_HASH_SEED, header->hash_seed);
    store_u64(out + SEGMENT_AT_CHECK, check_seeded(out, SEGMENT_AT_CHECK, 0));
}

enum status segment_header_decode(const uint8_t in[FORMAT_SEGMENT_HEADER_SIZE],
                                  struct segment_header *out_header)
{
    /* Magic, version, features and check stay where they are in every version, so that a newer file is told from a
     * damaged one. */
    if (load_u64(in + SEGMENT_AT_MAGIC) != SEGMENT_MAGIC ||
        load_u64(in + SEGMENT_AT_CHECK) != check_seeded(in, SEGMENT_AT_CHECK, 0)) {
        return STATUS_DAMAGED;
    }
    if (load_u32(in + SEGMENT_AT_VERSION) != FORMAT_VERSION ||
        load_u32(in + SEGMENT_AT_FEATURES) != 0) {
        return STATUS_UNSUPPORTED;
    }
    struct segment_header header = {
        .salt = load_u64(in + SEGMENT_AT_SALT),
        .first_lsn = load_u64(in + SEGMENT_AT_FIRST_LSN),
        .created_at_us = load_i64(in + SEGMENT_AT_CREATED_AT),
        .chain = load_u64(in + SEGMENT_AT_CHAIN),
        .file_size = load_u64(in + SEGMENT_AT_FILE_SIZE),
        .hash_seed = load_u64(in + SEGMENT_AT_HASH_SEED),
    };
    memcpy(header.store_id.bytes, in + SEGMENT_AT_STORE_ID, sizeof(header.store_id.bytes));
    if (!segment_header_valid(&header) ||
        !format_is_zero(in + SEGMENT_AT_RESERVED, SEGMENT_AT_CHECK - SEGMENT_AT_RESERVED)) {
        return STATUS_DAMAGED;
    }
    *out_header = header;
    return STATUS_OK;
}

/* Commit block header */

static bool block_header_valid(const struct block_header *header)
{
    return header->first_lsn >= 1 && header->first_lsn <= FORMAT_LSN_MAX &&
           header->record_count >= 1 && header->payload_size <= LOG_BLOCK_PAYLOAD &&
           header->payload_size / FORMAT_RECORD_SIZE_MIN >= header->record_count &&
           header->durable_lsn >= 1 && header->durable_lsn <= header->first_lsn &&
           time_valid(header->written_at_us) && header->offset >= LOG_BLOCK_ALIGN &&
           header->offset % LOG_BLOCK_ALIGN == 0 && header->offset < FORMAT_SEGMENT_SIZE_MAX;
}

void block_header_encode(const struct block_header *header, uint64_t salt,
                         uint8_t out[FORMAT_BLOCK_HEADER_SIZE])
{
    assert(block_header_valid(header));
    store_u32(out + BLOCK_AT_MAGIC, BLOCK_MAGIC);
    store_u64(out + BLOCK_AT_FIRST_LSN, header->first_lsn);
    store_u32(out + BLOCK_AT_RECORD_COUNT, header->record_count);
    store_u32(out + BLOCK_AT_PAYLOAD_SIZE, header->payload_size);
    store_u64(out + BLOCK_AT_PAYLOAD_CHECK, header->payload_check);
    store_u64(out + BLOCK_AT_CHAIN, header->chain);
    store_u64(out + BLOCK_AT_DURABLE_LSN, header->durable_lsn);
    store_i64(out + BLOCK_AT_WRITTEN_AT, header->written_at_us);
    store_u32(out + BLOCK_AT_OFFSET, (uint32_t)(header->offset / LOG_BLOCK_ALIGN));
    store_u32(out + BLOCK_AT_RESERVED, 0);
    store_u32(out + BLOCK_AT_CHECK,
              (uint32_t)check_seeded(out + BLOCK_AT_FIRST_LSN,
                                     FORMAT_BLOCK_HEADER_SIZE - BLOCK_AT_FIRST_LSN, salt));
}

enum status block_header_decode(const uint8_t in[FORMAT_BLOCK_HEADER_SIZE], uint64_t salt,
                                struct block_header *out_header)
{
    if (load_u32(in + BLOCK_AT_MAGIC) != BLOCK_MAGIC ||
        load_u32(in + BLOCK_AT_CHECK) !=
            (uint32_t)check_seeded(in + BLOCK_AT_FIRST_LSN,
                                   FORMAT_BLOCK_HEADER_SIZE - BLOCK_AT_FIRST_LSN, salt)) {
        return STATUS_DAMAGED;
    }
    struct block_header header = {
        .first_lsn = load_u64(in + BLOCK_AT_FIRST_LSN),
        .record_count = load_u32(in + BLOCK_AT_RECORD_COUNT),
        .payload_size = load_u32(in + BLOCK_AT_PAYLOAD_SIZE),
        .payload_check = load_u64(in + BLOCK_AT_PAYLOAD_CHECK),
        .chain = load_u64(in + BLOCK_AT_CHAIN),
        .durable_lsn = load_u64(in + BLOCK_AT_DURABLE_LSN),
        .written_at_us = load_i64(in + BLOCK_AT_WRITTEN_AT),
        .offset = (uint64_t)load_u32(in + BLOCK_AT_OFFSET) * LOG_BLOCK_ALIGN,
    };
    if (!block_header_valid(&header) || load_u32(in + BLOCK_AT_RESERVED) != 0) {
        return STATUS_DAMAGED;
    }
    *out_header = header;
    return STATUS_OK;
}

/* Footer */

static bool segment_footer_valid(const struct segment_footer *footer)
{
    /* Counts come from the disk: subtract rather than add, so that nothing can wrap. */
    if (footer->first_lsn < 1 || footer->end_lsn < footer->first_lsn ||
        footer->end_lsn > FORMAT_LSN_MAX) {
        return false;
    }
    uint64_t records = footer->end_lsn - footer->first_lsn;
    return footer->events <= records && footer->assignments <= records - footer->events &&
           footer->others == records - footer->events - footer->assignments &&
           footer->blocks <= records &&
           (footer->events > 0) == (footer->timestamp_min_us <= footer->timestamp_max_us) &&
           (records > 0) == (footer->received_min_us <= footer->received_max_us);
}

void segment_footer_encode(const struct segment_footer *footer, uint64_t salt,
                           uint8_t out[FORMAT_FOOTER_SIZE])
{
    assert(segment_footer_valid(footer));
    memset(out, 0, FORMAT_FOOTER_SIZE);
    store_u64(out + FOOTER_AT_MAGIC, FOOTER_MAGIC);
    store_u64(out + FOOTER_AT_FIRST_LSN, footer->first_lsn);
    store_u64(out + FOOTER_AT_END_LSN, footer->end_lsn);
    store_i64(out + FOOTER_AT_TIMESTAMP_MIN, footer->timestamp_min_us);
    store_i64(out + FOOTER_AT_TIMESTAMP_MAX, footer->timestamp_max_us);
    store_i64(out + FOOTER_AT_RECEIVED_MIN, footer->received_min_us);
    store_i64(out + FOOTER_AT_RECEIVED_MAX, footer->received_max_us);
    store_u64(out + FOOTER_AT_EVENTS, footer->events);
    store_u64(out + FOOTER_AT_ASSIGNMENTS, footer->assignments);
    store_u64(out + FOOTER_AT_OTHERS, footer->others);
    store_u64(out + FOOTER_AT_BLOCKS, footer->blocks);
    store_u64(out + FOOTER_AT_CHAIN, footer->chain);
    store_u64(out + FOOTER_AT_CHECK, check_seeded(out, FOOTER_AT_CHECK, salt));
}

enum status segment_footer_decode(const uint8_t in[FORMAT_FOOTER_SIZE], uint64_t salt,
                                  struct segment_footer *out_footer)
{
    if (load_u64(in + FOOTER_AT_MAGIC) != FOOTER_MAGIC ||
        load_u64(in + FOOTER_AT_CHECK) != check_seeded(in, FOOTER_AT_CHECK, salt)) {
        return STATUS_DAMAGED;
    }
    struct segment_footer footer = {
        .first_lsn = load_u64(in + FOOTER_AT_FIRST_LSN),
        .end_lsn = load_u64(in + FOOTER_AT_END_LSN),
        .timestamp_min_us = load_i64(in + FOOTER_AT_TIMESTAMP_MIN),
        .timestamp_max_us = load_i64(in + FOOTER_AT_TIMESTAMP_MAX),
        .received_min_us = load_i64(in + FOOTER_AT_RECEIVED_MIN),
        .received_max_us = load_i64(in + FOOTER_AT_RECEIVED_MAX),
        .events = load_u64(in + FOOTER_AT_EVENTS),
        .assignments = load_u64(in + FOOTER_AT_ASSIGNMENTS),
        .others = load_u64(in + FOOTER_AT_OTHERS),
        .blocks = load_u64(in + FOOTER_AT_BLOCKS),
        .chain = load_u64(in + FOOTER_AT_CHAIN),
    };
    if (!segment_footer_valid(&footer) ||
        !format_is_zero(in + FOOTER_AT_RESERVED, FOOTER_AT_CHECK - FOOTER_AT_RESERVED)) {
        return STATUS_DAMAGED;
    }
    *out_footer = footer;
    return STATUS_OK;
}

void segment_footer_init(struct segment_footer *footer, uint64_t first_lsn, uint64_t chain)
{
    *footer = (struct segment_footer){
        .first_lsn = first_lsn,
        .end_lsn = first_lsn,
        .timestamp_min_us = INT64_MAX,
        .timestamp_max_us = INT64_MIN,
        .received_min_us = INT64_MAX,
        .received_max_us = INT64_MIN,
        .chain = chain,
    };
}

/* Counts one record in. */
static enum status segment_footer_add_record(struct segment_footer *footer,
                                             const struct record *record)
{
    footer->received_min_us = int64_min(footer->received_min_us, record->received_at_us);
    footer->received_max_us = int64_max(footer->received_max_us, record->received_at_us);
    struct event event;
    switch (record->kind) {
    case RECORD_EVENT:
        if (event_decode(record, &event) != STATUS_OK) {
            return STATUS_DAMAGED;
        }
        footer->events++;
        footer->timestamp_min_us = int64_min(footer->timestamp_min_us, event.timestamp_us);
        footer->timestamp_max_us = int64_max(footer->timestamp_max_us, event.timestamp_us);
        return STATUS_OK;
    case RECORD_ASSIGNMENT:
        footer->assignments++;
        return STATUS_OK;
    case RECORD_EXPERIMENT:
    case RECORD_METRIC:
    case RECORD_TOKEN:
    case RECORD_OVERRIDES:
    case RECORD_USER_SET:
    case RECORD_ERASURE:
        footer->others++;
        return STATUS_OK;
    }
    return STATUS_DAMAGED;
}

enum status segment_footer_add(struct segment_footer *footer, struct bytes payload,
                               uint32_t record_count, uint64_t chain)
{
    struct segment_footer sum = *footer;
    struct record_cursor cursor = {payload, sum.end_lsn};
    struct record record;
    enum status status = record_next(&cursor, &record);
    while (status == STATUS_OK) {
        status = segment_footer_add_record(&sum, &record);
        status = status == STATUS_OK ? record_next(&cursor, &record) : status;
    }
    if (status != STATUS_END) {
        return status;
    }
    if (cursor.next_lsn - sum.end_lsn != record_count) {
        return STATUS_DAMAGED;
    }
    sum.end_lsn = cursor.next_lsn;
    sum.blocks++;
    sum.chain = chain;
    *footer = sum;
    return STATUS_OK;
}

uint64_t format_payload_check(const void *payload, size_t size, uint64_t salt)
{
    return check_seeded(payload, size, salt);
}

uint64_t format_chain(const void *header, size_t size)
{
    return check_seeded(header, size, 0);
}

/* Names of segments: 20 decimal digits, so that names sort as numbers do. */
#define SEGMENT_NAME_DIGITS 20u
#define SEGMENT_NAME_SUFFIX ".seg"

static_assert(SEGMENT_NAME_DIGITS + sizeof(SEGMENT_NAME_SUFFIX) <= SEGMENT_NAME_SIZE,
              "a name fits");

void segment_name(uint64_t first_lsn, char out_name[SEGMENT_NAME_SIZE])
{
    (void)snprintf(out_name, SEGMENT_NAME_SIZE, "%020llu" SEGMENT_NAME_SUFFIX,
                   (unsigned long long)first_lsn);
}

bool segment_name_parse(const char *name, uint64_t *out_first_lsn)
{
    if (strlen(name) != SEGMENT_NAME_DIGITS + strlen(SEGMENT_NAME_SUFFIX) ||
        strcmp(name + SEGMENT_NAME_DIGITS, SEGMENT_NAME_SUFFIX) != 0) {
        return false;
    }
    uint64_t lsn = 0;
    for (size_t i = 0; i < SEGMENT_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || lsn > FORMAT_LSN_MAX / 10) {
            return false;
        }
        lsn = lsn * 10 + (uint64_t)(name[i] - '0');
    }
    if (lsn < 1 || lsn > FORMAT_LSN_MAX) {
        return false;
    }
    *out_first_lsn = lsn;
    return true;
}

/* Records */

static const char *const event_fields[] = {"event_id",     "user_id",    "event_type",
                                           "timestamp_us", "properties", NULL};
static const char *const assignment_fields[] = {
    "experiment_id",  "user_id", "variant",    "experiment_version",
    "assigned_at_us", "forced",  "attributes", NULL};
static const char *const definition_fields[] = {"id", "version", "author", "document", NULL};

static const char *const user_set_fields[] = {"name", "author", "operation", "part", "part_count", "users", NULL};

#define EVENT_FIELD_COUNT      5u
#define ASSIGNMENT_FIELD_COUNT 7u
#define DEFINITION_FIELD_COUNT 4u
#define USER_SET_FIELD_COUNT   6u

static_assert(COUNT_OF(event_fields) == EVENT_FIELD_COUNT + 1, "a name for each field");
static_assert(COUNT_OF(assignment_fields) == ASSIGNMENT_FIELD_COUNT + 1, "a name for each field");
static_assert(COUNT_OF(definition_fields) == DEFINITION_FIELD_COUNT + 1, "a name for each field");
static_assert(COUNT_OF(user_set_fields) == USER_SET_FIELD_COUNT + 1, "a name for each field");
static_assert(USER_SET_PART_USERS * USER_PRINT_SIZE + 512 <= LIMIT_RECORD, "a part is one record");

static const struct record_kind_row record_kinds[] = {
    [RECORD_EVENT] = {"event",      1, event_fields     },
    [RECORD_ASSIGNMENT] = {"assignment", 1, assignment_fields},
    [RECORD_EXPERIMENT] = {"experiment", 1, definition_fields},
    [RECORD_METRIC] = {"metric",     1, definition_fields},
    [RECORD_TOKEN] = {"token",      1, definition_fields},
    [RECORD_OVERRIDES] = {"overrides",  1, definition_fields},
    [RECORD_USER_SET] = {"user_set",   1, user_set_fields  },
    [RECORD_ERASURE] = {"erasure",    1, definition_fields},
};

static_assert(COUNT_OF(record_kinds) == RECORD_KIND_END, "every kind has a row");

const struct record_kind_row *record_kind_row(uint8_t kind)
{
    return kind < RECORD_KIND_END && record_kinds[kind].name != NULL ? &record_kinds[kind] : NULL;
}

enum status record_next(struct record_cursor *cursor, struct record *out_record)
{
    const uint8_t *at = cursor->rest.data;
    size_t left = cursor->rest.size;
    if (left == 0) {
        return STATUS_END;
    }
    if (UNLIKELY(left < FORMAT_RECORD_SIZE_MIN)) {
        return STATUS_DAMAGED;
    }
    size_t size = load_u32(at + RECORD_AT_SIZE);
    int64_t received_at_us = load_i64(at + RECORD_AT_RECEIVED);
    if (UNLIKELY(size < FORMAT_RECORD_SIZE_MIN || size > LIMIT_RECORD || size > left ||
                 load_u16(at + RECORD_AT_RESERVED) != 0 || !time_valid(received_at_us))) {
        return STATUS_DAMAGED;
    }
    uint8_t kind = at[RECORD_AT_KIND];
    uint8_t version = at[RECORD_AT_VERSION];
    if (UNLIKELY(kind == 0 || kind >= RECORD_KIND_END || version == 0 ||
                 version > record_kinds[kind].version)) {
        return STATUS_UNSUPPORTED;
    }
    out_record->lsn = cursor->next_lsn;
    out_record->kind = (enum record_kind)kind;
    out_record->version = version;
    out_record->received_at_us = received_at_us;
    out_record->payload =
        bytes_of(at + FORMAT_RECORD_HEADER_SIZE, size - FORMAT_RECORD_HEADER_SIZE);
    cursor->rest = bytes_of(at + size, left - size);
    cursor->next_lsn++;
    return STATUS_OK;
}

/* The record header, with its size still to come. The caller has made sure of the room. */
static uint8_t *record_header_put(uint8_t *at, enum record_kind kind, int64_t received_at_us)
{
    assert(time_valid(received_at_us));
    store_u32(at + RECORD_AT_SIZE, 0);
    at[RECORD_AT_KIND] = (uint8_t)kind;
    at[RECORD_AT_VERSION] = record_kinds[kind].version;
    store_u16(at + RECORD_AT_RESERVED, 0);
    store_i64(at + RECORD_AT_RECEIVED, received_at_us);
    return at + FORMAT_RECORD_HEADER_SIZE;
}

/* Starts a record through pack.c: for the kinds that are not hot. */
static size_t record_begin(struct pack_writer *writer, enum record_kind kind,
                           int64_t received_at_us)
{
    uint8_t header[FORMAT_RECORD_HEADER_SIZE];
    size_t place = writer->size;
    (void)record_header_put(header, kind, received_at_us);
    pack_raw(writer, bytes_of(header, sizeof(header)));
    return place;
}

static void record_end(struct pack_writer *writer, size_t place)
{
    if (writer->overflow) {
        return;
    }
    size_t size = writer->size - place;
    assert(size >= FORMAT_RECORD_SIZE_MIN && size <= LIMIT_RECORD);
    store_u32(writer->data + place + RECORD_AT_SIZE, (uint32_t)size);
}

/* The msgpack forms used below: small array, short texts, maps. Texts here are at most 255 bytes, so that the two forms
 * of one length byte or less do. */
#define PACKED_FIXMAP   0x80u
#define PACKED_FIXARRAY 0x90u
#define PACKED_FIXTEXT  0xa0u
#define PACKED_TEXT8    0xd9u
#define PACKED_MAP16    0xdeu
#define PACKED_MAP32    0xdfu
#define PACKED_UINT64   0xcfu

#define TEXT_FIX_MAX  31u
#define TEXT_HEAD_MAX 2u

static_assert(LIMIT_USER_ID <= UINT8_MAX && LIMIT_EVENT_ID <= UINT8_MAX &&
                  LIMIT_EVENT_TYPE <= UINT8_MAX,
              "texts of the hot path have a length of one byte");
static_assert(LIMIT_TIMESTAMP_MIN_US > UINT32_MAX,
              "the shortest form of a timestamp is the 64-bit one");

static inline uint8_t *text_put(uint8_t *at, struct bytes text)
{
    if (text.size <= TEXT_FIX_MAX) {
        *at++ = (uint8_t)(PACKED_FIXTEXT | text.size);
    } else {
        *at++ = PACKED_TEXT8;
        *at++ = (uint8_t)text.size;
    }
    if (text.size > 0) { /* memcpy takes no NULL */
        memcpy(at, text.data, text.size);
    }
    return at + text.size;
}

/* A text in its shortest form, of least to most bytes. */
static inline bool text_take(struct pack_cursor *cursor, size_t least, size_t most,
                             struct bytes *out_text)
{
    const uint8_t *at = cursor->at;
    size_t left = (size_t)(cursor->end - at);
    if (UNLIKELY(left < TEXT_HEAD_MAX)) { /* no field read with this is the last of its array */
        return false;
    }
    size_t head = 1;
    size_t size = at[0] & TEXT_FIX_MAX;
    if ((at[0] & 0xe0u) != PACKED_FIXTEXT) {
        head = 2;
        size = at[1];
        if (UNLIKELY(at[0] != PACKED_TEXT8 || size <= TEXT_FIX_MAX)) {
            return false;
        }
    }
    if (UNLIKELY(size < least || size > most || size > left - head)) {
        return false;
    }
    *out_text = bytes_of(at + head, size);
    cursor->at = at + head + size;
    return true;
}

static bool is_map(struct bytes encoded)
{
    return encoded.size > 0 && ((encoded.data[0] & 0xf0u) == PACKED_FIXMAP ||
                                encoded.data[0] == PACKED_MAP16 || encoded.data[0] == PACKED_MAP32);
}

/* The rules of an event. Its properties are whole by the parser's word; here only that they are a map. */
static bool event_valid(const struct event *event)
{
    return event->event_id.size <= LIMIT_EVENT_ID && event->user_id.size >= 1 &&
           event->user_id.size <= LIMIT_USER_ID && event->event_type.size >= 1 &&
           event->event_type.size <= LIMIT_EVENT_TYPE &&
           event->timestamp_us >= LIMIT_TIMESTAMP_MIN_US &&
           event->timestamp_us <= FORMAT_TIME_MAX_US;
}

size_t event_encode_begin(struct pack_writer *writer, const struct event *event,
                          int64_t received_at_us)
{
    assert(event_valid(event));
    size_t place = writer->size;
    size_t most = FORMAT_RECORD_HEADER_SIZE + 1 + 3 * TEXT_HEAD_MAX + event->event_id.size +
                  event->user_id.size + event->event_type.size + 1 + sizeof(uint64_t);
    /* Asking for the longest heads, not the real ones, may refuse a record that would have filled the buffer to its
     * last two or three bytes: it has no room for properties either. */
    if (UNLIKELY(writer->overflow || writer->capacity - writer->size < most)) {
        writer->overflow = true;
        return place;
    }
    uint8_t *start = writer->data + place;
    uint8_t *at = record_header_put(start, RECORD_EVENT, received_at_us);
    *at++ = PACKED_FIXARRAY | EVENT_FIELD_COUNT;
    at = text_put(at, event->event_id);
    at = text_put(at, event->user_id);
    at = text_put(at, event->event_type);
    *at++ = PACKED_UINT64;
    store_u64(at, __builtin_bswap64((uint64_t)event->timestamp_us)); /* msgpack is big-endian */
    at += sizeof(uint64_t);
    writer->size += (size_t)(at - start);
    return place;
}

void event_encode_end(struct pack_writer *writer, size_t place)
{
    record_end(writer, place);
}

void event_encode(struct pack_writer *writer, const struct event *event, int64_t received_at_us)
{
    size_t place = event_encode_begin(writer, event, received_at_us);
    if (event->properties.size == 0) {
        pack_map(writer, 0);
    } else {
        assert(is_map(event->properties));
        pack_raw(writer, event->properties);
    }
    event_encode_end(writer, place);
}

enum status event_decode(const struct record *record, struct event *out_event)
{
    assert(record->kind == RECORD_EVENT);
    struct pack_cursor cursor = pack_cursor_on(record->payload);
    if (UNLIKELY(*cursor.at != (PACKED_FIXARRAY |
                                EVENT_FIELD_COUNT))) { /* record_next() found at least one byte */
        return STATUS_DAMAGED;
    }
    cursor.at++;
    struct event event;
    if (UNLIKELY(!text_take(&cursor, 0, LIMIT_EVENT_ID, &event.event_id) ||
                 !text_take(&cursor, 1, LIMIT_USER_ID, &event.user_id) ||
                 !text_take(&cursor, 1, LIMIT_EVENT_TYPE, &event.event_type))) {
        return STATUS_DAMAGED;
    }
    if (UNLIKELY((size_t)(cursor.end - cursor.at) < 1 + sizeof(uint64_t) + 1 ||
                 *cursor.at != PACKED_UINT64)) {
        return STATUS_DAMAGED;
    }
    uint64_t timestamp_us = __builtin_bswap64(load_u64(cursor.at + 1));
    cursor.at += 1 + sizeof(uint64_t);
    event.properties = bytes_of(cursor.at, (size_t)(cursor.end - cursor.at));
    if (UNLIKELY(timestamp_us < LIMIT_TIMESTAMP_MIN_US || timestamp_us > FORMAT_TIME_MAX_US ||
                 !is_map(event.properties))) {
        return STATUS_DAMAGED;
    }
    event.timestamp_us = (int64_t)timestamp_us;
    *out_event = event;
    return STATUS_OK;
}

static bool assignment_valid(const struct assignment *assignment)
{
    return assignment->user_id.size >= 1 && assignment->user_id.size <= LIMIT_USER_ID &&
           assignment->variant < LIMIT_VARIANTS && assignment->experiment_version >= 1 &&
           time_valid(assignment->assigned_at_us) &&
           assignment->attributes.size <= LIMIT_ATTRIBUTES &&
           (assignment->attributes.size == 0 || is_map(assignment->attributes));
}

void assignment_encode(struct pack_writer *writer, const struct assignment *assignment,
                       int64_t received_at_us)
{
    assert(assignment_valid(assignment));
    size_t place = record_begin(writer, RECORD_ASSIGNMENT, received_at_us);
    pack_array(writer, ASSIGNMENT_FIELD_COUNT);
    pack_bin(writer,
             bytes_of(assignment->experiment_id.bytes, sizeof(assignment->experiment_id.bytes)));
    pack_text(writer, assignment->user_id);
    pack_uint(writer, assignment->variant);
    pack_uint(writer, assignment->experiment_version);
    pack_int(writer, assignment->assigned_at_us);
    pack_bool(writer, assignment->forced);
    if (assignment->attributes.size == 0) {
        pack_nil(writer);
    } else {
        pack_raw(writer, assignment->attributes);
    }
    record_end(writer, place);
}

static bool uuid_take(struct pack_cursor *cursor, struct uuid *out_uuid)
{
    struct bytes bytes;
    if (!pack_read_bin(cursor, &bytes) || bytes.size != sizeof(out_uuid->bytes)) {
        return false;
    }
    memcpy(out_uuid->bytes, bytes.data, bytes.size);
    return true;
}

static bool u32_take(struct pack_cursor *cursor, uint32_t *out_value)
{
    uint64_t value;
    if (!pack_read_uint(cursor, &value) || value > UINT32_MAX) {
        return false;
    }
    *out_value = (uint32_t)value;
    return true;
}

enum status assignment_decode(const struct record *record, struct assignment *out_assignment)
{
    assert(record->kind == RECORD_ASSIGNMENT);
    struct pack_cursor cursor = pack_cursor_on(record->payload);
    uint32_t count;
    struct assignment assignment = {0};
    if (!pack_read_array(&cursor, &count) || count != ASSIGNMENT_FIELD_COUNT ||
        !uuid_take(&cursor, &assignment.experiment_id) ||
        !pack_read_text(&cursor, &assignment.user_id) || !u32_take(&cursor, &assignment.variant) ||
        !u32_take(&cursor, &assignment.experiment_version) ||
        !pack_read_int(&cursor, &assignment.assigned_at_us) ||
        !pack_read_bool(&cursor, &assignment.forced)) {
        return STATUS_DAMAGED;
    }
    if (!pack_take_nil(&cursor) &&
        (!pack_read_raw(&cursor, &assignment.attributes) || !is_map(assignment.attributes))) {
        return STATUS_DAMAGED;
    }
    if (cursor.at != cursor.end || !assignment_valid(&assignment)) {
        return STATUS_DAMAGED;
    }
    *out_assignment = assignment;
    return STATUS_OK;
}

static bool is_definition(enum record_kind kind)
{
    return kind == RECORD_EXPERIMENT || kind == RECORD_METRIC || kind == RECORD_TOKEN || kind == RECORD_OVERRIDES ||
           kind == RECORD_ERASURE;
}

static bool definition_valid(const struct definition *definition)
{
    return definition->version >= 1 && definition->document.size <= LIMIT_DEFINITION &&
           is_map(definition->document);
}

void definition_encode(struct pack_writer *writer, enum record_kind kind,
                       const struct definition *definition, int64_t received_at_us)
{
    assert(is_definition(kind) && definition_valid(definition));
    size_t place = record_begin(writer, kind, received_at_us);
    pack_array(writer, DEFINITION_FIELD_COUNT);
    pack_bin(writer, bytes_of(definition->id.bytes, sizeof(definition->id.bytes)));
    pack_uint(writer, definition->version);
    pack_bin(writer, bytes_of(definition->author.bytes, sizeof(definition->author.bytes)));
    pack_raw(writer, definition->document);
    record_end(writer, place);
}

enum status definition_decode(const struct record *record, struct definition *out_definition)
{
    assert(is_definition(record->kind));
    struct pack_cursor cursor = pack_cursor_on(record->payload);
    uint32_t count;
    struct definition definition = {0};
    if (!pack_read_array(&cursor, &count) || count != DEFINITION_FIELD_COUNT ||
        !uuid_take(&cursor, &definition.id) || !u32_take(&cursor, &definition.version) ||
        !uuid_take(&cursor, &definition.author) || !pack_read_raw(&cursor, &definition.document) ||
        cursor.at != cursor.end || !definition_valid(&definition)) {
        return STATUS_DAMAGED;
    }
    *out_definition = definition;
    return STATUS_OK;
}

static bool user_set_part_valid(const struct user_set_part *part)
{
    const size_t count = part->users.size / USER_PRINT_SIZE;
    const uint32_t operation = (uint32_t)part->operation;
    if (part->name.size < 1 || part->name.size > LIMIT_KEY || operation < USER_SET_REPLACE || operation > USER_SET_DROP ||
        part->part >= part->part_count || part->users.size % USER_PRINT_SIZE != 0 || count > USER_SET_PART_USERS ||
        (operation == USER_SET_DROP && (count != 0 || part->part_count != 1))) {
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        const uint8_t *at = part->users.data + i * USER_PRINT_SIZE;
        if (user_print_order(user_print_load(at - USER_PRINT_SIZE), user_print_load(at)) >= 0) {
            return false;
        }
    }
    return true;
}

void user_set_part_encode(struct pack_writer *writer, const struct user_set_part *part, int64_t received_at_us)
{
    assert(user_set_part_valid(part));
    size_t place = record_begin(writer, RECORD_USER_SET, received_at_us);
    pack_array(writer, USER_SET_FIELD_COUNT);
    pack_text(writer, part->name);
    pack_bin(writer, bytes_of(part->author.bytes, sizeof(part->author.bytes)));
    pack_uint(writer, (uint64_t)part->operation);
    pack_uint(writer, part->part);
    pack_uint(writer, part->part_count);
    pack_bin(writer, part->users);
    record_end(writer, place);
}

enum status user_set_part_decode(const struct record *record, struct user_set_part *out_part)
{
    assert(record->kind == RECORD_USER_SET);
    struct pack_cursor cursor = pack_cursor_on(record->payload);
    uint32_t count;
    uint32_t operation = 0;
    struct user_set_part part = {0};
    if (!pack_read_array(&cursor, &count) || count != USER_SET_FIELD_COUNT || !pack_read_text(&cursor, &part.name) ||
        !uuid_take(&cursor, &part.author) || !u32_take(&cursor, &operation) || !u32_take(&cursor, &part.part) ||
        !u32_take(&cursor, &part.part_count) || !pack_read_bin(&cursor, &part.users) || cursor.at != cursor.end) {
        return STATUS_DAMAGED;
    }
    part.operation = (enum user_set_operation)operation;
    if (!user_set_part_valid(&part)) {
        return STATUS_DAMAGED;
    }
    *out_part = part;
    return STATUS_OK;
}
