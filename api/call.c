/* call.c: replies, queries, documents and engine work: what every handler needs. See http.h. */
#include <stdio.h>

#include "api/routes.h"
#include "api/stream.h"
#include "engine/limits.h"

/* The titles of RFC 9110. */
struct status_title {
    int status;
    const char *title;
};

static const struct status_title titles[] = {
    {200, "OK"                             },
    {201, "Created"                        },
    {202, "Accepted"                       },
    {204, "No Content"                     },
    {304, "Not Modified"                   },
    {400, "Bad Request"                    },
    {401, "Unauthorized"                   },
    {403, "Forbidden"                      },
    {404, "Not Found"                      },
    {405, "Method Not Allowed"             },
    {409, "Conflict"                       },
    {412, "Precondition Failed"            },
    {413, "Content Too Large"              },
    {414, "URI Too Long"                   },
    {415, "Unsupported Media Type"         },
    {422, "Unprocessable Content"          },
    {429, "Too Many Requests"              },
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"          },
    {503, "Service Unavailable"            },
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < COUNT_OF(titles); i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }
    return "Other";
}

/* Replies. */

static void send_reply(struct call *call, int status, const char *content_type, struct bytes text)
{
    assert(call->status == 0); /* exactly one reply a call */
    assert(status >= 200 && status < 600);
    call->status = status;
    call->api->send(call, content_type, text);
}

/* The one answer that needs no memory. */
static void send_out_of_memory(struct call *call)
{
    static const char text[] =
        "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\",\"status\":500,"
        "\"detail\":\"memory is out\",\"code\":\"out_of_memory\","
        "\"message\":\"memory is out\"}";
    if (call->dialect != NULL) {
        send_reply(call, 500, "application/json", bytes_of_text(call->dialect->out_of_memory));
        return;
    }
    send_reply(call, 500, "application/problem+json", bytes_of(text, sizeof(text) - 1));
}

void call_reply_stream(struct call *call, struct stream *stream)
{
    assert(call->status == 0);
    stream->call = call;
    if (call->api->open_stream != NULL && call->api->open_stream(call, stream)) {
        return;
    }
    call_header(call, "retry-after", "5");
    call_reply_problem(call, 503, "overloaded", "too many streams are open: the most is %u", LIMIT_STREAMS);
}

static void send_json(struct call *call, int status, const char *content_type,
                      const struct json_writer *writer)
{
    if (writer->failed) {
        send_out_of_memory(call);
        return;
    }
    send_reply(call, status, content_type, bytes_of(writer->text, writer->size));
}

void call_reply_json(struct call *call, int status, const struct json_writer *writer)
{
    send_json(call, status, "application/json", writer);
}

void call_reply_text(struct call *call, int status, const char *content_type, struct bytes text)
{
    send_reply(call, status, content_type, text);
}

void call_reply_empty(struct call *call, int status)
{
    send_reply(call, status, NULL, bytes_of(NULL, 0));
}

void call_header(struct call *call, const char *name, const char *value)
{
    assert(call->header_count < HTTP_RESPONSE_HEADERS);
    call->headers[call->header_count] = (struct http_header){name, value};
    call->header_count++;
}

/* Refuses in the words of the path's dialect, if it has one. */
static bool dialect_refused(struct call *call, int status, const char *code, const char *detail)
{
    if (call->dialect == NULL) {
        return false;
    }
    call->dialect->refuse(call, status, code, detail);
    return true;
}

/* Opens a problem's object with the members that all of them have. The type is about:blank: `code` tells problems
 * apart, and the title is then the status's own (RFC 9457, section 4.2.1). */
static struct json_writer problem_begin(struct call *call, int status, const char *code,
                                        const char *detail)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "type");
    json_text(&writer, "about:blank");
    json_key(&writer, "title");
    json_text(&writer, http_reason(status));
    json_key(&writer, "status");
    json_int(&writer, status);
    json_key(&writer, "detail");
    json_text(&writer, detail);
    json_key(&writer, "code");
    json_text(&writer, code);
    json_key(&writer, "message");
    json_text(&writer, detail);
    return writer;
}

static void problem_end(struct call *call, int status, struct json_writer *writer)
{
    json_end_object(writer);
    send_json(call, status, "application/problem+json", writer);
}

