/* definition_document.c: field errors, the kinds of fields, and the walk over a table of rows. */
#include "engine/definition_document.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/timestamp.h"

#define ROWS_MAX       64u /* the bits of struct presence */
#define PATH_MAX_BYTES 512u
#define MESSAGE_MAX    512u
#define KEY_SHOWN_MAX  100u              /* of a client's key, in a path */
#define REPEATED_MAX   32u               /* the largest member that a client may repeat */
#define INSTANT_MAX_MS 253402300799999ll /* the end of the year 9999 */
#define MS_TO_US       1000ll

struct field_errors field_errors_in(struct arena *arena)
{
    return (struct field_errors){.arena = arena};
}

/* What is said where there is no memory to say more. */
static struct field_error memory_fault = {"", "no_memory", "memory ran out while checking this"};

void field_error_add(struct field_errors *errors, const char *code, const char *message,
                     const char *path_format, ...)
{
    char path[PATH_MAX_BYTES];
    if (errors->items == NULL) {
        errors->items = arena_take(errors->arena, sizeof(*errors->items) * LIMIT_FIELD_ERRORS);
    }
    if (errors->items == NULL || errors->items == &memory_fault) {
        errors->items = &memory_fault;
        errors->count = 1;
        return;
    }
    errors->count++;
    if (errors->count > LIMIT_FIELD_ERRORS) {
        return;
    }
    va_list arguments;
    va_start(arguments, path_format);
    (void)vsnprintf(path, sizeof(path), path_format, arguments);
    va_end(arguments);
    const char *kept = arena_copy(errors->arena, bytes_of_text(path));
    errors->items[errors->count - 1] =
        (struct field_error){.path = kept != NULL ? kept : "", .code = code, .message = message};
}

enum status reading_status(const struct reading *reading)
{
    if (reading->no_memory) {
        return STATUS_NO_MEMORY;
    }
    return reading->errors->count > 0 ? STATUS_INVALID : STATUS_OK;
}

void field_fault(struct reading *reading, const struct field *field, const char *code,
                 const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    const char *kept = arena_copy(reading->errors->arena, bytes_of_text(message));
    const char *dot = field->parent[0] != '\0' && field->name[0] != '\0' ? "." : "";
    field_error_add(reading->errors, code, kept != NULL ? kept : "", "%s%s%s", field->parent, dot,
                    field->name);
}

const char *field_path(struct reading *reading, const struct field *field)
{
    if (field->parent[0] == '\0' || field->name[0] == '\0') {
        return field->parent[0] == '\0' ? field->name : field->parent;
    }
    const char *path = arena_format(reading->errors->arena, "%s.%s", field->parent, field->name);
    reading->no_memory = reading->no_memory || path == NULL;
    return path;
}

/* The first value of a field; of a container its header. */
static bool field_value(const struct field *field, struct pack_value *out_value)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    return field->encoded.size > 0 && pack_read(&cursor, out_value);
}

bool field_is_null(const struct field *field)
{
    struct pack_value value;
    return field_value(field, &value) && value.type == PACK_NIL;
}

bool field_text(struct reading *reading, const struct field *field, uint32_t least, uint32_t most,
                struct bytes *out_text)
{
    struct pack_value value;
    if (!field_value(field, &value) || value.type != PACK_TEXT) {
        field_fault(reading, field, "wrong_type", "must be text");
        return false;
    }
    if (value.as.bytes.size < least || value.as.bytes.size > most) {
        field_fault(reading, field, "out_of_range", "must be %u to %u bytes long, not %zu", least,
                    most, value.as.bytes.size);
        return false;
    }
    *out_text = value.as.bytes;
    return true;
}

/* PACK_MILLIONTHS divides two integers that a double holds exactly (below 2^53), so that 100000
 * millionths become the very double that "0.1" names. */
static bool value_to_double(const struct pack_value *value, double *out_number)
{
    if (value->type == PACK_INT) {
        *out_number = (double)value->as.integer;
    } else if (value->type == PACK_UINT) {
        *out_number = (double)value->as.natural;
    } else if (value->type == PACK_DOUBLE) {
        *out_number = value->as.number;
    } else if (value->type == PACK_MILLIONTHS) {
        *out_number = (double)value->as.integer / (double)METRIC_UNIT;
    } else {
        return false;
    }
    return true;
}

