/* faults.c: see faults.h. */
#include "tests/torture/faults.h"

#include "tests/torture/survey.h"

#define CRASHES 6u

static const char *const texts[] = {"abpw", "rar",  "nara",  "wwww", "pppppppp",
                                    "qqq",  "prkp", "nrnrk", "wfw"};

/* What a full disk can fail. Of the other operations it is STATUS_IO by the contract, or they take no room. */
#define ROOM_OPERATIONS                                                                            \
    (IO_SIM_ALLOCATE | IO_SIM_WRITE | IO_SIM_WRITE_DURABLE | IO_SIM_MAKE_DIRECTORY)

static const struct io_sim_fault write_faults[] = {
    {.operations = IO_SIM_ALL & ~(unsigned)IO_SIM_READ, .status = STATUS_IO },
    {                             .operations = IO_SIM_ALL & ~(unsigned)IO_SIM_READ,                              .status = STATUS_IO, .revert_cache = true},
    {                             .operations = IO_SIM_ALL & ~(unsigned)IO_SIM_READ,                              .status = STATUS_IO,      .forever = true},
    {                             .operations = ROOM_OPERATIONS,                        .status = STATUS_NO_SPACE                    },
    { .operations = ROOM_OPERATIONS,                                  .status = STATUS_NO_SPACE,                                                      .forever = true},
};

static const struct io_sim_fault recovery_faults[] = {
    {.operations = IO_SIM_ALL,   .status = STATUS_IO },
    {                             .operations = IO_SIM_ALL,       .status = STATUS_IO, .revert_cache = true},
    {                             .operations = IO_SIM_ALL,       .status = STATUS_IO,      .forever = true},
    {                             .operations = ROOM_OPERATIONS, .status = STATUS_NO_SPACE                    },
    { .operations = ROOM_OPERATIONS,           .status = STATUS_NO_SPACE,                               .forever = true},
};

struct fault_run {
    struct explorer *explorer;
    struct fault_counts *counts;
    struct trouble *trouble;
    struct model model;
    const char *text;
    struct io_sim_fault fault;
    uint64_t seed;
    bool cache;  /* see faults_run() */
    bool strict; /* likewise */
};

static bool run_fail(struct fault_run *run, const char *where, const char *what)
{
    run->counts->losses++;
    return trouble_set(
        run->trouble,
        "%s [%s of workload %s, seed %llu: operation %llu of kinds %x fails with %s%s%s]", what,
        where, run->text, (unsigned long long)run->seed, (unsigned long long)run->fault.nth,
        run->fault.operations, status_name(run->fault.status),
        run->fault.forever ? ", for good" : "", run->fault.revert_cache ? ", cache reverted" : "");
}

/* The next start finds what was acknowledged, whatever a power cut now takes. */
static bool images_check(struct fault_run *run, const struct io_sim *disk, enum image_leeway leeway,
                         const char *where)
{
    bool same_boot = run->cache || run->fault.status != STATUS_IO || run->fault.revert_cache;
    for (uint64_t i = same_boot ? 0 : 1; i < CRASHES; i++) {
        struct trouble trouble = {{0}};
        struct io_sim *image =
            i == 0 ? io_sim_clone(disk) : io_sim_crash(disk, run->seed + i * 7919);
        run->counts->images++;
        bool good = explorer_check_image(run->explorer, image, &run->model, leeway, &trouble);
        io_sim_close(image);
        if (!good) {
            return run_fail(run, where, trouble.text);
        }
    }
    return true;
}

/* A failed log takes nothing more; a full one takes what there is room for. */
static bool log_goes_on(struct fault_run *run, struct session *session)
{
    uint32_t unavailable = session->unavailable;
    uint32_t refused = session->refused;
    bool healthy = event_log_healthy(session->log);
    if (healthy != (event_log_failure(session->log) == NULL)) {
        return run_fail(run, "append", "a failed log does not say why, or a good one says so");
    }
    if (!healthy && run->fault.status == STATUS_NO_SPACE) {
        return run_fail(run, "append", "a full disk has poisoned the log");
    }
    io_sim_inject(session->disk, NULL);
    io_sim_clock_advance(session->disk, 2000000);
    if (!session_append_one(session)) {
        return run_fail(run, "append", session->trouble.text);
    }
    if (!healthy && (session->unavailable == unavailable || event_log_healthy(session->log))) {
        return run_fail(run, "append", "a failed log came back to life");
    }
    if (healthy && (session->refused != refused || session->unavailable != unavailable)) {
        return run_fail(run, "append", "there is room again, but the log refuses a frame");
    }
    run->counts->poisoned += healthy ? 0 : 1;
    return true;
}

