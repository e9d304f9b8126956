/* commands.h: what assay-bench can do besides the workloads. Each returns the program's exit code. */
#ifndef ASSAY_BENCH_COMMANDS_H
#define ASSAY_BENCH_COMMANDS_H

#include "bench/options.h"

enum bench_exit {
    BENCH_GOOD = 0,
    BENCH_INVALID = 1, /* a run that does not count, a self-test that failed */
    BENCH_USAGE = 2,
    BENCH_UNABLE = 3,
};

int command_flush(const struct options *options);
int command_selftest(const struct options *options);
int command_responder(const struct options *options);

#endif
