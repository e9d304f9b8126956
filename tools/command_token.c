/* command_token.c: assay token create, list and revoke. */
#include <stdio.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/call.h"
#include "tools/terminal.h"

struct token_options {
    struct client_options client;
    const char *name;
    const char *scopes;
    const char *expires_at;
    bool json;
};

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

static bool create_send(struct server_call *call, const struct token_options *options, struct bytes *out_token)
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
    return server_call_send(call, "POST", "/tokens", arena_copy(&call->arena, bytes_of(writer.text, writer.size)), out_token);
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
    struct server_call call;
    struct bytes token = {NULL, 0};
    struct bytes secret = {NULL, 0};
    if (server_call_begin(&call, &options.client) && create_send(&call, &options, &token)) {
        if (options.json) {
            document_print(&call.arena, token);
        } else if (answer_text(token, "token", &secret)) {
            (void)printf("%.*s\n", (int)secret.size, (const char *)secret.data);
            note("this secret is shown once: keep it now");
        }
    }
    return server_call_end(&call);
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

static void list_visit(void *context, struct server_call *call, struct bytes token)
{
    const struct token_options *options = context;
    if (options->json) {
        document_print(&call->arena, token);
    } else {
        token_print(token);
    }
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
    struct server_call call;
    if (server_call_begin(&call, &options.client)) {
        (void)server_call_list(&call, "/tokens", "tokens", list_visit, &options);
    }
    return server_call_end(&call);
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
    struct server_call call;
    if (server_call_begin(&call, &options.client)) {
        const char *path = server_call_path(&call, "/tokens/", operands.items[0], "");
        const struct client_request request = {.method = "DELETE", .path = path, .is_repeatable = true};
        struct client_reply reply;
        if (path != NULL) {
            call.status = client_send(call.client, &request, &call.error, &reply);
        }
        if (call.status == STATUS_OK) {
            (void)printf("revoked %s\n", operands.items[0]);
        }
    }
    return server_call_end(&call);
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
