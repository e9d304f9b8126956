/* format.h: the bytes of the log, and the only code that knows them. docs/format.md is the same for people who write a
 * decoder; a test holds the two together.
 *
 * A log is a directory of segment files of a fixed size. A segment is a header block, then commit blocks back to back,
 * then zeros; once sealed, the last 4096 bytes of the file are a footer block. All of them start at multiples of
 * LOG_BLOCK_ALIGN and are padded with zeros to the next one. All integers are little-endian; reserved bytes and padding
 * are zero and checked.
 *
 * Segment header (first 128 bytes of its 4096-byte block)      Commit block header (64 bytes, then the records)
 *   0 u64 magic "ASSAYLOG"                                       0 u32 magic "BLK1"
 *   8 u32 format version (1)                                     4 u32 header check: low half of XXH3-64 over [8,64),
 *  12 u32 required features (0)                                        seeded with the segment's salt
 *  16 u128 store id                                              8 u64 first lsn
 *  32 u64 salt: random, per segment                             16 u32 record count (>= 1)
 *  40 u64 first lsn                                             20 u32 payload bytes
 *  48 u64 created at (us)                                       24 u64 payload check: XXH3-64 seeded with the salt
 *  56 u64 chain: last block's, of the previous segment          32 u64 chain: XXH3-64 of the previous block's 64 header
 *  64 u64 size of the file                                             bytes (of the first block: the segment header's)
 *  72 u64 hash seed of the store                                40 u64 durable lsn: the first lsn not yet durable when
 *  80 .. zero                                                          this block was written
 * 120 u64 check: XXH3-64 over [0,120)                           48 u64 written at (us)
 *                                                               56 u32 offset of this block in the file / 4096
 * Footer (first 128 bytes of its block)                         60 u32 reserved, zero
 *   0 u64 magic "ASSAYEND"                                     Record (16-byte header, then msgpack)
 *   8 u64 first lsn    16 u64 end lsn (first of the next)        0 u32 size, header included
 *  24 i64 least and 32 i64 greatest event timestamp (us)         4 u8 kind   5 u8 version of the payload   6 u16 zero
 *  40 i64 least and 48 i64 greatest received at (us)             8 i64 received at (us)
 *  56 u64 events   64 u64 assignments   72 u64 others            16 the payload
 *  80 u64 blocks   88 u64 chain of the last block
 *  96 .. zero   120 u64 check: XXH3-64 over [0,120), seeded with the segment's salt
 *
 * Magic, version, features and check of a segment header keep their places in every version to come.
 *
 * lsn: a record's number in the log, from 1, without gaps. A block is all or nothing; so is a frame (the records of one
 * request), which is never split over blocks.
 */
#ifndef ASSAY_ENGINE_FORMAT_H
#define ASSAY_ENGINE_FORMAT_H

#include "engine/base.h"
#include "engine/limits.h"
#include "engine/pack.h"

#define FORMAT_VERSION             1u
#define FORMAT_SEGMENT_HEADER_SIZE 128u
#define FORMAT_BLOCK_HEADER_SIZE   64u
#define FORMAT_FOOTER_SIZE         128u
#define FORMAT_RECORD_HEADER_SIZE  16u
#define FORMAT_RECORD_SIZE_MIN     17u /* no payload is empty */

/* What decoders accept; within these, sums and day numbers cannot wrap. */
#define FORMAT_LSN_MAX          ((uint64_t)INT64_MAX)
#define FORMAT_TIME_MAX_US      253402300799999999ll         /* the end of the year 9999 */
#define FORMAT_SEGMENT_SIZE_MIN (3ull * LOG_BLOCK_ALIGN)     /* header, one block, footer */
#define FORMAT_SEGMENT_SIZE_MAX ((uint64_t)LOG_BLOCK_ALIGN << 32) /* a block's offset is 32 bits of blocks */

struct segment_header {
    struct uuid store_id;
    uint64_t salt;
    uint64_t first_lsn;
    int64_t created_at_us;
    uint64_t chain; /* 0 in the first segment of a log */
    uint64_t file_size;
    uint64_t hash_seed; /* of the store: the same in every segment */
};