bool field_number(struct reading *reading, const struct field *field, double *out_number)
{
    struct pack_value value;
    double number = 0;
    if (!field_value(field, &value) || !value_to_double(&value, &number)) {
        field_fault(reading, field, "wrong_type", "must be a number");
        return false;
    }
    if (!isfinite(number)) {
        field_fault(reading, field, "out_of_range", "must be a finite number");
        return false;
    }
    *out_number = number;
    return true;
}

bool field_list_enter(struct reading *reading, const struct field *field, uint32_t least,
                      uint32_t most, struct field_list *out_list)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    uint32_t count = 0;
    if (!pack_read_array(&cursor, &count)) {
        field_fault(reading, field, "wrong_type", "must be a list");
        return false;
    }
    if (count < least || count > most) {
        field_fault(reading, field, "out_of_range", "must have %u to %u entries, not %u", least,
                    most, count);
        return false;
    }
    *out_list = (struct field_list){.field = *field, .cursor = cursor, .count = count};
    return true;
}

bool field_list_next(struct reading *reading, struct field_list *list, struct field *out_element)
{
    struct bytes encoded;
    if (list->next >= list->count || !pack_read_raw(&list->cursor, &encoded)) {
        return false;
    }
    const char *parent = field_path(reading, &list->field);
    const char *path =
        parent == NULL ? NULL : arena_format(reading->errors->arena, "%s[%u]", parent, list->next);
    if (path == NULL) {
        reading->no_memory = true;
        return false;
    }
    list->next++;
    *out_element = (struct field){.parent = path, .name = "", .encoded = encoded};
    return true;
}

/* ---- Kinds ---- */

static bool bytes_member_equal(const void *a, const void *b, size_t size)
{
    struct bytes left;
    struct bytes right;
    assert(size == sizeof(left));
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return bytes_equal(left, right);
}

static bool plain_member_equal(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

/* An empty text is written as null, which reads back as empty. */
static void text_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    struct bytes text;
    (void)row;
    memcpy(&text, member, sizeof(text));
    if (text.size == 0) {
        pack_nil(writer);
    } else {
        pack_text(writer, text);
    }
}

/* Control characters: C0, DEL, and C1 in UTF-8. Text is known to be UTF-8. */
static bool text_has_control(struct bytes text, bool lines_allowed)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool is_break = byte == '\n' || byte == '\r' || byte == '\t';
        bool is_c1 = byte == 0xc2 && i + 1 < text.size && text.data[i + 1] < 0xa0;
        if (((byte < 0x20 && !(lines_allowed && is_break)) || byte == 0x7f) || is_c1) {
            return true;
        }
    }
    return false;
}

static void line_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, bool lines_allowed, void *member)
{
    struct bytes text;
    if (!field_text(reading, field, row->least, row->most, &text)) {
        return;
    }
    if (text_has_control(text, lines_allowed)) {
        field_fault(reading, field, "malformed", "must not hold control characters");
        return;
    }
    memcpy(member, &text, sizeof(text));
}

static void name_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, void *member)
{
    line_read(reading, row, field, false, member);
}

static void prose_read(struct reading *reading, const struct field_row *row,
                       const struct field *field, void *member)
{
    line_read(reading, row, field, true, member);
}

static bool is_lower(uint8_t byte)
{
    return byte >= 'a' && byte <= 'z';
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool text_is_key(struct bytes text)
{
    bool good = is_lower(text.data[0]) || is_digit(text.data[0]);
    for (size_t i = 1; i < text.size; i++) {
        uint8_t byte = text.data[i];
        good = good && (is_lower(byte) || is_digit(byte) || byte == '_' || byte == '-');
    }
    return good;
}

static void key_read(struct reading *reading, const struct field_row *row,
                     const struct field *field, void *member)
{
    struct bytes text;
    struct uuid uuid;
    assert(row->least > 0);
    if (!field_text(reading, field, row->least, row->most, &text)) {
        return;
    }
    if (!text_is_key(text)) {
        field_fault(reading, field, "malformed",
                    "must be lower-case letters, digits, \"-\" and \"_\", beginning with a letter "
                    "or a digit");
        return;
    }
    if (uuid_parse(text, &uuid) == STATUS_OK) {
        /* Experiments are looked up by id or key in the same place. */
        field_fault(reading, field, "malformed", "must not look like an id (a UUID)");
        return;
    }
    memcpy(member, &text, sizeof(text));
}

static void word_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, void *member)
{
    struct bytes text;
    assert(row->least > 0);
    if (!field_text(reading, field, row->least, row->most, &text)) {
        return;
    }
    bool good = is_lower(text.data[0]);
    for (size_t i = 1; i < text.size; i++) {
        good = good && (is_lower(text.data[i]) || is_digit(text.data[i]) || text.data[i] == '_');
    }
    if (!good) {
        field_fault(reading, field, "malformed",
                    "must be lower-case letters, digits and \"_\", beginning with a letter");
        return;
    }
    memcpy(member, &text, sizeof(text));
}

