/* regex.cc: the C face of RE2. Nothing thrown reaches C. */
#include "engine/regex.h"

#include <re2/re2.h>

#include <new>
#include <string>

#include "engine/limits.h"

struct regex {
    re2::RE2 compiled;

    regex(const re2::StringPiece &pattern, const re2::RE2::Options &options)
        : compiled(pattern, options)
    {
    }
};

static void fault_write(const std::string &fault, char *out_fault, size_t fault_size)
{
    out_fault[fault.copy(out_fault, fault_size - 1)] = '\0';
}

struct regex *regex_compile(const void *pattern, size_t pattern_size, char *out_fault,
                            size_t fault_size)
{
    out_fault[0] = '\0';
    struct regex *made = nullptr;
    try {
        re2::RE2::Options options(re2::RE2::Quiet);
        options.set_max_mem(REGEX_MEMORY);
        options.set_never_capture(true); /* only whether it matches is asked */
        made =
            new regex(re2::StringPiece(static_cast<const char *>(pattern), pattern_size), options);
        if (made->compiled.ok()) {
            return made;
        }
        fault_write(made->compiled.error(), out_fault, fault_size);
    } catch (const std::bad_alloc &) {
        out_fault[0] = '\0';
    }
    delete made;
    return nullptr;
}

/* What is thrown here ends the process. */
static bool matches(const re2::RE2 &compiled, const re2::StringPiece &text) noexcept
{
    return compiled.Match(text, 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

bool regex_matches(const struct regex *regex, const void *text, size_t text_size)
{
    return matches(regex->compiled, re2::StringPiece(static_cast<const char *>(text), text_size));
}

void regex_free(struct regex *regex)
{
    delete regex;
}
