/* load.c: one epoll loop a thread, over connections that each carry one request at a time.
 *
 * A connection's life:
 *
 *   CONNECTING --connected--> IDLE --request due--> SENDING --all sent--> RECEIVING --reply whole--> IDLE
 *       ^                                              |                      |
 *       +------------- failed, or closed by the server + ---------------------+
 *
 * The next request is made as soon as a connection falls idle, not when it is due, so that making it delays nobody.
 */
#include "bench/load.h"

#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE     128
#define RECEIVE_SIZE       ((size_t)64 * 1024)
#define BODY_KEPT          512u
#define CONNECT_SECONDS    5
#define RECONNECT_AFTER_NS INT64_C(10000000)
#define WAIT_LONGEST_NS    INT64_C(10000000)
#define NS_A_SECOND        1e9

enum connection_state {
    CONNECTION_DEAD, /* to be opened again at retry_ns */
    CONNECTION_CONNECTING,
    CONNECTION_IDLE,
    CONNECTION_SENDING,
    CONNECTION_RECEIVING,
};

struct connection {
    int file;
    enum connection_state state;
    bool is_queued; /* in the ring of idle connections, perhaps no longer idle */
    size_t sent;
    int64_t intended_ns;
    int64_t sent_ns;
    int64_t retry_ns;
    struct workload_request request;
    struct client_reply reply;
    char body[BODY_KEPT];
};

struct load_shared {
    const struct load_options *options;
    pthread_barrier_t connected; /* passed twice: all are connected; the start is set */
    int64_t start_ns;
    int64_t window_start_ns;
    int64_t window_end_ns;
    int64_t drain_end_ns;
};

struct load_thread {
    struct load_shared *shared;
    unsigned index;
    unsigned connection_count;
    pthread_t handle;
    enum status status;
    struct error error;
    int epoll;
    struct workload_source *source;
    struct connection *connections;
    uint32_t *idle; /* ring of connection_count places, oldest first */
    size_t idle_first;
    size_t idle_count;
    unsigned dead_count;
    unsigned busy_count; /* sending or receiving */
    uint64_t arrival_count;
    double arrival_ns; /* of the next arrival, from the start */
    char *received;
    struct load_tally tally;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- tallies --- */

static enum status tally_init(struct load_tally *tally)
{
    *tally = (struct load_tally){0};
    struct histogram *histograms[] = {&tally->latency, &tally->service, &tally->lateness};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < COUNT_OF(histograms) && status == STATUS_OK; i++) {
        status = histogram_init(histograms[i]);
    }
    return status;
}

static void tally_deinit(struct load_tally *tally)
{
    histogram_deinit(&tally->latency);
    histogram_deinit(&tally->service);
    histogram_deinit(&tally->lateness);
}

static void tally_merge(struct load_tally *target, const struct load_tally *source)
{
    histogram_merge(&target->latency, &source->latency);
    histogram_merge(&target->service, &source->service);
    histogram_merge(&target->lateness, &source->lateness);
    target->arrivals += source->arrivals;
    target->replies += source->replies;
    target->successes += source->successes;
    target->waited += source->waited;
    target->unanswered += source->unanswered;
    target->broken += source->broken;
    target->events += source->events;
    target->accepted += source->accepted;
    target->duplicates += source->duplicates;
    target->rejected += source->rejected;
    target->bytes_sent += source->bytes_sent;
    target->bytes_received += source->bytes_received;
    for (size_t i = 0; i < LOAD_STATUSES; i++) {
        target->statuses[i] += source->statuses[i];
    }
}

static bool in_window(const struct load_thread *thread, int64_t time_ns)
{
    return time_ns >= thread->shared->window_start_ns && time_ns < thread->shared->window_end_ns;
}

