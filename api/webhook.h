/* webhook.h: telling another program what happened: a JSON document by POST, signed, again and again until it is taken.
 *
 * Signature    X-Assay-Signature: t=UNIX_SECONDS,v1=HEX, the HMAC-SHA256 of "UNIX_SECONDS.BODY" under the secret.
 * Taken        by any 2xx. Else again after 1, 2, 4, ... up to 300 seconds, for a day. At least once: a receiver tells repetitions by
 *              the document's id.
 * Threads      One: whoever calls webhook_turn().
 */
#ifndef ASSAY_API_WEBHOOK_H
#define ASSAY_API_WEBHOOK_H

#include "engine/base.h"

struct webhook;

/* secret: empty: not signed. STATUS_NO_MEMORY. */
MUST_USE enum status webhook_open(const char *url, struct bytes secret, struct webhook **out_webhook);
void webhook_close(struct webhook *webhook); /* NULL is fine; what was not delivered is let go */
/* To be delivered. A copy is taken. At WEBHOOK_PENDING_MAX the oldest is let go, and that is said. */
#define WEBHOOK_PENDING_MAX 64u
void webhook_add(struct webhook *webhook, struct bytes document, int64_t now_us);
/* Tries what is due; takes up to some seconds. */
void webhook_turn(struct webhook *webhook, int64_t now_us);

#endif
