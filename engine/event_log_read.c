/* event_log_read.c: walking the log, and the reader.
 *
 * The reader and recovery (event_log_recover.c) walk segments block by block with segment_scan_next(), which judges every
 * place where a block should be by recovery_table. They differ in what follows: recovery cuts a torn tail off the file,
 * the reader stops in front of it.
 *
 * Vouching     The writer starts a block only when the one before it is durable. So records from lsn n on are known to
 *              have been durable when a later block of the same segment says so (its durable lsn is above n: its header
 *              is enough, its body may be torn), when the segment has a footer that counts them, when another segment
 *              follows, or when our caller knows (a checkpoint that includes them, or acknowledged to a reader).
 *              Without a witness a bad block is the last one written, and was never acknowledged.
 */
#include "engine/event_log_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A read brings in LOG_READ_PIECE where the file has it, so there can be as much behind a largest block. */
#define WINDOW_MAX (LOG_BLOCK_SIZE + LOG_READ_PIECE)

static_assert(LOG_READ_PIECE % LOG_BLOCK_ALIGN == 0, "reads are aligned");

/* The table */

#define YES ANSWER_YES
#define NO  ANSWER_NO
#define ANY ANSWER_ANY

const struct recovery_row recovery_table[RECOVERY_ROWS] = {
  /* header, position, body, vouched, zeros */
    {YES, YES, YES, ANY, ANY, RECOVERY_KEEP, "a whole block"                              },
    {YES, YES, NO,  NO,  ANY, RECOVERY_CUT,  "a torn body, never acknowledged"            },
    {YES, YES, NO,  YES, ANY, RECOVERY_STOP, "the records of a durable block are damaged" },
    {YES, NO,  ANY, ANY, ANY, RECOVERY_STOP, "a block that belongs elsewhere"             },
    {NO,  ANY, ANY, NO,  YES, RECOVERY_END,  "nothing was written from here on"           },
    {NO,  ANY, ANY, NO,  NO,  RECOVERY_CUT,  "a torn block, never acknowledged"           },
    {NO,  ANY, ANY, YES, ANY, RECOVERY_STOP, "a durable block is damaged or has been lost"},
};

static bool answer_matches(enum recovery_answer answer, bool seen)
{
    return answer == ANY || (answer == YES) == seen;
}

bool recovery_row_matches(const struct recovery_row *row, const struct recovery_evidence *evidence)
{
    return answer_matches(row->header_ok, evidence->header_ok) &&
           answer_matches(row->position_ok, evidence->position_ok) &&
           answer_matches(row->body_ok, evidence->body_ok) &&
           answer_matches(row->vouched, evidence->vouched) &&
           answer_matches(row->zeros, evidence->zeros);
}

const struct recovery_row *recovery_decide(const struct recovery_evidence *evidence)
{
    for (size_t i = 0; i < RECOVERY_ROWS; i++) {
        if (recovery_row_matches(&recovery_table[i], evidence)) {
            return &recovery_table[i];
        }
    }
    assert(!"a row for every situation");
    return NULL;
}

/* Names and messages */

struct log_path log_path_make(const char *directory, const char *name)
{
    struct log_path path;
    int length = snprintf(path.text, sizeof(path.text), "%s/%s", directory, name);
    assert(length > 0 && (size_t)length < sizeof(path.text));
    return path;
}

enum status log_trouble(struct error *error, const struct io *io, enum status status,
                        const char *verb, const char *path)
{
    const char *reason = io->last_errno != 0 ? strerrordesc_np(io->last_errno) : NULL;
    return error_set(error, status, "cannot %s %s: %s", verb, path,
                     reason != NULL ? reason : status_name(status));
}

static void segment_list_add(void *context, const char *name)
{
    struct segment_list *list = context;
    uint64_t first_lsn;
    if (list->out_of_memory || !segment_name_parse(name, &first_lsn)) {
        return;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        uint64_t *grown = realloc(list->first_lsns, capacity * sizeof(*grown));
        list->out_of_memory = grown == NULL;
        if (grown == NULL) {
            return;
        }
        list->first_lsns = grown;
        list->capacity = capacity;
    }
    list->first_lsns[list->count++] = first_lsn;
}

static int first_lsn_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* To be freed even on failure. */
enum status segment_list_read(struct io *io, const char *directory, struct error *error,
                              struct segment_list *list)
{
    enum status status = io->operations->list(io, directory, segment_list_add, list);
    if (status != STATUS_OK) {
        return log_trouble(error, io, status, "list", directory);
    }
    if (list->out_of_memory) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the segments of %s", directory);
    }
    if (list->count > 0) {
        qsort(list->first_lsns, list->count, sizeof(*list->first_lsns), first_lsn_compare);
    }
    return STATUS_OK;
}

