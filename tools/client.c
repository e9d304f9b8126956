/* client.c: see client.h. The only user of libcurl here. */
#include "tools/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/terminal.h"

#define URL_DEFAULT        "http://127.0.0.1:8080"
#define URL_MAX            1024
#define TOKEN_MAX          512
#define REPLY_MAX          ((size_t)256 * 1024 * 1024)
#define CONNECT_TIMEOUT_MS 10000L
#define TIMEOUT_MS         300000L
#define FIELD_ERRORS_SHOWN 4

struct client {
    CURL *curl;
    char url[URL_MAX];
    char token[TOKEN_MAX];
    char *reply;
    size_t reply_size;
    size_t reply_capacity;
    char curl_error[CURL_ERROR_SIZE];
};

void client_option_rows(struct client_options *options,
                        struct option_row out_rows[CLIENT_OPTION_COUNT])
{
    const struct option_row rows[CLIENT_OPTION_COUNT] = {
        {"url",   "URL",   OPTION_TEXT, &options->url,   "the server; else ASSAY_URL, else " URL_DEFAULT},
        {"token", "TOKEN", OPTION_TEXT, &options->token,
         "else the admin token of --data, else ASSAY_TOKEN"                                             },
        {"data",  "DIR",   OPTION_TEXT, &options->data,
         "the server's data directory: take the token from there"                                       },
    };
    memcpy(out_rows, rows, sizeof(rows));
}

/* ---- opening ---- */

/* The first line of DIR/admin-token. */
static enum status token_read(const char *directory, struct error *error, char out_token[TOKEN_MAX])
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s/admin-token", directory) >= sizeof(path)) {
        return error_set(error, STATUS_INVALID, "--data: the path is too long");
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(error, STATUS_NOT_FOUND,
                         "cannot read %s: %s (the server writes it on its first start)", path,
                         strerrordesc_np(errno));
    }
    const bool is_read = fgets(out_token, TOKEN_MAX, file) != NULL;
    (void)fclose(file);
    if (!is_read) {
        return error_set(error, STATUS_NOT_FOUND, "%s is empty", path);
    }
    out_token[strcspn(out_token, "\r\n")] = '\0';
    return STATUS_OK;
}

static enum status token_choose(const struct client_options *options, struct error *error,
                                char out_token[TOKEN_MAX])
{
    const char *token = options->token;
    if (token == NULL && options->data != NULL) {
        return token_read(options->data, error, out_token);
    }
    if (token == NULL) {
        token = getenv("ASSAY_TOKEN");
    }
    if (token == NULL || token[0] == '\0') {
        return error_set(error, STATUS_INVALID,
                         "who are you? Give --token TOKEN, or set ASSAY_TOKEN, or on the server's "
                         "machine --data DIR");
    }
    const int size = snprintf(out_token, TOKEN_MAX, "%s", token);
    if (size < 0 || size >= TOKEN_MAX || strpbrk(token, "\r\n") != NULL) {
        return error_set(error, STATUS_INVALID,
                         "this is no token: it is too long, or of several lines");
    }
    return STATUS_OK;
}

static enum status url_choose(const struct client_options *options, struct error *error,
                              char out_url[URL_MAX])
{
    const char *url = options->url != NULL ? options->url : getenv("ASSAY_URL");
    if (url == NULL || url[0] == '\0') {
        url = URL_DEFAULT;
    }
    const bool has_scheme = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    const int size = snprintf(out_url, URL_MAX, "%s", url);
    if (!has_scheme || size < 0 || size >= URL_MAX) {
        return error_set(error, STATUS_INVALID,
                         "--url takes a URL such as " URL_DEFAULT ", not '%s'", url);
    }
    for (size_t i = strlen(out_url); i > 0 && out_url[i - 1] == '/'; i--) {
        out_url[i - 1] = '\0';
    }
    return STATUS_OK;
}

static size_t reply_take(char *data, size_t size, size_t count, void *context)
{
    struct client *client = context;
    const size_t added = size * count;
    const size_t needed = client->reply_size + added + JSON_PADDING + 1;
    if (needed > REPLY_MAX) {
        return 0; /* curl ends the transfer */
    }
    if (needed > client->reply_capacity) {
        const size_t capacity = needed * 2;
        char *grown = realloc(client->reply, capacity);
        if (grown == NULL) {
            return 0;
        }
        client->reply = grown;
        client->reply_capacity = capacity;
    }
    memcpy(client->reply + client->reply_size, data, added);
    client->reply_size += added;
    memset(client->reply + client->reply_size, 0, JSON_PADDING + 1);
    return added;
}

