/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_rules.c - which operations the cache takes part in (filter_rules.h).
 *
 * Owns: nothing.
 *
 * Who: the driver's shell (filter_streams.c, filter_ops.c, filter_opens.c, filter_port.c), the
 * tests.
 */
#include "filter_rules.h"

#include <stddef.h>

bool fc_read_asks(const struct fc_op *op, uint32_t block)
{
    if (op->paging || op->service || !op->waits || op->transacted || !op->plain || op->locked ||
        op->early || op->closed)
        return false;
    if (op->len == 0 || op->off < 0 || op->off > INT64_MAX - (int64_t)op->len)
        return false;
    return !op->non_cached || (op->off % block == 0 && op->len % block == 0);
}

enum fc_way fc_change_way(const struct fc_op *op)
{
    if (op->paging)
        return FC_NOTHING;
    if (op->transacted || op->mapping)
        return FC_LASTING;
    return op->waits && !op->service ? FC_BRACKET : FC_OUTSIDE;
}

/* As win32_times_are_racy() of src/platform/win32_identity.c, which says why. Times from the future
 * are later than that, too. */
bool fc_times_are_racy(uint64_t written, uint64_t changed, uint64_t now, uint64_t tick)
{
    const bool coarse = written % 10000000 == 0 && changed % 10000000 == 0;
    const uint64_t granule = 200000 + (coarse ? 20000000 : 0);

    return written + granule >= now || changed + granule >= now || written >= tick ||
           changed >= tick;
}

/* ---- Control codes --------------------------------------------------------------------------- */

static const uint16_t reads[] = {
    0,   /* REQUEST_OPLOCK_LEVEL_1 */
    1,   /* REQUEST_OPLOCK_LEVEL_2 */
    2,   /* REQUEST_BATCH_OPLOCK */
    3,   /* OPLOCK_BREAK_ACKNOWLEDGE */
    4,   /* OPBATCH_ACK_CLOSE_PENDING */
    5,   /* OPLOCK_BREAK_NOTIFY */
    10,  /* IS_VOLUME_MOUNTED */
    15,  /* GET_COMPRESSION */
    20,  /* OPLOCK_BREAK_ACK_NO_2 */
    22,  /* QUERY_FAT_BPB */
    23,  /* REQUEST_FILTER_OPLOCK */
    24,  /* FILESYSTEM_GET_STATISTICS */
    25,  /* GET_NTFS_VOLUME_DATA */
    28,  /* GET_RETRIEVAL_POINTERS */
    39,  /* GET_OBJECT_ID */
    42,  /* GET_REPARSE_POINT */
    51,  /* QUERY_ALLOCATED_RANGES */
    58,  /* READ_FILE_USN_DATA */
    144, /* REQUEST_OPLOCK */
    146, /* IS_CSV_FILE */
    151, /* IS_FILE_ON_CSV_VOLUME */
    153, /* OFFLOAD_READ */
    156, /* SET_PURGE_FAILURE_MODE */
    159, /* GET_INTEGRITY_INFORMATION */
    161, /* QUERY_FILE_REGIONS */
    182, /* GET_REFS_VOLUME_DATA */
    196, /* GET_EXTERNAL_BACKING */
    244, /* GET_RETRIEVAL_POINTERS_AND_REFCOUNT */
    266, /* GET_RETRIEVAL_POINTER_COUNT */
    274, /* MANAGE_BYPASS_IO */
};
static const uint16_t moves_times[] = {
    38, /* SET_OBJECT_ID */
    40, /* DELETE_OBJECT_ID */
    47, /* SET_OBJECT_ID_EXTENDED */
    48, /* CREATE_OR_GET_OBJECT_ID */
    59, /* WRITE_USN_CLOSE_RECORD */
};
static const uint16_t changes[] = {
    16,  /* SET_COMPRESSION */
    41,  /* SET_REPARSE_POINT */
    43,  /* DELETE_REPARSE_POINT */
    49,  /* SET_SPARSE */
    50,  /* SET_ZERO_DATA */
    53,  /* SET_ENCRYPTION */
    54,  /* ENCRYPTION_FSCTL_IO */
    55,  /* WRITE_RAW_ENCRYPTED */
    130, /* FILE_LEVEL_TRIM */
    154, /* OFFLOAD_WRITE */
    160, /* SET_INTEGRITY_INFORMATION */
    195, /* SET_EXTERNAL_BACKING */
    197, /* DELETE_EXTERNAL_BACKING */
    209, /* DUPLICATE_EXTENTS_TO_FILE */
    250, /* DUPLICATE_EXTENTS_TO_FILE_EX */
};

