/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checked_calls.h - with -Dchecks=full, calls.c, check.c, file_calls.c, files.c, grow.c, info.c,
 * inner.c, ranges.c and warm.c define cm_read_unchecked() and so on, and checked_calls.c the public
 * functions around them. Included by these only, and by warm_verify.c, which calls one. A call that
 * takes a lock of the cache has to be here: a look at the structures that does not wait for it
 * would find the lock held.
 */
#ifndef CM_CHECKED_CALLS_H
#define CM_CHECKED_CALLS_H

#include "state/cache_state.h"

/* Return type, name, parameters, arguments of every public call on an open cache. */
#define CM_CALLS_OF_CACHES(X)                                                                      \
    X(int, cm_set_mode, (cm_cache * cache, int mode), (cache, mode))                               \
    X(int, cm_set_fill_rate_limit, (cm_cache * cache, uint64_t bytes_per_second),                  \
      (cache, bytes_per_second))                                                                   \
    X(int, cm_check,                                                                               \
      (cm_cache * cache, uint32_t flags,                                                           \
       int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,                       \
       cm_check_report *report),                                                                   \
      (cache, flags, progress, ctx, report))                                                       \
    X(int, cm_checkpoint, (cm_cache * cache), (cache))                                             \
    X(int, cm_grow, (cm_cache * cache, uint64_t size, cm_grow_report * report),                    \
      (cache, size, report))                                                                       \
    X(int, cm_forget, (cm_cache * cache, const cm_file_id *id), (cache, id))                       \
    X(int, cm_forget_gone, (cm_cache * cache, const cm_file_id *id), (cache, id))                  \
    X(int, cm_get_info, (cm_cache * cache, cm_info * info), (cache, info))                         \
    X(int, cm_group_set_quota, (cm_cache * cache, uint32_t group, uint64_t most),                  \
      (cache, group, most))                                                                        \
    X(int, cm_group_usage, (cm_cache * cache, uint32_t group, uint64_t * used, uint64_t * most),   \
      (cache, group, used, most))                                                                  \
    X(int, cm_file_lookup,                                                                         \
      (cm_cache * cache, const cm_file_id *id, cm_validator *validator, cm_file_info *info),       \
      (cache, id, validator, info))                                                                \
    X(int, cm_files_begin, (cm_cache * cache, uint32_t flags, cm_file_iter * *iter),               \
      (cache, flags, iter))                                                                        \
    X(int, cm_file_open,                                                                           \
      (cm_cache * cache, const cm_file_id *id, const cm_validator *validator, uint32_t flags,      \
       cm_file **file),                                                                            \
      (cache, id, validator, flags, file))
#define CM_CALLS_OF_FILES(X)                                                                       \
    X(int, cm_file_revalidate, (cm_file * file, const cm_validator *validator), (file, validator)) \
    X(int, cm_file_set_name, (cm_file * file, const char *name), (file, name))                     \
    X(int, cm_file_set_keep, (cm_file * file, int keep), (file, keep))                             \
    X(int, cm_file_set_group, (cm_file * file, uint32_t group), (file, group))                     \
    X(int, cm_file_set_ttl, (cm_file * file, uint64_t ttl_ns), (file, ttl_ns))                     \
    X(int, cm_file_abort, (cm_file * file), (file))                                                \
    X(int, cm_file_close, (cm_file * file), (file))                                                \
    X(int, cm_fill,                                                                                \
      (cm_file * file, const cm_miss *miss, const void *data, size_t len, uint32_t flags),         \
      (file, miss, data, len, flags))                                                              \
    X(int64_t, cm_read_through,                                                                    \
      (cm_file * file, uint64_t offset, void *buf, size_t len, cm_origin_read_fn origin_read,      \
       void *ctx),                                                                                 \
      (file, offset, buf, len, origin_read, ctx))                                                  \
    X(int64_t, cm_read_through_version,                                                            \
      (cm_file * file, uint64_t offset, void *buf, size_t len, uint64_t *incarnation,              \
       cm_origin_read_fn origin_read, void *ctx),                                                  \
      (file, offset, buf, len, incarnation, origin_read, ctx))                                     \
    X(int, cm_warm,                                                                                \
      (cm_file * file, uint64_t offset, uint64_t len, const cm_warm_options *opts,                 \
       cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report),                          \
      (file, offset, len, opts, origin_read, ctx, report))                                         \
    X(int, cm_request_begin, (cm_file * file, cm_request * r), (file, r))                          \
    X(int64_t, cm_pin_range,                                                                       \
      (cm_file * file, uint64_t offset, size_t len, cm_iovec * iov, int n, int *iovcnt,            \
       cm_pins *pins, cm_miss *miss),                                                              \
      (file, offset, len, iov, n, iovcnt, pins, miss))                                             \
    X(int, cm_write_begin, (cm_file * file, uint64_t offset, uint64_t len, cm_bracket * w),        \
      (file, offset, len, w))                                                                      \
    X(int, cm_truncate_begin, (cm_file * file, uint64_t new_size, cm_bracket * w),                 \
      (file, new_size, w))                                                                         \
    X(int, cm_write_end, (cm_file * file, const cm_bracket *w, const cm_validator *after),         \
      (file, w, after))                                                                            \
    X(int, cm_sync_begin, (cm_file * file, cm_sync * s), (file, s))                                \
    X(int, cm_sync_end, (cm_file * file, const cm_sync *s, int ok, const cm_validator *after),     \
      (file, s, ok, after))                                                                        \
    X(int, cm_invalidate, (cm_file * file, uint64_t offset, uint64_t len), (file, offset, len))    \
    X(int64_t, cm_drop, (cm_file * file, uint64_t offset, uint64_t len), (file, offset, len))
