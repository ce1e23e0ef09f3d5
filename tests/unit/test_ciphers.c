/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ciphers.c - the callbacks of examples/seal: the same tags on every machine, and many
 * threads at once.
 */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "../../examples/seal/seal_openssl.h"
#include "../os.h"

#define THREADS 40u /* more than there are contexts */

static uint8_t secret[40];

static struct seal_openssl *make(int encrypts)
{
    const char *why = NULL;
    for (unsigned i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)(i * 7);
    struct seal_openssl *s = seal_openssl_new(secret, sizeof(secret), encrypts, &why);
    if (!s) {
        printf("# %s\n", why);
        exit(1);
    }
    return s;
}

static uint64_t tag_of(const cm_seal *s, uint8_t kind, const void *data, size_t len)
{
    uint8_t head[CM_SEAL_HEAD] = { kind };
    uint64_t tag = 0;
    CHECK_EQ(s->mac(s->ctx, head, data, len, (uint8_t *)&tag), 0);
    return tag;
}

/* A pool that was made by an older version stays readable. (Computed with Python's own HKDF of hmac
 * and a SipHash-2-4 after its paper.) */
static void test_golden(void)
{
    struct seal_openssl *s = make(1);
    const cm_seal *seal = seal_openssl_of(s);
    uint8_t block[CM_BLOCK_SIZE] = { 0 };
    const uint8_t tweak[16] = { 1, 2, 3 };
    uint64_t first;
    CHECK(tag_of(seal, 1, NULL, 0) == UINT64_C(0x04725fe9f1411247));
    CHECK(tag_of(seal, 3, "abc", 3) == UINT64_C(0x6dbb4e1f562fe36e));
    CHECK_EQ(seal->encrypt(seal->ctx, tweak, block), 0);
    memcpy(&first, block, sizeof(first));
    CHECK(first == UINT64_C(0xe2db51a36957de00));
    CHECK_EQ(seal->decrypt(seal->ctx, tweak, block), 0);
    CHECK(block[0] == 0 && memcmp(block, block + 1, sizeof(block) - 1) == 0);
    seal_openssl_free(s);
}

/* OpenSSL before 3.0.3: without a key and parameters it begins no new tag. */
static bool old_openssl;

int __real_EVP_MAC_init(EVP_MAC_CTX *c, const uint8_t *key, size_t len, const OSSL_PARAM *p);
int __wrap_EVP_MAC_init(EVP_MAC_CTX *c, const uint8_t *key, size_t len, const OSSL_PARAM *p);
int __wrap_EVP_MAC_init(EVP_MAC_CTX *c, const uint8_t *key, size_t len, const OSSL_PARAM *p)
{
    return old_openssl && !key && !p ? 1 : __real_EVP_MAC_init(c, key, len, p);
}

static void test_old_openssl(void)
{
    struct seal_openssl *s = make(0);
    old_openssl = true;
    for (unsigned i = 0; i < 3; i++) {
        CHECK(tag_of(seal_openssl_of(s), 1, NULL, 0) == UINT64_C(0x04725fe9f1411247));
        CHECK(tag_of(seal_openssl_of(s), 3, "abc", 3) == UINT64_C(0x6dbb4e1f562fe36e));
    }
    old_openssl = false;
    seal_openssl_free(s);
}

static void test_differ(void)
{
    struct seal_openssl *s = make(0);
    const cm_seal *seal = seal_openssl_of(s);
    CHECK(!seal->encrypt && !seal->decrypt);
    CHECK(tag_of(seal, 1, "abc", 3) != tag_of(seal, 2, "abc", 3));
    CHECK(tag_of(seal, 1, "abc", 3) != tag_of(seal, 1, "abd", 3));
    CHECK(tag_of(seal, 1, "abc", 2) != tag_of(seal, 1, "abc", 3));
    CHECK(tag_of(seal, 1, "abc", 3) == tag_of(seal, 1, "abc", 3));
    seal_openssl_free(s);
}

/* ---- Keys in files --------------------------------------------------------------------------- */

static struct seal_openssl *read_key(const char *path, size_t len, unsigned mode, const char **why)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, mode);
    struct seal_openssl *s;
    CHECK_EQ(fchmod(fd, mode), 0);
    for (size_t i = 0; i < len; i++)
        CHECK_EQ(write(fd, "k", 1), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    s = seal_openssl_read(fd, 0, why);
    (void)close(fd);
    return s;
}

static void test_files(void)
{
    char dir[256], path[300];
    const char *why = NULL;
    REQUIRE(os_make_dir(dir, sizeof(dir), NULL, "key"));
    (void)snprintf(path, sizeof(path), "%s/key", dir);
    struct seal_openssl *s = read_key(path, 32, 0600, &why);
    CHECK(s != NULL);
    seal_openssl_free(s);
    CHECK(!read_key(path, 31, 0600, &why) && strstr(why, "too short"));
    CHECK(!read_key(path, 0, 0600, &why) && strstr(why, "too short"));
    CHECK(!read_key(path, 4097, 0600, &why) && strstr(why, "too long"));
    CHECK(!read_key(path, 32, 0640, &why) && strstr(why, "chmod 600"));
    CHECK(!read_key(path, 32, 0604, &why) && strstr(why, "chmod 600"));
    (void)unlink(path);
    (void)os_remove_dir(dir);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static const cm_seal *shared;
static uint64_t right[4];

static void *work(void *ctx)
{
    uint8_t block[CM_BLOCK_SIZE], was[CM_BLOCK_SIZE];
    const uint64_t n = (uint64_t)(uintptr_t)ctx;
    uintptr_t wrong = 0;
    for (unsigned i = 0; i < 300; i++) {
        const uint64_t tweak[2] = { n, i };
        content(n % 4, 0, was);
        wrong += tag_of(shared, 9, was, BLK) != right[n % 4];
        memcpy(block, was, BLK);
        wrong += shared->encrypt(shared->ctx, (const uint8_t *)tweak, block) != 0;
        wrong += memcmp(block, was, BLK) == 0;
        wrong += shared->decrypt(shared->ctx, (const uint8_t *)tweak, block) != 0;
        wrong += memcmp(block, was, BLK) != 0;
    }
    return (void *)wrong;
}

static void test_threads(void)
{
    struct seal_openssl *s = make(1);
    pthread_t thread[THREADS];
    void *wrong;
    shared = seal_openssl_of(s);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t block[CM_BLOCK_SIZE];
        content(i, 0, block);
        right[i] = tag_of(shared, 9, block, BLK);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], &wrong), 0);
        CHECK(wrong == NULL);
    }
    seal_openssl_free(s);
}

/* ---- A pool ---------------------------------------------------------------------------------- */

static void test_pool(void)
{
    struct seal_openssl *s = make(1);
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    struct pool p;
    pool_make(&p, 2 * MIB, 0);
    o.seal = p.o.seal = seal_openssl_of(s);
    CHECK_EQ(cm_format_memory(p.base, p.bytes, &o), 0);
    CHECK_EQ(pool_up(&p), 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 30, 7), 30);
    detach(f);
    pool_again(&p);
    f = attach(&p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(hits(f, 0, 30, 7), 30);
    payload_of(p.c, slot_of(f, 3))[100] ^= 1;
    CHECK_EQ(look(f, 3, 7), MISS);
    detach(f);
    pool_end(&p);
    seal_openssl_free(s);
}

static const struct harness_test tests[] = {
    TEST(golden), TEST(old_openssl), TEST(differ), TEST(files), TEST(threads), TEST(pool),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
