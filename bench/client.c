/* client.c: replies read line by line, then counted. */
#include "bench/client.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CALL_TIMEOUT_SECONDS 60

enum status client_target_parse(const char *url, struct error *error,
                                struct client_target *out_target)
{
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return error_set(error, STATUS_INVALID, "'%s' does not begin with http://", url);
    }
    struct client_target target = {.port = 80};
    const char *host = url + sizeof(scheme) - 1;
    const size_t size = strcspn(host, "/");
    if (size == 0 || size >= sizeof(target.host) || (host[size] == '/' && host[size + 1] != '\0')) {
        return error_set(error, STATUS_INVALID, "'%s' is not http://host:port", url);
    }
    memcpy(target.host, host, size);
    char name[sizeof(target.host)];
    memcpy(name, target.host, sizeof(name));
    char *colon = strchr(name, ':');
    const char *port = "80";
    if (colon != NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int failure = getaddrinfo(name, port, &hints, &found);
    if (failure != 0) {
        return error_set(error, STATUS_INVALID, "'%s': %s", url, gai_strerror(failure));
    }
    memcpy(&target.address, found->ai_addr, sizeof(target.address));
    freeaddrinfo(found);
    target.port = ntohs(target.address.sin_port);
    *out_target = target;
    return STATUS_OK;
}

void client_reply_begin(struct client_reply *reply, char *body, size_t body_capacity)
{
    reply->state = REPLY_STATUS_LINE;
    reply->status = 0;
    reply->chunked = false;
    reply->has_length = false;
    reply->closes = false;
    reply->remaining = 0;
    reply->size = 0;
    reply->body = body;
    reply->body_size = 0;
    reply->body_capacity = body_capacity;
    reply->line_size = 0;
}

static void status_line_take(struct client_reply *reply, const char *line, size_t size)
{
    if (size < 12 || memcmp(line, "HTTP/1.", 7) != 0) {
        reply->state = REPLY_BAD;
        return;
    }
    unsigned status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9') {
            reply->state = REPLY_BAD;
            return;
        }
        status = status * 10 + (unsigned)(line[i] - '0');
    }
    reply->status = status;
    reply->closes = line[7] == '0';
    reply->state = REPLY_HEADER_LINE;
}

/* The value of a header where the line is of that name, else NULL. */
static const char *header_value(const char *line, size_t size, const char *name)
{
    const size_t name_size = strlen(name);
    if (size <= name_size || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0) {
        return NULL;
    }
    const char *value = line + name_size + 1;
    while (value < line + size && *value == ' ') {
        value++;
    }
    return value;
}

static bool value_begins(const char *value, const char *line_end, const char *word)
{
    const size_t size = strlen(word);
    return (size_t)(line_end - value) >= size && strncasecmp(value, word, size) == 0;
}

static void headers_end(struct client_reply *reply)
{
    if (reply->status < 200) { /* 100 Continue: the real reply follows */
        reply->state = REPLY_STATUS_LINE;
    } else if (reply->status == 204 || reply->status == 304) {
        reply->state = REPLY_DONE;
    } else if (reply->chunked) {
        reply->state = REPLY_CHUNK_SIZE;
    } else if (!reply->has_length) {
        reply->closes = true;
        reply->state = REPLY_BODY_TO_END;
    } else {
        reply->state = reply->remaining == 0 ? REPLY_DONE : REPLY_BODY;
    }
}

static void header_line_take(struct client_reply *reply, const char *line, size_t size)
{
    if (size == 0) {
        headers_end(reply);
        return;
    }
    const char *end = line + size;
    const char *value = NULL;
    switch (line[0] | 0x20) { /* most headers are told by their first letter alone */
    case 'c':
        value = header_value(line, size, "content-length");
        if (value != NULL) {
            reply->has_length = true;
            reply->remaining = strtoull(value, NULL, 10);
            return;
        }
        value = header_value(line, size, "connection");
        if (value != NULL && value_begins(value, end, "close")) {
            reply->closes = true;
        }
        return;
    case 't':
        value = header_value(line, size, "transfer-encoding");
        if (value != NULL && value_begins(value, end, "chunked")) {
            reply->chunked = true;
        }
        return;
    default:
        return;
    }
}