void call_reply_problem(struct call *call, int status, const char *code, const char *detail_format,
                        ...)
{
    char detail[1024]; /* a longer one is cut: it is for a person */
    va_list arguments;
    va_start(arguments, detail_format);
    (void)vsnprintf(detail, sizeof(detail), detail_format, arguments);
    va_end(arguments);
    if (dialect_refused(call, status, code, detail)) {
        return;
    }
    struct json_writer writer = problem_begin(call, status, code, detail);
    problem_end(call, status, &writer);
}

void call_reply_field_errors(struct call *call, int status, const char *code,
                             const struct field_errors *errors, const char *detail)
{
    /* Many clients show only this text: where there is one fault, it says it. */
    const struct field_error *only = errors->count == 1 ? &errors->items[0] : NULL;
    const char *told = only == NULL ? NULL
                       : only->path[0] == '\0'
                           ? only->message
                           : arena_format(&call->arena, "%s: %s", only->path, only->message);
    detail = told != NULL ? told : detail;
    if (dialect_refused(call, status, code, detail)) {
        return;
    }
    struct json_writer writer = problem_begin(call, status, code, detail);
    json_key(&writer, "errors");
    json_begin_array(&writer);
    const uint32_t kept = errors->count < LIMIT_FIELD_ERRORS ? errors->count : LIMIT_FIELD_ERRORS;
    for (uint32_t i = 0; i < kept; i++) {
        json_begin_object(&writer);
        json_key(&writer, "path");
        json_text(&writer, errors->items[i].path);
        json_key(&writer, "code");
        json_text(&writer, errors->items[i].code);
        json_key(&writer, "message");
        json_text(&writer, errors->items[i].message);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    problem_end(call, status, &writer);
}

/* A body that does not parse, and where. */
static void reply_malformed(struct call *call, const char *code, const char *message, size_t offset)
{
    char detail[512];
    (void)snprintf(detail, sizeof(detail), "%s, at byte %zu of the body", message, offset);
    if (dialect_refused(call, 400, code, detail)) {
        return;
    }
    struct json_writer writer = problem_begin(call, 400, code, detail);
    json_key(&writer, "offset");
    json_uint(&writer, offset);
    problem_end(call, 400, &writer);
}

void call_reply_json_fault(struct call *call, const struct json_reader *reader)
{
    assert(reader->fault != NULL);
    reply_malformed(call, reader->fault, reader->message, reader->fault_offset);
}

/* What a client is told when the engine could not do its work. */
struct engine_problem {
    enum status engine_status;
    int status;
    const char *code;
    const char *retry_after; /* NULL where trying again will not help by itself */
    const char *detail;
};

// clang-format off
static const struct engine_problem engine_problems[] = {
    {STATUS_BUSY, 503, "overloaded", "1",
     "the server has more work than it may queue; nothing was stored"},
    {STATUS_UNAVAILABLE, 503, "storage_failed", "5",
     "the storage failed or is closing; this request may or may not have been stored"},
    {STATUS_NO_SPACE, 503, "disk_full", "5",
     "the server's disk is full; nothing was stored. It goes on by itself once there is room"},
    {STATUS_TOO_LARGE, 413, "too_large", NULL,
     "the request's records are beyond what one commit may hold"},
};

// clang-format on

void call_reply_engine_status(struct call *call, enum status status)
{
    assert(status != STATUS_OK);
    const struct engine_problem *problem = NULL;
    for (size_t i = 0; i < COUNT_OF(engine_problems) && problem == NULL; i++) {
        problem = engine_problems[i].engine_status == status ? &engine_problems[i] : NULL;
    }
    if (problem == NULL) {
        call_reply_problem(call, 500, "internal", "the server could not do this (%s)",
                           status_name(status));
        return;
    }
    if (problem->retry_after != NULL) {
        call_header(call, "retry-after", problem->retry_after);
    }
    call_reply_problem(call, problem->status, problem->code, "%s", problem->detail);
}

/* Engine work. */

bool call_submit(struct call *call, void (*continuation)(struct call *call))
{
    assert(call->status == 0);
    call->continuation = continuation;
    call->request.port = call->api->port;
    call->request.next = NULL;
    const enum status status = engine_submit(call->engine, &call->request);
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return false;
    }
    call->api->in_flight++;
    return true;
}

struct pack_writer call_frame(struct call *call, size_t capacity)
{
    void *data = arena_take(&call->arena, capacity);
    struct pack_writer writer = pack_writer_on(data, data != NULL ? capacity : 0);
    writer.overflow = data == NULL;
    return writer;
}

