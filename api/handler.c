/* handler.c: see handler.h. */
#include "api/handler.h"

#include <math.h>
#include <stdlib.h>

#include "engine/timestamp.h"

/* What a definition's record takes beside its document: header, ids, version. */
#define DEFINITION_OVERHEAD 128u

uint32_t handler_experiment(struct call *call)
{
    struct bytes name = call->parameters[0];
    struct uuid id;
    uint32_t index = CATALOG_NONE;
    if (uuid_parse(name, &id) == STATUS_OK) {
        index = catalog_find_experiment(call->catalog, &id);
    }
    if (index == CATALOG_NONE) {
        index = catalog_find_experiment_key(call->catalog, name);
    }
    if (index == CATALOG_NONE) {
        call_reply_problem(call, 404, "experiment_not_found",
                           "There is no experiment with this id or key.");
    }
    return index;
}

struct uuid handler_author(const struct call *call)
{
    struct uuid none = {{0}};
    if (call->token == CATALOG_NONE || call->token >= call->catalog->token_count) {
        return none;
    }
    return call->catalog->tokens[call->token]->current->id;
}

struct uuid handler_new_id(struct call *call)
{
    uint8_t random[10];
    engine_random(call->engine, random, sizeof(random));
    return uuid_make(call->received_at_us, random);
}

/* Cursors are "c" and the position in hexadecimal: one form a position, and plainly not a count to reckon with. */
static bool cursor_parse(struct bytes text, uint64_t *out_position)
{
    if (text.size < 2 || text.size > 17 || text.data[0] != 'c') {
        return false;
    }
    uint64_t position = 0;
    for (size_t i = 1; i < text.size; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, text.data[i], 16);
        if (digit == NULL) {
            return false;
        }
        position = position << 4 | (uint64_t)(digit - digits);
    }
    *out_position = position;
    return position != 0;
}

const char *handler_cursor(struct call *call, uint64_t position)
{
    return position == 0 ? NULL : arena_format(&call->arena, "c%llx", (unsigned long long)position);
}

bool handler_page_read(struct call *call, struct handler_page *out_page)
{
    struct handler_page page = {LIMIT_PAGE_DEFAULT, 0};
    struct bytes text;
    if (call_query(call, "limit", &text)) {
        uint64_t limit = 0;
        if (!handler_parse_natural(text, &limit) || limit < 1 || limit > LIMIT_PAGE) {
            call_reply_problem(call, 422, "invalid_limit", "limit must be from 1 to %u.",
                               LIMIT_PAGE);
            return false;
        }
        page.limit = (uint32_t)limit;
    }
    if (call_query(call, "cursor", &text) && !cursor_parse(text, &page.cursor)) {
        call_reply_problem(call, 422, "invalid_cursor",
                           "cursor must be a next_cursor of an earlier answer, unchanged.");
        return false;
    }
    *out_page = page;
    return true;
}

bool handler_parse_decimal(struct bytes text, double *out_value)
{
    char copy[64];
    if (text.size == 0 || text.size >= sizeof(copy)) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        /* strtod() also reads hexadecimal, "inf", "nan" and leading white space. */
        if (text.data[i] == '\0' || strchr("0123456789+-.eE", text.data[i]) == NULL) {
            return false;
        }
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end = NULL;
    double value = strtod(copy, &end);
    if (end != copy + text.size || !isfinite(value)) {
        return false;
    }
    *out_value = value;
    return true;
}

bool handler_parse_natural(struct bytes text, uint64_t *out_value)
{
    if (text.size == 0 || text.size > 18) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out_value = value;
    return true;
}

bool handler_parse_time(const struct pack_value *value, int64_t *out_us)
{
    const int64_t most = INT64_MAX / 1000;
    if (value->type == PACK_TEXT) {
        return timestamp_parse(value->as.bytes, out_us) == STATUS_OK;
    }
    if (value->type == PACK_INT && value->as.integer > -most && value->as.integer < most) {
        *out_us = value->as.integer * 1000;
        return true;
    }
    if (value->type == PACK_MILLIONTHS) {
        *out_us = value->as.integer / 1000;
        return true;
    }
    if (value->type == PACK_DOUBLE && fabs(value->as.number) < 1e15) {
        *out_us = llround(value->as.number * 1000.0);
        return true;
    }
    return false;
}

