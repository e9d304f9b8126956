/* handler.h: what the handlers of several nouns share: the experiment of the path, pages, plain numbers of a query, the
 * faults of a definition, and the writing of one.
 *
 * Functions that return bool have replied where they return false.
 */
#ifndef ASSAY_API_HANDLER_H
#define ASSAY_API_HANDLER_H

#include "api/http.h"

/* The dense index of the experiment that the path's first parameter names, by id or by key. Replies 404 and returns
 * CATALOG_NONE where there is none. */
uint32_t handler_experiment(struct call *call);

/* The id of the caller's token; all zero where there is none. */
struct uuid handler_author(const struct call *call);

/* A new UUID of version 7. */
struct uuid handler_new_id(struct call *call);

struct handler_page {
    uint32_t limit;
    uint64_t cursor; /* 0: from the start */
};

/* Reads ?limit= and ?cursor=. */
bool handler_page_read(struct call *call, struct handler_page *out_page);
/* The opaque text of a position, in the arena; NULL for 0, which is the end. */
const char *handler_cursor(struct call *call, uint64_t position);

/* A decimal number as JSON writes it, and a natural number; all of the text or nothing. */
bool handler_parse_decimal(struct bytes text, double *out_value);
bool handler_parse_natural(struct bytes text, uint64_t *out_value);

/* An instant as clients give it: RFC 3339 text, or epoch milliseconds, whole or not. Its bounds are the caller's to check. */
bool handler_parse_time(const struct pack_value *value, int64_t *out_us);

/* Why a text is no user id, event id or the like of at most `limit` bytes; NULL where it is one. */
const char *handler_text_fault(struct bytes text, size_t limit);

/* Writes "value" or "values" and what the operator of a rule or filter compares with; nothing where it compares with
 * nothing. */
void handler_write_operand(struct json_writer *writer, enum rule_operator operation,
                           const struct rule_values *values);

/* A text, or null where it is empty. */
void handler_write_optional_text(struct json_writer *writer, struct bytes text);

/* The reply to a definition that was refused with this status. */
void handler_reply_refused(struct call *call, enum status status,
                           const struct field_errors *errors);

/* Writes definitions of one kind as one frame; outcomes: one each. */
bool handler_submit_definitions(struct call *call, enum record_kind kind,
                                const struct definition *definitions, uint32_t count,
                                uint8_t *outcomes, void (*continuation)(struct call *call));

#endif
