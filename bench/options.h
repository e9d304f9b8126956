/* options.h: the command line: one table from which it is read and explained. */
#ifndef ASSAY_BENCH_OPTIONS_H
#define ASSAY_BENCH_OPTIONS_H

#include "engine/base.h"

#include <stdio.h>

#define BENCH_CONNECTIONS_MAX 10000u
#define BENCH_EVENT_SIZE_MAX  4096u
#define BENCH_THREADS_MAX     64u
#define BENCH_REPEAT_MAX      100u

struct options {
    const char *url;
    const char *token; /* NULL for none */
    const char *data;  /* NULL for none */
    const char *experiment;
    const char *format;
    uint64_t connections;
    uint64_t threads;
    uint64_t batch;
    uint64_t event_size;
    uint64_t users;
    uint64_t repeat;
    uint64_t pid; /* 0: look it up */
    double rate;  /* requests a second; 0: closed loop */
    double duration;
    double warmup;
    double drain;
    double zipf;
    double duplicates;
    double late;
    double late_hours;
    bool poisson;
    bool json;
    bool help;
    char token_text[512]; /* what token points to when it was read from a file */
};

/* The defaults, then the arguments over them, then the token from ASSAY_TOKEN or the data directory. */
MUST_USE enum status options_parse(int count, char **arguments, struct options *options,
                                   struct error *error);
void options_explain(FILE *out);

#endif
