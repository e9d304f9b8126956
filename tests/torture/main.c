/* main.c: assay-torture: crashes, failing disks and rotten bytes, as many as time allows.
 *
 *   assay-torture exhaustive [--operations N] [--letters TEXT] [--share I --shares N]
 *                                   all workloads of up to N operations (3), or every N-th of the longest
 *   assay-torture seeded [--seconds N] [--seed N] [--thin 1]
 *                                   long workloads until the time is over
 *   assay-torture faults [--seed N] [--cache 1] [--strict 1]
 *                                   the n-th operation of the disk fails, for every n
 *   assay-torture rot [--seed N] [--every N]
 *                                   every N-th byte flipped (1), pages and files replaced
 *   assay-torture --replay LINE     one state again
 *   --states N                      stop an exploration after N states
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/torture/definitions.h"
#include "tests/torture/explorer.h"
#include "tests/torture/faults.h"
#include "tests/torture/rot.h"

struct choices {
    const char *mode;
    const char *letters;
    const char *line;
    uint64_t operations;
    uint64_t seconds;
    uint64_t seed;
    uint64_t states;
    uint64_t share;
    uint64_t shares;
    uint64_t every;
    uint64_t thin;
    uint64_t cache;
    uint64_t strict;
};

/* What is at work, for a process that dies of an assertion. */
static const struct explorer *working;
static const uint64_t *working_states;

static double now_seconds(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* An assertion of the engine is a finding like any other: say where. */
static void died(int number)
{
    char line[LINE_SIZE] = "";
    if (working != NULL) {
        explorer_describe(working, line, sizeof(line));
        (void)printf("FAILED: the process died of signal %d\n  after %llu states\n  assay-torture "
                     "--replay \"%s\"\n",
                     number, (unsigned long long)explorer_counts(working)->unique, line);
    } else {
        (void)printf("FAILED: the process died of signal %d\n  after %llu states\n", number,
                     (unsigned long long)(working_states != NULL ? *working_states : 0));
    }
    (void)fflush(stdout);
    _exit(1);
}

static void counts_print(const struct explorer_counts *counts, double seconds)
{
    uint64_t generated = counts->generated[PROFILE_POSIX] + counts->generated[PROFILE_EXT4];
    (void)printf("  workloads %llu, cuts %llu and %llu in recovery\n",
                 (unsigned long long)counts->workloads, (unsigned long long)counts->cuts[0],
                 (unsigned long long)counts->cuts[1]);
    (void)printf(
        "  states generated %llu (posix-minimal %llu, ext4-like %llu, kills %llu), pruned %llu\n",
        (unsigned long long)(generated + counts->kills),
        (unsigned long long)counts->generated[PROFILE_POSIX],
        (unsigned long long)counts->generated[PROFILE_EXT4], (unsigned long long)counts->kills,
        (unsigned long long)counts->pruned);
    (void)printf("  states checked %llu (%llu in recovery), folds %llu, losses %llu\n",
                 (unsigned long long)counts->unique, (unsigned long long)counts->nested,
                 (unsigned long long)counts->folds, (unsigned long long)counts->losses);
    (void)printf("  %.1f s: %.0f states/s generated, %.0f checked\n", seconds,
                 (double)(generated + counts->kills) / seconds, (double)counts->unique / seconds);
}

static void failure_print(const struct explorer *explorer, uint64_t states)
{
    (void)printf("FAILED: %s\n  after %llu states\n  assay-torture --replay \"%s\"\n",
                 explorer_failure(explorer), (unsigned long long)states,
                 explorer_failure_line(explorer));
}

/* The next word of the same size over the letters. False after the last. */
static bool word_next(char *word, const char *letters)
{
    for (size_t i = strlen(word); i-- > 0;) {
        const char *at = strchr(letters, word[i]);
        assert(at != NULL);
        if (at[1] != '\0') {
            word[i] = at[1];
            return true;
        }
        word[i] = letters[0];
    }
    return false;
}

/* All words of up to N letters. Only the last operation of each is explored: the others are in a shorter word. */
static bool exhaustive(const struct choices *choices)
{
    const struct explorer_options options = {
        .seed = choices->seed,
        .sector_size = 512,
        .all_atoms = 10,
        .samples = 16,
        .nested_every = 16,
        .profiles = {true, true},
        .states_max = choices->states
    };
    struct explorer *explorer = explorer_make(&options);
    double started = now_seconds();
    working = explorer;
    bool good = explorer_run(explorer, "", 0);
    for (uint64_t size = 1; size <= choices->operations && good; size++) {
        char word[WORKLOAD_SIZE] = "";
        memset(word, choices->letters[0], size);
        uint64_t number = 0;
        do {
            /* What is short is done by everybody: it makes the images known that longer words meet again. */
            bool mine = size < choices->operations || number++ % choices->shares == choices->share;
            good = !mine || explorer_run(explorer, word, size);
        } while (good && !explorer_spent(explorer) && word_next(word, choices->letters));
    }
    const struct explorer_counts *counts = explorer_counts(explorer);
    (void)printf("exhaustive\n");
    counts_print(counts, now_seconds() - started);
    if (!good) {
        failure_print(explorer, counts->unique);
    }
    working = NULL;
    explorer_free(explorer);
    return good;
}

static void word_draw(uint64_t seed, const char *letters, size_t size, char *out_word)
{
    uint64_t state = seed;
    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        out_word[i] = letters[(state >> 33) % strlen(letters)];
    }
    out_word[size] = '\0';
}

