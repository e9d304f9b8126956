/* settings_table.c: the table of settings, and what each takes. To add one: a field in struct settings, a row here, a line in
 * docs/configuration.md, and `assayd --print-config > packaging/assayd.conf`; a test compares the three. */
#include <arpa/inet.h>

#include "api/settings.h"

static bool number_parse(const char *text, unsigned long least, unsigned long most, unsigned long *out_value)
{
    const size_t size = strlen(text);
    if (size == 0 || size > 9 || strspn(text, "0123456789") != size) {
        return false;
    }
    *out_value = 0;
    for (const char *digit = text; *digit != '\0'; digit++) {
        *out_value = *out_value * 10 + (unsigned long)(*digit - '0');
    }
    return *out_value >= least && *out_value <= most;
}

/* The place of `text` in the list; -1 where it is not there. */
static int word_find(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool directory_parse(const char *text, struct settings *settings)
{
    settings->directory = text;
    return text[0] != '\0';
}

static bool is_numeric_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* "127.0.0.1:8080", "localhost:8080" or "[::1]:8080" */
static bool listen_parse(const char *text, struct settings *settings)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    unsigned long port = 0;
    if (size == 0 || size >= sizeof(settings->host) || !number_parse(colon + 1, 0, UINT16_MAX, &port)) {
        return false;
    }
    memcpy(settings->host, host, size);
    settings->host[size] = '\0';
    settings->port = (uint16_t)port;
    if (strcmp(settings->host, "localhost") == 0) {
        memcpy(settings->host, "127.0.0.1", sizeof("127.0.0.1"));
    }
    return is_numeric_address(settings->host);
}

static bool loops_parse(const char *text, struct settings *settings)
{
    unsigned long loops = 0;
    const bool is_valid = number_parse(text, 1, 64, &loops);
    settings->loops = (uint32_t)loops;
    return is_valid;
}

static bool origin_parse(const char *text, struct settings *settings)
{
    if (!cors_origin_is_valid(text) || settings->origin_count >= CORS_ORIGINS_MAX) {
        return false;
    }
    settings->origins[settings->origin_count++] = text;
    return true;
}

static bool certificate_parse(const char *text, struct settings *settings)
{
    settings->tls_certificate = text;
    return text[0] != '\0';
}

static bool key_parse(const char *text, struct settings *settings)
{
    settings->tls_key = text;
    return text[0] != '\0';
}

static bool plaintext_parse(const char *text, struct settings *settings)
{
    settings->allow_plaintext = strcmp(text, "true") == 0;
    return settings->allow_plaintext || strcmp(text, "false") == 0;
}

static void origins_clear(struct settings *settings)
{
    settings->origin_count = 0;
}

static bool io_parse(const char *text, struct settings *settings)
{
    static const char *const names[] = {
        [IO_BACKEND_AUTO] = "auto",
        [IO_BACKEND_URING] = "uring",
        [IO_BACKEND_SYNC] = "sync",
    };
    const int found = word_find(text, names, COUNT_OF(names));
    settings->io_backend = (enum io_backend)found;
    return found >= 0;
}

static bool trace_format_parse(const char *text, struct settings *settings)
{
    static const char *const names[] = {[TRACE_TEXT] = "text", [TRACE_JSON] = "json"};
    const int found = word_find(text, names, COUNT_OF(names));
    settings->trace_format = (enum trace_format)found;
    return found >= 0;
}

static bool trace_requests_parse(const char *text, struct settings *settings)
{
    static const char *const names[] = {
        [TRACE_NO_REQUESTS] = "none",
        [TRACE_FAILED_REQUESTS] = "failed",
        [TRACE_ALL_REQUESTS] = "all",
    };
    const int found = word_find(text, names, COUNT_OF(names));
    settings->trace_requests = (enum trace_requests)found;
    return found >= 0;
}

static bool webhook_parse(const char *text, struct settings *settings)
{
    settings->webhook_url = text;
    return strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
}

static bool webhook_secret_parse(const char *text, struct settings *settings)
{
    settings->webhook_secret_file = text;
    return text[0] != '\0';
}

static bool drain_parse(const char *text, struct settings *settings)
{
    unsigned long seconds = 0;
    const bool is_valid = number_parse(text, 1, 3600, &seconds);
    settings->drain_seconds = (uint32_t)seconds;
    return is_valid;
}