static void chunk_size_take(struct client_reply *reply, const char *line, size_t size)
{
    if (size == 0) {
        reply->state = REPLY_BAD;
        return;
    }
    reply->remaining = strtoull(line, NULL, 16);
    reply->state = reply->remaining == 0 ? REPLY_TRAILER : REPLY_BODY;
}

/* The line ends in CR or LF, so the number readers above stop there. */
static void line_take(struct client_reply *reply, const char *line, size_t size)
{
    if (size > 0 && line[size - 1] == '\r') {
        size--;
    }
    switch (reply->state) {
    case REPLY_STATUS_LINE:
        status_line_take(reply, line, size);
        break;
    case REPLY_HEADER_LINE:
        header_line_take(reply, line, size);
        break;
    case REPLY_CHUNK_SIZE:
        chunk_size_take(reply, line, size);
        break;
    case REPLY_CHUNK_END:
        reply->state = REPLY_CHUNK_SIZE;
        break;
    case REPLY_TRAILER:
        reply->state = size == 0 ? REPLY_DONE : REPLY_TRAILER;
        break;
    case REPLY_BODY:
    case REPLY_BODY_TO_END:
    case REPLY_DONE:
    case REPLY_BAD:
        assert(false);
    }
}

/* Takes a line, or the piece of it that is there. */
static size_t line_feed(struct client_reply *reply, const char *data, size_t size)
{
    const char *newline = memchr(data, '\n', size);
    const size_t taken = newline != NULL ? (size_t)(newline - data) + 1 : size;
    if (newline != NULL && reply->line_size == 0) {
        line_take(reply, data, taken - 1);
        return taken;
    }
    const size_t kept = size_min(taken, sizeof(reply->line) - 1 - reply->line_size);
    memcpy(reply->line + reply->line_size, data, kept);
    reply->line_size += kept;
    if (newline != NULL) {
        const size_t line_size = reply->line_size;
        reply->line[line_size] = '\0';
        reply->line_size = 0;
        line_take(reply, reply->line, kept == taken ? line_size - 1 : line_size);
    }
    return taken;
}

static size_t body_feed(struct client_reply *reply, const char *data, size_t size)
{
    const size_t taken = reply->state == REPLY_BODY ? size_min(size, reply->remaining) : size;
    const size_t kept = size_min(taken, reply->body_capacity - reply->body_size);
    if (kept > 0) {
        memcpy(reply->body + reply->body_size, data, kept);
        reply->body_size += kept;
    }
    if (reply->state == REPLY_BODY) {
        reply->remaining -= taken;
        if (reply->remaining == 0) {
            reply->state = reply->chunked ? REPLY_CHUNK_END : REPLY_DONE;
        }
    }
    return taken;
}

size_t client_reply_feed(struct client_reply *reply, const char *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && reply->state != REPLY_DONE && reply->state != REPLY_BAD) {
        const bool in_body = reply->state == REPLY_BODY || reply->state == REPLY_BODY_TO_END;
        taken += in_body ? body_feed(reply, data + taken, size - taken)
                         : line_feed(reply, data + taken, size - taken);
    }
    reply->size += taken;
    return taken;
}

static enum status call_send(int socket_file, struct bytes data, struct error *error)
{
    size_t sent = 0;
    while (sent < data.size) {
        const ssize_t done = send(socket_file, data.data + sent, data.size - sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return error_set(error, STATUS_IO, "sending to the server: %s", strerrordesc_np(errno));
        }
        sent += (size_t)done;
    }
    return STATUS_OK;
}

static enum status call_receive(int socket_file, struct client_reply *reply, struct error *error)
{
    char data[8192];
    while (reply->state != REPLY_DONE) {
        const ssize_t done = recv(socket_file, data, sizeof(data), 0);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done == 0 && reply->state == REPLY_BODY_TO_END) {
            reply->state = REPLY_DONE;
            return STATUS_OK;
        }
        if (done < 0) {
            return error_set(error, STATUS_IO, "reading the server's reply: %s",
                             strerrordesc_np(errno));
        }
        if (done == 0) {
            return error_set(error, STATUS_IO,
                             "the server closed the connection before its reply was whole");
        }
        (void)client_reply_feed(reply, data, (size_t)done);
        if (reply->state == REPLY_BAD) {
            return error_set(error, STATUS_IO, "the server's reply is not HTTP/1.1");
        }
    }
    return STATUS_OK;
}

