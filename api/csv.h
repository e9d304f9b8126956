/* csv.h: tables as RFC 4180 has them: commas, CRLF, quotes where a cell needs them. A number is written as in JSON, an
 * undefined one is an empty cell.
 */
#ifndef ASSAY_API_CSV_H
#define ASSAY_API_CSV_H

#include "api/http.h"
#include "api/json.h"

/* Grows in the arena; `failed` stays set when memory is out. */
struct csv_writer {
    struct arena *arena;
    char *text;
    size_t size;
    size_t capacity;
    bool failed;
    bool in_row;
    struct json_writer number; /* reused for each number */
};

struct csv_writer csv_writer_in(struct arena *arena);
void csv_text(struct csv_writer *writer, struct bytes text);
void csv_names(struct csv_writer *writer, const char *const *names, size_t count);
void csv_double(struct csv_writer *writer, double value);
void csv_uint(struct csv_writer *writer, uint64_t value);
void csv_bool(struct csv_writer *writer, bool value);
void csv_empty(struct csv_writer *writer);
void csv_end_row(struct csv_writer *writer);
/* Replies with the table: 200, or 500 where memory is out. */
void csv_reply(struct call *call, const struct csv_writer *writer);

#endif
