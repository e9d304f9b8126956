/* command_token.c: assay token create, list and revoke. */
#include <stdio.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/client.h"
#include "tools/terminal.h"

struct token_options {
    struct client_options client;
    const char *name;
    const char *scopes;
    const char *expires_at;
    bool json;
};

/* What the three have in common: a client, memory, and one request. */
struct token_call {
    struct client *client;
    struct arena arena;
    struct error error;
};

static enum exit_code call_failed(const struct token_call *call, enum status status)
{
    return complain(status == STATUS_INVALID && call->client == NULL ? EXIT_USAGE : EXIT_CANNOT,
                    "%s", call->error.text);
}

static enum status call_begin(struct token_call *call, const struct token_options *options)
{
    arena_init(&call->arena, 64 * 1024);
    return client_open(&options->client, &call->error, &call->client);
}

static void call_end(struct token_call *call)
{
    client_close(call->client);
    arena_deinit(&call->arena);
}

static void document_print(struct arena *arena, struct bytes document)
{
    struct json_writer writer = json_writer_in(arena);
    if (json_pack(&writer, document) && !writer.failed) {
        (void)printf("%.*s\n", (int)writer.size, writer.text);
    }
}

/* ---- create ---- */

/* "a,b" as a JSON array. */
static void scopes_write(struct json_writer *writer, const char *scopes)
{
    json_begin_array(writer);
    while (*scopes != '\0') {
        const size_t size = strcspn(scopes, ",");
        if (size > 0) {
            json_text_bytes(writer, bytes_of(scopes, size));
        }
        scopes += size + (scopes[size] == ',');
    }
    json_end_array(writer);
}

static enum status create_send(struct token_call *call, const struct token_options *options,
                               struct bytes *out_token)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "name");
    json_text(&writer, options->name);
    json_key(&writer, "scopes");
    scopes_write(&writer, options->scopes);
    if (options->expires_at != NULL) {
        json_key(&writer, "expires_at");
        json_text(&writer, options->expires_at);
    }
    json_end_object(&writer);
    const struct client_request request = {.method = "POST",
                                           .path = "/tokens",
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size)};
    return client_call(call->client, &request, &call->arena, &call->error, out_token);
}

