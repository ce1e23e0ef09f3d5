/* SPDX-License-Identifier: BSD-2-Clause
 *
 * memory-pool-trouble.c - memory-pool-test.sh links it to examples/memory-pool: the third read
 * through the cache and all later ones fail; with NO_FILES no file is attached.
 */
#define _GNU_SOURCE
#include <cachemax.h>
#include <dlfcn.h>
#include <stdlib.h>

int64_t cm_read_through(cm_file *f, uint64_t off, void *buf, size_t n, cm_origin_read_fn origin,
                        void *ctx)
{
    static int calls;
    int64_t (*next)(cm_file *, uint64_t, void *, size_t, cm_origin_read_fn, void *);
    *(void **)&next = dlsym(RTLD_NEXT, "cm_read_through");
    return ++calls > 2 ? CM_EIO : next(f, off, buf, n, origin, ctx);
}

int cm_file_open(cm_cache *cache, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                 cm_file **out)
{
    int (*next)(cm_cache *, const cm_file_id *, const cm_validator *, uint32_t, cm_file **);
    *(void **)&next = dlsym(RTLD_NEXT, "cm_file_open");
    return getenv("NO_FILES") ? CM_EIO : next(cache, id, v, flags, out);
}
