/* import_table.c: the first reading of the table: nothing is sent before all of it is known to be usable. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "tools/import.h"
#include "tools/terminal.h"

#define NUMBER_SIZE_MAX 40u

/* ---- cells ---- */

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && text.data[0] == ' ') {
        text = bytes_of(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && text.data[text.size - 1] == ' ') {
        text.size--;
    }
    return text;
}

/* A decimal number: its digits without sign and leading zeros as far as 64 bits hold them, and how many are behind the
 * point. False where the text is none. */
struct decimal {
    uint64_t digits;
    uint32_t digit_count; /* above 18: digits is not to be used */
    uint32_t decimals;
    bool is_negative;
    bool is_zero;
    bool has_exponent;
};

static bool decimal_read(struct bytes text, struct decimal *out_decimal)
{
    struct decimal decimal = {.is_zero = true};
    size_t at = 0;
    uint32_t figures = 0;
    bool has_point = false;
    if (at < text.size && (text.data[at] == '-' || text.data[at] == '+')) {
        decimal.is_negative = text.data[at++] == '-';
    }
    for (; at < text.size && (is_digit(text.data[at]) || (text.data[at] == '.' && !has_point));
         at++) {
        if (text.data[at] == '.') {
            has_point = true;
            continue;
        }
        figures++;
        decimal.decimals += has_point;
        decimal.is_zero = decimal.is_zero && text.data[at] == '0';
        decimal.digit_count += !decimal.is_zero;
        decimal.digits =
            decimal.digit_count <= 18 ? decimal.digits * 10 + (uint64_t)(text.data[at] - '0') : 0;
    }
    if (figures == 0) {
        return false;
    }
    if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
        decimal.has_exponent = true;
        at++;
        at += at < text.size && (text.data[at] == '-' || text.data[at] == '+');
        const size_t first = at;
        while (at < text.size && is_digit(text.data[at])) {
            at++;
        }
        if (at == first) {
            return false;
        }
    }
    *out_decimal = decimal;
    return at == text.size;
}

bool import_cell_number(struct bytes cell, struct import_number *out_number)
{
    const struct bytes text = trim(cell);
    struct decimal decimal = {0};
    if (text.size == 0) {
        *out_number = (struct import_number){.kind = IMPORT_NUMBER_NONE};
        return true;
    }
    if (text.size > NUMBER_SIZE_MAX || !decimal_read(text, &decimal)) {
        return false;
    }
    struct import_number number = {.kind = IMPORT_NUMBER_NONE};
    if (!decimal.is_zero && !decimal.has_exponent && decimal.decimals <= 6 &&
        decimal.digit_count <= 12) {
        /* Exactly, in millionths: 12 digits and 6 more zeros fit 64 bits. */
        number.kind = decimal.decimals == 0 ? IMPORT_NUMBER_INTEGER : IMPORT_NUMBER_MILLIONTHS;
        uint64_t magnitude = decimal.digits;
        for (uint32_t i = decimal.decimals; number.kind == IMPORT_NUMBER_MILLIONTHS && i < 6; i++) {
            magnitude *= 10;
        }
        number.integer = decimal.is_negative ? -(int64_t)magnitude : (int64_t)magnitude;
    } else if (!decimal.is_zero) {
        char copy[NUMBER_SIZE_MAX + 1];
        (void)snprintf(copy, sizeof(copy), "%.*s", (int)text.size, (const char *)text.data);
        number.kind = IMPORT_NUMBER_DOUBLE;
        number.number = strtod(copy, NULL);
        if (!isfinite(number.number)) {
            return false;
        }
    }
    *out_number = number;
    return true;
}

bool import_cell_count(struct bytes cell, uint32_t *out_count)
{
    static const char *const words[] = {"", "false", "FALSE", "False", "true", "TRUE", "True"};
    const struct bytes text = trim(cell);
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (bytes_equal_text(text, words[i])) {
            *out_count = i > 3;
            return true;
        }
    }
    struct decimal decimal = {0};
    if (text.size > NUMBER_SIZE_MAX || !decimal_read(text, &decimal) || decimal.has_exponent ||
        decimal.digit_count > 9 || (decimal.is_negative && !decimal.is_zero)) {
        return false;
    }
    /* "1.0" is a count, too: that is how a column with gaps is often written. */
    uint64_t unit = 1;
    for (uint32_t i = 0; i < decimal.decimals && !decimal.is_zero; i++) {
        unit = unit < 10000000000ull ? unit * 10 : unit; /* beyond any digits that come here */
    }
    if (decimal.digits % unit != 0 || decimal.digits / unit > IMPORT_CELL_EVENTS) {
        return false;
    }
    *out_count = (uint32_t)(decimal.digits / unit);
    return true;
}