void call_set_write(struct call *call, const struct pack_writer *writer, uint32_t record_count,
                    uint8_t *outcomes)
{
    assert(!writer->overflow && record_count > 0);
    call->request = (struct engine_request){
        .kind = ENGINE_WRITE,
        .commit = {.records = bytes_of(writer->data, writer->size), .record_count = record_count},
        .outcomes = outcomes,
    };
}

void call_set_read(struct call *call, void (*read)(const struct state *state, void *context),
                   void *context)
{
    call->request = (struct engine_request){.kind = ENGINE_READ, .read = read, .context = context};
}

void call_set_scan(struct call *call, void (*scan)(const struct log_reader_options *log, void *context), void *context)
{
    call->request = (struct engine_request){.kind = ENGINE_SCAN, .scan = scan, .context = context};
}

void call_refresh_catalog(struct call *call)
{
    catalog_unref(call->catalog);
    call->catalog = engine_catalog(call->engine);
}

void call_count_events(struct call *call, uint64_t received, uint64_t rejected)
{
    atomic_fetch_add_explicit(&call->api->events_received, received, memory_order_relaxed);
    atomic_fetch_add_explicit(&call->api->events_rejected, rejected, memory_order_relaxed);
}

/* Paths and queries. */

static int hex_digit(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    const uint8_t lower = character | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The byte that "%xy" at the start of text stands for; -1 where two hexadecimal digits do not follow. */
static int percent_byte(const uint8_t *text, size_t size)
{
    const int high = size > 2 ? hex_digit(text[1]) : -1;
    const int low = high >= 0 ? hex_digit(text[2]) : -1;
    return low >= 0 ? high * 16 + low : -1;
}

/* Decodes into `out`, which has room for text.size bytes. False where a '%' is followed by something else than it may. */
static bool percent_decode(struct bytes text, bool plus_is_space, uint8_t *out, size_t *out_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        int character = text.data[i];
        if (character == '%') {
            character = percent_byte(text.data + i, text.size - i);
            i += 2;
        } else if (character == '+' && plus_is_space) {
            character = ' ';
        }
        if (character < 0) {
            return false;
        }
        out[size++] = (uint8_t)character;
    }
    *out_size = size;
    return true;
}

/* How many bytes the UTF-8 character at `text` has: 0 where there is none (RFC 3629's table: no overlong forms, no
 * surrogates, nothing beyond U+10FFFF). */
