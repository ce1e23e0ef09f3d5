/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_openssl.c - see seal_openssl.h.
 *
 * Owns: the derived keys, and contexts of OpenSSL that hold them. Both keys are made of the secret
 * with HKDF-SHA-256. A context must not be used by two threads at once, and to make one takes a
 * third of the time of a tag, so there are some: a thread takes one that is free, and copies one if
 * none is.
 *
 * SipHash is made for short tags of 64 bits, and is the fastest pseudorandom function that OpenSSL
 * has: a block takes a third of the time of BLAKE2b, two thirds of that of HMAC-SHA-256 with a CPU
 * that has instructions for it.
 */
#include "seal_openssl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define LANES 16u
#define MAC_KEY 16u
#define XTS_KEY 64u

struct lane {
    atomic_flag taken;
    EVP_MAC_CTX *mac;
    EVP_CIPHER_CTX *encrypt, *decrypt;
    char apart[64]; /* lanes of two threads in lines of their own */
};

struct seal_openssl {
    cm_seal seal;
    uint8_t mac_key[MAC_KEY];
    struct lane model; /* what others are copied from; it computes nothing itself */
    struct lane lane[LANES];
};

/* ---- Contexts -------------------------------------------------------------------------------- */

static void free_lane(struct lane *l)
{
    EVP_MAC_CTX_free(l->mac);
    EVP_CIPHER_CTX_free(l->encrypt);
    EVP_CIPHER_CTX_free(l->decrypt);
}

/* A copy of the first one's contexts. */
static int copy_lane(struct lane *to, const struct lane *from)
{
    to->mac = EVP_MAC_CTX_dup(from->mac);
    if (!to->mac)
        return 0;
    if (!from->encrypt)
        return 1;
    to->encrypt = EVP_CIPHER_CTX_new();
    to->decrypt = EVP_CIPHER_CTX_new();
    return to->encrypt && to->decrypt && EVP_CIPHER_CTX_copy(to->encrypt, from->encrypt) == 1 &&
           EVP_CIPHER_CTX_copy(to->decrypt, from->decrypt) == 1;
}

/* A lane that no other thread uses; `own` if all are taken. NULL: no memory. */
static struct lane *take(struct seal_openssl *s, struct lane *own)
{
    static atomic_uint threads;
    static _Thread_local unsigned first;

    if (first == 0)
        first = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *const l = &s->lane[(first + i) % LANES];

        if (!atomic_flag_test_and_set_explicit(&l->taken, memory_order_acquire))
            return l;
    }
    memset(own, 0, sizeof(*own));
    if (copy_lane(own, &s->model))
        return own;
    free_lane(own);
    return NULL;
}

static void give_back(struct lane *l, struct lane *own)
{
    if (l == own)
        free_lane(own);
    else
        atomic_flag_clear_explicit(&l->taken, memory_order_release);
}

/* ---- The callbacks --------------------------------------------------------------------------- */

static int mac(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *data, size_t len,
               uint8_t tag[CM_SEAL_TAG])
{
    const struct seal_openssl *const s = ctx;
    struct lane own, *const l = take(ctx, &own);
    size_t n = 0;
    int ok;

    if (!l)
        return 1;
    /* With the key: without it OpenSSL before 3.0.3 goes on with the last tag. */
    ok = EVP_MAC_init(l->mac, s->mac_key, MAC_KEY, NULL) == 1 &&
         EVP_MAC_update(l->mac, head, CM_SEAL_HEAD) == 1 &&
         (len == 0 || EVP_MAC_update(l->mac, data, len) == 1) &&
         EVP_MAC_final(l->mac, tag, &n, CM_SEAL_TAG) == 1 && n == CM_SEAL_TAG;
    give_back(l, &own);
    return !ok;
}

static int encrypt(void *ctx, const uint8_t tweak[16], void *block)
{
    struct lane own, *const l = take(ctx, &own);
    int n = 0, ok;

    if (!l)
        return 1;
    ok = EVP_EncryptInit_ex2(l->encrypt, NULL, NULL, tweak, NULL) == 1 &&
         EVP_EncryptUpdate(l->encrypt, block, &n, block, CM_BLOCK_SIZE) == 1 &&
         n == (int)CM_BLOCK_SIZE;
    give_back(l, &own);
    return !ok;
}

static int decrypt(void *ctx, const uint8_t tweak[16], void *block)
{
    struct lane own, *const l = take(ctx, &own);
    int n = 0, ok;

    if (!l)
        return 1;
    ok = EVP_DecryptInit_ex2(l->decrypt, NULL, NULL, tweak, NULL) == 1 &&
         EVP_DecryptUpdate(l->decrypt, block, &n, block, CM_BLOCK_SIZE) == 1 &&
         n == (int)CM_BLOCK_SIZE;
    give_back(l, &own);
    return !ok;
}

