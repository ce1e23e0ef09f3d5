/* SPDX-License-Identifier: BSD-2-Clause
 *
 * key.c - "--key-file FILE": the seal of a pool, from a file with its key.
 *
 * The library knows no cipher. The callbacks are those of examples/seal, with OpenSSL. A command
 * that was built without OpenSSL refuses the option.
 *
 * Who: the commands with --key-file.
 */
#include "tool/tool.h"
#include "tool/os.h"

#ifdef HAVE_OPENSSL
#include <seal_openssl.h> /* examples/seal */

static struct seal_openssl *made;

int tool_take_key(const char *file, bool encrypts, const cm_seal **seal)
{
    const char *why = NULL;
    intptr_t fd;
    int rc;

    *seal = NULL;
    if (!file)
        return TOOL_OK;
    if (!*file) {
        tool_message(NULL, "'--key-file' needs the name of a file");
        return TOOL_USAGE;
    }
    rc = os_open_file(file, &fd);
    if (rc != 0) {
        tool_message(file, "%s", os_error_text(rc));
        return TOOL_FAILED;
    }
    made = seal_openssl_read((int)fd, encrypts, &why);
    os_close_file(fd);
    if (!made) {
        tool_message(file,
                     "is not accepted: %s (to make a key: (umask 077; head -c 32 /dev/urandom "
                     ">FILE))",
                     why);
        return TOOL_FAILED;
    }
    *seal = seal_openssl_of(made);
    return TOOL_OK;
}

void tool_drop_key(void)
{
    seal_openssl_free(made);
    made = NULL;
}
#else
int tool_take_key(const char *file, bool encrypts, const cm_seal **seal)
{
    (void)encrypts;
    *seal = NULL;
    if (!file)
        return TOOL_OK;
    tool_message(NULL, "--key-file: this 'cachemax' was built without OpenSSL (libcrypto 3)");
    return TOOL_FAILED;
}

void tool_drop_key(void)
{
}
#endif

int tool_take_key_of(const char *file, const char *pool, const cm_seal **seal)
{
    cm_info info = CM_INFO_INIT;

    /* What the pool says of itself, without a proof. If it lies, the open refuses it. */
    if (file && cm_pool_info(pool, &info) != 0)
        info.sealed = CM_SEALED_NO;
    return tool_take_key(file, info.sealed == CM_SEALED_ENCRYPTED, seal);
}