static enum status call_on(int file, const struct client_target *target, struct client_call *call,
                           struct error *error)
{
    char head[1024];
    const int head_size = snprintf(
        head, sizeof(head),
        "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s%sContent-Type: "
        "application/json\r\n"
        "Content-Length: %zu\r\n\r\n",
        call->method, call->path, target->host, call->token != NULL ? "Authorization: Bearer " : "",
        call->token != NULL ? call->token : "", call->token != NULL ? "\r\n" : "", call->body.size);
    if (head_size < 0 || (size_t)head_size >= sizeof(head)) {
        return error_set(error, STATUS_TOO_LARGE, "the path or token is too long");
    }
    if (connect(file, (const struct sockaddr *)&target->address, sizeof(target->address)) != 0) {
        return error_set(error, STATUS_IO, "no server at http://%s: %s", target->host,
                         strerrordesc_np(errno));
    }
    enum status status = call_send(file, bytes_of(head, (size_t)head_size), error);
    if (status == STATUS_OK) {
        status = call_send(file, call->body, error);
    }
    struct client_reply reply;
    client_reply_begin(&reply, call->reply_body, call->reply_capacity - 1);
    if (status == STATUS_OK) {
        status = call_receive(file, &reply, error);
    }
    if (status == STATUS_OK) {
        call->reply_body[reply.body_size] = '\0';
        call->reply_status = reply.status;
    }
    return status;
}

enum status client_call(const struct client_target *target, struct client_call *call,
                        struct error *error)
{
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) {
        return error_set(error, STATUS_IO, "socket: %s", strerrordesc_np(errno));
    }
    const struct timeval timeout = {.tv_sec = CALL_TIMEOUT_SECONDS};
    (void)setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    const enum status status = call_on(file, target, call, error);
    (void)close(file);
    return status;
}

/* The end of the string that begins behind the quote at `text`: its closing quote, or the NUL. */
static const char *string_end(const char *text)
{
    while (*text != '\0' && *text != '"') {
        text += text[0] == '\\' && text[1] != '\0' ? 2 : 1;
    }
    return text;
}

static const char *skip_colon(const char *text)
{
    text += strspn(text, " \t\r\n");
    if (*text != ':') {
        return NULL;
    }
    text++;
    return text + strspn(text, " \t\r\n");
}

bool client_json_text(const char *json, const char *name, char *out_value, size_t capacity)
{
    unsigned depth = 0;
    for (const char *at = json; *at != '\0'; at++) {
        if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (*at == '"') {
            const char *text = at + 1;
            at = string_end(text);
            if (*at == '\0') {
                return false;
            }
            const bool named =
                depth == 1 && bytes_equal_text(bytes_of(text, (size_t)(at - text)), name);
            const char *value = named ? skip_colon(at + 1) : NULL;
            const char *end = value != NULL && *value == '"' ? string_end(value + 1) : NULL;
            if (end != NULL && (size_t)(end - value) <= capacity) {
                memcpy(out_value, value + 1, (size_t)(end - value - 1));
                out_value[end - value - 1] = '\0';
                return true;
            }
        }
    }
    return false;
}

uint64_t client_json_count(struct bytes json, const char *name)
{
    char quoted[64];
    const int quoted_size = snprintf(quoted, sizeof(quoted), "\"%s\":", name);
    assert(quoted_size > 0 && (size_t)quoted_size < sizeof(quoted));
    const uint8_t *end = json.data + json.size;
    const uint8_t *at = memmem(json.data, json.size, quoted, (size_t)quoted_size);
    if (at == NULL) {
        return 0;
    }
    at += quoted_size;
    while (at < end && *at == ' ') {
        at++;
    }
    uint64_t count = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        count = count * 10 + (uint64_t)(*at - '0');
        at++;
    }
    return count;
}
