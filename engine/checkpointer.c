/* checkpointer.c: see checkpointer.h. */
#include "engine/checkpointer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RETRY_US 200000

struct checkpointer {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex; the batch itself is the thread's while `ready`, else its collector's. */
    struct store_batch batch;
    uint64_t batch_lsn;
    bool ready;
    bool last_try; /* a batch that fails is given up */
    bool given_up;
    bool stop;
    /* Any thread. */
    _Atomic uint64_t lsn;
    _Atomic uint64_t written;
    _Atomic uint64_t us_last;
};

static uint64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static enum status batch_write(struct checkpointer *checkpointer)
{
    struct error error;
    const uint64_t started_us = monotonic_us();
    const enum status status = store_write(checkpointer->store, &checkpointer->batch, &error);
    if (status == STATUS_OK) {
        atomic_store(&checkpointer->lsn, checkpointer->batch_lsn);
        atomic_fetch_add(&checkpointer->written, 1);
        atomic_store(&checkpointer->us_last, monotonic_us() - started_us);
    } else {
        usleep(RETRY_US);
    }
    return status;
}

static void *checkpointer_main(void *context)
{
    struct checkpointer *checkpointer = context;
    pthread_mutex_lock(&checkpointer->mutex);
    while (checkpointer->ready || !checkpointer->stop) {
        if (!checkpointer->ready) {
            pthread_cond_wait(&checkpointer->changed, &checkpointer->mutex);
            continue;
        }
        pthread_mutex_unlock(&checkpointer->mutex);
        const enum status status = batch_write(checkpointer);
        pthread_mutex_lock(&checkpointer->mutex);
        if (status == STATUS_OK || checkpointer->last_try) {
            checkpointer->given_up = status != STATUS_OK;
            checkpointer->ready = false;
            checkpointer->batch.size = 0;
            pthread_cond_broadcast(&checkpointer->changed);
        }
    }
    pthread_mutex_unlock(&checkpointer->mutex);
    return NULL;
}

static void checkpointer_free(struct checkpointer *checkpointer)
{
    store_batch_deinit(&checkpointer->batch);
    pthread_mutex_destroy(&checkpointer->mutex);
    pthread_cond_destroy(&checkpointer->changed);
    free(checkpointer);
}

enum status checkpointer_open(struct store *store, uint64_t lsn, struct checkpointer **out_checkpointer)
{
    struct checkpointer *checkpointer = calloc(1, sizeof(*checkpointer));
    if (checkpointer == NULL) {
        return STATUS_NO_MEMORY;
    }
    checkpointer->store = store;
    atomic_init(&checkpointer->lsn, lsn);
    pthread_mutex_init(&checkpointer->mutex, NULL);
    pthread_cond_init(&checkpointer->changed, NULL);
    if (pthread_create(&checkpointer->thread, NULL, checkpointer_main, checkpointer) != 0) {
        checkpointer_free(checkpointer);
        return STATUS_NO_MEMORY;
    }
    *out_checkpointer = checkpointer;
    return STATUS_OK;
}

void checkpointer_close(struct checkpointer *checkpointer)
{
    if (checkpointer == NULL) {
        return;
    }
    pthread_mutex_lock(&checkpointer->mutex);
    checkpointer->stop = true;
    pthread_cond_broadcast(&checkpointer->changed);
    pthread_mutex_unlock(&checkpointer->mutex);
    pthread_join(checkpointer->thread, NULL);
    checkpointer_free(checkpointer);
}

bool checkpointer_busy(struct checkpointer *checkpointer)
{
    pthread_mutex_lock(&checkpointer->mutex);
    const bool busy = checkpointer->ready;
    pthread_mutex_unlock(&checkpointer->mutex);
    return busy;
}

struct store_batch *checkpointer_batch(struct checkpointer *checkpointer)
{
    return &checkpointer->batch;
}

void checkpointer_write(struct checkpointer *checkpointer, uint64_t lsn)
{
    pthread_mutex_lock(&checkpointer->mutex);
    assert(!checkpointer->ready);
    checkpointer->batch_lsn = lsn;
    checkpointer->ready = true;
    pthread_cond_broadcast(&checkpointer->changed);
    pthread_mutex_unlock(&checkpointer->mutex);
}

bool checkpointer_settle(struct checkpointer *checkpointer)
{
    pthread_mutex_lock(&checkpointer->mutex);
    checkpointer->last_try = true;
    while (checkpointer->ready) {
        pthread_cond_wait(&checkpointer->changed, &checkpointer->mutex);
    }
    const bool written = !checkpointer->given_up;
    pthread_mutex_unlock(&checkpointer->mutex);
    return written;
}

void checkpointer_counters(const struct checkpointer *checkpointer, struct checkpointer_counters *out_counters)
{
    *out_counters = (struct checkpointer_counters){
        .lsn = atomic_load_explicit(&checkpointer->lsn, memory_order_acquire),
        .written = atomic_load_explicit(&checkpointer->written, memory_order_relaxed),
        .us_last = atomic_load_explicit(&checkpointer->us_last, memory_order_relaxed)};
}