static size_t utf8_character(const uint8_t *text, size_t size)
{
    const uint8_t first = text[0];
    if (first < 0x80) {
        return 1;
    }
    const size_t need = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || size < need) {
        return 0;
    }
    const uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < least || text[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

static bool is_text_without_nul(const uint8_t *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        const size_t step = text[at] != 0 ? utf8_character(text + at, size - at) : 0;
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

/* The path of an absolute-form target ("http://host/path"), which a server must understand (RFC 9112, 3.2.2). */
static struct bytes target_origin(struct bytes target)
{
    static const char scheme[] = "http://";
    if (target.size < sizeof(scheme) - 1 || memcmp(target.data, scheme, sizeof(scheme) - 1) != 0) {
        return target;
    }
    const uint8_t *rest = target.data + sizeof(scheme) - 1;
    const size_t size = target.size - (sizeof(scheme) - 1);
    const uint8_t *slash = memchr(rest, '/', size);
    return slash != NULL ? bytes_of(slash, size - (size_t)(slash - rest)) : target;
}

bool call_set_target(struct call *call, struct bytes target)
{
    uint8_t plain[LIMIT_PATH];
    size_t plain_size = 0;
    if (target.size > LIMIT_PATH) {
        call_reply_problem(call, 414, "path_too_long",
                           "path and query have %zu bytes; the most is %u", target.size,
                           LIMIT_PATH);
        return false;
    }
    target = target_origin(target);
    if (target.size == 0 || target.data[0] != '/' ||
        !percent_decode(target, false, plain, &plain_size) ||
        !is_text_without_nul(plain, plain_size)) {
        call_reply_problem(
            call, 400, "bad_path",
            "path and query must begin with '/', be percent-encoded UTF-8 and hold no NUL");
        return false;
    }
    const char *copy = arena_copy(&call->arena, target);
    if (copy == NULL) {
        send_out_of_memory(call);
        return false;
    }
    const char *mark = memchr(copy, '?', target.size);
    const size_t path_size = mark != NULL ? (size_t)(mark - copy) : target.size;
    call->path = bytes_of(copy, path_size);
    call->query = mark != NULL ? bytes_of(mark + 1, target.size - path_size - 1)
                               : bytes_of(copy + path_size, 0);
    return true;
}

bool call_decode(struct call *call, struct bytes text, bool plus_is_space, struct bytes *out_text)
{
    const bool is_plain =
        text.size == 0 || (memchr(text.data, '%', text.size) == NULL &&
                           (!plus_is_space || memchr(text.data, '+', text.size) == NULL));
    if (is_plain) {
        *out_text = text;
        return true;
    }
    uint8_t *plain = arena_take(&call->arena, text.size);
    size_t size = 0;
    if (plain == NULL || !percent_decode(text, plus_is_space, plain, &size)) {
        return false;
    }
    *out_text = bytes_of(plain, size);
    return true;
}

bool call_query_next(struct call *call, size_t *position, struct bytes *out_name,
                     struct bytes *out_value)
{
    while (*position < call->query.size) {
        const uint8_t *pair = call->query.data + *position;
        const size_t rest = call->query.size - *position;
        const uint8_t *end = memchr(pair, '&', rest);
        const size_t size = end != NULL ? (size_t)(end - pair) : rest;
        *position += end != NULL ? size + 1 : size;
        if (size == 0) {
            continue;
        }
        const uint8_t *equals = memchr(pair, '=', size);
        const size_t name_size = equals != NULL ? (size_t)(equals - pair) : size;
        const size_t value_size = equals != NULL ? size - name_size - 1 : 0;
        return call_decode(call, bytes_of(pair, name_size), true, out_name) &&
               call_decode(call, bytes_of(pair + size - value_size, value_size), true, out_value);
    }
    return false;
}

bool call_query(struct call *call, const char *name, struct bytes *out_value)
{
    size_t position = 0;
    struct bytes found;
    struct bytes value;
    while (call_query_next(call, &position, &found, &value)) {
        if (bytes_equal_text(found, name)) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

static bool is_one_of(struct bytes name, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (bytes_equal_text(name, names[i])) {
            return true;
        }
    }
    return false;
}

bool call_query_only(struct call *call, const char *const *names)
{
    struct field_errors errors = field_errors_in(&call->arena);
    size_t position = 0;
    struct bytes name;
    struct bytes value;
    while (call_query_next(call, &position, &name, &value)) {
        if (!is_one_of(name, names)) {
            field_error_add(&errors, "unknown_parameter", "there is no such query parameter here",
                            "%.*s", (int)name.size, (const char *)name.data);
        }
    }
    if (errors.count == 0) {
        return true;
    }
    call_reply_field_errors(call, 422, "unknown_parameter", &errors,
                            "the query has parameters that are not known here");
    return false;
}

/* Documents. */

/* An upper bound of the msgpack form: the worst is "0.5," (4 bytes, then 9) and an opened container (1, then 3). */
static size_t document_capacity(size_t json_size)
{
    return json_size * 3 + 64;
}

static bool document_from_json(struct call *call, struct bytes *out_document)
{
    struct json_reader reader = json_reader_on((const char *)call->body.data, call->body.size);
    struct pack_writer writer = call_frame(call, document_capacity(call->body.size));
    if (writer.data == NULL) {
        send_out_of_memory(call);
        return false;
    }
    if (!json_transcode(&reader, &call->arena, &writer)) {
        call_reply_json_fault(call, &reader);
        return false;
    }
    if (!json_at_end(&reader)) {
        call_reply_json_fault(call, &reader);
        return false;
    }
    if (writer.overflow) {
        call_reply_problem(call, 413, "body_too_large", "the document is too large");
        return false;
    }
    *out_document = bytes_of(writer.data, writer.size);
    return true;
}

static bool document_from_msgpack(struct call *call, struct bytes *out_document)
{
    if (!pack_check(call->body)) {
        call_reply_problem(call, 400, "msgpack_syntax",
                           "the body is not exactly one well-formed msgpack value");
        return false;
    }
    const char *copy = arena_copy(&call->arena, call->body);
    if (copy == NULL) {
        send_out_of_memory(call);
        return false;
    }
    *out_document = bytes_of(copy, call->body.size);
    return true;
}

bool call_document(struct call *call, struct bytes *out_document)
{
    switch (call->content_type) {
    case CONTENT_NONE:
    case CONTENT_JSON:
        return document_from_json(call, out_document);
    case CONTENT_MSGPACK:
        return document_from_msgpack(call, out_document);
    case CONTENT_NDJSON:
    case CONTENT_OTHER:
        break;
    }
    call_reply_problem(call, 415, "unsupported_media_type",
                       "send one document as application/json or application/msgpack");
    return false;
}