static void tally_latency(struct load_thread *thread, const struct connection *connection,
                          int64_t now_ns)
{
    if (in_window(thread, connection->intended_ns)) {
        histogram_record(&thread->tally.latency, (uint64_t)(now_ns - connection->intended_ns));
        histogram_record(&thread->tally.service, (uint64_t)(now_ns - connection->sent_ns));
    }
}

static void tally_reply(struct load_thread *thread, const struct connection *connection,
                        int64_t now_ns)
{
    tally_latency(thread, connection, now_ns);
    if (!in_window(thread, now_ns)) {
        return;
    }
    struct load_tally *tally = &thread->tally;
    const struct client_reply *reply = &connection->reply;
    tally->replies++;
    tally->bytes_sent += connection->request.size;
    tally->bytes_received += reply->size;
    tally->statuses[reply->status < LOAD_STATUSES ? reply->status : 0]++;
    if (reply->status / 100 != 2) {
        return;
    }
    tally->successes++;
    const uint64_t events = workload_plan_events(thread->shared->options->plan);
    tally->events += events;
    if (events > 0) {
        const struct bytes body = bytes_of(connection->body, reply->body_size);
        tally->accepted += client_json_count(body, "accepted");
        tally->duplicates += client_json_count(body, "duplicates");
        tally->rejected += client_json_count(body, "rejected");
    }
}

/* --- connections --- */

static void connection_idle(struct load_thread *thread, struct connection *connection)
{
    connection->state = CONNECTION_IDLE;
    workload_request_next(thread->source, &connection->request);
    if (connection->is_queued) {
        return;
    }
    connection->is_queued = true;
    assert(thread->idle_count < thread->connection_count);
    const size_t last = (thread->idle_first + thread->idle_count) % thread->connection_count;
    thread->idle[last] = (uint32_t)(connection - thread->connections);
    thread->idle_count++;
}

/* The connection that has been idle longest, or NULL. */
static struct connection *connection_take_idle(struct load_thread *thread)
{
    while (thread->idle_count > 0) {
        struct connection *connection = &thread->connections[thread->idle[thread->idle_first]];
        thread->idle_first = (thread->idle_first + 1) % thread->connection_count;
        thread->idle_count--;
        connection->is_queued = false;
        if (connection->state == CONNECTION_IDLE) {
            return connection;
        }
    }
    return NULL;
}

static bool is_busy(const struct connection *connection)
{
    return connection->state == CONNECTION_SENDING || connection->state == CONNECTION_RECEIVING;
}

static void connection_end(struct load_thread *thread, struct connection *connection)
{
    if (connection->file >= 0) {
        (void)close(connection->file); /* epoll forgets it with its last descriptor */
        connection->file = -1;
    }
    thread->busy_count -= is_busy(connection);
    thread->dead_count += connection->state != CONNECTION_DEAD;
    connection->state = CONNECTION_DEAD;
}

/* A request the connection carried is lost: it counts with the time until now. */
static void connection_fail(struct load_thread *thread, struct connection *connection)
{
    const int64_t now_ns = monotonic_ns();
    if (is_busy(connection)) {
        tally_latency(thread, connection, now_ns);
        thread->tally.broken += in_window(thread, now_ns);
    }
    connection_end(thread, connection);
    connection->retry_ns = now_ns + RECONNECT_AFTER_NS;
}

static void connection_open(struct load_thread *thread, struct connection *connection)
{
    const struct client_target *target = thread->shared->options->target;
    const int one = 1;
    assert(connection->state == CONNECTION_DEAD);
    connection->retry_ns = monotonic_ns() + RECONNECT_AFTER_NS;
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (file < 0) {
        return;
    }
    (void)setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data = {.ptr = connection}};
    const int connected =
        connect(file, (const struct sockaddr *)&target->address, sizeof(target->address));
    if ((connected != 0 && errno != EINPROGRESS) ||
        epoll_ctl(thread->epoll, EPOLL_CTL_ADD, file, &event) != 0) {
        (void)close(file);
        return;
    }
    connection->file = file;
    connection->state =
        CONNECTION_CONNECTING; /* writable at once where it is connected: the edge comes either way */
    thread->dead_count--;
}