uint32_t fc_function_of(uint32_t code)
{
    return code >> 16 == 9 ? code >> 2 & 0xfff : 0xffff;
}

static bool has(const uint16_t *list, size_t n, uint32_t function)
{
    for (size_t i = 0; i < n; i++)
        if (function == list[i])
            return true;
    return false;
}

enum fc_control fc_control_of(uint32_t function)
{
    if (has(reads, sizeof(reads) / sizeof(reads[0]), function))
        return FC_READS;
    if (has(moves_times, sizeof(moves_times) / sizeof(moves_times[0]), function))
        return FC_MOVES_TIMES;
    return has(changes, sizeof(changes) / sizeof(changes[0]), function) ? FC_CHANGES : FC_UNKNOWN;
}

bool fc_is_refused(uint32_t status)
{
    return status == 0xC0000002u || /* STATUS_NOT_IMPLEMENTED */
           status == 0xC0000010u || /* STATUS_INVALID_DEVICE_REQUEST */
           status == 0xC00000BBu;   /* STATUS_NOT_SUPPORTED */
}

bool fc_is_denied(uint32_t status)
{
    return status == 0xC0000022u /* STATUS_ACCESS_DENIED */ || fc_is_refused(status);
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* Letters of ASCII count as the same, small or capital. */
static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Begins the text with `word`? Returns what follows, or NULL. */
static const char *after(const char *text, const char *word)
{
    for (; *word; text++, word++)
        if (small(*text) != *word)
            return NULL;
    return text;
}

static const char *last_name(const char *path)
{
    const char *name = path;

    for (; *path; path++)
        if (*path == '\\')
            name = path + 1;
    return name;
}

/* Programs and libraries, the hives of the registry, event logs: the service and its start depend
 * on them. Restore points. What starts the system. What the service itself keeps. */
static const char *const folders[] = { "\\windows",  "\\system volume information",
                                       "\\boot",     "\\efi",
                                       "\\recovery", "\\programdata\\cachemax" };
/* In the root: memory that is put away, and what starts the system. */
static const char *const root_files[] = { "\\pagefile.sys", "\\swapfile.sys", "\\hiberfil.sys",
                                          "\\bootmgr",      "\\bootnxt",      "\\dumpstack.log" };
/* Anywhere, and what begins so: the hives of users, with their logs. */
static const char *const hives[] = { "ntuser.dat", "usrclass.dat" };

bool fc_is_the_systems(const char *path)
{
    if (path[0] == '\\' && path[1] == '$')
        return true; /* the file system's own: $Mft, $Extend, $Recycle.Bin */
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        const char *rest = after(path, folders[i]);

        if (rest && (*rest == 0 || *rest == '\\'))
            return true;
    }
    for (size_t i = 0; i < sizeof(root_files) / sizeof(root_files[0]); i++) {
        const char *rest = after(path, root_files[i]);

        if (rest && (*rest == 0 || *rest == '.')) /* dumpstack.log.tmp */
            return true;
    }
    for (size_t i = 0; i < sizeof(hives) / sizeof(hives[0]); i++)
        if (after(last_name(path), hives[i]))
            return true;
    return after(path, "\\programdata\\cachemax-"); /* of other users: cachemax-SID */
}

bool fc_stream_has_kind(const struct fc_stream *s)
{
    return !s->directory && !s->alternate && !s->encrypted && !s->paging && !s->recalled &&
           !s->pools_volume;
}

bool fc_stream_fits(const struct fc_stream *s)
{
    return fc_stream_has_kind(s) && !fc_is_the_systems(s->path);
}