/* "a, b, c" */
static void choices_list(const struct field_choices *choices, char *out_text, size_t capacity)
{
    size_t size = 0;
    out_text[0] = '\0';
    for (uint32_t i = 0; i < choices->count && size < capacity; i++) {
        int added = snprintf(out_text + size, capacity - size, "%s%s", i > 0 ? ", " : "",
                             choices->names[i]);
        assert(added >= 0);
        size += (size_t)added;
    }
}

static bool choices_have_unsupported(const struct field_choices *choices, struct bytes text)
{
    const char *const *word = choices->unsupported;
    while (word != NULL && *word != NULL) {
        if (bytes_equal_text(text, *word)) {
            return true;
        }
        word++;
    }
    return false;
}

static void choice_read(struct reading *reading, const struct field_row *row,
                        const struct field *field, void *member)
{
    const struct field_choices *choices = row->choices;
    char words[MESSAGE_MAX / 2];
    struct bytes text;
    if (!field_text(reading, field, 0, LIMIT_NAME, &text)) {
        return;
    }
    for (uint32_t i = 0; i < choices->count; i++) {
        if (bytes_equal_text(text, choices->names[i])) {
            memcpy(member, &i, sizeof(i));
            return;
        }
    }
    choices_list(choices, words, sizeof(words));
    if (choices_have_unsupported(choices, text)) {
        field_fault(reading, field, "unsupported", "is not supported yet; supported: %s", words);
        return;
    }
    field_fault(reading, field, "out_of_range", "must be one of: %s", words);
}

static void choice_write(struct pack_writer *writer, const struct field_row *row,
                         const void *member)
{
    uint32_t choice;
    memcpy(&choice, member, sizeof(choice));
    assert(row->size == sizeof(choice) && choice < row->choices->count);
    pack_text_z(writer, row->choices->names[choice]);
}

static void flag_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, void *member)
{
    struct pack_value value;
    (void)row;
    if (!field_value(field, &value) || value.type != PACK_BOOL) {
        field_fault(reading, field, "wrong_type", "must be true or false");
        return;
    }
    memcpy(member, &value.as.boolean, sizeof(value.as.boolean));
}

static void flag_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    bool flag;
    (void)row;
    memcpy(&flag, member, sizeof(flag));
    pack_bool(writer, flag);
}

static void fraction_read(struct reading *reading, const struct field_row *row,
                          const struct field *field, void *member)
{
    double number;
    (void)row;
    if (!field_number(reading, field, &number)) {
        return;
    }
    if (number < 0 || number > 1) {
        field_fault(reading, field, "out_of_range", "must be from 0 to 1, not %.9g", number);
        return;
    }
    number = fabs(number); /* -0.0 has no place in a definition */
    memcpy(member, &number, sizeof(number));
}

static void fraction_write(struct pack_writer *writer, const struct field_row *row,
                           const void *member)
{
    double number;
    (void)row;
    memcpy(&number, member, sizeof(number));
    pack_double(writer, number);
}