/* The window */

/* Makes room for `size` bytes; what is in the window stays. */
enum status segment_window_reserve(struct segment_scan *scan, size_t size, struct error *error)
{
    assert(size <= WINDOW_MAX && size % LOG_BLOCK_ALIGN == 0);
    if (size <= scan->window_capacity) {
        return STATUS_OK;
    }
    size_t doubled = size_min(2 * scan->window_capacity, WINDOW_MAX);
    size_t capacity = size > doubled ? size : doubled;
    uint8_t *window = aligned_alloc(LOG_BLOCK_ALIGN, capacity);
    if (window == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to read the log");
    }
    if (scan->window_size > 0) {
        memcpy(window, scan->window, scan->window_size);
    }
    free(scan->window);
    scan->window = window;
    scan->window_capacity = capacity;
    return STATUS_OK;
}

void segment_scan_init(struct segment_scan *scan, struct io *io)
{
    *scan = (struct segment_scan){.io = io, .file = -1};
}

void segment_scan_close(struct segment_scan *scan)
{
    if (scan->file >= 0) {
        scan->io->operations->close_file(scan->io, scan->file);
        scan->file = -1;
    }
}

void segment_scan_deinit(struct segment_scan *scan)
{
    segment_scan_close(scan);
    free(scan->window);
    scan->window = NULL;
}

/* Where blocks end and the footer begins. */
static uint64_t segment_footer_offset(const struct segment_header *header)
{
    return header->file_size - LOG_BLOCK_ALIGN;
}

static enum status segment_damaged(const struct segment_scan *scan, struct error *error,
                                   uint64_t offset, const char *what)
{
    return error_set(error, STATUS_DAMAGED, "%s, offset %llu: %s", scan->path.text,
                     (unsigned long long)offset, what);
}

/* Brings [offset, offset + size) of the file into the window. What it held of that is kept, the rest is read in one go
 * with as much behind it as fits. */