/* ---- Making one ------------------------------------------------------------------------------ */

/* A key of its own for each purpose. */
static int derive(const void *key, size_t len, const char *purpose, uint8_t *to, size_t size)
{
    char digest[] = "SHA256";
    OSSL_PARAM p[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)purpose,
                                          strlen(purpose)),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *const kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *const c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    const int ok = c && EVP_KDF_derive(c, to, size, p) == 1;

    EVP_KDF_CTX_free(c);
    EVP_KDF_free(kdf);
    return ok;
}

static int begin_mac(struct lane *l, const uint8_t key[MAC_KEY])
{
    size_t size = CM_SEAL_TAG;
    OSSL_PARAM p[] = { OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                       OSSL_PARAM_construct_end() };
    EVP_MAC *const m = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    int ok;

    l->mac = m ? EVP_MAC_CTX_new(m) : NULL;
    ok = l->mac && EVP_MAC_init(l->mac, key, MAC_KEY, p) == 1;
    EVP_MAC_free(m);
    return ok;
}

static int begin_cipher(struct lane *l, const uint8_t key[XTS_KEY])
{
    l->encrypt = EVP_CIPHER_CTX_new();
    l->decrypt = EVP_CIPHER_CTX_new();
    return l->encrypt && l->decrypt &&
           EVP_EncryptInit_ex2(l->encrypt, EVP_aes_256_xts(), key, NULL, NULL) == 1 &&
           EVP_DecryptInit_ex2(l->decrypt, EVP_aes_256_xts(), key, NULL, NULL) == 1;
}

static int begin(struct seal_openssl *s, const void *key, size_t len, int encrypts)
{
    uint8_t xts_key[XTS_KEY];
    int ok = derive(key, len, "cachemax tags 1", s->mac_key, MAC_KEY) &&
             derive(key, len, "cachemax blocks 1", xts_key, sizeof(xts_key)) &&
             begin_mac(&s->model, s->mac_key) && (!encrypts || begin_cipher(&s->model, xts_key));

    for (unsigned i = 0; i < LANES && ok; i++)
        ok = copy_lane(&s->lane[i], &s->model);
    OPENSSL_cleanse(xts_key, sizeof(xts_key));
    return ok;
}

struct seal_openssl *seal_openssl_new(const void *key, size_t len, int encrypts, const char **why)
{
    struct seal_openssl *s;

    *why = "the key is too short: it has fewer than 32 bytes";
    if (len < SEAL_KEY_MIN)
        return NULL;
    *why = "OpenSSL cannot make what SipHash and AES-256-XTS need";
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    for (unsigned i = 0; i < LANES; i++)
        atomic_flag_clear(&s->lane[i].taken);
    s->seal = (cm_seal)CM_SEAL_INIT;
    s->seal.ctx = s;
    s->seal.mac = mac;
    s->seal.encrypt = encrypts ? encrypt : NULL;
    s->seal.decrypt = encrypts ? decrypt : NULL;
    if (begin(s, key, len, encrypts))
        return s;
    seal_openssl_free(s);
    return NULL;
}

struct seal_openssl *seal_openssl_read(int fd, int encrypts, const char **why)
{
    uint8_t key[SEAL_KEY_MAX + 1];
    struct seal_openssl *s = NULL;
    struct stat st;
    size_t len = 0;
    ssize_t n = -1;

    *why = "it cannot be read";
    if (fstat(fd, &st) != 0)
        return NULL;
#ifndef _WIN32
    *why = "others than its owner may read it: chmod 600";
    if (S_ISREG(st.st_mode) && (st.st_mode & 077))
        return NULL;
    *why = "it belongs to another user, who knows it";
    if (S_ISREG(st.st_mode) && st.st_uid != geteuid() && st.st_uid != 0)
        return NULL;
    *why = "it cannot be read";
#endif
    while (len < sizeof(key) && (n = read(fd, key + len, (unsigned)(sizeof(key) - len))) > 0)
        len += (size_t)n;
    if (len > SEAL_KEY_MAX)
        *why = "it is too long for a key: it has more than 4096 bytes";
    else if (n == 0)
        s = seal_openssl_new(key, len, encrypts, why);
    OPENSSL_cleanse(key, sizeof(key));
    return s;
}

const cm_seal *seal_openssl_of(const struct seal_openssl *s)
{
    return &s->seal;
}

void seal_openssl_free(struct seal_openssl *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < LANES; i++)
        free_lane(&s->lane[i]);
    free_lane(&s->model);
    OPENSSL_cleanse(s->mac_key, MAC_KEY);
    free(s); /* OpenSSL has cleared the keys in its contexts */
}