static bool natural_value(struct reading *reading, const struct field *field, uint64_t least,
                          uint64_t most, uint64_t *out_natural)
{
    struct pack_value value;
    bool is_int = field_value(field, &value) && value.type == PACK_INT;
    bool is_uint = !is_int && field_value(field, &value) && value.type == PACK_UINT;
    if (!is_int && !is_uint) {
        field_fault(reading, field, "wrong_type", "must be a whole number");
        return false;
    }
    uint64_t natural = is_int ? (uint64_t)value.as.integer : value.as.natural;
    if ((is_int && value.as.integer < 0) || natural < least || natural > most) {
        field_fault(reading, field, "out_of_range", "must be from %llu to %llu",
                    (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *out_natural = natural;
    return true;
}

static void version_read(struct reading *reading, const struct field_row *row,
                         const struct field *field, void *member)
{
    uint64_t natural;
    (void)row;
    if (natural_value(reading, field, 1, UINT32_MAX, &natural)) {
        uint32_t version = (uint32_t)natural;
        memcpy(member, &version, sizeof(version));
    }
}

static void version_write(struct pack_writer *writer, const struct field_row *row,
                          const void *member)
{
    uint32_t version;
    (void)row;
    memcpy(&version, member, sizeof(version));
    pack_uint(writer, version);
}

static void natural_read(struct reading *reading, const struct field_row *row,
                         const struct field *field, void *member)
{
    uint64_t natural;
    (void)row;
    if (natural_value(reading, field, 0, UINT64_MAX, &natural)) {
        memcpy(member, &natural, sizeof(natural));
    }
}

static void natural_write(struct pack_writer *writer, const struct field_row *row,
                          const void *member)
{
    uint64_t natural;
    (void)row;
    memcpy(&natural, member, sizeof(natural));
    pack_uint(writer, natural);
}

static void uuid_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, void *member)
{
    struct pack_value value;
    struct uuid uuid;
    bool known = field_value(field, &value);
    (void)row;
    if (reading->is_stored && known && value.type == PACK_BIN &&
        value.as.bytes.size == sizeof(uuid.bytes)) {
        memcpy(member, value.as.bytes.data, sizeof(uuid.bytes));
        return;
    }
    if (!reading->is_stored && known && value.type == PACK_TEXT &&
        uuid_parse(value.as.bytes, &uuid) == STATUS_OK) {
        memcpy(member, &uuid, sizeof(uuid));
        return;
    }
    field_fault(reading, field, "wrong_type", "must be a UUID");
}

static void uuid_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    (void)row;
    pack_bin(writer, bytes_of(member, sizeof(struct uuid)));
}

static bool instant_from_client(struct reading *reading, const struct field *field,
                                int64_t *out_instant_us)
{
    struct pack_value value;
    bool known = field_value(field, &value);
    if (known && value.type == PACK_TEXT) {
        if (timestamp_parse(value.as.bytes, out_instant_us) == STATUS_OK) {
            return true;
        }
        field_fault(reading, field, "malformed",
                    "must be a time as in \"2026-01-01T10:00:00Z\" (RFC 3339)");
        return false;
    }
    if (!known || value.type != PACK_INT) {
        field_fault(reading, field, "wrong_type",
                    "must be a time: RFC 3339 text or epoch milliseconds");
        return false;
    }
    if (value.as.integer < 0 || value.as.integer > INSTANT_MAX_MS) {
        field_fault(reading, field, "out_of_range",
                    "must be epoch milliseconds of the years 1970 to 9999");
        return false;
    }
    *out_instant_us = value.as.integer * MS_TO_US;
    return true;
}

static void instant_read(struct reading *reading, const struct field_row *row,
                         const struct field *field, void *member)
{
    int64_t instant_us;
    if (!reading->is_stored) {
        if (!instant_from_client(reading, field, &instant_us)) {
            return;
        }
        /* What is read to be compared may be any time; what is set must be a sensible one. */
        if (row->access == FIELD_GIVEN && instant_us < LIMIT_TIMESTAMP_MIN_US) {
            field_fault(reading, field, "out_of_range",
                        "lies before the year 2000; numbers are milliseconds, not seconds");
            return;
        }
        memcpy(member, &instant_us, sizeof(instant_us));
        return;
    }
    uint64_t natural;
    if (natural_value(reading, field, 0, INT64_MAX, &natural)) {
        memcpy(member, &natural, sizeof(natural));
    }
}

static void instant_write(struct pack_writer *writer, const struct field_row *row,
                          const void *member)
{
    int64_t instant_us;
    (void)row;
    memcpy(&instant_us, member, sizeof(instant_us));
    if (instant_us == 0) {
        pack_nil(writer);
    } else {
        pack_int(writer, instant_us);
    }
}

static void kept_read(struct reading *reading, const struct field_row *row,
                      const struct field *field, void *member)
{
    (void)reading;
    (void)row;
    memcpy(member, field, sizeof(*field));
}

const struct field_kind field_kind_name = {name_read, text_write, bytes_member_equal};
const struct field_kind field_kind_prose = {prose_read, text_write, bytes_member_equal};
const struct field_kind field_kind_key = {key_read, text_write, bytes_member_equal};
const struct field_kind field_kind_word = {word_read, text_write, bytes_member_equal};
const struct field_kind field_kind_choice = {choice_read, choice_write, plain_member_equal};
const struct field_kind field_kind_flag = {flag_read, flag_write, plain_member_equal};
const struct field_kind field_kind_fraction = {fraction_read, fraction_write, plain_member_equal};
const struct field_kind field_kind_version = {version_read, version_write, plain_member_equal};
const struct field_kind field_kind_natural = {natural_read, natural_write, plain_member_equal};
const struct field_kind field_kind_uuid = {uuid_read, uuid_write, plain_member_equal};
const struct field_kind field_kind_instant = {instant_read, instant_write, plain_member_equal};
const struct field_kind field_kind_kept = {kept_read, NULL, NULL};

/* ---- The walk ---- */

static void *member_of(void *object, const struct field_row *row)
{
    return (uint8_t *)object + row->offset;
}

/* A client that reads an object, changes it and sends it back repeats what is not its to change. */
static void repeated_check(struct reading *reading, const struct field_row *row,
                           const struct field *field, const void *current)
{
    _Alignas(max_align_t) uint8_t repeated[REPEATED_MAX] = {0};
    uint32_t faults = reading->errors->count;
    if (current == NULL) {
        field_fault(reading, field, "read_only", "is set by assay; leave it out");
        return;
    }
    assert(row->size <= sizeof(repeated) && row->kind->equal != NULL);
    if (!field_is_null(field)) {
        row->kind->read(reading, row, field, repeated);
    } else if (row->access == FIELD_OURS) {
        return;
    }
    if (reading->errors->count != faults) {
        return;
    }
    if (!row->kind->equal(repeated, (const uint8_t *)current + row->offset, row->size)) {
        bool is_ours = row->access == FIELD_OURS;
        field_fault(reading, field, is_ours ? "read_only" : "immutable",
                    is_ours ? "is set by assay; leave it out, or repeat it as it is"
                            : "cannot be changed after the creation");
    }
}

static void row_read(struct reading *reading, const struct field_row *row,
                     const struct field *field, const void *current, void *object)
{
    bool is_null = field_is_null(field);
    bool is_fixed = row->access == FIELD_FIXED && current != NULL;
    if (row->access == FIELD_UNSUPPORTED) {
        if (!is_null) {
            field_fault(reading, field, "unsupported", "%s", row->note);
        }
        return;
    }
    if (row->access == FIELD_SHOWN) {
        if (current == NULL) {
            field_fault(reading, field, "read_only", "is set by assay; leave it out");
        }
        return;
    }
    if (!reading->is_stored && (is_fixed || row->access == FIELD_OURS)) {
        if (!is_null || current != NULL) {
            repeated_check(reading, row, field, current);
        }
        return;
    }
    if (!is_null) {
        row->kind->read(reading, row, field, member_of(object, row));
    } else if (row->is_required) {
        field_fault(reading, field, "required", "is required, and cannot be null");
    } else {
        memset(member_of(object, row), 0, row->size);
    }
}

static uint32_t row_find(const struct reading *reading, const struct field_row *rows,
                         uint32_t row_count, struct bytes name)
{
    for (uint32_t i = 0; i < row_count; i++) {
        bool is_known = rows[i].access != FIELD_HIDDEN || reading->is_stored;
        if (is_known && bytes_equal_text(name, rows[i].name)) {
            return i;
        }
    }
    return row_count;
}

/* Cut where a character ends, for a path that shows it. */
static int key_shown_size(struct bytes key)
{
    size_t size = size_min(key.size, KEY_SHOWN_MAX);
    while (size < key.size && size > 0 && (key.data[size] & 0xc0) == 0x80) {
        size--;
    }
    return (int)size;
}

static void unknown_fault(struct reading *reading, const struct field *document, struct bytes key)
{
    const char *name =
        arena_format(reading->errors->arena, "%.*s", key_shown_size(key), (const char *)key.data);
    const char *parent = field_path(reading, document);
    if (name == NULL || parent == NULL) {
        reading->no_memory = true;
        return;
    }
    struct field field = {.parent = parent, .name = name};
    field_fault(reading, &field, "unknown_field", "is not a field of this object");
}

/* One pass over the map: each value under its row. False where it is no map. */
static bool fields_find(struct reading *reading, const struct field_row *rows, uint32_t row_count,
                        const struct field *document, struct field fields[])
{
    struct pack_cursor cursor = pack_cursor_on(document->encoded);
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &count)) {
        field_fault(reading, document, "wrong_type", "must be an object");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key;
        struct bytes encoded;
        if (!pack_read_text(&cursor, &key) || !pack_read_raw(&cursor, &encoded)) {
            field_fault(reading, document, "wrong_type", "must have text as keys");
            return false;
        }
        uint32_t row = row_find(reading, rows, row_count, key);
        if (row == row_count) {
            unknown_fault(reading, document, key);
        } else if (fields[row].encoded.size > 0) {
            field_fault(reading, &fields[row], "not_unique", "is given twice");
        } else {
            fields[row].encoded = encoded;
        }
    }
    return true;
}

