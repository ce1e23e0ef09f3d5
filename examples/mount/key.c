/* SPDX-License-Identifier: BSD-2-Clause
 *
 * key.c - the key of a sealed pool: -o key_file.
 *
 * The file is read once, before the first open of the pool; it may be gone later. The callbacks are
 * those of examples/seal.
 *
 * Owns the seal, which stays until the process ends: a resize opens the pool again.
 */
#include "mount.h"

#ifdef HAVE_OPENSSL
#include "../seal/seal_openssl.h"

static struct seal_openssl *seal;

int key_read(void)
{
    cm_info info = CM_INFO_INIT;
    const char *why = NULL;
    int fd, err;

    if (!mnt.opt.key_file || seal)
        return 0;
    /* Is it encrypted, too? The pool says so without a proof. If it lies, the open refuses it. */
    (void)cm_pool_info(mnt.opt.pool, &info);
    fd = open(mnt.opt.key_file, O_RDONLY | O_CLOEXEC);
    err = errno;
    if (fd < 0) {
        say(CM_LOG_ERROR, "key %s: %s", mnt.opt.key_file, strerror(err));
        return EXIT_POOL;
    }
    seal = seal_openssl_read(fd, info.sealed == CM_SEALED_ENCRYPTED, &why);
    close(fd);
    if (seal)
        return 0;
    say(CM_LOG_ERROR, "key %s: %s", mnt.opt.key_file, why);
    return EXIT_POOL;
}

const cm_seal *key_seal(void)
{
    return seal ? seal_openssl_of(seal) : NULL;
}
#else
int key_read(void)
{
    if (!mnt.opt.key_file)
        return 0;
    say(CM_LOG_ERROR, "-o key_file: this cachemax-mount was built without OpenSSL (libcrypto 3)");
    return EXIT_POOL;
}

const cm_seal *key_seal(void)
{
    return NULL;
}
#endif
