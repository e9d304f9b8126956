/* answer.h: looking things up in a JSON answer. The text is transcoded once to msgpack; values are then found by a path
 * such as "summary.srm.ok", whose names hold no dots. What is missing or null, or of another kind, is not found.
 */
#ifndef ASSAY_TOOLS_ANSWER_H
#define ASSAY_TOOLS_ANSWER_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/pack.h"

/* The text must be followed by JSON_PADDING readable bytes. */
MUST_USE enum status answer_read(struct arena *arena, struct bytes json, struct error *error,
                                 struct bytes *out_document);

/* The encoded value; "" is the document itself. */
bool answer_find(struct bytes document, const char *path, struct bytes *out_value);
bool answer_text(struct bytes document, const char *path, struct bytes *out_text);
bool answer_number(struct bytes document, const char *path, double *out_number);
uint64_t answer_count(struct bytes document, const char *path); /* 0 where it is missing */
bool answer_is_true(struct bytes document, const char *path);

/* Walks an array: `rest` starts as what answer_items() found; false at the end. */
struct answer_items {
    struct pack_cursor cursor;
    uint32_t left;
};

struct answer_items answer_items(struct bytes document,
                                 const char *path); /* empty where it is missing */
bool answer_next(struct answer_items *items, struct bytes *out_item);
/* The same for the members of an object. */
struct answer_items answer_members(struct bytes document, const char *path);
bool answer_next_member(struct answer_items *members, struct bytes *out_name,
                        struct bytes *out_value);

#endif