/* What is ours is in every stored document, and never in a client's new one. */
static bool is_expected(const struct reading *reading, const struct field_row *row,
                        const void *current)
{
    bool is_clients = row->access == FIELD_GIVEN || row->access == FIELD_FIXED;
    return row->is_required && current == NULL && (reading->is_stored || is_clients);
}

struct presence document_read(struct reading *reading, const struct field_row *rows,
                              uint32_t row_count, const struct field *document, const void *current,
                              void *object)
{
    struct presence presence = {0};
    struct field fields[ROWS_MAX];
    assert(row_count <= ROWS_MAX);
    const char *parent = field_path(reading, document);
    if (parent == NULL) {
        return presence;
    }
    for (uint32_t i = 0; i < row_count; i++) {
        fields[i] = (struct field){.parent = parent, .name = rows[i].name};
    }
    if (!fields_find(reading, rows, row_count, document, fields)) {
        return presence;
    }
    for (uint32_t i = 0; i < row_count; i++) {
        if (fields[i].encoded.size > 0) {
            uint64_t *rows_met = field_is_null(&fields[i]) ? &presence.null : &presence.set;
            *rows_met |= 1ull << i;
            row_read(reading, &rows[i], &fields[i], current, object);
        } else if (is_expected(reading, &rows[i], current)) {
            field_fault(reading, &fields[i], "required", "is required");
        }
    }
    return presence;
}