// clang-format off
const struct setting_row setting_rows[] = {
    {.name = "data", .takes = "DIR", .example = "/var/lib/assay", .standard = "none: it must be given", .parse = directory_parse,
     .expected = "a directory",
     .purpose = "Everything is kept here; made where missing. One server a directory."},
    {.name = "listen", .takes = "HOST:PORT", .example = "127.0.0.1:8080", .standard = "127.0.0.1:8080", .parse = listen_parse,
     .expected = "a numeric address and a port, such as 127.0.0.1:8080",
     .purpose = "Where to answer HTTP. Port 0 takes a free one; IPv6 as [::1]:8080. An address that other machines "
                "reach asks for tls-certificate, or for allow-plaintext. Not looked at where a socket is handed over (LISTEN_FDS)."},
    {.name = "tls-certificate", .takes = "FILE", .example = "/etc/assay/certificate.pem", .standard = "none: HTTP in the clear",
     .is_live = true, .parse = certificate_parse,
     .expected = "a file",
     .purpose = "The server's certificate and those that lead to its authority, as PEM, for HTTPS (TLS 1.2 and 1.3). With SIGHUP the "
                "file is read again; connections that are open go on as they are."},
    {.name = "tls-key", .takes = "FILE", .example = "/etc/assay/key.pem", .standard = "none", .is_live = true, .parse = key_parse,
     .expected = "a file",
     .purpose = "The certificate's private key, as PEM without a passphrase. Only assayd should be able to read it."},
    {.name = "allow-plaintext", .example = "true", .standard = "false", .parse = plaintext_parse,
     .expected = "true or false",
     .purpose = "Answer HTTP in the clear on an address that other machines reach. Tokens can then be read on the way: for a server "
                "behind a proxy with TLS, or in a private network."},
    {.name = "loops", .takes = "N", .example = "4", .standard = "2, or one a processor where there are fewer", .parse = loops_parse,
     .expected = "a number from 1 to 64",
     .purpose = "Threads that read and answer requests."},
    {.name = "cors-origin", .takes = "URL", .example = "https://shop.example https://www.shop.example", .standard = "none",
     .is_list = true, .is_live = true, .parse = origin_parse,
     .clear = origins_clear,
     .expected = "scheme://host[:port] as a browser sends it, up to 64 in number",
     .purpose = "An origin, such as https://shop.example, whose pages may call from a browser; once for each. Without it, no page "
                "of another origin may."},
    {.name = "io", .takes = "BACKEND", .example = "auto", .standard = "auto", .parse = io_parse,
     .expected = "auto, uring or sync",
     .purpose = "How the log is written: by io_uring, or by plain system calls. auto takes the first where it is allowed."},
    {.name = "trace", .takes = "FORMAT", .example = "json", .standard = "text", .parse = trace_format_parse,
     .expected = "text or json",
     .purpose = "The form of what is said on stderr."},
    {.name = "trace-requests", .takes = "WHICH", .example = "all", .standard = "failed", .is_live = true, .parse = trace_requests_parse,
     .expected = "none, failed or all",
     .purpose = "Which requests get a line on stderr. failed: those answered 5xx, or after more than a second."},
    {.name = "drain-seconds", .takes = "N", .example = "30", .standard = "10", .parse = drain_parse,
     .expected = "a number from 1 to 3600",
     .purpose = "How long clients have to take their answers after SIGTERM."},
    {.name = "webhook-url", .takes = "URL", .example = "https://ops.example/assay", .standard = "none", .parse = webhook_parse,
     .expected = "an address that begins with https:// or http://",
     .purpose = "Where to POST what assay did by itself: a guardrail was breached. Tried again until it is taken, for up to a day."},
    {.name = "webhook-secret-file", .takes = "FILE", .example = "/etc/assay/webhook-secret", .standard = "none: not signed",
     .parse = webhook_secret_parse,
     .expected = "a file",
     .purpose = "What is in this file's first line signs what is sent (X-Assay-Signature, HMAC-SHA256)."},
};
// clang-format on

const size_t setting_row_count = COUNT_OF(setting_rows);

static_assert(COUNT_OF(setting_rows) <= SETTINGS_MOST, "a place for what was said of each");