/* ---- columns ---- */

static uint32_t column_find(const struct csv_row *head, struct bytes name)
{
    for (uint32_t i = 0; i < head->count; i++) {
        if (bytes_equal(trim(head->fields[i]), name)) {
            return i;
        }
    }
    return IMPORT_NO_COLUMN;
}

static enum status column_missing(const struct import *import, const struct csv_row *head,
                                  struct bytes name, struct error *error)
{
    char names[256] = "";
    for (uint32_t i = 0; i < head->count; i++) {
        const size_t used = strlen(names);
        (void)snprintf(names + used, sizeof(names) - used, "%s%.*s", i > 0 ? ", " : "",
                       (int)head->fields[i].size, (const char *)head->fields[i].data);
    }
    return error_set(error, STATUS_INVALID, "%s has no column '%.*s'; it has: %s", import->path,
                     (int)name.size, (const char *)name.data, names);
}

static enum status columns_find(struct import *import, const struct csv_row *head,
                                struct error *error)
{
    import->column_count = head->count;
    import->variant_index = column_find(head, bytes_of_text(import->variant_column));
    if (import->variant_index == IMPORT_NO_COLUMN) {
        return column_missing(import, head, bytes_of_text(import->variant_column), error);
    }
    import->user_index = IMPORT_NO_COLUMN;
    if (import->user_column != NULL) {
        import->user_index = column_find(head, bytes_of_text(import->user_column));
        if (import->user_index == IMPORT_NO_COLUMN) {
            return column_missing(import, head, bytes_of_text(import->user_column), error);
        }
    }
    for (uint32_t i = 0; i < import->source_count; i++) {
        struct import_source *source = &import->sources[i];
        source->index = column_find(head, source->column);
        if (source->index == IMPORT_NO_COLUMN) {
            return column_missing(import, head, source->column, error);
        }
    }
    return STATUS_OK;
}

/* ---- rows ---- */

static enum status cell_fault(const struct import *import, const struct csv_row *row,
                              struct bytes column, const char *what, struct bytes cell,
                              struct error *error)
{
    return error_set(error, STATUS_INVALID,
                     "%s, line %llu, column %.*s: %s, not '%.*s'; nothing was sent", import->path,
                     (unsigned long long)row->line, (int)column.size, (const char *)column.data,
                     what, (int)size_min(cell.size, 60), (const char *)cell.data);
}

