/* csv.h: a table as comma-separated values (RFC 4180), read row by row in bounded memory.
 *
 * Taken        Quoted fields with commas, quotes (doubled) and line ends in them; lines ended by LF or CR LF, the last one
 *              also by the end of the file; a byte order mark at the start. Empty lines are passed over.
 * Refused      with the line's number: a quote inside an unquoted field or text behind a closing one, a quote that is never
 *              closed, a row longer than CSV_ROW_MAX or with more than CSV_FIELDS_MAX fields, NUL, what is not UTF-8.
 */
#ifndef ASSAY_TOOLS_CSV_H
#define ASSAY_TOOLS_CSV_H

#include "engine/base.h"

#define CSV_ROW_MAX    (1024u * 1024)
#define CSV_FIELDS_MAX 4096u

struct csv;

struct csv_row {
    const struct bytes *fields; /* valid until the next call */
    uint32_t count;
    uint64_t line; /* the row's first, from 1 */
};

MUST_USE enum status csv_open(const char *path, struct error *error, struct csv **out_csv);
/* STATUS_END after the last row; STATUS_INVALID where the text is no CSV. */
MUST_USE enum status csv_next(struct csv *csv, struct error *error, struct csv_row *out_row);
/* From the start again. */
MUST_USE enum status csv_rewind(struct csv *csv, struct error *error);
void csv_close(struct csv *csv); /* NULL is fine */

#endif