struct block_header {
    uint64_t first_lsn;
    uint32_t record_count;
    uint32_t payload_size;
    uint64_t payload_check;
    uint64_t chain;
    uint64_t durable_lsn;
    int64_t written_at_us;
    uint64_t offset; /* in the file, bytes */
};

struct segment_footer {
    uint64_t first_lsn;
    uint64_t end_lsn;
    int64_t timestamp_min_us; /* min > max where the segment has no events */
    int64_t timestamp_max_us;
    int64_t received_min_us;
    int64_t received_max_us;
    uint64_t events;
    uint64_t assignments;
    uint64_t others;
    uint64_t blocks;
    uint64_t chain;
};

/* Encoders fill the whole fixed part (`out` has the sizes above); decoders return STATUS_DAMAGED for bytes that are not
 * one, STATUS_UNSUPPORTED for a version or feature we do not know. */
void segment_header_encode(const struct segment_header *header, uint8_t out[FORMAT_SEGMENT_HEADER_SIZE]);
MUST_USE enum status segment_header_decode(const uint8_t in[FORMAT_SEGMENT_HEADER_SIZE],
                                           struct segment_header *out_header);
void block_header_encode(const struct block_header *header, uint64_t salt, uint8_t out[FORMAT_BLOCK_HEADER_SIZE]);
MUST_USE enum status block_header_decode(const uint8_t in[FORMAT_BLOCK_HEADER_SIZE], uint64_t salt,
                                         struct block_header *out_header);
void segment_footer_encode(const struct segment_footer *footer, uint64_t salt, uint8_t out[FORMAT_FOOTER_SIZE]);
MUST_USE enum status segment_footer_decode(const uint8_t in[FORMAT_FOOTER_SIZE], uint64_t salt,
                                           struct segment_footer *out_footer);
uint64_t format_payload_check(const void *payload, size_t size, uint64_t salt);
/* What the next block carries as `chain`. */
uint64_t format_chain(const void *header, size_t size);
bool format_is_zero(const void *data, size_t size);

/* The running footer of a segment that is being written: empty, then a block at a time. Adding decodes every record of
 * the block; where they are not exactly record_count good ones the footer is left as it was. */
void segment_footer_init(struct segment_footer *footer, uint64_t first_lsn, uint64_t chain);
MUST_USE enum status segment_footer_add(struct segment_footer *footer, struct bytes payload, uint32_t record_count,
                                        uint64_t chain);

/* "00000000000000000001.seg": the name of the segment that starts at this lsn. */
#define SEGMENT_NAME_SIZE 32
void segment_name(uint64_t first_lsn, char out_name[SEGMENT_NAME_SIZE]);
bool segment_name_parse(const char *name, uint64_t *out_first_lsn);

/* Kinds of records. The numbers are permanent: never reused, never renumbered. */
enum record_kind {
    RECORD_EVENT = 1,
    RECORD_ASSIGNMENT = 2,
    RECORD_EXPERIMENT = 3,
    RECORD_METRIC = 4,
    RECORD_TOKEN = 5,
    RECORD_OVERRIDES = 6,
    RECORD_USER_SET = 7,
    RECORD_ERASURE = 8,
};

#define RECORD_KIND_END 9 /* one past the last */

/* One row a kind: what dump, verify and docs/format.md say of it. */
struct record_kind_row {
    const char *name;
    uint8_t version;            /* written now; older ones are still read */
    const char *const *fields;  /* of the payload array, in order; NULL-terminated */
};

/* NULL for a number that is no kind. */
const struct record_kind_row *record_kind_row(uint8_t kind);

/* A record as it lies in a block; payload is borrowed from it. */
struct record {
    uint64_t lsn;
    enum record_kind kind;
    uint8_t version;
    int64_t received_at_us;
    struct bytes payload; /* one msgpack array */
};

/* Walks the records of a block's payload. */
struct record_cursor {
    struct bytes rest;
    uint64_t next_lsn;
};

/* STATUS_END at the end; STATUS_DAMAGED where the bytes are no record; STATUS_UNSUPPORTED for an unknown kind or version. */
MUST_USE enum status record_next(struct record_cursor *cursor, struct record *out_record);