/* A proxy of the environment is not meant for a server on this machine. */
static bool is_local(const char *url)
{
    static const char *const hosts[] = {"http://127.", "http://localhost", "http://[::1]"};
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        if (strncmp(url, hosts[i], strlen(hosts[i])) == 0) {
            return true;
        }
    }
    return false;
}

enum status client_open(const struct client_options *options, struct error *error,
                        struct client **out_client)
{
    struct client *client = calloc(1, sizeof(*client));
    enum status status =
        client != NULL ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "out of memory");
    if (status == STATUS_OK) {
        status = url_choose(options, error, client->url);
    }
    if (status == STATUS_OK) {
        status = token_choose(options, error, client->token);
    }
    if (status == STATUS_OK) {
        client->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
        status = client->curl != NULL ? STATUS_OK
                                      : error_set(error, STATUS_NO_MEMORY, "libcurl cannot start");
    }
    if (status != STATUS_OK) {
        client_close(client);
        return status;
    }
    *out_client = client;
    return STATUS_OK;
}

void client_close(struct client *client)
{
    if (client != NULL) {
        curl_easy_cleanup(client->curl);
        explicit_bzero(client->token, sizeof(client->token));
        free(client->reply);
        free(client);
    }
}

const char *client_url(const struct client *client)
{
    return client->url;
}

const char *client_token(const struct client *client)
{
    return client->token;
}

/* ---- what went wrong ---- */

struct status_row {
    long http;
    enum status status;
    const char *advice; /* NULL: the server's own words are enough */
};

static const struct status_row status_rows[] = {
    {400, STATUS_INVALID,     NULL                                                                     },
    {401, STATUS_UNAVAILABLE,
     "the server does not know this token: check --token, ASSAY_TOKEN or --data"                       },
    {403, STATUS_UNAVAILABLE, "an admin can make a token that may: assay token create --help"          },
    {404, STATUS_NOT_FOUND,   NULL                                                                     },
    {409, STATUS_CONFLICT,    NULL                                                                     },
    {412, STATUS_CONFLICT,    NULL                                                                     },
    {413, STATUS_TOO_LARGE,   NULL                                                                     },
    {422, STATUS_INVALID,     NULL                                                                     },
    {429, STATUS_BUSY,        "the server is busy: try again later"                                    },
    {503, STATUS_BUSY,        "the server cannot take this now: try again later, or look at its traces"},
};

/* "; variants[0].weight must be ..." for the first few field errors. */
static void faults_append(struct bytes document, char *text, size_t capacity)
{
    struct answer_items items = answer_items(document, "errors");
    struct bytes item;
    for (int i = 0; i < FIELD_ERRORS_SHOWN && answer_next(&items, &item); i++) {
        struct bytes path = {NULL, 0};
        struct bytes message = {NULL, 0};
        (void)answer_text(item, "path", &path);
        if (answer_text(item, "message", &message)) {
            const size_t used = strlen(text);
            (void)snprintf(text + used, capacity - used, "; %.*s%s%.*s", (int)path.size,
                           (const char *)path.data, path.size != 0 ? " " : "", (int)message.size,
                           (const char *)message.data);
        }
    }
    if (items.left > 0) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, capacity - used, "; and %u more", items.left);
    }
}

/* Says what the server said. */
static enum status reply_trouble(const struct client_request *request,
                                 const struct client_reply *reply, struct error *error)
{
    const struct status_row *row = NULL;
    for (size_t i = 0; i < COUNT_OF(status_rows); i++) {
        row = status_rows[i].http == reply->status ? &status_rows[i] : row;
    }
    struct arena arena;
    arena_init(&arena, 64 * 1024);
    struct bytes document = {NULL, 0};
    struct bytes detail = {NULL, 0};
    char text[400] = "";
    if (answer_read(&arena, reply->body, NULL, &document) == STATUS_OK &&
        answer_text(document, "detail", &detail)) {
        detail.size -=
            detail.size > 0 && detail.data[detail.size - 1] == '.'; /* the sentence goes on */
        (void)snprintf(text, sizeof(text), ": %.*s", (int)detail.size, (const char *)detail.data);
        faults_append(document, text, sizeof(text));
    }
    const enum status status =
        error_set(error, row != NULL ? row->status : STATUS_UNAVAILABLE,
                  "%s %s answered %ld%s%s%s%s", request->method, request->path, reply->status, text,
                  row != NULL && row->advice != NULL ? " (" : "",
                  row != NULL && row->advice != NULL ? row->advice : "",
                  row != NULL && row->advice != NULL ? ")" : "");
    arena_deinit(&arena);
    return status;
}

