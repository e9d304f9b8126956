/* Shows a user the variant of an experiment, and counts a purchase. Needs libcurl.
 *   cc checkout.c -lcurl -o checkout
 *   ./checkout EXPERIMENT USER          ASSAY_URL, ASSAY_TOKEN: the server, and a token with assign and events:write
 * A user's id is taken as it is: no quotes or backslashes. A real program uses a JSON library. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct answer {
    char text[16384];
    size_t size;
    long status; /* 0: there was none */
    curl_off_t retry_after;
};

static size_t take(char *data, size_t size, size_t count, void *context)
{
    struct answer *answer = context;
    const size_t more = size * count;
    if (answer->size + more >= sizeof(answer->text)) {
        return 0;
    }
    memcpy(answer->text + answer->size, data, more);
    answer->size += more;
    answer->text[answer->size] = '\0';
    return more;
}

static void call(CURL *curl, const char *path, const char *body, struct answer *answer)
{
    char url[2048];
    char header[512];
    snprintf(url, sizeof(url), "%s%s", getenv("ASSAY_URL"), path);
    snprintf(header, sizeof(header), "Authorization: Bearer %s", getenv("ASSAY_TOKEN"));
    struct curl_slist *headers = curl_slist_append(NULL, header);
    headers = curl_slist_append(headers, "Content-Type: application/json");
    *answer = (struct answer){0};
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &answer->retry_after);
    }
    curl_slist_free_all(headers);
}

/* Without an answer the user gets the control, and is not part of the experiment. */
static void variant_of(CURL *curl, const char *experiment, const char *user, char out[128])
{
    struct answer answer;
    char path[1024];
    char *escaped = curl_easy_escape(curl, user, 0);
    snprintf(path, sizeof(path), "/experiments/%s/assignment/%s?country=US", experiment, escaped);
    curl_free(escaped);
    call(curl, path, NULL, &answer);
    const char *found = answer.status == 200 ? strstr(answer.text, "\"variant\":\"") : NULL;
    if (found == NULL || sscanf(found, "\"variant\":\"%127[^\"]", out) != 1) {
        strcpy(out, "control");
    }
}

/* Again and again until it is acknowledged: its id makes it count once. */
static int send_event(CURL *curl, const char *event, struct answer *answer)
{
    const time_t end = time(NULL) + 20;
    for (long pause_ms = 100;; pause_ms *= 2) {
        call(curl, "/events", event, answer);
        if (answer->status >= 200 && answer->status < 300) {
            return 0;
        }
        if (answer->status >= 400 && answer->status < 500 && answer->status != 429) {
            return -1; /* a mistake in this program: sending it again would not help */
        }
        if (answer->retry_after * 1000 > pause_ms) {
            pause_ms = (long)answer->retry_after * 1000;
        }
        if (time(NULL) + pause_ms / 1000 >= end) {
            return -1; /* keep it, and send it later */
        }
        nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000}, NULL);
    }
}

int main(int count, char **arguments)
{
    if (count != 3 || getenv("ASSAY_URL") == NULL || getenv("ASSAY_TOKEN") == NULL) {
        fprintf(stderr, "usage: ASSAY_URL=... ASSAY_TOKEN=... checkout EXPERIMENT USER\n");
        return 2;
    }
    char variant[128];
    char event[1024];
    struct answer answer;
    unsigned accepted = 0;
    unsigned duplicates = 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    variant_of(curl, arguments[1], arguments[2], variant);
    printf("%s sees %s\n", arguments[2], variant);
    snprintf(event, sizeof(event),
             "{\"event_id\": \"order-%s-1\", \"user_id\": \"%s\", \"event_type\": \"purchase\","
             " \"properties\": {\"amount\": 29.99, \"currency\": \"EUR\"}}",
             arguments[2], arguments[2]);
    const int failed = send_event(curl, event, &answer);
    curl_easy_cleanup(curl);
    if (failed) {
        fprintf(stderr, "the purchase was not acknowledged: %ld %s\n", answer.status, answer.text);
        return 1;
    }
    const char *at = strstr(answer.text, "\"accepted\":");
    sscanf(at != NULL ? at : "", "\"accepted\":%u,\"duplicates\":%u", &accepted, &duplicates);
    printf("%u counted, %u known already\n", accepted, duplicates);
    return 0;
}
