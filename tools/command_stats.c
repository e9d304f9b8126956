/* command_stats.c: assay stats: statistics of summary numbers, a case a line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/answer.h"
#include "tools/options.h"
#include "tools/stats_case.h"
#include "tools/terminal.h"

#define ARENA_KEPT ((size_t)1024 * 1024)

static void fault_write(struct json_writer *writer, uint64_t line, const struct stats_fault *fault)
{
    json_begin_object(writer);
    json_key(writer, "error");
    json_begin_object(writer);
    json_key(writer, "path");
    json_text(writer, fault->path);
    json_key(writer, "message");
    json_text(writer, fault->message);
    json_end_object(writer);
    json_key(writer, "line");
    json_uint(writer, line);
    json_end_object(writer);
}

/* One line to one line. False where it could not be answered. */
static bool line_answer(struct arena *arena, struct bytes text, uint64_t line)
{
    struct json_writer writer = json_writer_in(arena);
    struct stats_fault fault = {{0}, {0}};
    struct error error = {""};
    struct bytes document;
    bool is_good = false;
    if (answer_read(arena, text, &error, &document) != STATUS_OK) {
        (void)snprintf(fault.message, sizeof(fault.message), "is not one JSON value");
    } else {
        is_good = stats_case_answer(document, arena, &writer, &fault);
    }
    if (!is_good) {
        writer = json_writer_in(arena);
        fault_write(&writer, line, &fault);
    }
    json_newline(&writer);
    if (writer.failed || fwrite(writer.text, 1, writer.size, stdout) != writer.size) {
        return false;
    }
    return is_good;
}

static bool is_blank(const char *text, size_t size)
{
    return strspn(text, " \t\r\n") == size;
}

static enum exit_code lines_answer(FILE *file)
{
    struct arena arena;
    char *text = NULL;
    size_t capacity = 0;
    uint64_t line = 0;
    uint64_t faults = 0;
    ssize_t size = 0;
    arena_init(&arena, ARENA_KEPT);
    while ((size = getline(&text, &capacity, file)) >= 0) {
        line++;
        if (is_blank(text, (size_t)size)) {
            continue;
        }
        arena_reset(&arena, ARENA_KEPT);
        char *copy = arena_take_zeroed(&arena, (size_t)size + JSON_PADDING);
        if (copy == NULL) {
            faults++;
            break;
        }
        memcpy(copy, text, (size_t)size);
        faults += line_answer(&arena, bytes_of(copy, (size_t)size), line) ? 0 : 1;
    }
    free(text);
    arena_deinit(&arena);
    if (ferror(file) != 0 || fflush(stdout) != 0) {
        return complain(EXIT_CANNOT, "%s", strerrordesc_np(errno));
    }
    return faults == 0 ? EXIT_GOOD : EXIT_DIFFERENCE;
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct option_operands operands = {.least = 0, .most = 1, .what = "FILE"};
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, NULL, 0, count, arguments, &operands, &code)) {
        return code;
    }
    if (operands.count == 0 || strcmp(operands.items[0], "-") == 0) {
        return lines_answer(stdin);
    }
    FILE *file = fopen(operands.items[0], "re");
    if (file == NULL) {
        return complain(EXIT_CANNOT, "%s: %s", operands.items[0], strerrordesc_np(errno));
    }
    code = lines_answer(file);
    (void)fclose(file);
    return code;
}

const struct command command_stats = {
    .name = "stats",
    .arguments = "[FILE]",
    .summary = "Statistics of summary numbers: no server, no data directory.",
    .lesson = "Reads JSON from FILE or standard input, a case a line, and writes the answer to each, a line of JSON: the\n"
              "comparison as the results of an experiment would show it. Sums are exact decimals, as text:\n"
              "\n"
              "  echo '{\"type\": \"mean\", \"variants\": [\n"
              "         {\"name\": \"control\", \"n\": 5, \"sum\": \"15\", \"sum_squares\": \"55\"},\n"
              "         {\"name\": \"blue\", \"n\": 5, \"sum\": \"30\", \"sum_squares\": \"220\"}]}' | tr -d '\\n' | assay stats\n"
              "  echo '{\"type\": \"proportion\", \"variants\": [{\"n\": 10000, \"count\": 500}, {\"n\": 10000, \"count\": 550}]}' | assay stats\n"
              "  echo '{\"type\": \"srm\", \"observed\": [5000, 5200], \"weights\": [1, 1]}' | assay stats\n"
              "  echo '{\"type\": \"power\", \"baseline\": 0.05, \"mde\": 0.1}' | assay stats\n"
              "  echo '{\"type\": \"adjust\", \"p_values\": [0.01, 0.04], \"correction\": \"holm\"}' | assay stats\n"
              "\n"
              "All types, members and options: docs/statistics.md. Exit code 1 where a case could not be answered: its\n"
              "line then says which member is at fault.\n",
    .run = run,
};