static void connection_send(struct load_thread *thread, struct connection *connection)
{
    const struct workload_request *request = &connection->request;
    while (connection->sent < request->size) {
        const ssize_t done = send(connection->file, request->data + connection->sent,
                                  request->size - connection->sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0 && errno == EAGAIN) {
            return;
        }
        if (done < 0) {
            connection_fail(thread, connection);
            return;
        }
        connection->sent += (size_t)done;
    }
    connection->state = CONNECTION_RECEIVING;
}

static void request_start(struct load_thread *thread, struct connection *connection,
                          int64_t intended_ns, int64_t now_ns)
{
    assert(connection->state == CONNECTION_IDLE);
    connection->state = CONNECTION_SENDING;
    connection->sent = 0;
    connection->intended_ns = intended_ns;
    connection->sent_ns = now_ns;
    client_reply_begin(&connection->reply, connection->body, sizeof(connection->body));
    thread->busy_count++;
    connection_send(thread, connection);
}

static void reply_finish(struct load_thread *thread, struct connection *connection)
{
    tally_reply(thread, connection, monotonic_ns());
    /* A reply before the whole request was taken (413, 401) leaves the stream in the middle of a body. */
    if (connection->reply.closes || connection->state == CONNECTION_SENDING) {
        connection_end(thread, connection);
        connection_open(thread, connection);
        return;
    }
    thread->busy_count--;
    connection_idle(thread, connection);
}

/* Reads until the reply is whole or nothing is left. */
static void connection_receive(struct load_thread *thread, struct connection *connection)
{
    struct client_reply *reply = &connection->reply;
    ssize_t done = 0;
    do {
        done = recv(connection->file, thread->received, RECEIVE_SIZE, 0);
        if (done < 0 && errno == EAGAIN) {
            return;
        }
        if (done == 0 && reply->state == REPLY_BODY_TO_END) {
            reply->state = REPLY_DONE;
        } else if (done <= 0) {
            connection_fail(thread, connection);
            return;
        }
        const size_t taken = client_reply_feed(reply, thread->received, (size_t)done);
        if (reply->state == REPLY_BAD || (reply->state == REPLY_DONE && taken < (size_t)done)) {
            connection_fail(thread, connection);
            return;
        }
        if (reply->state == REPLY_DONE) {
            reply_finish(thread, connection);
            return;
        }
        /* A read that filled less than the buffer has emptied the socket; the next bytes bring an edge of their own. */
    } while ((size_t)done == RECEIVE_SIZE);
}

static void connection_connected(struct load_thread *thread, struct connection *connection)
{
    int failure = 0;
    socklen_t size = sizeof(failure);
    if (getsockopt(connection->file, SOL_SOCKET, SO_ERROR, &failure, &size) != 0 || failure != 0) {
        connection_fail(thread, connection);
        return;
    }
    connection_idle(thread, connection);
}

static void connection_event(struct load_thread *thread, struct connection *connection,
                             uint32_t events)
{
    const bool has_ended = (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) != 0;
    switch (connection->state) {
    case CONNECTION_DEAD:
        break;
    case CONNECTION_CONNECTING:
        if (has_ended || (events & EPOLLOUT) != 0) {
            connection_connected(thread, connection);
        }
        break;
    case CONNECTION_IDLE:
        if (has_ended) {
            connection_end(thread, connection); /* servers may close what is idle */
            connection_open(thread, connection);
        }
        break;
    case CONNECTION_SENDING:
    case CONNECTION_RECEIVING:
        if (connection->state == CONNECTION_SENDING && (events & EPOLLOUT) != 0) {
            connection_send(thread, connection);
        }
        if (is_busy(connection) && (has_ended || (events & EPOLLIN) != 0)) {
            connection_receive(thread, connection);
        }
        /* An end that came with the last bytes of a reply has no further edge. */
        if (has_ended && connection->state == CONNECTION_IDLE) {
            connection_end(thread, connection);
            connection_open(thread, connection);
        }
        break;
    }
}