static enum status transfer_trouble(const struct client *client, CURLcode code, struct error *error)
{
    if (code == CURLE_COULDNT_CONNECT) {
        return error_set(error, STATUS_UNAVAILABLE,
                         "no server answers at %s: start one with `assayd --data DIR`, or say "
                         "where it is with --url",
                         client->url);
    }
    return error_set(error, STATUS_UNAVAILABLE, "%s: %s", client->url,
                     client->curl_error[0] != '\0' ? client->curl_error : curl_easy_strerror(code));
}

/* ---- sending ---- */

static struct curl_slist *headers_make(const struct client *client,
                                       const struct client_request *request)
{
    char line[TOKEN_MAX + 64];
    /* Waiting for "100 Continue" would cost a round trip on each large body. */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", client->token);
    headers = curl_slist_append(headers, line);
    if (request->content_type != NULL) {
        (void)snprintf(line, sizeof(line), "Content-Type: %s", request->content_type);
        headers = curl_slist_append(headers, line);
    }
    explicit_bzero(line, sizeof(line));
    return headers;
}

static void request_set(struct client *client, const struct client_request *request,
                        const char *url, struct curl_slist *headers)
{
    CURL *curl = client->curl;
    curl_easy_reset(curl); /* keeps the connection */
    client->reply_size = 0;
    client->curl_error[0] = '\0';
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_error);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (getenv("ASSAY_CA_FILE") != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, getenv("ASSAY_CA_FILE"));
    }
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "assay/" ASSAY_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, reply_take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    if (request->content_type != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, (const char *)request->body.data);
    }
    if (is_local(client->url)) {
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    }
}

static enum status send_once(struct client *client, const struct client_request *request,
                             struct error *error, struct client_reply *reply)
{
    char url[URL_MAX + 4096];
    if ((size_t)snprintf(url, sizeof(url), "%s%s", client->url, request->path) >= sizeof(url)) {
        return error_set(error, STATUS_INVALID, "the request's path is too long");
    }
    struct curl_slist *headers = headers_make(client, request);
    request_set(client, request, url, headers);
    const CURLcode code = curl_easy_perform(client->curl);
    curl_slist_free_all(headers);
    *reply = (struct client_reply){0};
    if (code != CURLE_OK) {
        return transfer_trouble(client, code, error);
    }
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    static const char none[JSON_PADDING + 1] = "";
    reply->body =
        client->reply_size != 0 ? bytes_of(client->reply, client->reply_size) : bytes_of(none, 0);
    return reply->status >= 200 && reply->status < 300 ? STATUS_OK
                                                       : reply_trouble(request, reply, error);
}

enum status client_send(struct client *client, const struct client_request *request,
                        struct error *error, struct client_reply *out_reply)
{
    const time_t give_up = time(NULL) + CLIENT_PATIENCE_SECONDS;
    for (;;) {
        const enum status status = send_once(client, request, error, out_reply);
        curl_off_t wait = 0;
        if (status != STATUS_BUSY || !request->is_repeatable ||
            curl_easy_getinfo(client->curl, CURLINFO_RETRY_AFTER, &wait) != CURLE_OK || wait <= 0 ||
            time(NULL) + wait > give_up) {
            return status;
        }
        (void)sleep((unsigned)wait);
    }
}

enum status client_call(struct client *client, const struct client_request *request,
                        struct arena *arena, struct error *error, struct bytes *out_document)
{
    struct client_reply reply;
    const enum status status = client_send(client, request, error, &reply);
    return status == STATUS_OK ? answer_read(arena, reply.body, error, out_document) : status;
}

const char *client_escape(struct client *client, struct arena *arena, struct bytes text)
{
    char *escaped = curl_easy_escape(client->curl, (const char *)text.data, (int)text.size);
    const char *copy = escaped != NULL ? arena_copy(arena, bytes_of_text(escaped)) : NULL;
    curl_free(escaped);
    return copy;
}