/* Any byte below 0x20, or 0x7f? Eight at a time: a byte below n borrows from its top bit when n is taken off each. */
static bool has_control(struct bytes text)
{
    const uint64_t ones = 0x0101010101010101ull;
    const uint64_t tops = ones * 0x80;
    uint64_t found = 0;
    size_t at = 0;
    for (; at + 8 <= text.size; at += 8) {
        uint64_t word = load_u64(text.data + at);
        uint64_t deletes = word ^ ones * 0x7f;
        found |= ((word - ones * 0x20) & ~word) | ((deletes - ones) & ~deletes);
    }
    bool is_found = (found & tops) != 0;
    for (; at < text.size; at++) {
        is_found = is_found || text.data[at] < 0x20 || text.data[at] == 0x7f;
    }
    return is_found;
}

const char *handler_text_fault(struct bytes text, size_t limit)
{
    if (text.size == 0) {
        return "it must not be empty";
    }
    if (text.size > limit) {
        return "it is too long";
    }
    return !has_control(text) ? NULL : "it must not hold control characters";
}

/* Rule values hold texts, numbers and booleans. */
static void write_value(struct json_writer *writer, const struct pack_value *value)
{
    switch (value->type) {
    case PACK_TEXT:
        json_text_bytes(writer, value->as.bytes);
        return;
    case PACK_BOOL:
        json_bool(writer, value->as.boolean);
        return;
    case PACK_INT:
        json_int(writer, value->as.integer);
        return;
    case PACK_UINT:
        json_uint(writer, value->as.natural);
        return;
    case PACK_DOUBLE:
        json_double(writer, value->as.number);
        return;
    case PACK_MILLIONTHS:
        json_millionths(writer, value->as.integer);
        return;
    case PACK_NIL:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        break;
    }
    json_null(writer);
}

void handler_write_operand(struct json_writer *writer, enum rule_operator operation,
                           const struct rule_values *values)
{
    const enum rule_operand operand = rule_operator_operand(operation);
    if (operand == RULE_OPERAND_NONE) {
        return;
    }
    if (operand == RULE_OPERAND_VALUE) {
        json_key(writer, "value");
        write_value(writer, &values->items[0]);
        return;
    }
    json_key(writer, "values");
    json_begin_array(writer);
    for (uint32_t i = 0; i < values->count; i++) {
        write_value(writer, &values->items[i]);
    }
    json_end_array(writer);
}

void handler_write_optional_text(struct json_writer *writer, struct bytes text)
{
    if (text.size == 0) {
        json_null(writer);
    } else {
        json_text_bytes(writer, text);
    }
}

void handler_reply_refused(struct call *call, enum status status, const struct field_errors *errors)
{
    bool has_error = errors->count > 0;
    if (status == STATUS_INVALID && has_error) {
        /* A single fault gives the whole its code: the common case reads best without looking into the list. */
        call_reply_field_errors(call, 422,
                                errors->count == 1 ? errors->items[0].code : "validation_failed",
                                errors, "The definition breaks the rules listed in errors.");
    } else if (status == STATUS_CONFLICT && has_error) {
        call_reply_field_errors(call, 409, "invalid_transition", errors, errors->items[0].message);
    } else if (status == STATUS_TOO_LARGE) {
        call_reply_problem(call, 422, "definition_too_large",
                           "A definition may take up to %u bytes as stored.", LIMIT_DEFINITION);
    } else if (status == STATUS_INVALID || status == STATUS_CONFLICT) {
        call_reply_problem(call, 422, "validation_failed", "The definition is not valid.");
    } else {
        call_reply_engine_status(call, status);
    }
}

bool handler_submit_definitions(struct call *call, enum record_kind kind,
                                const struct definition *definitions, uint32_t count,
                                uint8_t *outcomes, void (*continuation)(struct call *call))
{
    size_t capacity = 0;
    for (uint32_t i = 0; i < count; i++) {
        capacity += definitions[i].document.size + DEFINITION_OVERHEAD;
    }
    struct pack_writer frame = call_frame(call, capacity);
    if (frame.data == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        definition_encode(&frame, kind, &definitions[i], call->received_at_us);
    }
    assert(!frame.overflow);
    call_set_write(call, &frame, count, outcomes);
    return call_submit(call, continuation);
}
