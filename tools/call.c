/* call.c: see call.h. */
#include "tools/call.h"

#include <stdio.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/terminal.h"

bool server_call_begin(struct server_call *call, const struct client_options *options)
{
    *call = (struct server_call){0};
    arena_init(&call->arena, 64 * 1024);
    call->status = client_open(options, &call->error, &call->client);
    return call->status == STATUS_OK;
}

bool server_call_send(struct server_call *call, const char *method, const char *path, const char *body, struct bytes *out_document)
{
    const bool has_body = body != NULL;
    const struct client_request request = {.method = method,
                                           .path = path,
                                           .content_type = has_body ? "application/json" : NULL,
                                           .body = has_body ? bytes_of_text(body) : (struct bytes){NULL, 0},
                                           .is_repeatable = strcmp(method, "GET") == 0};
    call->status = client_call(call->client, &request, &call->arena, &call->error, out_document);
    return call->status == STATUS_OK;
}

const char *server_call_path(struct server_call *call, const char *before, const char *name, const char *after)
{
    const char *escaped = client_escape(call->client, &call->arena, bytes_of_text(name));
    const char *path = escaped != NULL ? arena_format(&call->arena, "%s%s%s", before, escaped, after) : NULL;
    if (path == NULL) {
        call->status = error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    }
    return path;
}

bool server_call_list(struct server_call *call, const char *path, const char *member,
                      void (*visit)(void *context, struct server_call *call, struct bytes item), void *context)
{
    const char *separator = strchr(path, '?') != NULL ? "&" : "?";
    const char *page_path = arena_format(&call->arena, "%s%slimit=500", path, separator);
    while (page_path != NULL) {
        struct bytes page;
        if (!server_call_send(call, "GET", page_path, NULL, &page)) {
            return false;
        }
        struct answer_items items = answer_items(page, member);
        struct bytes item;
        struct bytes cursor = {NULL, 0};
        while (answer_next(&items, &item)) {
            visit(context, call, item);
        }
        page_path = answer_text(page, "next_cursor", &cursor)
                        ? arena_format(&call->arena, "%s%slimit=500&cursor=%.*s", path, separator, (int)cursor.size,
                                       (const char *)cursor.data)
                        : NULL;
    }
    return true;
}

enum exit_code server_call_end(struct server_call *call)
{
    enum exit_code code = EXIT_GOOD;
    if (call->status != STATUS_OK) {
        code = complain(call->status == STATUS_INVALID && call->client == NULL ? EXIT_USAGE : EXIT_CANNOT, "%s", call->error.text);
    }
    client_close(call->client);
    arena_deinit(&call->arena);
    return code;
}

void document_print(struct arena *arena, struct bytes document)
{
    struct json_writer writer = json_writer_in(arena);
    if (json_pack(&writer, document) && !writer.failed) {
        (void)printf("%.*s\n", (int)writer.size, writer.text);
    }
}

const char *member_text(struct arena *arena, struct bytes document, const char *path)
{
    struct bytes value;
    struct bytes text;
    if (answer_text(document, path, &text)) {
        const char *copy = arena_copy(arena, text);
        return copy != NULL ? copy : "-";
    }
    if (!answer_find(document, path, &value)) {
        return "-";
    }
    struct json_writer writer = json_writer_in(arena);
    const bool is_written = json_pack(&writer, value) && !writer.failed;
    const char *copy = is_written ? arena_copy(arena, bytes_of(writer.text, writer.size)) : NULL;
    return copy == NULL || strcmp(copy, "null") == 0 ? "-" : copy;
}
