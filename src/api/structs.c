/* SPDX-License-Identifier: BSD-2-Clause
 *
 * structs.c - structs that pass between a program and a library of another version.
 *
 * Owns: the rule for struct_size. A struct grows at its end only. What is copied is the part that
 * both sides know. A size of 0 is that of the first release.
 *
 * Who: users, through cachemax.h; api/, objects/.
 */
#include "api/cache.h"

#include <string.h>

/* ---- Beginning ------------------------------------------------------------------------------- */

/* The caller's struct may be shorter or longer than ours. */
static void init_struct(void *s, size_t size)
{
    const uint32_t given = (uint32_t)size;
    memset(s, 0, size);
    memcpy(s, &given, sizeof(given));
}

void cm_options_init(cm_options *opts, size_t size)
{
    init_struct(opts, size);
}

void cm_create_options_init(cm_create_options *opts, size_t size)
{
    init_struct(opts, size);
}

void cm_resize_options_init(cm_resize_options *opts, size_t size)
{
    init_struct(opts, size);
}

void cm_identify_options_init(cm_identify_options *opts, size_t size)
{
    init_struct(opts, size);
}

void cm_warm_options_init(cm_warm_options *opts, size_t size)
{
    init_struct(opts, size);
}

void cm_validator_init(cm_validator *v, size_t size)
{
    init_struct(v, size);
    v->size = CM_SIZE_UNKNOWN;
}

void cm_miss_init(cm_miss *miss, size_t size)
{
    init_struct(miss, size);
}

void cm_request_init(cm_request *r, size_t size)
{
    init_struct(r, size);
}

void cm_seal_init(cm_seal *seal, size_t size)
{
    init_struct(seal, size);
}

/* ---- The first release ----------------------------------------------------------------------- */

/* A struct_size of 0 is that of the first release. No struct has grown since, so that is ours. If
 * one grows, cm_take_options() and cm_give_result() need its first size, and it stays here.
 * objects/objects.c has the sizes of its structs. */
CM_FIRST_SIZE(cm_options, 144);
CM_FIRST_SIZE(cm_create_options, 88);
CM_FIRST_SIZE(cm_resize_options, 80);
CM_FIRST_SIZE(cm_identify_options, 32);
CM_FIRST_SIZE(cm_warm_options, 48);
CM_FIRST_SIZE(cm_seal, 40);
CM_FIRST_SIZE(cm_validator, 64);
CM_FIRST_SIZE(cm_request, 904);
CM_FIRST_SIZE(cm_read_vec, 56);
CM_FIRST_SIZE(cm_miss, 160);
CM_FIRST_SIZE(cm_file_info, 384);
CM_FIRST_SIZE(cm_info, 232);
CM_FIRST_SIZE(cm_stats_data, 1088);
CM_FIRST_SIZE(cm_check_report, 128);
CM_FIRST_SIZE(cm_warm_report, 64);
CM_FIRST_SIZE(cm_resize_report, 64);
CM_FIRST_SIZE(cm_grow_report, 64);

/* ---- From the caller ------------------------------------------------------------------------- */

int cm_take_options(void *to, size_t size, const void *from)
{
    uint32_t given;
    memset(to, 0, size);
    if (!from)
        return 0;
    memcpy(&given, from, sizeof(given));
    if (given == 0)
        given = (uint32_t)size;
    if (given < 2 * sizeof(given) || given > CM_STRUCT_MAX)
        return CM_EINVAL;
    memcpy(to, from, given < size ? given : size);
    for (size_t i = size; i < given; i++)
        if (((const uint8_t *)from)[i])
            return CM_EINVAL;
    return 0;
}

int cm_take_seal(cm_seal *to, const cm_seal *from, cm_log_fn log, void *log_ctx)
{
    const char *why = NULL;
    if (cm_take_options(to, sizeof(*to), from) || to->reserved != 0)
        why = "it is not set by CM_SEAL_INIT, or by that of a newer library";
    else if (from && !to->mac)
        why = "mac is NULL";
    else if (!to->encrypt != !to->decrypt)
        why = "encrypt and decrypt must be set together";
    return why ? cm_refuse(log, log_ctx, CM_EINVAL, "cm_seal: %s", why) : 0;
}

bool cm_all_zero(const uint64_t *v, size_t n)
{
    uint64_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= v[i];
    return any == 0;
}

/* ---- To the caller --------------------------------------------------------------------------- */

bool cm_can_give_result(const void *to)
{
    uint32_t room;
    if (!to)
        return false;
    memcpy(&room, to, sizeof(room));
    return room == 0 || (room >= 2 * sizeof(room) && room <= CM_STRUCT_MAX);
}

int cm_give_result(void *to, const void *from, uint32_t size)
{
    uint32_t room;
    if (!cm_can_give_result(to))
        return CM_EINVAL;
    memcpy(&room, to, sizeof(room));
    if (room == 0)
        room = size;
    const uint32_t both = room < size ? room : size;
    memcpy(to, from, both);
    memset((uint8_t *)to + both, 0, room - both);
    memcpy(to, &both, sizeof(both));
    return 0;
}