static void counts_add(struct explorer_counts *sum, const struct explorer_counts *more)
{
    static_assert(sizeof(*sum) % sizeof(uint64_t) == 0, "nothing but numbers of 64 bits");
    uint64_t numbers[2][sizeof(*sum) / sizeof(uint64_t)];
    memcpy(numbers[0], sum, sizeof(*sum));
    memcpy(numbers[1], more, sizeof(*more));
    for (size_t i = 0; i < COUNT_OF(numbers[0]); i++) {
        numbers[0][i] += numbers[1][i];
    }
    memcpy(sum, numbers[0], sizeof(*sum));
}

/* One long word. Thin: few states of each of many words. */
static bool seed_run(const struct choices *choices, uint64_t seed, struct explorer_counts *sum)
{
    bool thin = choices->thin != 0;
    const struct explorer_options options = {
        .seed = seed,
        .sector_size = seed % 3 == 0 ? LOG_BLOCK_ALIGN : 512,
        .thin = thin,
        .all_atoms = 4,
        .samples = thin ? 2 : 6,
        .nested_every = thin ? 0 : 64,
        .profiles = {true, true},
        .states_max = choices->states
    };
    char word[WORKLOAD_SIZE];
    struct explorer *explorer = explorer_make(&options);
    working = explorer;
    word_draw(seed, choices->letters, 48, word);
    bool good = explorer_run(explorer, word, 0);
    counts_add(sum, explorer_counts(explorer));
    if (!good) {
        failure_print(explorer, sum->unique);
    }
    working = NULL;
    explorer_free(explorer);
    snapshots_free();
    return good;
}

static bool seeded(const struct choices *choices)
{
    double started = now_seconds();
    bool good = true;
    struct explorer_counts sum = {0};
    for (uint64_t seed = choices->seed; good && now_seconds() - started < (double)choices->seconds;
         seed++) {
        if (choices->states != 0 && sum.unique >= choices->states) {
            break;
        }
        good = seed_run(choices, seed, &sum);
    }
    (void)printf("seeded\n");
    counts_print(&sum, now_seconds() - started);
    return good;
}

static bool faults(const struct choices *choices)
{
    double started = now_seconds();
    struct fault_counts counts = {0};
    struct trouble trouble = {{0}};
    working_states = &counts.images;
    bool good =
        faults_run(choices->seed, choices->cache != 0, choices->strict != 0, &counts, &trouble);
    (void)printf(
        "faults\n  runs %llu, operations failed %llu, logs poisoned %llu, frames refused %llu\n"
        "  images checked %llu (%llu with refused frames), losses %llu, %.1f s\n",
        (unsigned long long)counts.runs, (unsigned long long)counts.struck,
        (unsigned long long)counts.poisoned, (unsigned long long)counts.refused,
        (unsigned long long)counts.images, (unsigned long long)counts.resurrected,
        (unsigned long long)counts.losses, now_seconds() - started);
    if (!good) {
        (void)printf("FAILED: %s\n  after %llu states\n", trouble.text,
                     (unsigned long long)(counts.runs + counts.images));
    }
    return good;
}

