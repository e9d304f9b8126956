/* tls.c: see tls.h. */
#include "api/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20"; /* of TLS 1.2; those of 1.3 are all good */

/* What OpenSSL says of its failure, by the first of what it noted: the cause. The queue is then empty. */
static const char *cause_text(char out_text[256])
{
    const unsigned long code = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerrordesc_np(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    (void)snprintf(out_text, 256, "%s", reason != NULL ? reason : "it cannot be read");
    ERR_clear_error();
    return out_text;
}

/* A client that offers HTTP/1.1 gets it; one that offers others only goes on without, and finds HTTP/1.1. */
static int on_alpn(SSL *connection, const unsigned char **out, unsigned char *out_size, const unsigned char *offered, unsigned offered_size,
                   void *context)
{
    static const unsigned char own[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)connection;
    (void)context;
    if (SSL_select_next_proto(&chosen, out_size, own, sizeof(own) - 1, offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int days_left(const X509 *certificate)
{
    int days = 0;
    int seconds = 0;
    (void)ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
    return days != 0 ? days : seconds < 0 ? -1 : 0;
}

static enum status files_take(SSL_CTX *context, const char *certificate, const char *key, struct error *error)
{
    char cause[256];
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return error_set(error, STATUS_INVALID, "tls-certificate: %s: %s", certificate, cause_text(cause));
    }
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        return error_set(error, STATUS_INVALID, "tls-key: %s: %s", key, cause_text(cause));
    }
    return STATUS_OK;
}

enum status tls_load(const char *certificate, const char *key, struct error *error, struct ssl_ctx_st **out_context, int *out_days)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, ciphers) != 1) {
        SSL_CTX_free(context);
        return error_set(error, STATUS_NO_MEMORY, "TLS cannot be set up");
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    const enum status status = files_take(context, certificate, key, error);
    if (status != STATUS_OK) {
        SSL_CTX_free(context);
        return status;
    }
    *out_days = days_left(SSL_CTX_get0_certificate(context));
    *out_context = context;
    return STATUS_OK;
}

void tls_free(struct ssl_ctx_st *context)
{
    SSL_CTX_free(context);
}
