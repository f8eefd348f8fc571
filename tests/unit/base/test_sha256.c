// SPDX-License-Identifier: Apache-2.0
#include "core/base/sha256.h"

#include "tests/support/check.h"

#include <stdio.h>
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

/* However the bytes are cut, and from a copy of the state too. */
static void adds_in_pieces(void **state)
{
    (void)state;
    char text[200], whole[65], hex[65];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    efm_sha256_hex(text, sizeof text, whole);
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        struct efm_sha256 digest, copy;
        efm_sha256_begin(&digest);
        efm_sha256_add(&digest, text, cut);
        copy = digest;
        efm_sha256_add(&digest, text + cut, sizeof text - cut);
        efm_sha256_end(&digest, hex);
        assert_string_equal(hex, whole);
        efm_sha256_add(&copy, text + cut, sizeof text - cut);
        efm_sha256_end(&copy, hex);
        assert_string_equal(hex, whole);
    }
}

/* FIPS 180-4: a million times the letter a. */
static void long_answer(void **state)
{
    (void)state;
    char text[1000], hex[65];
    struct efm_sha256 digest;
    memset(text, 'a', sizeof text);
    efm_sha256_begin(&digest);
    for (int i = 0; i < 1000; i++)
        efm_sha256_add(&digest, text, sizeof text);
    efm_sha256_end(&digest, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void assert_hmac(const void *key, size_t key_size, const char *text, const char *wanted)
{
    const size_t size = strlen(text);
    for (size_t cut = 0; cut <= size; cut++) {
        const struct efm_sha256_part parts[] = {{text, cut}, {text + cut, size - cut}};
        uint8_t sum[EFM_SHA256_SIZE];
        char hex[2 * EFM_SHA256_SIZE + 1];
        efm_hmac_sha256(key, key_size, parts, 2, sum);
        for (size_t i = 0; i < sizeof sum; i++)
            snprintf(hex + 2 * i, 3, "%02x", sum[i]);
        assert_string_equal(hex, wanted);
    }
}

/* RFC 4231, cases 1, 2 and 6: a short key, a shorter one, one longer than a block. */
static void known_keyed_answers(void **state)
{
    (void)state;
    uint8_t key[131];
    memset(key, 0x0b, 20);
    assert_hmac(key, 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac("Jefe", 4, "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    assert_hmac(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    uint8_t sum[EFM_SHA256_SIZE], same[EFM_SHA256_SIZE];
    efm_hmac_sha256("k", 1, NULL, 0, sum);
    efm_hmac_sha256("k", 1, &(struct efm_sha256_part){"", 0}, 1, same);
    assert_memory_equal(sum, same, sizeof sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(adds_in_pieces),
        cmocka_unit_test(long_answer),
        cmocka_unit_test(known_keyed_answers),
    };
    return cmocka_run_group_tests_name("base/sha256", tests, NULL, NULL);
}
