/* csv.c: see csv.h. One byte at a time through four states:
 *
 *              quote                      quote
 *   FIELD_START -----> QUOTED <-----------------------> QUOTE_SEEN     a second quote: the field holds one
 *        |                                                  |
 *        | anything else                                    | comma or line end: the field's end; else refused
 *        v
 *     PLAIN ---- comma or line end: the field's end; a quote is refused
 */
#include "tools/csv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/pack.h"

#define READ_SIZE ((size_t)256 * 1024)

enum csv_state {
    FIELD_START,
    PLAIN,
    QUOTED,
    QUOTE_SEEN,
};

struct csv {
    FILE *file;
    const char *path;
    uint8_t *buffer;
    size_t at;
    size_t end;
    uint64_t line; /* of the next byte */
    /* The row under construction: its fields' bytes back to back. */
    uint8_t *text;
    size_t size;
    struct bytes *fields;
    uint32_t count;
    size_t field_start;
};

enum status csv_open(const char *path, struct error *error, struct csv **out_csv)
{
    struct csv *csv = calloc(1, sizeof(*csv));
    if (csv == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    csv->path = path;
    csv->buffer = malloc(READ_SIZE);
    csv->text = malloc(CSV_ROW_MAX);
    csv->fields = malloc(CSV_FIELDS_MAX * sizeof(*csv->fields));
    csv->file = fopen(path, "re");
    enum status status = STATUS_OK;
    if (csv->buffer == NULL || csv->text == NULL || csv->fields == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "out of memory");
    } else if (csv->file == NULL) {
        status =
            error_set(error, STATUS_NOT_FOUND, "cannot read %s: %s", path, strerrordesc_np(errno));
    } else {
        status = csv_rewind(csv, error);
    }
    if (status != STATUS_OK) {
        csv_close(csv);
        return status;
    }
    *out_csv = csv;
    return STATUS_OK;
}

void csv_close(struct csv *csv)
{
    if (csv != NULL) {
        if (csv->file != NULL) {
            (void)fclose(csv->file);
        }
        free(csv->buffer);
        free(csv->text);
        free(csv->fields);
        free(csv);
    }
}

/* The next byte, or EOF. */
static int byte_next(struct csv *csv)
{
    if (csv->at == csv->end) {
        csv->at = 0;
        csv->end = fread(csv->buffer, 1, READ_SIZE, csv->file);
        if (csv->end == 0) {
            return EOF;
        }
    }
    return csv->buffer[csv->at++];
}

static void byte_back(struct csv *csv)
{
    assert(csv->at > 0);
    csv->at--;
}

enum status csv_rewind(struct csv *csv, struct error *error)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    if (fseek(csv->file, 0, SEEK_SET) != 0) {
        return error_set(error, STATUS_IO, "%s: must be a file, it is read twice: %s", csv->path,
                         strerrordesc_np(errno));
    }
    csv->at = 0;
    csv->end = 0;
    csv->line = 1;
    if (byte_next(csv) == EOF) {
        return ferror(csv->file) != 0 ? error_set(error, STATUS_IO, "cannot read %s: %s", csv->path,
                                                  strerrordesc_np(errno))
                                      : STATUS_OK;
    }
    byte_back(csv);
    if (csv->end >= sizeof(mark) && memcmp(csv->buffer, mark, sizeof(mark)) == 0) {
        csv->at = sizeof(mark);
    }
    return STATUS_OK;
}

static enum status csv_fault(const struct csv *csv, struct error *error, uint64_t line,
                             const char *what)
{
    return error_set(error, STATUS_INVALID, "%s, line %llu: %s", csv->path,
                     (unsigned long long)line, what);
}

static enum status byte_add(struct csv *csv, struct error *error, int byte)
{
    if (byte == 0) {
        return csv_fault(csv, error, csv->line,
                         "a NUL byte: this is no CSV, or it is UTF-16 (convert it to UTF-8)");
    }
    if (csv->size == CSV_ROW_MAX) {
        return csv_fault(csv, error, csv->line, "a row of more than 1 MiB: is a quote not closed?");
    }
    csv->text[csv->size++] = (uint8_t)byte;
    return STATUS_OK;
}

static enum status field_end(struct csv *csv, struct error *error)
{
    if (csv->count == CSV_FIELDS_MAX) {
        return csv_fault(csv, error, csv->line, "a row of more than 4096 fields");
    }
    csv->fields[csv->count++] =
        bytes_of(csv->text + csv->field_start, csv->size - csv->field_start);
    csv->field_start = csv->size;
    return STATUS_OK;
}

/* True where the byte, with the LF behind a CR, ends the line. */
static bool line_ends(struct csv *csv, int byte)
{
    if (byte == '\r') {
        const int next = byte_next(csv);
        if (next == '\n') {
            return true;
        }
        if (next != EOF) {
            byte_back(csv);
        }
        return false;
    }
    return byte == '\n';
}

/* One step of the picture above. *out_ended: the row is complete. */
static enum status byte_take(struct csv *csv, struct error *error, int byte, enum csv_state *state,
                             bool *out_ended)
{
    if (*state == QUOTED) {
        csv->line += byte == '\n';
        *state = byte == '"' ? QUOTE_SEEN : QUOTED;
        return byte == '"' ? STATUS_OK : byte_add(csv, error, byte);
    }
    if (byte == ',') {
        *state = FIELD_START;
        return field_end(csv, error);
    }
    if (byte == EOF || line_ends(csv, byte)) {
        *out_ended = true;
        csv->line += byte != EOF;
        return field_end(csv, error);
    }
    if (byte == '"' && *state == PLAIN) {
        return csv_fault(csv, error, csv->line,
                         "a quote inside a field that does not begin with one");
    }
    if (byte == '"') {
        /* After a closing quote it stands for one; at the start it opens the field. */
        const bool is_doubled = *state == QUOTE_SEEN;
        *state = QUOTED;
        return is_doubled ? byte_add(csv, error, byte) : STATUS_OK;
    }
    if (*state == QUOTE_SEEN) {
        return csv_fault(csv, error, csv->line, "text behind a closing quote");
    }
    *state = PLAIN;
    return byte_add(csv, error, byte);
}

enum status csv_next(struct csv *csv, struct error *error, struct csv_row *out_row)
{
    int byte = byte_next(csv);
    while (byte != EOF && line_ends(csv, byte)) {
        csv->line++;
        byte = byte_next(csv);
    }
    if (byte == EOF) {
        return ferror(csv->file) != 0 ? error_set(error, STATUS_IO, "cannot read %s: %s", csv->path,
                                                  strerrordesc_np(errno))
                                      : STATUS_END;
    }
    const uint64_t line = csv->line;
    enum csv_state state = FIELD_START;
    enum status status = STATUS_OK;
    bool has_ended = false;
    csv->size = 0;
    csv->count = 0;
    csv->field_start = 0;
    while (status == STATUS_OK && !has_ended) {
        if (byte == EOF && state == QUOTED) {
            return csv_fault(csv, error, line, "a quoted field of this row is never closed");
        }
        status = byte_take(csv, error, byte, &state, &has_ended);
        byte = status == STATUS_OK && !has_ended ? byte_next(csv) : byte;
    }
    if (status == STATUS_OK && pack_utf8_size(bytes_of(csv->text, csv->size)) != csv->size) {
        status = csv_fault(csv, error, line,
                           "not UTF-8: convert the file first, e.g. with iconv -f latin1 -t utf-8");
    }
    if (status == STATUS_OK) {
        *out_row = (struct csv_row){csv->fields, csv->count, line};
    }
    return status;
}