/* Those of inner.h, which includes none of this. */
#define CM_CALLS_OF_OBJECTS(X)                                                                     \
    X(int, cm_inner_no_origin, (const cm_file *file, bool tested), (file, tested))                 \
    X(int, cm_inner_synced, (const cm_file *file), (file))                                         \
    X(int, cm_inner_claim, (const cm_file *file, bool claims), (file, claims))                     \
    X(int, cm_inner_ticket, (const cm_file *file, uint64_t offset, cm_miss *miss),                 \
      (file, offset, miss))
#define CM_CALLS_OF_REQUESTS(X)                                                                    \
    X(int, cm_request_step, (cm_request * r, cm_piece * piece), (r, piece))                        \
    X(int, cm_request_complete, (cm_request * r, const cm_piece *piece, int64_t result),           \
      (r, piece, result))                                                                          \
    X(int64_t, cm_request_end, (cm_request * r), (r))
/* Calls that change hardly anything. */
#define CM_READS_OF_FILES(X)                                                                       \
    X(int, cm_file_advise, (cm_file * file, int advice), (file, advice))                           \
    X(int, cm_file_get_info, (cm_file * file, cm_file_info * info), (file, info))                  \
    X(int64_t, cm_file_cached, (cm_file * file, uint64_t offset, uint64_t len),                    \
      (file, offset, len))                                                                         \
    X(int64_t, cm_file_ranges, (cm_file * file, uint64_t offset, cm_range * ranges, size_t n),     \
      (file, offset, ranges, n))                                                                   \
    X(int64_t, cm_read, (cm_file * file, uint64_t offset, void *buf, size_t len, cm_miss *miss),   \
      (file, offset, buf, len, miss))                                                              \
    X(int64_t, cm_read_whole,                                                                      \
      (cm_file * file, uint64_t offset, void *buf, size_t len, uint32_t flags),                    \
      (file, offset, buf, len, flags))                                                             \
    X(int64_t, cm_read_many, (cm_file * file, cm_read_vec * v, size_t n), (file, v, n))

#define CM_DECLARE(type, name, parameters, arguments) type name##_unchecked parameters;
CM_CALLS_OF_CACHES(CM_DECLARE)
CM_CALLS_OF_FILES(CM_DECLARE)
CM_CALLS_OF_OBJECTS(CM_DECLARE)
CM_CALLS_OF_REQUESTS(CM_DECLARE)
CM_READS_OF_FILES(CM_DECLARE)
CM_DECLARE(int, cm_unpin, (cm_pins * pins), (pins))
CM_DECLARE(int, cm_files_next, (cm_file_iter * iter, cm_validator *validator, cm_file_info *info),
           (iter, validator, info))
#undef CM_DECLARE

#ifdef CM_DEFINE_UNCHECKED /* all of them but checked_calls.c */
#define cm_files_begin cm_files_begin_unchecked
#define cm_files_next cm_files_next_unchecked
#define cm_file_lookup cm_file_lookup_unchecked
#define cm_drop cm_drop_unchecked
#define cm_file_cached cm_file_cached_unchecked
#define cm_file_ranges cm_file_ranges_unchecked
#define cm_set_mode cm_set_mode_unchecked
#define cm_set_fill_rate_limit cm_set_fill_rate_limit_unchecked
#define cm_check cm_check_unchecked
#define cm_checkpoint cm_checkpoint_unchecked
#define cm_grow cm_grow_unchecked
#define cm_get_info cm_get_info_unchecked
#define cm_group_set_quota cm_group_set_quota_unchecked
#define cm_group_usage cm_group_usage_unchecked
#define cm_forget cm_forget_unchecked
#define cm_forget_gone cm_forget_gone_unchecked
#define cm_file_open cm_file_open_unchecked
#define cm_file_revalidate cm_file_revalidate_unchecked
#define cm_file_advise cm_file_advise_unchecked
#define cm_file_get_info cm_file_get_info_unchecked
#define cm_file_set_name cm_file_set_name_unchecked
#define cm_file_set_keep cm_file_set_keep_unchecked
#define cm_file_set_group cm_file_set_group_unchecked
#define cm_file_set_ttl cm_file_set_ttl_unchecked
#define cm_file_abort cm_file_abort_unchecked
#define cm_file_close cm_file_close_unchecked
#define cm_read cm_read_unchecked
#define cm_read_whole cm_read_whole_unchecked
#define cm_read_many cm_read_many_unchecked
#define cm_fill cm_fill_unchecked
#define cm_read_through cm_read_through_unchecked
#define cm_read_through_version cm_read_through_version_unchecked
#define cm_warm cm_warm_unchecked
#define cm_request_begin cm_request_begin_unchecked
#define cm_request_step cm_request_step_unchecked
#define cm_request_complete cm_request_complete_unchecked
#define cm_request_end cm_request_end_unchecked
#define cm_pin_range cm_pin_range_unchecked
#define cm_unpin cm_unpin_unchecked
#define cm_write_begin cm_write_begin_unchecked
#define cm_truncate_begin cm_truncate_begin_unchecked
#define cm_write_end cm_write_end_unchecked
#define cm_sync_begin cm_sync_begin_unchecked
#define cm_sync_end cm_sync_end_unchecked
#define cm_invalidate cm_invalidate_unchecked
#define cm_inner_no_origin cm_inner_no_origin_unchecked
#define cm_inner_synced cm_inner_synced_unchecked
#define cm_inner_claim cm_inner_claim_unchecked
#define cm_inner_ticket cm_inner_ticket_unchecked
#endif

#endif