/* False on a finding. *out_struck: there was an n-th operation. */
static bool write_fault_run(struct fault_run *run, bool *out_struck)
{
    const struct io_sim_options options = {
        .seed = run->seed, .sector_size = 512, .clock_us = TORTURE_TIME_US};
    struct io_sim *disk = io_sim_open(&options);
    struct session *session = session_make(disk, &run->model, run->seed);
    model_clear(&run->model);
    bool good = session_begin(session) || run_fail(run, "start", session->trouble.text);
    session->refusals_are_fine = true;
    io_sim_inject(disk, &run->fault);
    for (size_t i = 0; run->text[i] != '\0' && good; i++) {
        good = session_run(session, run->text[i]) || run_fail(run, "append", session->trouble.text);
    }
    *out_struck = io_sim_struck(disk) > 0;
    run->counts->runs++;
    run->counts->struck += io_sim_struck(disk);
    bool full = run->fault.status == STATUS_NO_SPACE;
    good = good &&
           images_check(run, disk, full && !run->strict ? IMAGE_LENIENT : IMAGE_TORN, "append");
    good = good && log_goes_on(run, session);
    run->counts->refused += session->refused;
    /* The frame that found room again has covered whatever those without left behind. */
    good = good && images_check(run, disk, full ? IMAGE_CLEAN : IMAGE_TORN, "append");
    session_free(session);
    io_sim_close(disk);
    return good;
}

static bool write_faults_run(struct fault_run *run)
{
    for (size_t i = 0; i < COUNT_OF(write_faults); i++) {
        bool struck = true;
        run->fault = write_faults[i];
        for (run->fault.nth = 1; struck; run->fault.nth++) {
            if (!write_fault_run(run, &struck)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- recovery ---- */

/* A disk that stopped in the middle of the last operation. */
struct stop {
    struct io_sim *disk;
    struct model model;
    const struct model *live;
    uint64_t after; /* cut points to go */
};

static void stop_watch(void *context, struct io_sim *disk, uint64_t point)
{
    struct stop *stop = context;
    (void)point;
    if (stop->after > 0 && --stop->after == 0) {
        stop->disk = io_sim_clone(disk);
        stop->model = *stop->live;
    }
}

/* The disk as it was at cut point `after` of the last operation. NULL: there are fewer. */
static struct io_sim *stopped_disk(struct fault_run *run, uint64_t after)
{
    static struct stop stop;
    const struct io_sim_options options = {
        .seed = run->seed, .sector_size = 512, .clock_us = TORTURE_TIME_US};
    struct io_sim *disk = io_sim_open(&options);
    static struct model live;
    stop = (struct stop){.live = &live, .after = after};
    model_clear(&live);
    struct session *session = session_make(disk, &live, run->seed);
    bool good = session_begin(session);
    for (size_t i = 0; run->text[i] != '\0' && good; i++) {
        if (run->text[i + 1] == '\0') {
            io_sim_watch(disk, stop_watch, &stop);
        }
        good = session_run(session, run->text[i]);
    }
    assert(good);
    io_sim_watch(disk, NULL, NULL);
    session_free(session);
    io_sim_close(disk);
    run->model = stop.model;
    return stop.disk;
}

static bool recovery_fault_run(struct fault_run *run, const struct io_sim *stopped, uint64_t crash,
                               bool *out_struck)
{
    struct io_sim *image = io_sim_crash(stopped, crash);
    struct io *io = io_sim_handle(image);
    struct event_log *log = NULL;
    struct survey survey;
    io_sim_inject(image, &run->fault);
    enum status status = survey_open(io, image, &survey, &log);
    *out_struck = io_sim_struck(image) > 0;
    run->counts->runs++;
    run->counts->struck += io_sim_struck(image);
    io_sim_inject(image, NULL);
    event_log_close(log);
    io_close(io);
    bool good = status == STATUS_OK || *out_struck || run_fail(run, "recovery", survey.error.text);
    if (good && status != STATUS_OK && survey.error.text[0] == '\0') {
        good = run_fail(run, "recovery", "a start failed and does not say why");
    }
    good = good && images_check(run, image, IMAGE_TORN, "recovery");
    io_sim_close(image);
    return good;
}

static bool recovery_faults_run(struct fault_run *run, const struct io_sim *stopped)
{
    for (size_t i = 0; i < COUNT_OF(recovery_faults); i++) {
        for (uint64_t crash = 3; crash < 6; crash++) {
            bool struck = true;
            run->fault = recovery_faults[i];
            for (run->fault.nth = 1; struck; run->fault.nth++) {
                if (!recovery_fault_run(run, stopped, crash, &struck)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static bool stops_run(struct fault_run *run)
{
    bool good = true;
    for (uint64_t after = 1; good; after++) {
        struct io_sim *stopped = stopped_disk(run, after);
        if (stopped == NULL) {
            break;
        }
        good = recovery_faults_run(run, stopped);
        io_sim_close(stopped);
    }
    return good;
}

bool faults_run(uint64_t seed, bool cache, bool strict, struct fault_counts *counts,
                struct trouble *trouble)
{
    static struct fault_run run;
    const struct explorer_options options = {
        .seed = seed, .sector_size = 512, .profiles = {true, true}
    };
    run = (struct fault_run){
        .counts = counts, .trouble = trouble, .seed = seed, .cache = cache, .strict = strict};
    run.explorer = explorer_make(&options);
    bool good = true;
    for (size_t i = 0; i < COUNT_OF(texts) && good; i++) {
        run.text = texts[i];
        good = write_faults_run(&run) && stops_run(&run);
    }
    counts->resurrected = explorer_counts(run.explorer)->resurrected;
    explorer_free(run.explorer);
    return good;
}