static void dead_connections_open(struct load_thread *thread, int64_t now_ns)
{
    for (unsigned i = 0; i < thread->connection_count && thread->dead_count > 0; i++) {
        struct connection *connection = &thread->connections[i];
        if (connection->state == CONNECTION_DEAD && connection->retry_ns <= now_ns) {
            connection_open(thread, connection);
        }
    }
}

static void events_handle(struct load_thread *thread, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    const struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                     .tv_nsec = timeout_ns % 1000000000};
    const int count = epoll_pwait2(thread->epoll, events, EVENTS_AT_ONCE, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        connection_event(thread, events[i].data.ptr, events[i].events);
    }
}

/* --- the schedule --- */

static void arrival_next(struct load_thread *thread)
{
    const struct load_options *options = thread->shared->options;
    const double gap_ns = NS_A_SECOND * options->threads / options->rate;
    thread->arrival_count++;
    if (options->poisson) {
        thread->arrival_ns -= log1p(-workload_source_random(thread->source)) * gap_ns;
    } else {
        /* By multiplication, so that no error adds up; threads take turns within the gap. */
        thread->arrival_ns =
            ((double)thread->arrival_count + (double)thread->index / options->threads) * gap_ns;
    }
}

static int64_t arrival_time(const struct load_thread *thread)
{
    return thread->shared->start_ns + (int64_t)thread->arrival_ns;
}

/* Sends every arrival that is due and has a connection. */
static void arrivals_send(struct load_thread *thread, int64_t now_ns, bool was_idle)
{
    const int64_t end_ns = thread->shared->window_end_ns;
    while (arrival_time(thread) <= now_ns && arrival_time(thread) < end_ns) {
        struct connection *connection = connection_take_idle(thread);
        if (connection == NULL) {
            return;
        }
        const int64_t intended_ns = arrival_time(thread);
        const int64_t sent_ns = monotonic_ns();
        if (in_window(thread, intended_ns)) {
            thread->tally.arrivals++;
            if (was_idle) {
                histogram_record(&thread->tally.lateness, (uint64_t)(sent_ns - intended_ns));
            } else {
                thread->tally.waited++;
            }
        }
        arrival_next(thread);
        request_start(thread, connection, intended_ns, sent_ns);
    }
}

static void closed_loop_send(struct load_thread *thread, int64_t now_ns)
{
    if (now_ns >= thread->shared->window_end_ns) {
        return;
    }
    struct connection *connection = connection_take_idle(thread);
    while (connection != NULL) {
        const int64_t sent_ns = monotonic_ns();
        thread->tally.arrivals += in_window(thread, sent_ns);
        request_start(thread, connection, sent_ns, sent_ns);
        connection = connection_take_idle(thread);
    }
}

static int64_t wait_time(const struct load_thread *thread, int64_t now_ns, bool is_open_loop)
{
    int64_t wait_ns = WAIT_LONGEST_NS;
    if (is_open_loop && thread->idle_count > 0 &&
        arrival_time(thread) < thread->shared->window_end_ns) {
        const int64_t due_ns = arrival_time(thread) - now_ns;
        wait_ns = due_ns < wait_ns ? due_ns : wait_ns;
    }
    return wait_ns > 0 ? wait_ns : 0;
}

static void load_loop(struct load_thread *thread)
{
    const struct load_shared *shared = thread->shared;
    const bool is_open_loop = shared->options->rate > 0;
    bool was_idle =
        true; /* a connection was free while the loop slept, so lateness is the generator's own */
    int64_t now_ns = monotonic_ns();
    while (now_ns < shared->drain_end_ns) {
        if (is_open_loop) {
            arrivals_send(thread, now_ns, was_idle);
        } else {
            closed_loop_send(thread, now_ns);
        }
        was_idle = thread->idle_count > 0;
        const bool has_arrivals = is_open_loop && arrival_time(thread) < shared->window_end_ns;
        if (now_ns >= shared->window_end_ns && thread->busy_count == 0 && !has_arrivals) {
            break;
        }
        events_handle(thread, wait_time(thread, now_ns, is_open_loop));
        now_ns = monotonic_ns();
        if (thread->dead_count > 0) {
            dead_connections_open(thread, now_ns);
        }
    }
}

