/* webhook.c: see webhook.h. */
#include "api/webhook.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/trace.h"

#define TIMEOUT_MS   5000L
#define PAUSE_MOST_S 300
#define PATIENCE_US  86400000000ll
#define SECRET_MAX   256u
#define SECOND_US    1000000ll

struct delivery {
    char *body;
    size_t size;
    int64_t added_us;
    int64_t due_us;
    int64_t pause_s;
};

struct webhook {
    char *url;
    uint8_t secret[SECRET_MAX];
    size_t secret_size;
    CURL *curl;
    struct delivery pending[WEBHOOK_PENDING_MAX];
    uint32_t count;
};

enum status webhook_open(const char *url, struct bytes secret, struct webhook **out_webhook)
{
    struct webhook *webhook = calloc(1, sizeof(*webhook));
    if (webhook == NULL || secret.size > SECRET_MAX) {
        free(webhook);
        return STATUS_NO_MEMORY;
    }
    webhook->url = strdup(url);
    webhook->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
    if (secret.size != 0) {
        memcpy(webhook->secret, secret.data, secret.size);
    }
    webhook->secret_size = secret.size;
    if (webhook->url == NULL || webhook->curl == NULL) {
        webhook_close(webhook);
        return STATUS_NO_MEMORY;
    }
    *out_webhook = webhook;
    return STATUS_OK;
}

void webhook_close(struct webhook *webhook)
{
    if (webhook == NULL) {
        return;
    }
    for (uint32_t i = 0; i < webhook->count; i++) {
        free(webhook->pending[i].body);
    }
    curl_easy_cleanup(webhook->curl);
    curl_global_cleanup();
    explicit_bzero(webhook->secret, sizeof(webhook->secret));
    free(webhook->url);
    free(webhook);
}

static void delivery_drop(struct webhook *webhook, uint32_t place)
{
    free(webhook->pending[place].body);
    webhook->count--;
    memmove(&webhook->pending[place], &webhook->pending[place + 1], (webhook->count - place) * sizeof(webhook->pending[0]));
}

void webhook_add(struct webhook *webhook, struct bytes document, int64_t now_us)
{
    char *body = malloc(document.size + 1);
    if (body == NULL) {
        return;
    }
    memcpy(body, document.data, document.size);
    body[document.size] = '\0';
    if (webhook->count == WEBHOOK_PENDING_MAX) {
        trace_note("webhook: %u messages wait; the oldest is let go", WEBHOOK_PENDING_MAX);
        delivery_drop(webhook, 0);
    }
    webhook->pending[webhook->count++] = (struct delivery){body, document.size, now_us, now_us, 1};
}

static size_t answer_ignore(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    (void)context;
    return size * count;
}

static struct curl_slist *signature_add(const struct webhook *webhook, const struct delivery *delivery, int64_t now_us,
                                        struct curl_slist *headers)
{
    char text[160];
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_size = 0;
    const int head = snprintf(text, sizeof(text), "%lld.", (long long)(now_us / SECOND_US));
    uint8_t *signed_text = malloc((size_t)head + delivery->size);
    if (signed_text == NULL) {
        return headers;
    }
    memcpy(signed_text, text, (size_t)head);
    memcpy(signed_text + head, delivery->body, delivery->size);
    (void)HMAC(EVP_sha256(), webhook->secret, (int)webhook->secret_size, signed_text, (size_t)head + delivery->size, mac, &mac_size);
    free(signed_text);
    int size = snprintf(text, sizeof(text), "X-Assay-Signature: t=%lld,v1=", (long long)(now_us / SECOND_US));
    for (unsigned i = 0; i < mac_size && size + 3 < (int)sizeof(text); i++) {
        size += snprintf(text + size, 3, "%02x", mac[i]);
    }
    return curl_slist_append(headers, text);
}

/* Has it been taken? */
static bool delivery_try(struct webhook *webhook, const struct delivery *delivery, int64_t now_us)
{
    CURL *curl = webhook->curl;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char fault[CURL_ERROR_SIZE] = "";
    long status = 0;
    if (webhook->secret_size != 0) {
        headers = signature_add(webhook, delivery, now_us, headers);
    }
    curl_easy_reset(curl);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, fault);
    (void)curl_easy_setopt(curl, CURLOPT_URL, webhook->url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "assay/" ASSAY_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, answer_ignore);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)delivery->size);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, delivery->body);
    const CURLcode code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    const bool is_taken = code == CURLE_OK && status >= 200 && status < 300;
    if (!is_taken && delivery->pause_s == 1) {
        trace_note("webhook: not taken by %s (%s%ld); it is tried again", webhook->url, code != CURLE_OK ? fault : "status ",
                   code != CURLE_OK ? 0L : status);
    }
    return is_taken;
}

void webhook_turn(struct webhook *webhook, int64_t now_us)
{
    for (uint32_t i = 0; i < webhook->count;) {
        struct delivery *delivery = &webhook->pending[i];
        if (now_us < delivery->due_us) {
            i++;
            continue;
        }
        if (delivery_try(webhook, delivery, now_us)) {
            trace_note("webhook: delivered to %s", webhook->url);
            delivery_drop(webhook, i);
        } else if (now_us - delivery->added_us > PATIENCE_US) {
            trace_note("webhook: not taken by %s for a day: let go", webhook->url);
            delivery_drop(webhook, i);
        } else {
            delivery->due_us = now_us + delivery->pause_s * SECOND_US;
            delivery->pause_s = delivery->pause_s * 2 < PAUSE_MOST_S ? delivery->pause_s * 2 : PAUSE_MOST_S;
            return; /* the others wait as well: it is the same receiver */
        }
    }
}