enum status segment_window_at(struct segment_scan *scan, uint64_t offset, size_t size,
                              struct error *error, const uint8_t **out_bytes)
{
    uint64_t window_end = scan->window_offset + scan->window_size;
    if (offset >= scan->window_offset && offset + size <= window_end) {
        *out_bytes = scan->window + (offset - scan->window_offset);
        return STATUS_OK;
    }
    assert(offset + size <= scan->header.file_size && size <= LOG_BLOCK_SIZE);
    size_t kept =
        offset >= scan->window_offset && offset < window_end ? (size_t)(window_end - offset) : 0;
    size_t wanted = size - kept > LOG_READ_PIECE ? size - kept : LOG_READ_PIECE;
    uint64_t left = scan->header.file_size - offset - kept;
    wanted = left < wanted ? (size_t)left : wanted;
    enum status status = segment_window_reserve(scan, kept + wanted, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (kept > 0) {
        memmove(scan->window, scan->window + (offset - scan->window_offset), kept);
    }
    scan->window_offset = offset;
    scan->window_size = kept;
    size_t done = 0;
    status = io_read(scan->io, scan->file, scan->window + kept, wanted, offset + kept, &done);
    if (status != STATUS_OK) {
        return log_trouble(error, scan->io, status, "read", scan->path.text);
    }
    if (done != wanted) {
        return segment_damaged(scan, error, offset + kept + done, "the file ends here");
    }
    scan->window_size = kept + wanted;
    *out_bytes = scan->window;
    return STATUS_OK;
}

/* Opening a segment */

static enum status segment_read_page(struct segment_scan *scan, uint64_t offset,
                                     struct error *error)
{
    size_t done = 0;
    scan->window_size = 0;
    enum status status = segment_window_reserve(scan, LOG_BLOCK_ALIGN, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = io_read(scan->io, scan->file, scan->window, LOG_BLOCK_ALIGN, offset, &done);
    if (status != STATUS_OK) {
        return log_trouble(error, scan->io, status, "read", scan->path.text);
    }
    return done == LOG_BLOCK_ALIGN
               ? STATUS_OK
               : segment_damaged(scan, error, offset + done, "the file ends here");
}

static enum status segment_read_header(struct segment_scan *scan, uint64_t first_lsn,
                                       struct error *error)
{
    uint64_t size = 0;
    enum status status = scan->io->operations->size(scan->io, scan->file, &size);
    if (status != STATUS_OK) {
        return log_trouble(error, scan->io, status, "find the size of", scan->path.text);
    }
    if (size < LOG_BLOCK_ALIGN) {
        return segment_damaged(scan, error, size, "the file ends within its header");
    }
    status = segment_read_page(scan, 0, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = segment_header_decode(scan->window, &scan->header);
    if (status == STATUS_UNSUPPORTED) {
        return error_set(error, status,
                         "%s was written by a newer assay: its format is not known here",
                         scan->path.text);
    }
    if (status != STATUS_OK || !format_is_zero(scan->window + FORMAT_SEGMENT_HEADER_SIZE,
                                               LOG_BLOCK_ALIGN - FORMAT_SEGMENT_HEADER_SIZE)) {
        return segment_damaged(scan, error, 0, "the segment header is damaged");
    }
    if (scan->header.first_lsn != first_lsn) {
        return error_set(error, STATUS_DAMAGED, "%s is the segment of lsn %llu under another name",
                         scan->path.text, (unsigned long long)scan->header.first_lsn);
    }
    if (scan->header.file_size != size) {
        return error_set(error, STATUS_DAMAGED, "%s has %llu bytes, but was made with %llu",
                         scan->path.text, (unsigned long long)size,
                         (unsigned long long)scan->header.file_size);
    }
    scan->offset = LOG_BLOCK_ALIGN;
    scan->next_lsn = first_lsn;
    scan->chain = format_chain(scan->window, FORMAT_SEGMENT_HEADER_SIZE);
    scan->torn_size = 0;
    return STATUS_OK;
}

/* A footer that does not decode is no footer: then the blocks decide what the segment holds. */
static enum status segment_read_footer(struct segment_scan *scan, struct error *error)
{
    enum status status = segment_read_page(scan, segment_footer_offset(&scan->header), error);
    if (status != STATUS_OK) {
        return status;
    }
    scan->sealed =
        segment_footer_decode(scan->window, scan->header.salt, &scan->footer) == STATUS_OK &&
        format_is_zero(scan->window + FORMAT_FOOTER_SIZE, LOG_BLOCK_ALIGN - FORMAT_FOOTER_SIZE);
    if (scan->sealed && scan->footer.first_lsn != scan->header.first_lsn) {
        return segment_damaged(scan, error, segment_footer_offset(&scan->header),
                               "a footer that belongs elsewhere");
    }
    return STATUS_OK;
}

/* Opens the segment of this lsn, and checks that it goes on where `before` ended (NULL: there is nothing to compare). */
enum status segment_scan_open(struct segment_scan *scan, const char *directory, uint64_t first_lsn,
                              unsigned flags, const struct segment_scan *before,
                              struct error *error)
{
    segment_name(first_lsn, scan->name);
    scan->path = log_path_make(directory, scan->name);
    enum status status = scan->io->operations->open(scan->io, scan->path.text, flags, &scan->file);
    if (status != STATUS_OK) {
        scan->file = -1;
        return log_trouble(error, scan->io, status, "open", scan->path.text);
    }
    status = segment_read_header(scan, first_lsn, error);
    if (status == STATUS_OK) {
        status = segment_read_footer(scan, error);
    }
    if (status != STATUS_OK || before == NULL) {
        return status;
    }
    if (!before->sealed) {
        return error_set(error, STATUS_DAMAGED, "%s has no good footer, yet %s follows it",
                         before->path.text, scan->path.text);
    }
    if (!uuid_equal(&scan->header.store_id, &before->header.store_id) ||
        scan->header.hash_seed != before->header.hash_seed) {
        return error_set(error, STATUS_DAMAGED, "%s belongs to another store than %s",
                         scan->path.text, before->path.text);
    }
    if (first_lsn != before->footer.end_lsn) {
        return error_set(
            error, STATUS_DAMAGED, "%s ends before lsn %llu, but the next segment is %s: %s",
            before->path.text, (unsigned long long)before->footer.end_lsn, scan->path.text,
            first_lsn > before->footer.end_lsn ? "records are missing" : "records are there twice");
    }
    if (scan->header.chain != before->footer.chain) {
        return error_set(error, STATUS_DAMAGED, "%s was not written after %s", scan->path.text,
                         before->path.text);
    }
    return STATUS_OK;
}

/* Walking the blocks of a segment */

static uint64_t block_size(const struct block_header *header)
{
    return round_up(FORMAT_BLOCK_HEADER_SIZE + (uint64_t)header->payload_size, LOG_BLOCK_ALIGN);
}

static bool block_position_ok(const struct segment_scan *scan, const struct block_header *header)
{
    uint64_t end_lsn = header->first_lsn + header->record_count;
    return header->offset == scan->offset && header->first_lsn == scan->next_lsn &&
           header->chain == scan->chain &&
           block_size(header) <= segment_footer_offset(&scan->header) - scan->offset &&
           (!scan->sealed || end_lsn <= scan->footer.end_lsn);
}

static bool block_body_ok(const struct segment_scan *scan, const struct block_header *header,
                          const uint8_t *block)
{
    size_t used = FORMAT_BLOCK_HEADER_SIZE + header->payload_size;
    return format_payload_check(block + FORMAT_BLOCK_HEADER_SIZE, header->payload_size,
                                scan->header.salt) == header->payload_check &&
           format_is_zero(block + used, (size_t)block_size(header) - used);
}

/* Looks at the place where the next block should be. The body of a block that ends at or below skip_lsn is not read. */
static enum status block_examine(struct segment_scan *scan, uint64_t skip_lsn, struct error *error,
                                 struct recovery_evidence *out_evidence,
                                 struct log_block *out_block)
{
    struct recovery_evidence evidence = {0};
    struct log_block block = {.segment = scan->name};
    if (scan->offset < segment_footer_offset(&scan->header)) {
        const uint8_t *bytes = NULL;
        enum status status = segment_window_at(scan, scan->offset, LOG_BLOCK_ALIGN, error, &bytes);
        if (status != STATUS_OK) {
            return status;
        }
        evidence.header_ok =
            block_header_decode(bytes, scan->header.salt, &block.header) == STATUS_OK;
    }
    evidence.position_ok = evidence.header_ok && block_position_ok(scan, &block.header);
    if (evidence.position_ok) {
        const uint8_t *bytes = NULL;
        bool skip = block.header.first_lsn + block.header.record_count <= skip_lsn;
        size_t wanted = skip ? LOG_BLOCK_ALIGN : (size_t)block_size(&block.header);
        enum status status = segment_window_at(scan, scan->offset, wanted, error, &bytes);
        if (status != STATUS_OK) {
            return status;
        }
        evidence.body_ok = skip || block_body_ok(scan, &block.header, bytes);
        block.payload = skip
                            ? bytes_of(NULL, 0)
                            : bytes_of(bytes + FORMAT_BLOCK_HEADER_SIZE, block.header.payload_size);
        scan->chain =
            evidence.body_ok ? format_chain(bytes, FORMAT_BLOCK_HEADER_SIZE) : scan->chain;
    }
    *out_evidence = evidence;
    *out_block = block;
    return STATUS_OK;
}

void segment_vouch(struct segment_scan *scan, uint64_t lsn, const char *voucher)
{
    if (lsn > scan->vouched_lsn) {
        scan->vouched_lsn = lsn;
        scan->voucher = voucher;
    }
}

/* Reads on to the end of the file: is there anything, and does any of it vouch for what is broken here? */
static enum status tail_examine(struct segment_scan *scan, struct error *error,
                                struct recovery_evidence *evidence)
{
    if (scan->sealed) {
        segment_vouch(scan, scan->footer.end_lsn, "the footer of the segment");
    }
    uint64_t written_end = scan->offset;
    for (uint64_t at = scan->offset; at < scan->header.file_size; at += LOG_BLOCK_ALIGN) {
        const uint8_t *page = NULL;
        enum status status = segment_window_at(scan, at, LOG_BLOCK_ALIGN, error, &page);
        if (status != STATUS_OK) {
            return status;
        }
        if (format_is_zero(page, LOG_BLOCK_ALIGN)) {
            continue;
        }
        written_end = at + LOG_BLOCK_ALIGN;
        struct block_header header;
        if (block_header_decode(page, scan->header.salt, &header) == STATUS_OK &&
            header.offset == at) {
            segment_vouch(scan, header.durable_lsn, "a later block of the segment");
        }
    }
    scan->torn_size = written_end - scan->offset;
    evidence->zeros = scan->torn_size == 0;
    evidence->vouched = scan->vouched_lsn > scan->next_lsn;
    return STATUS_OK;
}

static enum status segment_stop(const struct segment_scan *scan,
                                const struct recovery_evidence *evidence, const char *meaning,
                                struct error *error)
{
    return error_set(error, STATUS_DAMAGED,
                     "%s, offset %llu (lsn %llu): %s%s%s; nothing was changed", scan->path.text,
                     (unsigned long long)scan->offset, (unsigned long long)scan->next_lsn, meaning,
                     evidence->vouched ? ", as witnessed by " : "",
                     evidence->vouched ? scan->voucher : "");
}

/* The next block. STATUS_END where the segment ends, or where a torn block was never acknowledged (torn_size is not 0
 * then); STATUS_DAMAGED where acknowledged records are gone. */
enum status segment_scan_next(struct segment_scan *scan, uint64_t skip_lsn, struct error *error,
                              struct log_block *out_block)
{
    if (scan->sealed && scan->next_lsn == scan->footer.end_lsn) {
        return scan->chain == scan->footer.chain
                   ? STATUS_END
                   : segment_damaged(scan, error, scan->offset,
                                     "the footer was not written after this block");
    }
    struct recovery_evidence evidence;
    enum status status = block_examine(scan, skip_lsn, error, &evidence, out_block);
    /* Only where something is wrong it matters what lies behind. */
    if (status == STATUS_OK && !evidence.body_ok) {
        status = tail_examine(scan, error, &evidence);
    }
    if (status != STATUS_OK) {
        return status;
    }
    const struct recovery_row *row = recovery_decide(&evidence);
    switch (row->action) {
    case RECOVERY_KEEP:
        scan->offset += block_size(&out_block->header);
        scan->next_lsn += out_block->header.record_count;
        return STATUS_OK;
    case RECOVERY_END:
    case RECOVERY_CUT:
        return STATUS_END;
    case RECOVERY_STOP:
        return segment_stop(scan, &evidence, row->meaning, error);
    }
    return STATUS_DAMAGED;
}

/* Bad records within a good block: not the disk's doing, so it says where to look. */
enum status segment_records_trouble(const struct segment_scan *scan, const struct log_block *block,
                                    enum status status, struct error *error)
{
    return error_set(
        error, status, "%s, offset %llu (lsn %llu): %s", scan->path.text,
        (unsigned long long)block->header.offset, (unsigned long long)block->header.first_lsn,
        status == STATUS_UNSUPPORTED ? "a record of a kind or version that is not known here"
                                     : "the block is whole, but what it holds are not its records");
}

/* The reader */

struct log_reader {
    struct log_reader_options options;
    char directory[LOG_DIRECTORY_MAX];
    struct segment_list list;
    size_t next_segment; /* to be opened, in the list */
    struct segment_scan scan;
    uint64_t position; /* the first lsn not yet handed out or skipped */
    bool started;      /* a segment was opened before */
};

/* Finds the segment to start in. */
static enum status reader_start(struct log_reader *reader, struct error *error)
{
    const struct segment_list *list = &reader->list;
    uint64_t from_lsn = reader->options.from_lsn;
    reader->position = 1;
    if (list->count == 0) {
        return STATUS_OK;
    }
    reader->position = list->first_lsns[0];
    if (from_lsn != 0 && list->first_lsns[0] > from_lsn) {
        return error_set(error, STATUS_NOT_FOUND,
                         "%s begins at lsn %llu: it no longer has lsn %llu", reader->directory,
                         (unsigned long long)list->first_lsns[0], (unsigned long long)from_lsn);
    }
    while (reader->next_segment + 1 < list->count &&
           list->first_lsns[reader->next_segment + 1] <= from_lsn) {
        reader->next_segment++;
    }
    reader->position = list->first_lsns[reader->next_segment];
    return STATUS_OK;
}

enum status log_reader_open(const struct log_reader_options *options, struct error *error,
                            struct log_reader **out_reader)
{
    assert(strlen(options->directory) < LOG_DIRECTORY_MAX);
    struct log_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to read %s", options->directory);
    }
    segment_scan_init(&reader->scan, options->io);
    (void)snprintf(reader->directory, sizeof(reader->directory), "%s", options->directory);
    reader->options = *options;
    reader->options.directory = reader->directory;
    enum status status = segment_list_read(options->io, reader->directory, error, &reader->list);
    if (status == STATUS_OK) {
        status = reader_start(reader, error);
    }
    if (status != STATUS_OK) {
        log_reader_close(reader);
        return status;
    }
    *out_reader = reader;
    return STATUS_OK;
}

/* The lsn that the log must reach, because our caller knows of it. */
static uint64_t reader_must_reach(const struct log_reader *reader)
{
    const struct log_reader_options *options = &reader->options;
    return options->end_lsn > options->from_lsn ? options->end_lsn : options->from_lsn;
}

static enum status reader_next_segment(struct log_reader *reader, struct error *error)
{
    struct segment_scan before = reader->scan;
    unsigned flags = IO_OPEN_READ | (reader->options.buffered ? 0u : (unsigned)IO_OPEN_DIRECT);
    segment_scan_close(&reader->scan);
    enum status status = segment_scan_open(&reader->scan, reader->directory,
                                           reader->list.first_lsns[reader->next_segment], flags,
                                           reader->started ? &before : NULL, error);
    if (status != STATUS_OK) {
        return status;
    }
    reader->started = true;
    reader->next_segment++;
    if (reader->next_segment < reader->list.count) {
        segment_vouch(&reader->scan, reader->list.first_lsns[reader->next_segment],
                      "the next segment");
    } else {
        segment_vouch(&reader->scan, reader_must_reach(reader), "whoever asked for it");
    }
    return STATUS_OK;
}

/* Every record of the block is there, and of a known kind. */
static enum status block_records_check(const struct log_block *block)
{
    struct record_cursor cursor = {block->payload, block->header.first_lsn};
    struct record record;
    enum status status = record_next(&cursor, &record);
    while (status == STATUS_OK) {
        status = record_next(&cursor, &record);
    }
    bool all = cursor.next_lsn == block->header.first_lsn + block->header.record_count;
    return status != STATUS_END ? status : all ? STATUS_OK : STATUS_DAMAGED;
}

/* After the last segment. */
static enum status reader_end(const struct log_reader *reader, struct error *error)
{
    uint64_t must_reach = reader_must_reach(reader);
    if (reader->position >= must_reach) {
        return STATUS_END;
    }
    return error_set(error, STATUS_DAMAGED, "%s ends before lsn %llu, but lsn %llu was asked for",
                     reader->directory, (unsigned long long)reader->position,
                     (unsigned long long)must_reach - 1);
}

enum status log_reader_next(struct log_reader *reader, struct error *error,
                            struct log_block *out_block)
{
    const struct log_reader_options *options = &reader->options;
    while (options->end_lsn == 0 || reader->position < options->end_lsn) {
        enum status status = STATUS_OK;
        if (reader->scan.file < 0) {
            if (reader->next_segment == reader->list.count) {
                return reader_end(reader, error);
            }
            status = reader_next_segment(reader, error);
        }
        struct log_block block = {0};
        status = status == STATUS_OK
                     ? segment_scan_next(&reader->scan, options->from_lsn, error, &block)
                     : status;
        if (status == STATUS_END) {
            segment_scan_close(&reader->scan);
            continue;
        }
        if (status != STATUS_OK) {
            return status;
        }
        reader->position = reader->scan.next_lsn;
        if (reader->position <= options->from_lsn) {
            continue;
        }
        status = block_records_check(&block);
        if (status != STATUS_OK) {
            return segment_records_trouble(&reader->scan, &block, status, error);
        }
        *out_block = block;
        return STATUS_OK;
    }
    return STATUS_END;
}

void log_reader_close(struct log_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    segment_scan_deinit(&reader->scan);
    free(reader->list.first_lsns);
    free(reader);
}

/* The records of one block that lie within the options' range. */
static enum status block_visit(const struct log_reader_options *options,
                               const struct log_block *block,
                               enum status (*visit)(void *context, const struct record *record),
                               void *context)
{
    struct record_cursor cursor = {block->payload, block->header.first_lsn};
    struct record record;
    enum status status = record_next(&cursor, &record);
    while (status == STATUS_OK) {
        bool wanted = record.lsn >= options->from_lsn &&
                      (options->end_lsn == 0 || record.lsn < options->end_lsn);
        status = wanted ? visit(context, &record) : STATUS_OK;
        if (status != STATUS_OK) {
            return status;
        }
        status = record_next(&cursor, &record);
    }
    return status == STATUS_END ? STATUS_OK : status;
}

enum status log_scan(const struct log_reader_options *options, struct error *error,
                     enum status (*visit)(void *context, const struct record *record),
                     void *context)
{
    struct log_reader *reader = NULL;
    enum status status = log_reader_open(options, error, &reader);
    while (status == STATUS_OK) {
        struct log_block block = {0};
        status = log_reader_next(reader, error, &block);
        if (status == STATUS_OK) {
            status = block_visit(options, &block, visit, context);
        } else if (status == STATUS_END) {
            log_reader_close(reader);
            return STATUS_OK;
        }
    }
    log_reader_close(reader);
    return status;
}
