/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_file.c - see seal_file.h.
 *
 * Owns: nothing. The file is read once, and may be gone later.
 *
 * Who: the mount, the service, the filter of nbdkit, the VFS of SQLite, the Python module.
 */
#include "seal_file.h"

int seal_file_encrypts(const char *pool)
{
    cm_info info = CM_INFO_INIT;

    return cm_pool_info(pool, &info) == 0 && info.sealed == CM_SEALED_ENCRYPTED;
}

#ifdef HAVE_OPENSSL
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "seal_openssl.h"

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

struct seal_openssl *seal_file_read(const char *file, int encrypts, const char **why)
{
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct seal_openssl *s;

    if (fd < 0) {
        *why = strerror(errno);
        return NULL;
    }
    s = seal_openssl_read(fd, encrypts, why);
    close(fd);
    return s;
}

const cm_seal *seal_file_of(const struct seal_openssl *s)
{
    return s ? seal_openssl_of(s) : NULL;
}

void seal_file_free(struct seal_openssl *s)
{
    seal_openssl_free(s);
}
#else
struct seal_openssl *seal_file_read(const char *file, int encrypts, const char **why)
{
    (void)file;
    (void)encrypts;
    *why = "this program was built without OpenSSL (libcrypto 3), so it takes no keys";
    return NULL;
}

const cm_seal *seal_file_of(const struct seal_openssl *s)
{
    (void)s;
    return NULL;
}

void seal_file_free(struct seal_openssl *s)
{
    (void)s;
}
#endif