static bool is_stored_row(const struct field_row *row)
{
    return row->access != FIELD_UNSUPPORTED && row->access != FIELD_SHOWN;
}

void document_write(struct pack_writer *writer, const struct field_row *rows, uint32_t row_count,
                    const void *object)
{
    uint32_t stored = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        stored += is_stored_row(&rows[i]) ? 1 : 0;
    }
    pack_map(writer, stored);
    for (uint32_t i = 0; i < row_count; i++) {
        if (!is_stored_row(&rows[i])) {
            continue;
        }
        pack_text_z(writer, rows[i].name);
        rows[i].kind->write(writer, &rows[i], (const uint8_t *)object + rows[i].offset);
    }
}

enum status document_encode(const struct field_row *rows, uint32_t row_count, const void *object,
                            size_t capacity, uint8_t **out_owned, size_t *out_size)
{
    uint8_t *data = malloc(capacity);
    if (data == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct pack_writer writer = pack_writer_on(data, capacity);
    document_write(&writer, rows, row_count, object);
    if (writer.overflow) {
        free(data);
        return STATUS_TOO_LARGE;
    }
    *out_owned = data;
    *out_size = writer.size;
    return STATUS_OK;
}

bool document_check(struct reading *reading, struct bytes document, struct field *out_document)
{
    *out_document = (struct field){.parent = "", .name = "", .encoded = document};
    if (document.size == 0 || !pack_check(document)) {
        field_fault(reading, out_document, "malformed", "is not one well-formed value");
        return false;
    }
    return true;
}