static bool rot(const struct choices *choices)
{
    double started = now_seconds();
    struct rot_counts counts = {0};
    struct trouble trouble = {{0}};
    working_states = &counts.bytes;
    bool good = rot_run(choices->seed, (uint32_t)choices->every, &counts, &trouble);
    (void)printf("rot\n  bytes flipped %llu, pages replaced %llu, files harmed %llu\n"
                 "  refused %llu, harmless %llu, cut as torn %llu, losses %llu, %.1f s\n",
                 (unsigned long long)counts.bytes, (unsigned long long)counts.pages,
                 (unsigned long long)counts.files, (unsigned long long)counts.refused,
                 (unsigned long long)counts.harmless, (unsigned long long)counts.cut,
                 (unsigned long long)counts.losses, now_seconds() - started);
    if (!good) {
        (void)printf("FAILED: %s\n  after %llu states\n", trouble.text,
                     (unsigned long long)(counts.bytes + counts.pages + counts.files));
    }
    return good;
}

static bool replay(const struct choices *choices)
{
    struct trouble trouble = {{0}};
    bool good = explorer_replay(choices->line, &trouble);
    (void)printf("%s%s\n", good ? "passed" : "FAILED: ", trouble.text);
    return good;
}

static bool choices_parse(int count, char **words, struct choices *choices)
{
    struct {
        const char *name;
        uint64_t *number;
        const char **text;
    } known[] = {
        {"--operations", &choices->operations, NULL             },
        {"--seconds",    &choices->seconds,    NULL             },
        {"--seed",       &choices->seed,       NULL             },
        {"--states",     &choices->states,     NULL             },
        {"--cache",      &choices->cache,      NULL             },
        {"--every",      &choices->every,      NULL             },
        {"--share",      &choices->share,      NULL             },
        {"--shares",     &choices->shares,     NULL             },
        {"--thin",       &choices->thin,       NULL             },
        {"--strict",     &choices->strict,     NULL             },
        {"--letters",    NULL,                 &choices->letters},
        {"--replay",     NULL,                 &choices->line   },
    };

    for (int i = 1; i < count; i++) {
        bool found = words[i][0] != '-';
        choices->mode = found ? words[i] : choices->mode;
        for (size_t k = 0; k < COUNT_OF(known) && !found; k++) {
            found = strcmp(words[i], known[k].name) == 0 && i + 1 < count;
            if (found && known[k].number != NULL) {
                *known[k].number = strtoull(words[++i], NULL, 10);
            } else if (found) {
                *known[k].text = words[++i];
            }
        }
        if (!found) {
            (void)fprintf(stderr, "assay-torture: what is %s?\n", words[i]);
            return false;
        }
    }
    return true;
}

int main(int count, char **words)
{
    char letters[64] = "";
    for (size_t i = 0; i < workload_operation_count; i++) {
        letters[i] = workload_operations[i].letter;
    }
    struct choices choices = {.mode = "",
                              .letters = letters,
                              .operations = 3,
                              .seconds = 10,
                              .seed = 1,
                              .shares = 1,
                              .every = 1};
    if (!choices_parse(count, words, &choices)) {
        return 2;
    }
    (void)signal(SIGABRT, died);
    (void)signal(SIGSEGV, died);
    bool good = false;
    if (choices.line != NULL) {
        good = replay(&choices);
    } else if (strcmp(choices.mode, "exhaustive") == 0) {
        good = exhaustive(&choices);
    } else if (strcmp(choices.mode, "seeded") == 0) {
        good = seeded(&choices);
    } else if (strcmp(choices.mode, "faults") == 0) {
        good = faults(&choices);
    } else if (strcmp(choices.mode, "rot") == 0) {
        good = rot(&choices);
    } else {
        (void)fprintf(stderr, "usage: assay-torture exhaustive|seeded|--replay LINE\n");
        return 2;
    }
    snapshots_free();
    definitions_free();
    return good ? 0 : 1;
}
