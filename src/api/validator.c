/* SPDX-License-Identifier: BSD-2-Clause
 *
 * validator.c - the public calls on validators and ids, and the check of those that calls get.
 *
 * Owns: the rule of which validators are refused. A refusal is a mistake of the program: its log
 * line says which one.
 *
 * Who: users, through cachemax.h; api/, objects/.
 */
#include <string.h>

#include "api/cache.h"
#include "state/file.h"

void cm_file_id_set_key(cm_file_id *id, const void *key, size_t len)
{
    cm_format_key_id(id, key, len);
}

void cm_validator_set_proof(cm_validator *v, const void *proof, size_t len)
{
    cm_format_proof(v->proof, proof, len);
}

const void *cm_validator_get_proof(const cm_validator *v, size_t *len)
{
    *len = cm_format_proof_length(v->proof);
    return *len > 0 ? v->proof : NULL;
}

int cm_validator_equal(const cm_validator *a, const cm_validator *b)
{
    return cm_file_has_proof(a) && cm_file_same(a, b->proof, b->size);
}

/* What is wrong with a validator? NULL: nothing. */
static const char *fault(const cm_validator *v, bool must_prove)
{
    if (v->size > CM_OFFSET_MAX && v->size != CM_SIZE_UNKNOWN)
        return "its size is beyond the largest file: if it is not known, say CM_SIZE_UNKNOWN";
    if (v->taken_at == 0)
        return "its taken_at is 0: set it to cm_now() before you ask the origin";
    if (v->taken_at > cm_plat_now_ns())
        return "its taken_at is later than now: take it from cm_now(), not from another clock";
    if (must_prove && !cm_file_has_proof(v))
        return "it has no proof: see cm_validator_set_proof()";
    return NULL;
}

/* A shorter one than any library knew lacks a part of its proof. */
static bool takes(cm_validator *v, const cm_validator *given)
{
    static_assert(sizeof(*v) == 64, "it grew: a caller may have that of the first release");
    return cm_take_options(v, sizeof(*v), given) == 0 &&
           (v->struct_size == 0 || v->struct_size >= sizeof(*v));
}

bool cm_take_validator(struct cm_cache *c, const char *call, cm_validator *v,
                       const cm_validator *given, bool must_prove)
{
    const char *why = !given ? "it is NULL"
                      : !takes(v, given)
                          ? "its struct_size is no size: begin with CM_VALIDATOR_INIT"
                          : fault(v, must_prove);
    if (why)
        cm_log(c, CM_LOG_ERROR, "%s: the validator is refused: %s", call, why);
    return !why;
}

bool cm_take_id(struct cm_cache *c, const char *call, const cm_file_id *id)
{
    if (id && (id->hi | id->lo) == 0)
        cm_log(c, CM_LOG_ERROR,
               "%s: the id is zero, which names no file: take it from cm_identify() or "
               "cm_file_id_set_key()",
               call);
    return id && (id->hi | id->lo);
}