/* What still waits when time is up counts as slow as it has been so far, so that giving up cannot look fast. */
static void unanswered_tally(struct load_thread *thread)
{
    const int64_t now_ns = monotonic_ns();
    for (unsigned i = 0; i < thread->connection_count; i++) {
        const struct connection *connection = &thread->connections[i];
        if (is_busy(connection) && in_window(thread, connection->intended_ns)) {
            tally_latency(thread, connection, now_ns);
            thread->tally.unanswered++;
        }
    }
    if (thread->shared->options->rate <= 0) {
        return;
    }
    for (; arrival_time(thread) < thread->shared->window_end_ns; arrival_next(thread)) {
        if (in_window(thread, arrival_time(thread))) {
            histogram_record(&thread->tally.latency, (uint64_t)(now_ns - arrival_time(thread)));
            thread->tally.arrivals++;
            thread->tally.unanswered++;
        }
    }
}

/* --- threads --- */

static enum status thread_prepare(struct load_thread *thread)
{
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    thread->connections = calloc(thread->connection_count, sizeof(thread->connections[0]));
    thread->idle = calloc(thread->connection_count, sizeof(thread->idle[0]));
    thread->received = malloc(RECEIVE_SIZE);
    if (thread->epoll < 0 || thread->connections == NULL || thread->idle == NULL ||
        thread->received == NULL) {
        return error_set(&thread->error, STATUS_NO_MEMORY, "out of memory or descriptors");
    }
    enum status status = tally_init(&thread->tally);
    if (status == STATUS_OK) {
        status =
            workload_source_open(thread->shared->options->plan, thread->index, &thread->source);
    }
    for (unsigned i = 0; i < thread->connection_count; i++) {
        thread->connections[i].file = -1;
    }
    for (unsigned i = 0; i < thread->connection_count && status == STATUS_OK; i++) {
        status = workload_request_init(thread->source, &thread->connections[i].request);
    }
    if (status != STATUS_OK) {
        return error_set(&thread->error, status, "out of memory for the requests");
    }
    thread->dead_count = thread->connection_count;
    const int64_t deadline_ns = monotonic_ns() + CONNECT_SECONDS * INT64_C(1000000000);
    while (thread->idle_count < thread->connection_count) {
        const int64_t now_ns = monotonic_ns();
        if (now_ns > deadline_ns) {
            return error_set(&thread->error, STATUS_IO,
                             "only %zu of %u connections were accepted within %d s",
                             thread->idle_count, thread->connection_count, CONNECT_SECONDS);
        }
        dead_connections_open(thread, now_ns);
        events_handle(thread, WAIT_LONGEST_NS);
    }
    return STATUS_OK;
}

