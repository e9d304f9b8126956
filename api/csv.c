/* csv.c: see csv.h. */
#include <math.h>

#include "api/csv.h"

#define TEXT_SIZE_MIN 4096u

struct csv_writer csv_writer_in(struct arena *arena)
{
    return (struct csv_writer){.arena = arena, .number = json_writer_in(arena)};
}

static bool room_make(struct csv_writer *writer, size_t size)
{
    if (size <= writer->capacity - writer->size) {
        return !writer->failed;
    }
    size_t capacity = 2 * (writer->size + size);
    capacity = capacity < TEXT_SIZE_MIN ? TEXT_SIZE_MIN : capacity;
    char *text = writer->failed ? NULL : arena_take(writer->arena, capacity);
    if (text == NULL) {
        writer->failed = true;
        return false;
    }
    if (writer->size != 0) {
        memcpy(text, writer->text, writer->size);
    }
    writer->text = text;
    writer->capacity = capacity;
    return true;
}

static void put(struct csv_writer *writer, const void *data, size_t size)
{
    if (size != 0 && room_make(writer, size)) {
        memcpy(writer->text + writer->size, data, size);
        writer->size += size;
    }
}

static void cell_begin(struct csv_writer *writer)
{
    if (writer->in_row) {
        put(writer, ",", 1);
    }
    writer->in_row = true;
}

static bool needs_quotes(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == ',' || text.data[i] == '"' || text.data[i] == '\r' || text.data[i] == '\n') {
            return true;
        }
    }
    /* Else a reader may take the space away. */
    return text.size != 0 && (text.data[0] == ' ' || text.data[text.size - 1] == ' ');
}

void csv_text(struct csv_writer *writer, struct bytes text)
{
    cell_begin(writer);
    if (!needs_quotes(text)) {
        put(writer, text.data, text.size);
        return;
    }
    put(writer, "\"", 1);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') {
            put(writer, "\"", 1);
        }
        put(writer, text.data + i, 1);
    }
    put(writer, "\"", 1);
}

void csv_names(struct csv_writer *writer, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        csv_text(writer, bytes_of_text(names[i]));
    }
    csv_end_row(writer);
}

static void put_number(struct csv_writer *writer)
{
    cell_begin(writer);
    writer->failed = writer->failed || writer->number.failed;
    put(writer, writer->number.text, writer->number.size);
    writer->number.size = 0;
    writer->number.has_member[0] = false;
}

void csv_double(struct csv_writer *writer, double value)
{
    if (!isfinite(value)) {
        csv_empty(writer);
        return;
    }
    json_double(&writer->number, value);
    put_number(writer);
}

void csv_uint(struct csv_writer *writer, uint64_t value)
{
    json_uint(&writer->number, value);
    put_number(writer);
}

void csv_bool(struct csv_writer *writer, bool value)
{
    csv_text(writer, bytes_of_text(value ? "true" : "false"));
}

void csv_empty(struct csv_writer *writer)
{
    cell_begin(writer);
}

void csv_end_row(struct csv_writer *writer)
{
    put(writer, "\r\n", 2);
    writer->in_row = false;
}

void csv_reply(struct call *call, const struct csv_writer *writer)
{
    if (writer->failed) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call_reply_text(call, 200, "text/csv; charset=utf-8", bytes_of(writer->text, writer->size));
}