static enum exit_code create_run(const struct command *command, int count, char **arguments)
{
    struct token_options options = {0};
    struct option_operands operands = {0};
    struct option_row rows[4 + CLIENT_OPTION_COUNT] = {
        {"name",       "NAME",    OPTION_TEXT, &options.name,
         "what it is for, to find it again in the list"                                       },
        {"scopes",     "A,B,...", OPTION_TEXT, &options.scopes,
         "of: admin, experiments:read, experiments:write, assign,\nevents:write, results:read"},
        {"expires-at", "TIME",    OPTION_TEXT, &options.expires_at,
         "such as 2027-01-01T00:00:00Z; else never"                                           },
        {"json",       NULL,      OPTION_FLAG, &options.json,
         "the whole answer as JSON; else only the secret"                                     },
    };
    client_option_rows(&options.client, &rows[4]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (options.name == NULL || options.scopes == NULL) {
        return complain(
            EXIT_USAGE,
            "--name NAME and --scopes A,B,... are needed; see: assay token create --help");
    }
    struct token_call call = {0};
    struct bytes token = {NULL, 0};
    struct bytes secret = {NULL, 0};
    enum status status = call_begin(&call, &options);
    if (status == STATUS_OK) {
        status = create_send(&call, &options, &token);
    }
    if (status != STATUS_OK) {
        code = call_failed(&call, status);
    } else if (options.json) {
        document_print(&call.arena, token);
    } else if (answer_text(token, "token", &secret)) {
        (void)printf("%.*s\n", (int)secret.size, (const char *)secret.data);
        note("this secret is shown once: keep it now");
    }
    call_end(&call);
    return code;
}

/* ---- list ---- */

static void token_print(struct bytes token)
{
    struct bytes id = {NULL, 0};
    struct bytes name = {NULL, 0};
    struct bytes time = {NULL, 0};
    (void)answer_text(token, "id", &id);
    (void)answer_text(token, "name", &name);
    (void)printf("%.*s  ", (int)id.size, (const char *)id.data);
    print_padded(name, 20);
    const bool is_revoked = answer_text(token, "revoked_at", &time);
    const bool is_dated = is_revoked || answer_text(token, "expires_at", &time);
    char state[64] = "active";
    if (is_dated) {
        (void)snprintf(state, sizeof(state), "%s %.*s", is_revoked ? "revoked" : "until",
                       (int)time.size, (const char *)time.data);
    }
    (void)printf("  %-32s ", state);
    struct answer_items scopes = answer_items(token, "scopes");
    struct bytes item;
    for (const char *comma = ""; answer_next(&scopes, &item); comma = ",") {
        struct bytes scope = {NULL, 0};
        (void)answer_text(item, "", &scope);
        (void)printf("%s%.*s", comma, (int)scope.size, (const char *)scope.data);
    }
    (void)printf("\n");
}

/* Page after page. */
static enum status list_print(struct token_call *call, bool json)
{
    const char *path = "/tokens?limit=500";
    while (path != NULL) {
        const struct client_request request = {
            .method = "GET", .path = path, .is_repeatable = true};
        struct bytes page;
        const enum status status =
            client_call(call->client, &request, &call->arena, &call->error, &page);
        if (status != STATUS_OK) {
            return status;
        }
        struct answer_items tokens = answer_items(page, "tokens");
        struct bytes token;
        struct bytes cursor = {NULL, 0};
        while (answer_next(&tokens, &token)) {
            if (json) {
                document_print(&call->arena, token);
            } else {
                token_print(token);
            }
        }
        path = answer_text(page, "next_cursor", &cursor)
                   ? arena_format(&call->arena, "/tokens?limit=500&cursor=%.*s", (int)cursor.size,
                                  (const char *)cursor.data)
                   : NULL;
    }
    return STATUS_OK;
}

static enum exit_code list_run(const struct command *command, int count, char **arguments)
{
    struct token_options options = {0};
    struct option_operands operands = {0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {
        {"json", NULL, OPTION_FLAG, &options.json, "a line of JSON each"},
    };
    client_option_rows(&options.client, &rows[1]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct token_call call = {0};
    enum status status = call_begin(&call, &options);
    if (status == STATUS_OK) {
        status = list_print(&call, options.json);
    }
    if (status != STATUS_OK) {
        code = call_failed(&call, status);
    }
    call_end(&call);
    return code;
}

/* ---- revoke ---- */

static enum exit_code revoke_run(const struct command *command, int count, char **arguments)
{
    struct token_options options = {0};
    struct option_operands operands = {1, 1, "ID, as the list shows it", {NULL}, 0};
    struct option_row rows[CLIENT_OPTION_COUNT];
    client_option_rows(&options.client, rows);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    struct token_call call = {0};
    enum status status = call_begin(&call, &options);
    if (status == STATUS_OK) {
        const char *id = client_escape(call.client, &call.arena, bytes_of_text(operands.items[0]));
        const char *path = id != NULL ? arena_format(&call.arena, "/tokens/%s", id) : NULL;
        const struct client_request request = {
            .method = "DELETE", .path = path, .is_repeatable = true};
        struct client_reply reply;
        status = path != NULL ? client_send(call.client, &request, &call.error, &reply)
                              : error_set(&call.error, STATUS_NO_MEMORY, "out of memory");
    }
    if (status != STATUS_OK) {
        code = call_failed(&call, status);
    } else {
        (void)printf("revoked %s\n", operands.items[0]);
    }
    call_end(&call);
    return code;
}

const struct command command_token_create = {
    .name = "token create",
    .arguments = "--name NAME --scopes A,B,...",
    .summary = "Make an access token, and print its secret: the only time it is shown.",
    .lesson = "A token may do what its scopes say; admin may do everything. Give each program the "
              "least it needs:\n"
              "\n"
              "  assay token create --name shop --scopes assign,events:write\n"
              "  export ASSAY_TOKEN=$(assay token create --name analyst --scopes "
              "experiments:read,results:read)\n",
    .run = create_run,
};

const struct command command_token_list = {
    .name = "token list",
    .arguments = "",
    .summary = "List the tokens: id, name, state, scopes. Secrets are kept nowhere.",
    .lesson = "",
    .run = list_run,
};

const struct command command_token_revoke = {
    .name = "token revoke",
    .arguments = "ID",
    .summary = "End a token: its next request is refused, on open connections too.",
    .lesson = "",
    .run = revoke_run,
};