static void *thread_main(void *argument)
{
    struct load_thread *thread = argument;
    /* Timers may be merged within 50 us by default: that would be seen as the server's latency. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    thread->status = thread_prepare(thread);
    (void)pthread_barrier_wait(&thread->shared->connected);
    (void)pthread_barrier_wait(&thread->shared->connected);
    if (thread->status == STATUS_OK) {
        arrival_next(thread);
        load_loop(thread);
        unanswered_tally(thread);
    }
    return NULL;
}

static void thread_deinit(struct load_thread *thread)
{
    for (unsigned i = 0; i < thread->connection_count && thread->connections != NULL; i++) {
        struct connection *connection = &thread->connections[i];
        if (connection->file >= 0) {
            (void)close(connection->file);
        }
        workload_request_deinit(&connection->request);
    }
    if (thread->epoll >= 0) {
        (void)close(thread->epoll);
    }
    workload_source_close(thread->source);
    free(thread->connections);
    free(thread->idle);
    free(thread->received);
    tally_deinit(&thread->tally);
}

static void sleep_until(int64_t time_ns)
{
    const struct timespec until = {.tv_sec = time_ns / 1000000000, .tv_nsec = time_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

/* Sets the schedule, lets the threads go, and takes the samples at the window's ends. Where a thread could not start,
 * the schedule stays empty and every thread ends at once. */
static void run_conduct(struct load_shared *shared, const struct load_thread *threads,
                        struct load_result *result)
{
    const struct load_options *options = shared->options;
    (void)pthread_barrier_wait(&shared->connected);
    bool are_ready = true;
    for (unsigned i = 0; i < options->threads; i++) {
        are_ready = are_ready && threads[i].status == STATUS_OK;
    }
    if (!are_ready) {
        (void)pthread_barrier_wait(&shared->connected);
        return;
    }
    shared->start_ns = monotonic_ns() + 5000000;
    shared->window_start_ns = shared->start_ns + (int64_t)(options->warmup_seconds * NS_A_SECOND);
    shared->window_end_ns =
        shared->window_start_ns + (int64_t)(options->duration_seconds * NS_A_SECOND);
    shared->drain_end_ns =
        shared->window_end_ns + (int64_t)(options->drain_seconds * NS_A_SECOND) + 1000000;
    (void)pthread_barrier_wait(&shared->connected);
    sleep_until(shared->window_start_ns);
    facts_sample_take(options->facts, options->server, &result->before);
    sleep_until(shared->window_end_ns);
    facts_sample_take(options->facts, options->server, &result->after);
    result->window_seconds = options->duration_seconds;
}

static enum status threads_collect(const struct load_thread *threads, unsigned count,
                                   struct error *error, struct load_result *result)
{
    for (unsigned i = 0; i < count; i++) {
        if (threads[i].status != STATUS_OK) {
            return error_set(error, threads[i].status, "%s", threads[i].error.text);
        }
        tally_merge(&result->tally, &threads[i].tally);
    }
    return STATUS_OK;
}

enum status load_run(const struct load_options *options, struct error *error,
                     struct load_result *out_result)
{
    struct load_shared shared = {.options = options};
    struct load_result result = {0};
    struct load_thread *threads = calloc(options->threads, sizeof(threads[0]));
    if (threads == NULL || tally_init(&result.tally) != STATUS_OK ||
        pthread_barrier_init(&shared.connected, NULL, options->threads + 1) != 0) {
        free(threads);
        load_result_deinit(&result);
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    workload_plan_renew(options->plan);
    for (unsigned i = 0; i < options->threads; i++) {
        struct load_thread *thread = &threads[i];
        thread->shared = &shared;
        thread->index = i;
        thread->epoll = -1;
        thread->connection_count =
            options->connections / options->threads + (i < options->connections % options->threads);
        /* The barrier waits for every thread, so one that cannot start leaves nothing sensible to do. */
        const int failure = pthread_create(&thread->handle, NULL, thread_main, thread);
        assert(failure == 0);
    }
    run_conduct(&shared, threads, &result);
    for (unsigned i = 0; i < options->threads; i++) {
        (void)pthread_join(threads[i].handle, NULL);
    }
    const enum status status = threads_collect(threads, options->threads, error, &result);
    for (unsigned i = 0; i < options->threads; i++) {
        thread_deinit(&threads[i]);
    }
    free(threads);
    (void)pthread_barrier_destroy(&shared.connected);
    if (status != STATUS_OK) {
        load_result_deinit(&result);
        return status;
    }
    *out_result = result;
    return STATUS_OK;
}

void load_result_deinit(struct load_result *result)
{
    tally_deinit(&result->tally);
}
