/* tls.h: the server's certificate and key, ready for connections. */
#ifndef ASSAY_API_TLS_H
#define ASSAY_API_TLS_H

#include "engine/base.h"

struct ssl_ctx_st; /* OpenSSL's */

/* TLS 1.2 (with forward secrecy and authenticated ciphers alone) and 1.3, HTTP/1.1 and nothing else by ALPN. STATUS_INVALID: the error
 * names the file and what is wrong with it. *out_days: until the certificate ends; below 0 when it has. Any thread. */
MUST_USE enum status tls_load(const char *certificate, const char *key, struct error *error, struct ssl_ctx_st **out_context,
                              int *out_days);
void tls_free(struct ssl_ctx_st *context); /* gives a reference back; NULL is fine */

#endif