static enum status variant_count_row(struct import *import, const struct csv_row *row,
                                     struct bytes name, struct error *error)
{
    for (uint32_t i = 0; i < import->variant_count; i++) {
        if (bytes_equal(import->variants[i].name, name)) {
            import->variants[i].rows++;
            return STATUS_OK;
        }
    }
    if (name.size > LIMIT_NAME) {
        return cell_fault(import, row, bytes_of_text(import->variant_column),
                          "a name is at most 200 bytes", name, error);
    }
    if (import->variant_count == LIMIT_VARIANTS) {
        return error_set(error, STATUS_INVALID,
                         "%s, line %llu: the column '%s' has more than %u different values: is it "
                         "the right one?",
                         import->path, (unsigned long long)row->line, import->variant_column,
                         LIMIT_VARIANTS);
    }
    const char *copy = arena_copy(&import->arena, name);
    if (copy == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    import->variants[import->variant_count++] =
        (struct import_variant){.name = bytes_of(copy, name.size), .rows = 1};
    return STATUS_OK;
}

static enum status user_check(const struct import *import, const struct csv_row *row,
                              struct error *error)
{
    if (import->user_index == IMPORT_NO_COLUMN) {
        return STATUS_OK;
    }
    const struct bytes user = row->fields[import->user_index];
    bool is_good = user.size > 0 && user.size <= LIMIT_USER_ID;
    for (size_t i = 0; i < user.size; i++) {
        is_good = is_good && user.data[i] >= 0x20 && user.data[i] != 0x7f;
    }
    return is_good
               ? STATUS_OK
               : cell_fault(import, row, bytes_of_text(import->user_column),
                            "a user id is 1 to 255 bytes without control characters", user, error);
}

static enum status sources_check(struct import *import, const struct csv_row *row,
                                 struct error *error)
{
    for (uint32_t i = 0; i < import->source_count; i++) {
        const struct import_source *source = &import->sources[i];
        const struct bytes cell = row->fields[source->index];
        struct import_number number;
        uint32_t count = 0;
        if (source->property.size == 0) {
            if (!import_cell_count(cell, &count)) {
                return cell_fault(import, row, source->column,
                                  "--event takes a count from 0 to 1000", cell, error);
            }
            import->events += count;
        } else if (!import_cell_number(cell, &number)) {
            return cell_fault(import, row, source->column, "--value takes a number, or nothing",
                              cell, error);
        } else {
            import->events += number.kind != IMPORT_NUMBER_NONE;
        }
    }
    return STATUS_OK;
}

static enum status row_scan(struct import *import, const struct csv_row *row, struct error *error)
{
    import->rows++;
    if (row->count != import->column_count) {
        return error_set(error, STATUS_INVALID,
                         "%s, line %llu: %u fields, but the first line names %u; nothing was sent",
                         import->path, (unsigned long long)row->line, row->count,
                         import->column_count);
    }
    const struct bytes variant = row->fields[import->variant_index];
    if (variant.size == 0) {
        import->rows_without_variant++;
        return STATUS_OK;
    }
    enum status status = variant_count_row(import, row, variant, error);
    if (status == STATUS_OK) {
        status = user_check(import, row, error);
    }
    return status == STATUS_OK ? sources_check(import, row, error) : status;
}

/* ---- the whole ---- */

static void variant_names(const struct import *import, char *out_names, size_t size)
{
    out_names[0] = '\0';
    for (uint32_t i = 0; i < import->variant_count; i++) {
        const size_t used = strlen(out_names);
        (void)snprintf(out_names + used, size - used, "%s%.*s", i > 0 ? ", " : "",
                       (int)import->variants[i].name.size,
                       (const char *)import->variants[i].name.data);
    }
}

/* The one named by --control; else the one called control; else the first met. */
static enum status control_choose(struct import *import, struct error *error)
{
    const char *wanted = import->control != NULL ? import->control : "control";
    for (uint32_t i = 0; i < import->variant_count; i++) {
        const struct bytes name = import->variants[i].name;
        const bool is_wanted = import->control != NULL ? bytes_equal_text(name, wanted)
                                                       : name.size == strlen(wanted) &&
                                                             strncasecmp((const char *)name.data,
                                                                         wanted, name.size) == 0;
        if (is_wanted) {
            import->control_index = i;
            return STATUS_OK;
        }
    }
    if (import->control == NULL) {
        const struct bytes name = import->variants[0].name;
        note("the control is '%.*s', the first variant of the file; --control NAME says otherwise",
             (int)name.size, (const char *)name.data);
        return STATUS_OK;
    }
    char names[256];
    variant_names(import, names, sizeof(names));
    return error_set(error, STATUS_INVALID,
                     "--control '%s' is no value of the column '%s'; there are: %s",
                     import->control, import->variant_column, names);
}

static enum status rows_scan(struct import *import, struct csv *csv, struct error *error)
{
    struct csv_row row;
    enum status status = csv_next(csv, error, &row);
    if (status == STATUS_END) {
        return error_set(error, STATUS_INVALID, "%s is empty: its first line must name the columns",
                         import->path);
    }
    if (status == STATUS_OK) {
        status = columns_find(import, &row, error);
    }
    while (status == STATUS_OK) {
        status = csv_next(csv, error, &row);
        if (status == STATUS_OK) {
            status = row_scan(import, &row, error);
        }
    }
    return status == STATUS_END ? STATUS_OK : status;
}

enum status import_table_scan(struct import *import, struct error *error)
{
    struct csv *csv = NULL;
    enum status status = csv_open(import->path, error, &csv);
    if (status == STATUS_OK) {
        status = rows_scan(import, csv, error);
    }
    csv_close(csv);
    if (status != STATUS_OK) {
        return status;
    }
    if (import->variant_count < LIMIT_VARIANTS_MIN) {
        return error_set(error, STATUS_INVALID,
                         "%s: the column '%s' has %u value%s; an experiment has at least two",
                         import->path, import->variant_column, import->variant_count,
                         import->variant_count == 1 ? "" : "s");
    }
    return control_choose(import, error);
}
