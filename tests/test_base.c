/* test_base.c: status names, error text, and UUIDs against the worked example of RFC 9562. */
#include "engine/base.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(base, every_status_has_a_name_of_its_own)
{
    for (int i = STATUS_OK; i <= STATUS_UNSUPPORTED; i++) {
        cr_assert_str_neq(status_name((enum status)i), "unknown");
        for (int k = STATUS_OK; k < i; k++) {
            cr_assert_str_neq(status_name((enum status)i), status_name((enum status)k));
        }
    }
    cr_assert_str_eq(status_name((enum status)1000), "unknown");
}

Test(base, error_text_is_cut_and_optional)
{
    struct error error;
    cr_assert_eq(error_set(&error, STATUS_DAMAGED, "file %s at %d", "x", 7), STATUS_DAMAGED);
    cr_assert_str_eq(error.text, "file x at 7");
    cr_assert_eq(error_set(NULL, STATUS_IO, "nobody listens"), STATUS_IO);
    char text[1000];
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)error_set(&error, STATUS_IO, "%s", text);
    cr_assert_eq(strlen(error.text), sizeof(error.text) - 1);
}

Test(base, uuid_of_the_standard)
{
    /* RFC 9562, appendix A.6: unix milliseconds 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F. */
    static const uint8_t random[10] = {0xfc, 0xc3, 0xd8, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
    char text[UUID_TEXT_SIZE];
    struct uuid uuid = uuid_make(0x017f22e279b0 * 1000ll + 999, random);
    uuid_format(&uuid, text);
    cr_assert_str_eq(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    struct uuid parsed;
    cr_assert_eq(uuid_parse(bytes_of_text(text), &parsed), STATUS_OK);
    cr_assert(uuid_equal(&parsed, &uuid));
    cr_assert_eq(uuid_parse(bytes_of_text("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), &parsed),
                 STATUS_OK);
    cr_assert(uuid_equal(&parsed, &uuid));
    struct uuid early = uuid_make(-5, random);
    cr_assert_eq(memcmp(early.bytes, "\0\0\0\0\0\0", 6), 0, "no clock makes a far future");
}

Test(base, uuid_refuses_every_other_text)
{
    static const char good[] = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    struct uuid uuid = {{1}};
    for (size_t size = 0; size < sizeof(good) - 1; size++) {
        cr_assert_eq(uuid_parse(bytes_of(good, size), &uuid), STATUS_INVALID);
    }
    cr_assert_eq(uuid_parse(bytes_of(good, sizeof(good)), &uuid), STATUS_INVALID, "one too long");
    for (size_t i = 0; i < sizeof(good) - 1; i++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        text[i] = good[i] == '-' ? '0' : '-';
        cr_assert_eq(uuid_parse(bytes_of_text(text), &uuid), STATUS_INVALID, "%s", text);
        text[i] = 'g';
        cr_assert_eq(uuid_parse(bytes_of_text(text), &uuid), STATUS_INVALID, "%s", text);
    }
    cr_assert_eq(uuid.bytes[0], 1, "outputs are untouched on failure");
}
