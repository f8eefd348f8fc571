// SPDX-License-Identifier: Apache-2.0
#include "core/base/words.h"
#include "tests/support/check.h"

#define COLOUR_MAP(X)                                                                                        \
    X(RED, "red", "of long waves")                                                                           \
    X(BLUE, "blue", "of short ones")
enum colour { RED, BLUE };
const char *colour_name(enum colour value);
enum efm_status colour_parse(const char *word, enum colour *value);
EFM_DEFINE_WORDS(colour, COLOUR_MAP)

static void a_value_has_its_word(void **state)
{
    (void)state;
    assert_string_equal(colour_name(RED), "red");
    assert_string_equal(colour_name(BLUE), "blue");
    assert_string_equal(colour_name((enum colour)2), "unknown");
    assert_string_equal(colour_name((enum colour) - 1), "unknown");
    assert_int_equal(EFM_WORD_COUNT(colour), 2);
}

static void a_word_has_its_value(void **state)
{
    (void)state;
    enum colour value = RED;
    assert_int_equal(colour_parse("blue", &value), EFM_OK);
    assert_int_equal(value, BLUE);
    static const char *const others[] = {"", "blu", "blues", "Red", "unknown"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(colour_parse(others[i], &value), EFM_E_NOT_FOUND);
    assert_int_equal(value, BLUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_has_its_word),
        cmocka_unit_test(a_word_has_its_value),
    };
    return cmocka_run_group_tests_name("base/words", tests, NULL, NULL);
}