/* An event as the client sent it. event_id is empty where it gave none: then it can never be a duplicate. */
struct event {
    struct bytes event_id;
    struct bytes user_id;
    struct bytes event_type;
    int64_t timestamp_us;
    struct bytes properties; /* an encoded msgpack map; empty is written as the empty map */
};

/* An answer given to a user, or imported (forced). */
struct assignment {
    struct uuid experiment_id;
    struct bytes user_id;
    uint32_t variant;            /* index in the experiment's list, which only grows */
    uint32_t experiment_version; /* the definition it followed */
    int64_t assigned_at_us;
    bool forced;
    struct bytes attributes; /* an encoded msgpack map; empty where none were given */
};

/* A definition of an experiment, metric or token, the overrides of an experiment, or the erasure of a user: the whole new version,
 * as a document. */
struct definition {
    struct uuid id;        /* of overrides the experiment's, of an erasure its receipt */
    uint32_t version;      /* 1, 2, ...: each exactly one above the last, or the record has no effect */
    struct uuid author;    /* token id; all zero for assay itself */
    struct bytes document; /* an encoded msgpack map; shapes in definitions.h */
};

/* Of a user id, its 128-bit XXH3 with seed 0; as bytes, big-endian. */
struct user_print {
    uint64_t high;
    uint64_t low;
};

#define USER_PRINT_SIZE 16u

static inline int user_print_order(struct user_print a, struct user_print b)
{
    return a.high != b.high ? (a.high > b.high) - (a.high < b.high) : (a.low > b.low) - (a.low < b.low);
}

static inline struct user_print user_print_load(const uint8_t *from)
{
    return (struct user_print){__builtin_bswap64(load_u64(from)), __builtin_bswap64(load_u64(from + 8))};
}

static inline void user_print_store(uint8_t *to, struct user_print print)
{
    store_u64(to, __builtin_bswap64(print.high));
    store_u64(to + 8, __builtin_bswap64(print.low));
}

/* The numbers are permanent. */
enum user_set_operation {
    USER_SET_REPLACE = 1, /* the users are all; makes the set where there is none */
    USER_SET_ADD = 2,
    USER_SET_REMOVE = 3,
    USER_SET_DROP = 4, /* the set as a whole; no users */
};

/* One part of a change of a set of users. The parts of a change are one frame, and it takes effect with the last. */
struct user_set_part {
    struct bytes name;
    struct uuid author;
    enum user_set_operation operation;
    uint32_t part; /* from 0 */
    uint32_t part_count;
    struct bytes users; /* prints, ascending within all parts together */
};

#define USER_SET_PART_USERS 32000u /* the most of one part */

/* Encoders append one whole record; check writer->overflow. Decoders borrow from the payload and return STATUS_DAMAGED
 * where it is not what the kind's row says; each decodes to a wholly valid value. One thing is left out for speed: of an
 * event's properties only the first byte is looked at (it is a map); pack_check() proves the rest, and verify calls it. */
void event_encode(struct pack_writer *writer, const struct event *event, int64_t received_at_us);
MUST_USE enum status event_decode(const struct record *record, struct event *out_event);
void assignment_encode(struct pack_writer *writer, const struct assignment *assignment, int64_t received_at_us);
MUST_USE enum status assignment_decode(const struct record *record, struct assignment *out_assignment);
void definition_encode(struct pack_writer *writer, enum record_kind kind, const struct definition *definition,
                       int64_t received_at_us);
MUST_USE enum status definition_decode(const struct record *record, struct definition *out_definition);

void user_set_part_encode(struct pack_writer *writer, const struct user_set_part *part, int64_t received_at_us);
MUST_USE enum status user_set_part_decode(const struct record *record, struct user_set_part *out_part);

/* The parts of event_encode(), for a parser that writes the properties in place: begin, then exactly one map written to
 * the writer, then end. `place` is where the record started. */
size_t event_encode_begin(struct pack_writer *writer, const struct event *event, int64_t received_at_us);
void event_encode_end(struct pack_writer *writer, size_t place);

#endif
