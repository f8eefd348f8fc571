// SPDX-License-Identifier: Apache-2.0
#include "core/base/sha256.h"

#include "tests/support/check.h"

#include <string.h>

/* The examples of FIPS 180-4. */
static void known_answers(void **state)
{
    (void)state;
    char hex[65];
    efm_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    efm_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    efm_sha256_hex(two_blocks, strlen(two_blocks), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
    };
    return cmocka_run_group_tests_name("base/sha256", tests, NULL, NULL);
}
