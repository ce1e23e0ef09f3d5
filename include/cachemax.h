/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax.h - a crash-proof, persistent block read cache in one file.
 *
 * After reading this file you know every call: its parameters, units, errors, threads, and who owns
 * the memory. docs/embedding.md shows how to use them together.
 *
 * WORDS
 *   origin     the slow files that are cached; a front end is the program that reads and
 *              writes them
 *   pool       one file on a fast volume; it holds copies of origin blocks in slots
 *   hit, miss  a block that is in the pool, one that is not; a fill stores a block that was
 *              missed
 *   bracket    begin and end around a change of the origin
 *   validator  bytes that change whenever an origin file changes: proof that it is unchanged;
 *              racy: it may miss a change
 *   attached   an origin file that cm_file_open() has opened; cold: nothing of it is cached;
 *              warm: what the pool has of it from before is served (cm_file_info.kept)
 *   version    of a file's content: a number, the incarnation; another one after each change
 *              that the library learns of from a validator
 *   dirty      a file with writes that are not synced: a power cut may take them back
 *   bypassed   a file that is not cached, because its fsync failed
 *   DAX        persistent memory that programs map directly
 *   probation buffer   DRAM where new blocks wait before they are stored (cm_options)
 *   checkpoint cm_checkpoint(); a pool that had one is checkpointed
 *   pin        the address of a cached block (cm_pin)
 *   S3R        the replacement policy: S3-FIFO on a ring of slots (docs/policy.md)
 *
 * FIRST CALLS  These make a cache. README.md has a short program that reads with them,
 *              examples/page-store one that writes, too, and examples/object-store one whose origin
 *              is no file.
 *   cm_create        makes a pool, once
 *   cm_open          opens it; cm_close ends that
 *   cm_identify      says which file of the system a descriptor is, and whether it has changed (for
 *                    objects that are no files: cm_file_id_set_key and cm_validator_set_proof)
 *   cm_file_open     attaches it; cm_file_close ends that
 *   cm_read_through  reads: from the pool, or from the origin with a callback of yours
 *   cm_write_begin, cm_write_end   around each of your own writes to the origin
 *
 * CAVEATS
 * - The cache speeds up reads. It never holds the only copy of anything. A pool may be deleted
 *   whenever no process has it open. Every error of the cache is a miss, not a loss.
 * - A program that changes the origin must say so BEFORE the change (cm_write_begin,
 *   cm_truncate_begin). If others change it, say so as soon as you know (cm_invalidate,
 *   cm_file_revalidate). A change that nobody reports stays unseen until the file's validator is
 *   presented again (cm_file_open, cm_file_revalidate).
 * - One process owns a pool at a time. Others may read it meanwhile (CM_OPEN_SHARED). After
 *   fork() only the parent may use it further. The child has no part of it: the library closes
 *   there what it inherited. A program that closes all descriptors does so before cm_open().
 * - A hit returns what the origin has, as long as changes are reported as above and the media
 *   report their errors; docs/crash.md "Limits" and docs/embedding.md "What a validator cannot see"
 *   have the exceptions. Whether the pool survives a power cut depends on its volume: cm_get_info()
 *   says which durability the pool really has.
 *
 * THREADS   Any thread may call any function at any time. These must not run at the same time:
 *           cm_close() and another call on the same cache; cm_file_close() and another call that
 *           uses the same reference to that file; two calls with one cm_request; two calls with one
 *           cm_file_iter.
 *           Fills, evictions and brackets lock a stripe, a part of the pool's index; hits take no
 *           lock. 64 neighbouring blocks of a file (256 KiB) are in one stripe. A pool has a stripe
 *           for each 8 MiB or so: 1 below 16 MiB, 7 at 64 MiB, 125 at 1 GiB, 8051 at 64 GiB, 128929
 *           at 1 TiB. cm_grow() leaves their number as it is.
 * BLOCKING  No function sleeps, except on the short internal locks and where its comment says so.
 *           But a page of the pool that is not in memory is read from its volume first: some
 *           milliseconds on a disk. A bracket of a large range may read thousands of them
 *           (cm_write_begin). See CM_OPEN_PREFAULT, CM_OPEN_LOCK and CM_READ_RESIDENT.
 * SIGNALS   The handlers of cm_open() need SIGBUS and SIGSEGV unblocked. No function is safe to
 *           call in a signal handler, and a handler must leave none by longjmp(). If a buffer of
 *           yours may fault (`data` of cm_fill() in a mapped file that others may cut), copy it
 *           elsewhere first.
 * STACK     The calls of reading, filling, warming, pinning and brackets use at most 8 KiB of stack
 *           below their caller, and 12 KiB with a sealed pool. So they fit the small stacks of
 *           coroutines. Not included is what callbacks use, what a signal puts on the stack (a
 *           damaged page of a pool is one), and what the dynamic linker does at the first call of a
 *           function. What a callback may do in a coroutine: see "Callbacks" below.
 * ERRORS    Success is 0, a positive count or a positive remark. Failure is a negative CM_E*. errno
 *           is neither used nor preserved. cm_strerror() names a code. Every function that takes a
 *           cache or a file can return CM_EHANDLE, CM_EFORKED and CM_ECALLBACK, and every function
 *           that changes something can also return CM_EREADONLY. The lists below name the other
 *           codes. CM_EINVAL is a mistake of the program. If an option, id or validator is invalid,
 *           the log says why. There is no log in cm_identify_with(), nor in options whose
 *           struct_size itself is invalid (1 to 7, or above 4096).
 * OWNERSHIP The caller owns all memory that it passes in. The library keeps no pointer to it after
 *           the call, except where a comment says so. Strings that the library returns are static.
 * STRINGS   Paths are UTF-8 on every system.
 * UNITS     Offsets, lengths and sizes are bytes, times are nanoseconds. A name that ends in _us
 *           means microseconds.
 */
#ifndef CACHEMAX_H
#define CACHEMAX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(CM_SHARED)
#ifdef CM_BUILD
#define CM_API __declspec(dllexport)
#else
#define CM_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define CM_API __attribute__((visibility("default")))
#else
#define CM_API
#endif

/* Version of this header. CM_VERSION is a number that #if can compare, as CM_MAKE_VERSION(1, 2, 0).
 */
#define CM_VERSION_MAJOR 0
#define CM_VERSION_MINOR 1
#define CM_VERSION_PATCH 0
#define CM_MAKE_VERSION(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define CM_VERSION CM_MAKE_VERSION(CM_VERSION_MAJOR, CM_VERSION_MINOR, CM_VERSION_PATCH)

/* The value of the CM_*_INIT macros below, for the initialization of a struct: zeros, and its own
 * size. Each of these structs is of the caller's size: a later library with a longer struct does
 * not read or write behind it. */
#ifdef __cplusplus
extern "C++" {
template <typename T> static inline T cm_init_(void)
{
    T t = T();
    t.struct_size = sizeof(t);
    return t;
}
}
#define CM_INIT_(type) cm_init_<type>()
#else
#define CM_INIT_(type)                                                                             \
    {                                                                                              \
        .struct_size = sizeof(type)                                                                \
    }
#endif

/* Bytes in a block, the unit of caching. A miss starts at a multiple of it. */
#define CM_BLOCK_SIZE 4096u
/* A length: to the end of the file. */
#define CM_ALL UINT64_MAX

/* ---- Errors -------------------------------------------------------------------------------- */

/* X(name, value, text). The values are part of the ABI: they never change and are never used again.
 * None will be below -1000. */
#define CM_ERROR_MAP(X)                                                                            \
    X(CM_EINVAL, -1, "invalid argument")                                                           \
    X(CM_ENOMEM, -2, "out of memory, or of descriptors")                                           \
    X(CM_EIO, -3, "input/output error on the pool")                                                \
    X(CM_ENOENT, -4, "no such file or directory")                                                  \
    X(CM_EEXIST, -5, "file exists already")                                                        \
    X(CM_EACCES, -6, "permission denied")                                                          \
    X(CM_ENOSPC, -7, "no space left on the volume")                                                \
    X(CM_ENOTFILE, -8, "not a regular file")                                                       \
    X(CM_ENOTPOOL, -9, "not a cachemax pool")                                                      \
    X(CM_ETRUNCATED, -10, "pool file is smaller than its superblock says")                         \
    X(CM_EOVERSIZE, -11, "pool file is larger than its superblock says")                           \
    X(CM_EVERSION, -12, "pool has a format version this library does not know")                    \
    X(CM_EINCOMPAT, -13, "pool uses a feature this library does not know")                         \
    X(CM_EBYTEORDER, -14, "pool was made on a machine of the other byte order")                    \
    X(CM_EDAMAGED, -15, "both superblocks of the pool are damaged")                                \
    X(CM_EOWNED, -16, "pool is open already, in this process or another")                          \
    X(CM_EPOOLSIZE, -17, "pool size is out of bounds or not a multiple of 4096")                   \
    X(CM_ERANGE, -18,                                                                              \
      "beyond a limit: offset plus length (2^63 - 1 bytes), or groups with a quota (16)")          \
    X(CM_EHANDLE, -19, "handle is NULL or was closed")                                             \
    X(CM_ETICKET, -20, "fill does not match the miss it answers")                                  \
    X(CM_EFOREIGN, -21, "miss or sync of another file, or of one that was closed")                 \
    X(CM_EBRACKET, -22, "the file has no such open bracket (ended already, or of another file?)")  \
    X(CM_EBUSY, -23, "still in use")                                                               \
    X(CM_EFORKED, -24, "cache belongs to the process before fork(); a child must open its own")    \
    X(CM_ECALLBACK, -25, "called from inside a callback of the same cache")                        \
    X(CM_EFORGET, -26, "old data cannot be forgotten durably; do not write")                       \
    X(CM_EREADONLY, -27, "pool is open read-only")                                                 \
    X(CM_ENOTDAX, -28, "volume does not offer DAX, which was required")                            \
    X(CM_ENOTSUP, -29, "not supported by this version, system, volume or pool")                    \
    X(CM_EABSENT, -30, "absent: not all of it is cached, or the file is not known")                \
    X(CM_EUNTRUSTED, -31, "others could have written the pool or replaced it")                     \
    X(CM_ECLONE, -32, "may be taken for a file of another volume; give its volume a volume id")    \
    X(CM_EMOVED, -33, "the file has another version now")                                          \
    X(CM_ECANCELED, -34, "canceled")                                                               \
    X(CM_EKEEP, -35, "kept files would take more than half of the pool, or of its file table")     \
    X(CM_EKEY, -36, "pool and key do not fit: the key is missing, wrong or not needed")            \
    X(CM_ESEAL, -37, "a callback of the seal failed; the pool was not changed: try again")

enum cm_error {
#define CM_X(name, value, text) name = (value),
    CM_ERROR_MAP(CM_X)
#undef CM_X
};

/* X(name, value, text). Positive results are no errors: the call did what it could, and says what
 * there is to know. Each has one meaning, whichever function returns it. Functions that return a
 * number of bytes or pieces return none of these. The values are part of the ABI. */
#define CM_RESULT_MAP(X)                                                                           \
    X(CM_OK, 0, "success")                                                                         \
    X(CM_IGNORED, 1, "validator proves nothing: present a newer one")                              \
    X(CM_WANT_VALIDATOR, 2, "own writes changed the file: present a validator")                    \
    X(CM_NOT_STORED_STALE, 3,                                                                      \
      "not stored: a write came between or is open, or the time to live is over")                  \
    X(CM_NOT_STORED_PRESENT, 4, "not stored: cached already")                                      \
    X(CM_NOT_STORED_BUSY, 5, "not stored: every slot or buffer entry tried was pinned or in use")  \
    X(CM_NOT_STORED_FULL, 6, "not stored: no place in the index")                                  \
    X(CM_NOT_STORED_MODE, 7, "not stored: CM_FREEZE or CM_BYPASS, file bypassed, or pool grows")   \
    X(CM_NOT_STORED_POLICY, 8, "not stored: advice, rate limit, or a block that comes first")      \
    X(CM_NOT_STORED_MEDIA, 9, "not stored: the pool could not be written at that place")           \
    X(CM_DAMAGED, 10, "damage is left in the pool")                                                \
    X(CM_REQUEST_READ, 11, "read the piece, complete it, and step again for more pieces")          \
    X(CM_REQUEST_WAIT, 12, "nothing to do until a piece is completed or the request is woken")     \
    X(CM_NOT_STORED_ROOM, 13,                                                                      \
      "not stored: no room for it, or it would push out what was stored just before")              \
    X(CM_NOT_RECORDED, 14, "not recorded: no place in the file table, or it cannot be written")    \
    X(CM_NOT_STORED_QUOTA, 15, "not stored: the group of the file has all that its quota allows")

enum cm_result {
#define CM_X(name, value, text) name = (value),
    CM_RESULT_MAP(CM_X)
#undef CM_X
};

/* Text of an error or of a positive result, or "unknown error" for any other number. Never NULL.
 * Static storage. */
CM_API const char *cm_strerror(int code);
/* Name of an error or of a positive result, such as "CM_EOWNED", or "CM_?" for any other number.
 * Static storage. */
CM_API const char *cm_errname(int code);
/* Version of the library that is running: as text, such as "0.1.0" (static storage), and as a
 * number, to be compared with CM_VERSION. */
CM_API const char *cm_version(void);
CM_API int cm_version_number(void);

/* ---- Types --------------------------------------------------------------------------------- */

typedef struct cm_cache cm_cache; /* an open pool */
typedef struct cm_file cm_file;   /* an attached origin file; one object per id, with a reference
                                   * count */

/* 128-bit identity of an origin file. The front end chooses it: volume + inode + generation on
 * POSIX, volume + FileId128 on Windows (cm_identify), the hash of a key for other objects
 * (cm_file_id_set_key). One id must never stand for two files at the same time. If an id is used
 * again for a later file, the validator shows that. All zero is not a valid id. */
typedef struct cm_file_id {
    uint64_t hi, lo;
} cm_file_id;

/* Makes the id of an object that is no file of the system out of its key: a name, an address, a
 * number, of `len` bytes. It is a 128-bit hash (XXH3), never zero, and the same in every version
 * and on every machine. It is not made to withstand attackers: if somebody who is not trusted can
 * choose keys, set hi and lo from a cryptographic hash instead. If a pool serves several stores,
 * put the name of the store into the key. `key` may be NULL if len is 0. */
CM_API void cm_file_id_set_key(cm_file_id *id, const void *key, size_t len);

/* cm_validator.size if the size is not known. */
#define CM_SIZE_UNKNOWN UINT64_MAX
/* cm_validator.changed_ns if the last change lies so far back that no power cut can undo it, or if
 * the origin's own system takes care of that (a web server, an object store). It counts whatever
 * the clocks of this machine show. A time that a clock showed says less, so if you have one from
 * before 1970, give CM_CHANGED_LONG_AGO + 1. */
#define CM_CHANGED_LONG_AGO INT64_C(1)
#define CM_PROOF_BYTES 32u

enum {
    CM_RACY_TIMES = 1u << 0,  /* A timestamp is so fresh that a second change could have the same
                               * value. A new validator will not be racy soon. */
    CM_RACY_WRITER = 1u << 1, /* Somebody has the file open for writing or mapped writable, or that
                               * could not be found out. Such writes may change the times late or
                               * not at all. */
    CM_RACY_VOLUME = 1u << 2, /* After a restart another file with the same size and times could not
                               * be told apart. This does not change on this volume. */
    CM_RACY_RECORD = 1u << 3  /* From cm_file_lookup() only: the file will be cold when it is
                               * attached next, whatever is presented. */
};

/* Proof that an origin file is unchanged. Begin with CM_VALIDATOR_INIT or cm_validator_init().
 * cm_identify() fills it in for files of the operating system. For other origins use any bytes that
 * change whenever the content may have changed, such as an ETag or a version number:
 * cm_validator_set_proof(). Two validators are equal if their proofs are equal, and their sizes are
 * equal or one of them is not known.
 * A validator proves nothing if it was taken before one of these events: the pool was opened; a
 * bracket of the file ended; the file was forgotten. Nor does it if one that was taken later has
 * been accepted for the file.
 * The library remembers these moments for the two thousand files or so that were closed or
 * forgotten last; for others it assumes later ones. So take a validator right before you use it.
 * A validator that never changes is right for an origin that never changes: an object that is named
 * after its content, a snapshot, a read-only image. */
typedef struct cm_validator {
    uint32_t struct_size; /* set by CM_VALIDATOR_INIT; 0: that of the first release */
    /* CM_RACY_* or 0. A racy validator never matches when a file is attached, now or recorded,
     * except with CM_EXCLUSIVE, which ignores it. */
    uint32_t racy;
    uint64_t taken_at; /* cm_now() from BEFORE the origin was asked */
    uint64_t size;     /* of the file in bytes, or CM_SIZE_UNKNOWN */
    /* When the file changed last, by the wall clock, in nanoseconds since 1970; 0: not known. A
     * file that changed after the system booted may hold writes that a power cut would take back
     * (cm_file_info.dirty). So may any file if nobody knows when it booted, as in a container with
     * a clock of its own. See CM_CHANGED_LONG_AGO. It is not compared. */
    int64_t changed_ns;
    /* Any bytes. All zero: none, so the file is new whenever it is attached for the first time. */
    uint8_t proof[CM_PROOF_BYTES];
} cm_validator;
#ifdef __cplusplus
static inline cm_validator cm_validator_init_(cm_validator v)
{
    v.size = CM_SIZE_UNKNOWN;
    return v;
}
#define CM_VALIDATOR_INIT cm_validator_init_(CM_INIT_(cm_validator))
#else
#define CM_VALIDATOR_INIT                                                                          \
    {                                                                                              \
        .struct_size = sizeof(cm_validator), .size = CM_SIZE_UNKNOWN                               \
    }
#endif
/* Sets *v to what CM_VALIDATOR_INIT is, for languages that cannot use the macro. `size`:
 * sizeof(cm_validator) as the caller knows it. */
CM_API void cm_validator_init(cm_validator *v, size_t size);
/* Sets the proof of *v, and no other field, to stand for the `len` bytes at `proof`: an ETag, a
 * version, a hash. Up to 31 bytes are stored as they are, with their number in the last byte. More
 * are stored as their 128-bit hash (XXH3), which is not made to withstand attackers, with 32 in the
 * last byte. `proof` may be NULL if len is 0: no proof. Set taken_at, too, and size and changed_ns
 * if they are known. Begin with CM_VALIDATOR_INIT. A validator from cm_file_lookup() or
 * cm_identify() may be racy, and stays so: set racy to 0 if your proof needs no times. */
CM_API void cm_validator_set_proof(cm_validator *v, const void *proof, size_t len);
/* Returns what cm_validator_set_proof() stored as it is, for a validator from cm_file_lookup(): the
 * ETag to ask the origin with. It points into *v. *len: its length. NULL, and 0, if there is no
 * proof or only a hash. A proof of cm_identify() has no such bytes. */
CM_API const void *cm_validator_get_proof(const cm_validator *v, size_t *len);
/* 1 if the two are equal as said above, and have a proof; else 0. Looks at no other field. */
CM_API int cm_validator_equal(const cm_validator *a, const cm_validator *b);

/* Durability of a pool: cm_info.durability. */
enum cm_durability {
    CM_DURABILITY_VOLATILE = 1,  /* memory or tmpfs: lost when the system stops */
    CM_DURABILITY_PAGECACHE = 2, /* survives a process crash and a close, not an OS crash */
    CM_DURABILITY_DAX = 3,       /* survives a power cut: the library writes back what it stores */
    /* As PAGECACHE; and of what was cached when cm_checkpoint() began, all that was not written
     * since survives an OS crash and a power cut. */
    CM_DURABILITY_CHECKPOINT = 4
};

enum cm_mode {
    CM_NORMAL = 0, /* serve hits, accept fills */
    CM_FREEZE = 1, /* serve hits, accept no fills */
    CM_BYPASS = 2  /* every read is a miss, no fills */
};

enum cm_verify {
    CM_VERIFY_FIRST_HIT = 0, /* checksum a slot on its first hit after open (default) */
    CM_VERIFY_ALWAYS = 1,    /* checksum on every hit */
    CM_VERIFY_NEVER = 2      /* trust the media: on damaged media a hit may then be wrong */
};

/* Which blocks stay in the pool (docs/policy.md). */
enum cm_policy {
    CM_POLICY_AUTO = 0,  /* S3R; simulations on a sample of the blocks choose the best of several
                          * rules */
    CM_POLICY_S3R = 1,   /* S3R with one rule: blocks that are read once leave first */
    CM_POLICY_GCLOCK = 2 /* CLOCK with counts of two bits: every block is stored on its first read.
                          * There is no probation buffer, whatever probation_bytes says */
};

/* Name of a policy, such as "s3r", or NULL if no policy has this number. The numbers start at 0 and
 * have no gaps. Static storage. */
CM_API const char *cm_policy_name(int policy);

enum cm_log_level { CM_LOG_ERROR = 0, CM_LOG_WARNING = 1, CM_LOG_INFO = 2 };

/* Callbacks. All of them must return, with two exceptions: on POSIX a thread may end, or throw a
 * C++ exception, in the origin's read (cm_origin_read_fn) and in the progress of cm_check() and
 * cm_warm(). No callback may be left by longjmp(). A thread that is cancelled with pthread_cancel()
 * ends in these callbacks or outside of the library. Its other calls and callbacks finish first.
 * Asynchronous cancellation is not supported. The pointers `ctx` are passed on unchanged; the
 * library never follows them.
 * Coroutines: while a callback runs, all calls of its thread into the same cache are refused
 * (CM_ECALLBACK). So a callback must not switch to a coroutine that calls the same cache. And it
 * must end in the thread in which it began: if its coroutine goes on in another thread, the first
 * one keeps a pointer into its stack. A coroutine that waits for the origin uses cm_request. */

/* Gets one complete line without a newline. `level` is an enum cm_log_level. `text` is valid during
 * the call only. Any thread may call it, also several at once. No lock of the library is held.
 * Damage of a pool (a wrong checksum, memory that cannot be read, a slot that is taken out of use)
 * is a warning: the first event of each of the three kinds at once, later ones as their number, at
 * most once a minute and kind, and at cm_close(). */
typedef void (*cm_log_fn)(void *ctx, int level, const char *text);
/* Memory for the library. alloc must return zeroed memory aligned to 64 bytes at an address below
 * 2^48 (handles use the bits above), or NULL. Large requests (one to eight bytes per slot) must be
 * zeroed lazily; otherwise the time to open a pool grows with its size. free gets the same size
 * again. Any thread may call them. */
typedef void *(*cm_alloc_fn)(void *ctx, size_t bytes);
typedef void (*cm_free_fn)(void *ctx, void *p, size_t bytes);

/* ---- Sealed pools -------------------------------------------------------------------------- */

#define CM_SEAL_HEAD 64u /* bytes of the first part of what is hashed */
#define CM_SEAL_TAG 8u

/* A pool that is made with a seal is sealed, as long as it lives: what it serves was stored by
 * somebody who has the key. docs/security.md says against whom that helps, and against whom it does
 * not. The key is yours: the library never sees it. examples/seal has callbacks with OpenSSL.
 * The callbacks return 0, or another value if they fail. Then a read is a miss, and a fill or a
 * record is not stored. Calls that cannot go on return CM_ESEAL, and the pool has what it had: try
 * again. What must be forgotten is forgotten all the same. They return: no exception, no end of the
 * thread, because locks may be held. Any thread may call them, also several at once, and with locks
 * of the library held: they must not call the library, and must not wait for a thread that does.
 * Their memory is private: nobody else writes it meanwhile. */
typedef struct cm_seal {
    uint32_t struct_size; /* set by CM_SEAL_INIT */
    uint32_t reserved;    /* 0 */
    void *ctx;
    /* Sets `tag` to a keyed hash of the CM_SEAL_HEAD bytes at `head`, and behind them the `len`
     * bytes at `data`: up to CM_BLOCK_SIZE, which may be 0. It must be a pseudorandom function,
     * such as SipHash, or keyed BLAKE2 or HMAC cut to 8 bytes. One that needs a fresh nonce (GMAC,
     * Poly1305) is none: an attacker would find its key. */
    int (*mac)(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *data, size_t len,
               uint8_t tag[CM_SEAL_TAG]);
    /* Encrypt and decrypt the CM_BLOCK_SIZE bytes at `block` in place, with a key that mac() does
     * not use: AES-256-XTS. `tweak` depends on the content and its place (docs/format.md). Set both
     * or neither. Without them, whoever can read the pool file reads its content. */
    int (*encrypt)(void *ctx, const uint8_t tweak[16], void *block);
    int (*decrypt)(void *ctx, const uint8_t tweak[16], void *block);
} cm_seal;
#define CM_SEAL_INIT CM_INIT_(cm_seal)
/* Sets *seal to what CM_SEAL_INIT is, for languages that cannot use the macro; `size` as for
 * cm_validator_init(). */
CM_API void cm_seal_init(cm_seal *seal, size_t size);

/* What protects a pool: cm_info.sealed. */
enum cm_sealed {
    CM_SEALED_NO = 0,       /* sums find accidents, and no attacker */
    CM_SEALED_MAC = 1,      /* nobody without the key can make blocks that it serves */
    CM_SEALED_ENCRYPTED = 2 /* and nobody can read them */
};

/* ---- Creating and opening pools ------------------------------------------------------------ */

enum {
    /* Do not preallocate. If the volume fills up, the pool uses the room that it has by then until
     * the next open, also if there is room again: fills take the place of other blocks, or are not
     * stored. The log says so once. */
    CM_CREATE_SPARSE = 1u << 0,
    /* With room for a name of each file (cm_file_set_name): 256 bytes for each record of the file
     * table. A library that does not know names refuses such a pool (CM_EINCOMPAT). */
    CM_CREATE_NAMES = 1u << 1
};

typedef struct cm_create_options {
    uint32_t struct_size; /* set by CM_CREATE_OPTIONS_INIT; 0: that of the first release */
    uint32_t flags;       /* CM_CREATE_* */
    uint64_t size;        /* bytes of the pool file; a multiple of 4096 */
    /* The number of files, attached or remembered, that the file table is made for. It gets nine
     * records for every eight of them; a few files may find none all the same. 0: one file for
     * every 16 slots, which are 64 KiB. Set it if most files are smaller: one without a record is
     * cold at its next open (cm_stats: records_evicted). CM_EINVAL if the pool has no room for so
     * many; the log says so. */
    uint64_t max_files;
    /* Called about once per 64 MiB that were preallocated, with the bytes done and in all. A return
     * value other than 0 cancels: the file is removed, and cm_create() returns CM_ECANCELED. May
     * be NULL. */
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    cm_log_fn log; /* may be NULL */
    void *log_ctx;
    /* NULL: the pool is not sealed. Its callbacks must stay valid during the call. */
    const cm_seal *seal;
    uint64_t reserved[3]; /* 0 */
} cm_create_options;
#define CM_CREATE_OPTIONS_INIT CM_INIT_(cm_create_options)

/* Sets *opts to what CM_CREATE_OPTIONS_INIT is, for languages that cannot use the macro; `size` as
 * for cm_validator_init(). */
CM_API void cm_create_options_init(cm_create_options *opts, size_t size);

/* Sizes in bytes of the smallest pool that cm_create() accepts (64 slots), and of the largest. With
 * CM_CREATE_NAMES the smallest one is 8192 bytes larger. */
CM_API uint64_t cm_pool_size_min(void);
CM_API uint64_t cm_pool_size_max(void);

/* Makes a pool file at `path`, which must not exist. Only its owner may read and write it (mode
 * 0600). It is preallocated, except with CM_CREATE_SPARSE. It is durable when the call returns. The
 * file gets its name when it is complete. Until then `path` does not exist, and somebody else may
 * take the name (CM_EEXIST). After an error nothing is left behind. If the process is killed,
 * nothing is left either, except on file systems without unnamed files: there a file
 * `path`.cachemax-new may stay. The next call removes it if it is not in use.
 * Blocks for the time that the volume needs to allocate `size` bytes. A fault guard as in cm_open()
 * exists while the call runs, so its handlers are installed.
 * After an error the log has a line, but none for CM_EEXIST and CM_ECANCELED.
 * CM_EINVAL (path or opts is NULL, path is too long, an option is wrong) CM_EPOOLSIZE (also: more
 * than the file system takes) CM_EEXIST CM_ENOENT (no such directory) CM_EACCES CM_ENOSPC
 * CM_ENOTFILE CM_ENOMEM CM_EIO CM_ESEAL CM_ECANCELED (by progress). */
CM_API int cm_create(const char *path, const cm_create_options *opts);

typedef struct cm_resize_options {
    uint32_t struct_size; /* set by CM_RESIZE_OPTIONS_INIT */
    uint32_t flags;       /* none yet: 0 */
    uint64_t size;        /* bytes that the pool file shall have; a multiple of 4096 */
    /* Called now and then with the bytes done and in all. Until it is known what will be copied,
     * and if that is nothing, `total` is what the old pool has room for; it is never 0. A return
     * value other than 0 cancels: the pool stays as it was, and cm_resize() returns CM_ECANCELED.
     * May be NULL. */
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    cm_log_fn log; /* may be NULL */
    void *log_ctx;
    const cm_seal
        *seal; /* of the pool, if it is sealed; else NULL. The new pool has the same one */
    uint64_t reserved[3]; /* 0 */
} cm_resize_options;
#define CM_RESIZE_OPTIONS_INIT CM_INIT_(cm_resize_options)
/* Sets *opts to what CM_RESIZE_OPTIONS_INIT is, for languages that cannot use the macro; `size` as
 * for cm_validator_init(). */
CM_API void cm_resize_options_init(cm_resize_options *opts, size_t size);

/* Begins with CM_RESIZE_REPORT_INIT, as cm_info. */
typedef struct cm_resize_report {
    uint32_t struct_size;
    uint32_t emptied;    /* 1: what the pool held did not count any more (as in cm_info), so it is
                          * empty now */
    uint64_t old_size;   /* of the pool file, in bytes */
    uint64_t blocks;     /* that were cached */
    uint64_t no_room;    /* of them, dropped: the pool is too small now, or (a few, whatever its
                          * size) the buckets of the index were full */
    uint64_t damaged;    /* of them, dropped because they could not be read or were not whole */
    uint64_t files;      /* that the pool knew */
    uint64_t files_lost; /* of them, forgotten: no room for their records, or these were damaged */
    uint64_t kept_files; /* of cm_file_set_keep(), that the pool still knows */
} cm_resize_report;
#define CM_RESIZE_REPORT_INIT CM_INIT_(cm_resize_report)

/* Gives a pool another size, and keeps what is cached in it. Nobody may have it open. If not all
 * fits, blocks of kept files (cm_file_set_keep) stay first, then those that were used most often,
 * as far as the last clean close has kept that. Files, their validators, names, groups, kept bits
 * and unsynced writes are as before.
 * HOW    It makes a new file beside the old one, copies what is cached, and checks each block on
 * the way. The new file then takes the place of the old one in one step. So whatever crashes,
 * `path` leads to the whole old pool or to the whole new one. Until the end, the volume has both.
 * The new pool has another uuid. It is sparse if the old one is, and it has room for names and a
 * fixed number of files if the old one has (for fewer files, if so many do not fit).
 * A process that is killed may leave a file `path`.cachemax-resize, or that with .cachemax-new
 * behind it. The next call removes them. It also gives back what a killed cm_grow() has taken.
 * *report may be NULL.
 * TRUST, and errors beside these: as cm_open(). CM_EINVAL CM_EPOOLSIZE CM_EOWNED CM_ENOSPC
 * CM_EEXIST (a file `path`.cachemax-resize that is no left-over) CM_ECANCELED CM_EMOVED (`path`
 * leads to another file meanwhile) CM_ESEAL (a block or record could not be judged or sealed)
 * CM_ENOTSUP (`path` is a mount point, such as a file that a container was given: resize it under
 * its own path) CM_EIO. After an error the pool is as it was, or empty, if the system has lost what
 * a killed owner wrote (void, if even that cannot be written or sealed); after CM_EIO from the last
 * sync it may already be the new one. Readers of it (CM_OPEN_SHARED) go on; but after an error of
 * the last step (CM_EIO; CM_EMOVED; any, on Windows), and if the process is killed there, they are
 * served nothing until an owner opens the pool. The log has a line that says why, but for
 * CM_ECANCELED; after CM_ENOSPC how many bytes the volume has too few, if it tells. */
CM_API int cm_resize(const char *path, const cm_resize_options *opts, cm_resize_report *report);

/* Begins with CM_GROW_REPORT_INIT, as cm_info. */
typedef struct cm_grow_report {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t old_size, new_size; /* of the pool, in bytes */
    uint64_t old_slots, new_slots;
    uint64_t blocks;     /* that are cached, and were before */
    uint64_t dropped;    /* a few at most: the buckets of the new index were full */
    uint64_t elapsed_ns; /* how long the call took */
} cm_grow_report;
#define CM_GROW_REPORT_INIT CM_INIT_(cm_grow_report)

/* Makes an open pool larger: `size` bytes, a multiple of 4096, at most cm_options.grow_max. The
 * file becomes longer, and everything that is cached stays where it is. Reads hit and brackets
 * begin and end meanwhile. Fills store nothing (CM_NOT_STORED_MODE, CM_NOT_STORED_STALE) while the
 * index is copied. That takes about a second for each 100 GiB that are cached, and without DAX the
 * time that the volume needs to write the new index (0.4 % of the new size), whatever is cached. A
 * crash at any moment leaves the pool with its old size or with its new one, and with what it held.
 * A pool may grow four times; each time an index of the old size becomes unused. After cm_resize()
 * it may again.
 * Blocks for the time that the volume needs to allocate the new part of the file. Any thread may
 * call it. *report may be NULL.
 * CM_EBUSY (another thread does) CM_EINVAL CM_EREADONLY CM_EPOOLSIZE (not a multiple of 4096; more
 * than it can become; too little more for a new index and 64 slots: those take 88 blocks at 16 MiB
 * and some 0.5 % of the size above 256 MiB, and the log says the least size) CM_ENOTSUP (size is
 * above grow_max, which may be 0; the pool has grown four times; Windows) CM_ENOSPC CM_ENOMEM
 * CM_EIO (also: a header cannot be read, or the file was truncated) CM_ESEAL CM_EFORGET. After an
 * error the pool has its old size, and what it held; but if a sync of its superblock failed, or the
 * file was truncated, it may be empty. CM_ENOSPC comes before anything is written, if the volume
 * says how much it has free, and the pool is not sparse. The log says why it did not grow:
 * CM_LOG_INFO for CM_ENOTSUP and CM_EPOOLSIZE, because cm_resize() may do it, else CM_LOG_WARNING.
 * Readers of other processes (CM_OPEN_SHARED) are served nothing more: for them it is another pool,
 * which they have to open again. For a pool in memory, see cm_open_memory(). */
CM_API int cm_grow(cm_cache *cache, uint64_t size, cm_grow_report *report);

enum {
    CM_OPEN_READONLY = 1u << 0,    /* change nothing: only cm_check, cm_get_info, cm_stats and
                                    * cm_files_begin work. It keeps an owner out (CM_EOWNED) as
                                    * long as it is open */
    CM_OPEN_REQUIRE_DAX = 1u << 1, /* CM_ENOTDAX unless the CPU can make stores durable */
    /* No fault guard for this pool: a damaged page, or somebody who cuts the file, ends the
     * process. If he cuts it inside a page, reads may also give zeros in place of what that page
     * had. Handlers and signal masks are not touched for it. */
    CM_OPEN_NO_GUARD = 1u << 2,
    CM_OPEN_ANY_OWNER = 1u << 3, /* also open a pool that others own or may write: they decide what
                                  * is read through it */
    /* Read the pool's metadata (cm_info.metadata_bytes: all but the slots) into memory before
     * cm_open() returns. Then cm_open() does not take constant time: it waits until the metadata,
     * about 1.7 % of the pool, was read from the volume once. The system may drop pages later. */
    CM_OPEN_PREFAULT = 1u << 4,
    /* The same, and lock these pages in memory until cm_close(). CM_ENOMEM, and a log line, if the
     * system refuses (Linux: RLIMIT_MEMLOCK; Windows: the working set). cm_close() also unlocks
     * memory of cm_open_memory(). */
    CM_OPEN_LOCK = 1u << 5,
    /* Read a pool that another process owns, or nobody: hits without a lock, while the owner fills
     * and forgets. The pool is mapped read-only, and its file need only be readable. Once a call of
     * the owner has returned, no read that begins later serves what it forgot. Files are attached
     * with a validator, as by an owner: warm if it matches what the pool knows. A file that the
     * owner finds changed is cold here until a validator is presented again
     * (cm_file_info.want_validator). Nothing is stored: cm_fill() returns CM_NOT_STORED_MODE. Calls
     * that change something return CM_EREADONLY; cm_pin_range() and cm_check() return CM_ENOTSUP.
     * Statistics, times to live and advice are those of this cache alone. Readers and owner may be
     * killed or stopped at any time. Without an owner readers go on, and attach files, but nobody
     * tells them of changes. They are served nothing until another owner opens the pool if one
     * could not (cm_open() returned CM_ENOSPC or CM_EIO), ended with something that it could not
     * forget, or was killed while it opened the pool, emptied it, made it larger, or was in
     * CM_BYPASS. docs/embedding.md "Several processes, one pool". */
    CM_OPEN_SHARED = 1u << 6,
    /* Hits and fills copy with the routines that a table of CPUs names. Else some of the first
     * thousands of hits measure which routine is the fastest here, and how many lines it should
     * request ahead (each takes some microseconds longer, 1 to 2 ms in all). In a pool without
     * flushes the first fills are copied by several routines in turns, and then by the fastest. The
     * flag is for runs that have to be the same each time, as counts of instructions. */
    CM_OPEN_NO_TUNING = 1u << 7
};

#define CM_PROBATION_NONE UINT64_MAX

/* A zeroed struct is valid, too: it has the defaults. */
typedef struct cm_options {
    uint32_t struct_size; /* set by CM_OPTIONS_INIT; 0: that of the first release */
    uint32_t flags;       /* CM_OPEN_* */
    uint32_t verify;      /* enum cm_verify */
    /* Only for cm_open_memory: CM_DURABILITY_VOLATILE, _PAGECACHE or _DAX. 0: _VOLATILE */
    uint32_t memory_durability;
    /* Bytes per second that may be stored in the pool, without metadata. 0: no limit. The amount of
     * one second may come at once, and one write more: the blocks that one call stores together, up
     * to 64 KiB. */
    uint64_t fill_rate_limit;
    cm_alloc_fn alloc; /* NULL: the system's lazily zeroed pages; set both or neither */
    cm_free_fn free;
    void *alloc_ctx;
    cm_log_fn log; /* NULL: silent */
    void *log_ctx;
    /* Bytes of DRAM for new blocks: the probation buffer. Each waits there until later ones push it
     * out. If it had two hits meanwhile, or the pool has room (see cm_checkpoint), it is stored
     * then; else it has cost no write to the pool. cm_checkpoint() stores blocks before they are
     * pushed out: call it every few seconds, also with DAX, or a small file in constant use may
     * wait for long. A crash loses what waits. cm_close() stores the blocks that still wait, as far
     * as there is room. 0: the default, 1 % of the pool, at least 256 KiB, at most 256 MiB. More
     * than the pool has slots when it is opened is cut to so many blocks; less than a block is no
     * buffer. CM_PROBATION_NONE: no buffer. */
    uint64_t probation_bytes;
    uint32_t policy; /* enum cm_policy */
    /* CM_POLICY_AUTO: the cost of storing a block, in thousandths of a hit. A larger value wears
     * the pool less and serves fewer hits. At most 1000. 0: the default, 100 with a probation
     * buffer and 20 without one. */
    uint32_t wear_weight;
    /* How long a read waits for the origin read of another reader, in nanoseconds, before it reads
     * the origin itself. UINT64_MAX: as long as that takes. 0: the default, 30 s. */
    uint64_t join_timeout_ns;
    /* Largest read of the origin by cm_read_through() and requests, in bytes: a multiple of 4096,
     * at most 16 MiB. Reading ahead grows to a quarter of it. Data that cannot go straight into the
     * caller's memory goes through buffers. The cache keeps up to 8 of 256 KiB of them and, if this
     * is larger, up to 2 of this size. 0: the default, 1 MiB. */
    uint64_t read_size_max;
    /* How large cm_grow() may make the pool while it is open, in bytes. It costs address space, and
     * DRAM only as the pool grows. For cm_open_memory: so much memory at `base` is the pool's. 0:
     * the pool keeps its size. */
    uint64_t grow_max;
    /* The seal that the pool was made with, or NULL (else CM_EKEY). The struct is copied; its
     * callbacks must stay valid until cm_close(). In a sealed pool every hit is verified, whatever
     * `verify` says, and nothing can be pinned. */
    const cm_seal *seal;
    uint64_t reserved[4]; /* 0 */
} cm_options;
#define CM_OPTIONS_INIT CM_INIT_(cm_options)

/* Sets *opts to what CM_OPTIONS_INIT is, for languages that cannot use the macro; `size` as for
 * cm_validator_init(). */
CM_API void cm_options_init(cm_options *opts, size_t size);

/* Opens a pool and becomes its only owner. Takes constant time, whatever the pool's size, except
 * with CM_OPEN_PREFAULT and CM_OPEN_LOCK.
 * `opts` may be NULL for defaults. *cache is set on success only; release it with cm_close(). The
 * callbacks and contexts in `opts` must stay valid until then.
 *
 * TRUST  Whoever can write a pool decides what is read through it. So the pool must belong to the
 * effective user or to root, and nobody else may write it. The same holds for every directory on
 * the path from the root, where others may write only if it has the sticky bit, and for the owners
 * of symbolic links. Otherwise the result is CM_EUNTRUSTED, and a log line says why. This is not
 * checked with CM_OPEN_READONLY, which serves nothing, nor with CM_OPEN_ANY_OWNER, nor so far on
 * Windows (docs/security.md).
 *
 * ONE VIEW  Owner and readers open a pool in one mounted file system. Through another view of the
 * same file (the directory behind a FUSE file system, a layer of an overlay, another host, a guest)
 * a process may see neither the lock nor what is stored: then there are two owners, and both serve
 * wrong bytes. On volumes that are known to be reached so (FUSE, NFS, SMB, 9p and a few more) a log
 * line warns of that.
 *
 * CRASHES  After a crash of the system a pool on a volume without DAX empties itself, unless it was
 * checkpointed (cm_checkpoint); a log line and cm_info.emptied say so. Without DAX the pool is also
 * emptied if the volume fails to sync what the last owner wrote. If nothing can be synced, the pool
 * is void (CM_EIO, a log line): its file has 0 bytes, and no later open finds a pool (CM_ENOTPOOL).
 * Delete it and make a new one. So it is, too, when something must be forgotten and a full volume
 * that copies on write has no room for that: the pool becomes void at once, a log line says so, and
 * calls go on as if it had been emptied. Nothing more is stored, and cm_close() returns CM_EIO.
 *
 * FAULT GUARD  Handlers of SIGBUS and SIGSEGV (Windows: a vectored handler) turn a damaged page of
 * a pool into a miss. They pass on everything else. Any number of pools can be open. The kernel
 * would kill a thread that blocks these signals, so cm_open() and the first call of every thread
 * unblock them there. Do not block them again. If another handler takes the place of these later,
 * the log says so at the next cm_open(), cm_get_info() or cm_checkpoint().
 *
 * ERRORS  A line of the log names the pool and says more.
 * - CM_EINVAL: path or cache is NULL, path is too long, an option is wrong
 * - CM_ENOENT CM_EACCES CM_ENOTFILE: the path leads to no file, or to none that may be opened
 * - CM_ENOTPOOL: it was never a pool, or it is void; if the file is empty, the line says so
 * - CM_ETRUNCATED CM_EOVERSIZE CM_EDAMAGED: it was a pool, and is none any more
 * - CM_EVERSION CM_EINCOMPAT CM_EBYTEORDER: it is of another library or another machine
 * - CM_EUNTRUSTED: see TRUST
 * - CM_EOWNED: another process has it open, or this one. So it is while a tool looks at it with
 *   CM_OPEN_READONLY (`cachemax files`, `cachemax check`), and for the moment in which an owner
 *   ends: try again a few times. If a process tries again and again, the line comes once as
 *   CM_LOG_ERROR, and then as CM_LOG_INFO, until the owner is another one
 * - CM_EMOVED: while it looked, the file was replaced again and again. A resize that replaces it
 *   once does no harm: the new file is opened. Try again
 * - CM_ENOTDAX: CM_OPEN_REQUIRE_DAX, and its volume offers none, or the CPU cannot write back what
 *   was stored
 * - CM_EKEY: the pool is sealed and cm_options.seal is NULL, or has another key; or the pool is not
 *   sealed and cm_options.seal is not NULL. Nothing was changed. Also with CM_OPEN_READONLY
 * - CM_ESEAL: a callback of the seal failed. The pool has what it had: try again
 * - CM_ENOSPC: the volume is full and copies on write (btrfs; or a snapshot or a reflink copy of
 *   the pool exists). The pool has what it had: make room and try again
 * - CM_ENOTSUP: CM_OPEN_SHARED, the pool is in a layer of overlayfs of which an owner may get a
 *   copy, has no owner, and cannot be opened for writing (docs/embedding.md "Several processes, one
 *   pool")
 * - CM_ENOMEM CM_EIO; CM_EIO also: one of the two superblocks cannot be written */
CM_API int cm_open(const char *path, const cm_options *opts, cm_cache **cache);

/* Opens a pool in memory that the caller has mapped (a driver, /dev/dax, CXL memory, tests). `base`
 * must be aligned to 4096 and hold a formatted pool of exactly `bytes` bytes. With
 * cm_options.grow_max so many bytes are mapped there, and the pool may have any size up to that.
 * The caller keeps it mapped until cm_close(), and makes sure that nobody else opens it or may
 * write it. `opts` and `cache` as in cm_open(). Errors as cm_open(), without those of files. */
CM_API int cm_open_memory(void *base, uint64_t bytes, const cm_options *opts, cm_cache **cache);
/* Formats a pool in memory: writes what cm_create() writes to a file. `size` of opts must be 0 or
 * `bytes`. CM_EINVAL (also: base is not aligned to 4096) CM_EPOOLSIZE CM_ESEAL CM_EIO. */
CM_API int cm_format_memory(void *base, uint64_t bytes, const cm_create_options *opts);

/* Closes the pool and leaves it clean. Detaches all files. May block for syncs of the volume. After
 * 0, CM_EIO, CM_ESEAL or CM_ETRUNCATED the cache and all its cm_file pointers are gone: do not use
 * them again (undefined behaviour).
 * CM_EBUSY: pins, brackets, cm_read_through(), requests, warmings, iterations, checkpoints, a
 * growth or containers of objects are still in use; nothing was closed. A cm_read(), cm_fill() or
 * other short call that still runs is not noticed: see THREADS.
 * CM_EIO: the pool is closed, but its last state could not be made durable. It may be empty at the
 * next open. If not even that can be written, it is void (see CRASHES at cm_open), and a line of
 * the log says so. CM_ESEAL: the pool is closed, as if the process had been killed. CM_ETRUNCATED:
 * the pool file became smaller while it was open (a log line said so when it was noticed). It is
 * closed, and it is empty or no pool any more. Delete it and make a new one. */
CM_API int cm_close(cm_cache *cache);

/* Sets the mode, an enum cm_mode. It is CM_NORMAL after open. Brackets, cm_invalidate and cm_forget
 * work in every mode. With CM_BYPASS readers of other processes (CM_OPEN_SHARED) find nothing
 * either, until another mode is set or the pool is closed. CM_EINVAL (unknown mode) CM_EREADONLY.
 * CM_EIO: the mode is set here, but that cannot be told to readers of other processes. */
CM_API int cm_set_mode(cm_cache *cache, int mode);

/* Sets another cm_options.fill_rate_limit, from the next fill on. CM_EREADONLY. */
CM_API int cm_set_fill_rate_limit(cm_cache *cache, uint64_t bytes_per_second);

/* Monotonic clock of the library in nanoseconds, for cm_validator.taken_at. */
CM_API uint64_t cm_now(void);

/* Asks the operating system for the id and the validator of an open origin file. `os_file` is a
 * POSIX file descriptor or a Windows HANDLE. *id and *validator are valid on success only, but
 * *validator must begin with CM_VALIDATOR_INIT: its struct_size is read. The first call for a mount
 * reads /proc and /sys.
 * The id is a hash of the volume's identity and the file's numbers there. The validator has its
 * size and times. docs/embedding.md "What cm_identify does" says for each system and file system
 * what they consist of, and which of them last over a restart.
 * CM_ECLONE: the file may be taken for one of another volume. Give its volume a name
 * (cm_identify_options.volume_id). So it is with a copy of a volume, and on Windows with each file
 * of a DFS namespace, whose name does not say which server has it. On Linux it is so, too, where a
 * sandbox hides what the id depends on (no /sys, an unlisted mount): the id would be another one.
 * CM_RACY_WRITER: somebody has the file open for writing (this process counts, too), or that could
 * not be found out. To find it out the call denies writing for a moment: a program that opens the
 * file for writing in these microseconds waits on Linux (with O_NONBLOCK: EWOULDBLOCK), and gets a
 * sharing violation on Windows. On Linux it opens the file once more and closes it. So the process
 * loses the POSIX locks (F_SETLK, lockf) that it has on the file, as at any close: use those of an
 * open file (F_OFD_SETLK, flock). For a file that will be attached as CM_SOLE_WRITER all this can
 * be left out: cm_identify_with().
 * If the kernel has multigrain timestamps (Linux since 6.13, on ext4, xfs, btrfs and tmpfs), and
 * nobody is writing, the validator is not racy even right after a change. Then the call waits for
 * the next tick of the kernel's clock, some milliseconds, if the file changed in the present one.
 * With CM_IDENTIFY_SOLE_WRITER it never waits.
 * CM_ENOTFILE (not a file that can be cached: a directory, a device, a pipe, a file that is made up
 * when it is read, as those of /proc are; on Windows also a named stream of a file, and a file to
 * which its file system gives no id, as with WebDAV) CM_EINVAL (NULL, a struct_size that is
 * invalid, not an open file, opened with O_PATH) CM_EIO (also: the file system does not say what it
 * is, and there is no volume_id; a filter of system calls refuses FS_IOC_GETVERSION) CM_ENOMEM
 * CM_ECLONE. */
CM_API int cm_identify(intptr_t os_file, cm_file_id *id, cm_validator *validator);

enum {
    /* The file will be attached as CM_SOLE_WRITER: do not look for other writers. */
    CM_IDENTIFY_SOLE_WRITER = 1u << 0
};

typedef struct cm_identify_options {
    uint32_t struct_size; /* set by CM_IDENTIFY_OPTIONS_INIT; 0: that of the first release */
    uint32_t flags;       /* CM_IDENTIFY_* */
    /* A name for the file's volume. It replaces the identity that the system reports. NULL: ask the
     * system. "" is not valid. Nobody checks that no other volume has the same name. The caller
     * guarantees that inode numbers on the volume are unique and stable. If a FUSE server gives one
     * number to two files, or another file's number after a remount, the cache serves the wrong
     * file. A name is right for a server that passes on the numbers of one device. The string is
     * used during the call only. */
    const char *volume_id;
    uint64_t reserved[2]; /* 0 */
} cm_identify_options;
#define CM_IDENTIFY_OPTIONS_INIT CM_INIT_(cm_identify_options)
/* Sets *opts to what CM_IDENTIFY_OPTIONS_INIT is, for languages that cannot use the macro; `size`
 * as for cm_validator_init(). */
CM_API void cm_identify_options_init(cm_identify_options *opts, size_t size);
/* cm_identify() with options. `opts` may be NULL. Errors as cm_identify(), and CM_EINVAL for wrong
 * options. */
CM_API int cm_identify_with(intptr_t os_file, const cm_identify_options *opts, cm_file_id *id,
                            cm_validator *validator);

/* ---- Files --------------------------------------------------------------------------------- */

enum {
    CM_SOLE_WRITER = 1u << 0,     /* nobody else writes the origin while the file is attached */
    CM_ORIGIN_VOLATILE = 1u << 1, /* the origin can lose power or connection by itself: unsynced
                                   * writes are then lost */
    /* Nobody else ever writes the origin, attached or not, and every own write is in a bracket. The
     * proof is a version of your own, which changes only when you give the file another content as
     * a whole: cm_validator_set_proof(). So blocks outlive a crash of the process in the middle of
     * writes. Implies CM_SOLE_WRITER. docs/embedding.md says who may claim it. */
    CM_EXCLUSIVE = 1u << 2
};

/* Attaches an origin file. *file is set on success; release it with cm_file_close(). There is one
 * handle per id: a second open returns the same handle and adds a reference. It treats the
 * validator as cm_file_revalidate() does. Blocks cached earlier are kept if three conditions hold:
 * the validator equals the recorded one, neither of them is racy (CM_EXCLUSIVE ignores that), and
 * no unsynced write of their region was lost in a crash.
 * OTHERS  A newer validator of a second open gives the file another version for all that have it
 * open. If an origin_read of the first one still reads the older version (it asks for its ETag, or
 * the answer of before goes on), its bytes are stored as those of the newer version, for good. So
 * read with cm_read_through_version() in such a program. After the open cm_file_lookup() tells the
 * incarnation, and the validator that it belongs to: compare that with your own.
 * SIZE  The size is that of the validator. If that is not known, it is the recorded one, if there
 * is one and the blocks are kept. Else the first fill with CM_FILL_EOF tells it, or a later
 * validator; nothing is forgotten then.
 * `validator`: NULL, or one without a proof, means that the file is new at its first attach; a
 * second open then checks nothing.
 * `flags`: CM_SOLE_WRITER and CM_EXCLUSIVE hold until a second open comes without them. Then, and
 * if the first open did not have them, no later open brings them (back) before the last close.
 * CM_ORIGIN_VOLATILE holds from the first open that has it until the last close. The first open
 * with CM_EXCLUSIVE needs a validator with a proof (else CM_EINVAL). Nobody checks that the proof
 * is your own and not that of cm_identify().
 * Returns 0, or CM_IGNORED, which is positive and no error: the file is attached, but the validator
 * proves nothing (see cm_validator). If the file was not open, it then starts cold and with unknown
 * size, and its blocks of earlier sessions are forgotten permanently. So take the validator after
 * cm_open(). After CM_IGNORED take a new one and present it with cm_file_revalidate().
 * In a checkpointed pool it waits for the sync of a page if the file has changed, or may have.
 * CM_EINVAL (also: taken_at is 0 or later than cm_now()) CM_ENOMEM CM_EREADONLY CM_EFORGET
 * CM_ENOTPOOL (CM_OPEN_SHARED: the pool was replaced; close it and open it again)
 * CM_ESEAL (nothing is attached; another try may find the file warm). */
CM_API int cm_file_open(cm_cache *cache, const cm_file_id *id, const cm_validator *validator,
                        uint32_t flags, cm_file **file);

/* Presents the origin's current validator, which must have a proof. Returns 0 or CM_IGNORED.
 * 0: if the file is unchanged, its blocks are kept, and a size that was not known is known now. If
 * somebody else changed the file, everything cached of it is forgotten. The same happens if one of
 * the two validators is racy, because that hides changes, but not for a CM_SOLE_WRITER. If a
 * CM_SOLE_WRITER made own writes for which no validator was adopted yet, this one is adopted. (Own
 * writes do not change the proof of a CM_EXCLUSIVE file: another proof always forgets it.)
 * cm_file_info.incarnation says which of these it was: it is another number if the file was
 * forgotten.
 * CM_IGNORED: the validator proves nothing (see cm_validator), mostly because a bracket was open
 * at or after validator->taken_at. Take it again later.
 * In a checkpointed pool it waits for the sync of a page if the file has changed, or may have.
 * CM_EINVAL CM_EFORGET CM_ENOTPOOL (as in cm_file_open)
 * CM_ESEAL (CM_OPEN_SHARED: the file is cold; present a validator again). */
CM_API int cm_file_revalidate(cm_file *file, const cm_validator *validator);

enum cm_advice {
    CM_ADVISE_NORMAL = 0,
    CM_ADVISE_SEQUENTIAL = 1, /* read more of the origin at once: a quarter of read_size_max, in a
                               * small pool less (at most 1/32 of its slots, and half of the
                               * probation buffer) */
    CM_ADVISE_NOREUSE = 2,    /* serve hits, but store no fills of this file */
    CM_ADVISE_KEEP = 3        /* blocks that are filled from now on count as used often */
};
/* How the file will be read: enum cm_advice. It holds for all that have the file open, until the
 * next advice or its last cm_file_close(). CM_EINVAL: unknown advice. */
CM_API int cm_file_advise(cm_file *file, int advice);

#define CM_FILE_NAME_MAX 255u /* bytes of a file's name in the pool */

typedef struct cm_file_info {
    uint32_t struct_size; /* set by CM_FILE_INFO_INIT; 0: that of the first release */
    uint32_t attached;    /* 1: a cm_file stands for it now */
    cm_file_id id;
    /* The version of its content: another one after each change that was found, and never used
     * again in this pool. 0: nothing can be cached. */
    uint64_t incarnation;
    uint64_t size;           /* or CM_SIZE_UNKNOWN */
    uint32_t dirty;          /* 1: unsynced writes may exist; a power cut would drop the blocks of
                              * the regions where they are */
    uint32_t racy;           /* 1: validate again, or the file is cold at the next attach. Attached
                              * with CM_EXCLUSIVE: 0, also if it is so for who attaches without */
    uint32_t kept;           /* 1: the attach found the file unchanged since an earlier session, so
                              * it is warm; maybe no block of it is left */
    uint32_t brackets;       /* that are open now */
    uint32_t bypassed;       /* 1: a failed fsync keeps the file out of the cache until the next
                              * boot */
    uint32_t want_validator; /* 1: own writes changed the file, and no validator was adopted for
                              * them. With CM_OPEN_SHARED: it is cold, until a validator is
                              * presented that matches what the owner knows by then */
    int64_t expires_ns;      /* end of its time to live, by the wall clock since 1970; 0: none is
                              * known */
    uint64_t cached_bytes;   /* with CM_FILES_COUNT; else CM_SIZE_UNKNOWN: not counted */
    /* Blocks of the file that were served from the cache since the pool knows it. It is estimated:
     * one in 64 calls is looked at, at random. A crash may lose the count. */
    uint64_t hits;
    uint64_t misses; /* blocks that were looked up and not served, while it is attached */
    uint64_t fills;  /* blocks that were stored, while it is attached */
    /* When it was used last: attached, closed, missed or (one in 64 calls) served. By the wall
     * clock, in nanoseconds since 1970; in whole seconds if it is not attached. 0: not known. */
    int64_t last_used_ns;
    /* What cm_file_set_name() gave it, with a NUL behind it; "": nothing, or not known. It may hold
     * any bytes: escape them before you print them. */
    char name[CM_FILE_NAME_MAX + 1];
    /* In how many of its 64 regions unsynced writes may exist: a crash of the system costs so
     * much. 0 if it is not dirty. */
    uint32_t dirty_regions;
    uint32_t keep;  /* 1: its blocks are not evicted (cm_file_set_keep) */
    uint32_t group; /* cm_file_set_group(); 0: none */
    uint32_t reserved;
} cm_file_info;
#define CM_FILE_INFO_INIT CM_INIT_(cm_file_info)
/* Fills in *info. CM_EINVAL: info is NULL, or its struct_size is invalid. */
CM_API int cm_file_get_info(cm_file *file, cm_file_info *info);

/* What the pool knows of a file, without attaching it. *validator is the one that was accepted
 * last, also by an earlier session. Its size is what is known now: CM_FILL_EOF may have told it.
 * racy is not 0 if a file that is not attached is cold at its next attach, whatever you present.
 * (CM_EXCLUSIVE ignores a racy record: with it the file may be warm.) changed_ns is 0, and so is
 * taken_at: the library does not know whether the origin is still the same. If you do (an object
 * that never changes, a copy that is fresh by its own rules), or if an old copy is better than
 * none, set taken_at to cm_now() and attach the file with it: it is warm then. Set changed_ns, too
 * (CM_CHANGED_LONG_AGO for a server): without it the file counts as dirty if it is not warm after
 * all. The proof is zero if the file never had one: such a validator attaches nothing warm.
 * `validator` and `info` may be NULL.
 * CM_EABSENT (the pool does not know the file, or its fsync failed in this boot and it is not
 * attached) CM_ESEAL (nobody knows now whether it does) CM_EINVAL (also: a struct_size is invalid)
 * CM_EREADONLY. */
CM_API int cm_file_lookup(cm_cache *cache, const cm_file_id *id, cm_validator *validator,
                          cm_file_info *info);

/* Gives the file a time to live, in nanoseconds from now. 0: none, which is so after each attach.
 * When it is over, reads miss, and nothing is stored, until a validator of the file is accepted
 * (cm_file_open, cm_file_revalidate, cm_write_end, cm_sync_end), or this call gives it another
 * time. If the validator shows that the file is unchanged, the blocks are there again. The time
 * begins again with each validator that is accepted. No call reports the end: compare
 * cm_file_info.expires_ns with the wall clock. cm_file_ranges() and cm_files_next() count the
 * blocks all the same.
 * IN LATER SESSIONS  The end is recorded in whole seconds, earlier rather than later, and is
 * durable when the call returns 0; also for each version that the file gets while the time runs.
 * cm_file_lookup() tells it as expires_ns until the file is attached. The attach ends the time in
 * its session: expires_ns is 0 then. So look before you attach, and set what is left of it by the
 * wall clock. If the attach finds the file unchanged, and no time is set, the record keeps the end
 * for the session after that. Another version of the file (cm_file_info.incarnation) or a time of 0
 * removes it. Own writes of a CM_SOLE_WRITER whose validator is adopted do not.
 * If the wall clock is set back, the time ends all the same: the monotonic clock ends it, too, and
 * expires_ns moves. The record is corrected when the file or the pool is closed, and by
 * cm_checkpoint(), also when the clock is right again. A clock that is set back before a kill or a
 * power cut, or while nobody uses the file, may make what later sessions are told too late. So may
 * a power cut between the close of the file and the next checkpoint.
 * An origin may give another time together with a validator: docs/embedding.md says in which order
 * to present them.
 * Hits on a file with a time to live take longer, because each one asks the clock.
 * In a pool that is checkpointed an earlier end than before waits for the sync of a page.
 * CM_EFORGET. */
CM_API int cm_file_set_ttl(cm_file *file, uint64_t ttl_ns);

/* Gives the file a name for people, such as its path: cm_file_info.name shows it, also in later
 * sessions, and so does `cachemax files`. Nothing else depends on it. At most CM_FILE_NAME_MAX
 * bytes of any kind but NUL. NULL or "": none. The pool must have room for names (CM_CREATE_NAMES,
 * cm_info.names_bytes).
 * A name belongs to the id. It stays when the file changes, and ends with cm_forget(), when the
 * pool empties itself, and when another file gets the record. A crash may lose the name or bring
 * back an earlier one of the same file. It never makes one of another file.
 * Returns 0 or CM_NOT_RECORDED: the file has no record, or its name cannot be written.
 * CM_EINVAL (too long) CM_ENOTSUP (a pool without names). */
CM_API int cm_file_set_name(cm_file *file, const char *name);

/* Keeps what is cached of the file in the pool, or ends that. keep 1: its blocks are not evicted
 * any more, whatever else is read. Those that come later are stored at once, as those of
 * CM_ADVISE_KEEP, also with CM_ADVISE_NOREUSE. The call itself stores nothing: cm_warm() does. 0:
 * as other files.
 * FOR HOW LONG  It is written to the file's record, durably. So it holds in later sessions, after a
 * crash of the program, and for each new version of the file. It ends with cm_forget(), and with
 * all else if the pool empties itself. A later session reads the file table (18 bytes for each
 * slot), a part with each fill that has to evict something; this call, cm_get_info() and the like
 * read the rest at once.
 * HOW MUCH  The files that are kept may have half of the pool's slots, by their sizes
 * (cm_info.kept_bytes, kept_max), and half of its file table: so many of them as half of
 * cm_info.max_files (kept_files). One that is too large beside the others, or one too many, is
 * refused with CM_EKEEP, and nothing changes. The count follows the sizes. A file whose size is not
 * known counts as it did when it last was known in this session, or 0. So kept files may come to
 * count more than the half. They stay kept, also if this call is repeated, and no other file is
 * accepted. What is too much of them is evicted as other blocks are.
 * What is written, truncated or invalidated is forgotten all the same, and so are the blocks of
 * cm_drop(). The next read brings them back.
 * In a pool that is checkpointed the call waits for the sync of two pages.
 * A crash in the middle of the call leaves the file kept or not, and its blocks where they are.
 * CM_EKEEP CM_NOT_RECORDED (it has no record, where the pool could remember it) CM_NOT_STORED_MODE
 * (a failed fsync keeps it out of the cache) CM_ENOMEM CM_EIO CM_ESEAL CM_EFORGET. */
CM_API int cm_file_set_keep(cm_file *file, int keep);

/* Puts the file into a group, which may have a quota. The number is yours; 0: in no group, as all
 * files are at first. A group may stand for a directory or a user, say.
 * FOR HOW LONG  It is written to the file's record. So it holds in later sessions, after a crash of
 * the program, and for each new version of the file. It ends with cm_forget() of a file that is not
 * attached, and with all else if the pool empties itself. After a crash in the middle of the call
 * the file may be in the group in which it was before; so it may if the system crashes before the
 * change is on the medium (with DAX it is when this returns, else after cm_checkpoint). Its blocks
 * stay.
 * Blocks that are stored already count for the new group once a survey has come to them, a part of
 * which is made with each fill of a file whose group has a quota.
 * CM_NOT_RECORDED (it has no record: it is in the group while it is attached) CM_NOT_STORED_MODE
 * (a failed fsync keeps it out of the cache; nothing changes) CM_ENOMEM CM_EIO CM_ESEAL
 * CM_EFORGET. */
CM_API int cm_file_set_group(cm_file *file, uint32_t group);

#define CM_GROUPS_MAX 16u /* groups that may have a quota in one session */

/* The bytes of the pool that the blocks of a group's files may take together, in whole blocks.
 * 0: all; they are counted all the same. When a group has all that it may have, a block that is
 * stored takes the place of another block of the group, the one that is worth least of those that
 * are found within a bound; blocks of other files stay. If none is found, the block is not stored
 * (CM_NOT_STORED_QUOTA), and the next fill looks further. Blocks in the probation buffer do not
 * count. Kept files do, and are not evicted. Blocks that a new version of a file has made useless
 * count until their slots are used again.
 * FOR HOW LONG  For this session: call it after each open. The groups of the files last, and so do
 * their blocks: those that earlier sessions stored are counted, too, also after a crash. For that
 * the pool is surveyed after the first call, if any file ever had a group: the file table, then all
 * headers. A fill of a file whose group has a quota does a part of it. Until the survey is
 * complete, such fills store nothing (CM_NOT_STORED_QUOTA). cm_group_usage() completes it at once,
 * and so does cm_warm() of such a file.
 * A quota that is smaller than what the group has is reached as blocks are stored, of any file.
 * MEMORY  A bit for each slot and quota, and 64 bytes for each file of such groups.
 * The first call for a group must come while no file is attached. Later ones change the number.
 * CM_EINVAL (group is 0; `most` is less than a block) CM_EBUSY (the first one, and files are
 * attached) CM_ERANGE (CM_GROUPS_MAX groups have a quota) CM_ENOMEM CM_EREADONLY. */
CM_API int cm_group_set_quota(cm_cache *cache, uint32_t group, uint64_t most);
/* What a group with a quota has, and what it may have (0: all), in bytes. Completes the survey.
 * CM_EINVAL (used or most is NULL) CM_EABSENT (no quota was set) CM_EREADONLY. */
CM_API int cm_group_usage(cm_cache *cache, uint32_t group, uint64_t *used, uint64_t *most);

/* Ends all open brackets of the file, and forgets its blocks. Use it if the owners of these
 * brackets are gone. CM_EFORGET. */
CM_API int cm_file_abort(cm_file *file);

/* Drops one reference. After the last one every call on the handle returns CM_EHANDLE, as long as
 * the cache is open. Pins of its blocks stay until cm_unpin(). CM_EBUSY: it is the last reference
 * and brackets are open (cm_file_abort). */
CM_API int cm_file_close(cm_file *file);

/* ---- Looking at what is cached ------------------------------------------------------------- */

typedef struct cm_file_iter cm_file_iter;

enum {
    CM_FILES_COUNT = 1u << 0, /* count the cached bytes of each file: reads every header of the pool
                               * once */
    /* begin reads nothing. Instead cm_files_next() reads in steps of some thousand records and
     * headers, and returns CM_EBUSY after each one until all is read: call it again, or end the
     * iteration, which cancels it. */
    CM_FILES_STEPS = 1u << 1
};
/* Lists the files that the pool knows: all that have a record, attached or not, and attached files
 * without a record. Each comes once. A file that comes or goes meanwhile may be listed or not.
 * Works also with CM_OPEN_READONLY, from the records alone. Then a pool that its next owner will
 * empty (would_empty of cm_check) has no files. begin (with CM_FILES_STEPS cm_files_next()) reads
 * the whole file table (256 bytes per record) and takes up to 150 bytes of memory for each file,
 * from the allocation hook. With CM_FILES_COUNT it also reads the headers (32 bytes per slot). The
 * pool stays in use meanwhile. *iter is set on success; release it with cm_files_end(), before
 * cm_close(), which returns CM_EBUSY otherwise. One thread at a time uses an iteration. CM_EINVAL
 * (iter is NULL, unknown flags) CM_ENOMEM CM_ESEAL (a record could not be judged). */
CM_API int cm_files_begin(cm_cache *cache, uint32_t flags, cm_file_iter **iter);
/* Describes the next file, as cm_file_lookup() does, as it is now. Its cached bytes are those that
 * were counted before the first file was given, or 0 if the file was forgotten since. No lock is
 * held between two calls. A file whose fsync failed is listed, too: `bypassed`. `validator` and
 * `info` may be NULL. CM_EABSENT (there is no further file) CM_EINVAL (a struct_size is invalid)
 * CM_ESEAL (a record could not be judged; the next call tries the same file again, or counts anew).
 * With CM_FILES_STEPS also CM_EBUSY (not all is read yet) CM_ENOMEM. */
CM_API int cm_files_next(cm_file_iter *iter, cm_validator *validator, cm_file_info *info);
/* Releases an iteration. NULL: does nothing. */
CM_API void cm_files_end(cm_file_iter *iter);

typedef struct cm_range {
    uint64_t offset, len; /* bytes */
} cm_range;
/* Finds the next runs of cached bytes at or after `offset`, at most n of them, in ascending order
 * and with a gap between any two. The first one begins at `offset` if that byte is cached. For the
 * next ones call it again with the end of the last run; a run may then go on there. `ranges` has
 * room for n; what it holds behind the runs is undefined then. Each block is told as it was when it
 * was looked at; the payload is not tested, and nothing is counted as used. Returns the number of
 * runs; 0: nothing is cached from there on. If blocks of a run go meanwhile, it may miss the rest.
 * Bytes behind the end of the file, if that is known, do not count, as in cm_file_cached().
 * COST   It looks for each block up to the end of the n-th run, or of the file. Where the rest of
 * the file has more blocks than the pool has slots, it does so for as many blocks as an eighth of
 * the slots, and then reads all headers once for the runs that are left. If blocks go meanwhile, it
 * may read them again, a few times. So ask for many runs at once. It takes no
 * memory.
 * CM_EINVAL (ranges is NULL and n is not 0) CM_ERANGE. */
CM_API int64_t cm_file_ranges(cm_file *file, uint64_t offset, cm_range *ranges, size_t n);
/* How many bytes of [offset, offset+len) are cached; len may be CM_ALL. It looks for each block of
 * the range or, if those are more than the pool has slots, reads all headers once. CM_ERANGE. */
CM_API int64_t cm_file_cached(cm_file *file, uint64_t offset, uint64_t len);

/* Drops the cached blocks that hold a byte of [offset, offset+len), to make room for others; len
 * may be CM_ALL. It is no promise: a block that is stored, evicted or pinned in the same moment may
 * stay or come back, and so may any of them after a crash. That is no harm, because the origin has
 * not changed. If it has changed, use cm_invalidate(). Bytes that are pinned stay readable until
 * cm_unpin(). The work is that of cm_file_cached(), and two stores for each block. Returns the
 * number of bytes that were dropped. CM_ERANGE. */
CM_API int64_t cm_drop(cm_file *file, uint64_t offset, uint64_t len);

/* ---- Reading ------------------------------------------------------------------------------- */

#define CM_MISS_STRIPES 8u

enum {
    CM_MISS_EOF = 1u << 0,   /* the request goes beyond the end of the file, whose size is known:
                              * nothing follows this run */
    CM_MISS_NOFILL = 1u << 1 /* read the origin, but do not offer the data: the fill would be
                              * refused. Advice, rate limit and quota are asked at the fill only */
};

/* The first absent run of a read, and the right to fill it. It lies within the request, widened to
 * whole blocks: so memory of that size takes what the origin has there. Where the size of the file
 * is known, it ends there at the latest; else the origin may have less. It covers at most eight
 * aligned runs of 256 KiB, the first one included. Pass it to cm_fill() unchanged. It counts until
 * the last reference to its file is closed; then, also if the file is opened again, cm_fill()
 * returns CM_EFOREIGN. Plain data, owned by the caller; it needs no release. Begin with
 * CM_MISS_INIT, cm_miss_init() or zeros: a later library with a longer struct stores no more than
 * the caller's struct_size says. This version does not read struct_size: it stores all of the
 * struct below, whatever is there. So no value of it is CM_EINVAL here, and none makes the struct
 * shorter. */
typedef struct cm_miss {
    uint32_t struct_size; /* a call that fills it in sets it to sizeof(cm_miss); 0: that of the
                           * first release */
    uint32_t flags;       /* CM_MISS_* */
    uint64_t offset;      /* where the run begins, a multiple of CM_BLOCK_SIZE */
    uint64_t len;         /* 0: nothing is missing, and offset has no meaning */
    /* The version of the file (cm_file_info.incarnation) that the copied bytes and the miss belong
     * to. 0: the file has none, so nothing of it is cached. */
    uint64_t incarnation;
    uint64_t opaque[8 + CM_MISS_STRIPES]; /* file, tickets, room for more */
} cm_miss;
#define CM_MISS_INIT CM_INIT_(cm_miss)
/* Sets *miss to what CM_MISS_INIT is, for languages that cannot use the macro; `size` as for
 * cm_validator_init(). */
CM_API void cm_miss_init(cm_miss *miss, size_t size);

/* Copies the cached prefix of [offset, offset+len) to buf and returns its length in bytes. If that
 * is less than len, *miss is the first absent run. Its offset is a multiple of CM_BLOCK_SIZE, at or
 * before offset + the returned length. With CM_MISS_EOF and miss->len 0 the file ends there. `miss`
 * may be NULL; then nothing can be filled.
 * The content of buf after the returned length is not specified: zeros or the old content, never
 * bytes of another block. While the call runs it may be bytes of another block. So buf must not be
 * memory that a program can read which may not see the other files. A hit and a plain miss take no
 * lock and wait for nobody; without DAX they may wait for a page of the pool (CM_READ_RESIDENT). A
 * read that meets damage, or one of another process's pool that has changed, takes short locks, and
 * may call cm_options.log. CM_EINVAL (buf is NULL, and len not 0) CM_ERANGE. */
CM_API int64_t cm_read(cm_file *file, uint64_t offset, void *buf, size_t len, cm_miss *miss);

enum {
    /* CM_EABSENT also if a page of the pool that the read needs is not in memory right now: of the
     * index, a header, the payload, the counters, or the last page of the pool's file. Any other
     * read that copies out of the file brings that one back. A block in the probation buffer needs
     * only the counters. So a thread that must not wait for the volume can hand the read to another
     * one.
     * Nothing prevents that a page leaves memory after the test: then the read waits for the volume
     * all the same. On DAX all pages count as being in memory, and it costs nothing. Else it costs
     * some system calls for each block.
     * Linux: mincore(). It says nothing to a process that neither owns the pool nor may write it.
     * If that is so at the open, reads that do not wait (preadv2) are used instead: they begin to
     * read a page that is absent, and where the file system has no such reads, all pages are
     * absent. To a process that gives up these rights later, all pages seem to be in memory.
     * Windows: QueryWorkingSetEx(). A page that this process alone lacks counts as absent. */
    CM_READ_RESIDENT = 1u << 0
};

/* Reads all or nothing, for a thread that must not wait for the origin. Returns len, or less if the
 * known size ends the file, or CM_EABSENT if not all of it is cached. After CM_EABSENT call
 * cm_read_through() from a thread that may wait. The call does not count the misses, nor the part
 * that is cached: cm_read_through() will count them. It counts only damage, as miss_checksum or
 * miss_media, because cm_read_through() finds the block absent then. `flags`: CM_READ_*.
 * CM_EINVAL (buf is NULL, and len not 0; unknown flags) CM_ERANGE CM_EABSENT. */
CM_API int64_t cm_read_whole(cm_file *file, uint64_t offset, void *buf, size_t len, uint32_t flags);

/* One piece of a cm_read_many(). The call sets `result` (bytes copied or a negative CM_E*) and
 * `incarnation`. The other fields are as the parameters of cm_read(). */
typedef struct cm_read_vec {
    uint32_t struct_size; /* set by CM_READ_VEC_INIT; 0: that of the first release */
    uint32_t reserved;    /* 0 */
    uint64_t offset;
    void *buf;
    size_t len;
    int64_t result;
    cm_miss *miss;        /* may be NULL */
    uint64_t incarnation; /* of the bytes copied and of the miss, as cm_miss.incarnation */
} cm_read_vec;
#define CM_READ_VEC_INIT CM_INIT_(cm_read_vec)
/* Does the same as n calls of cm_read(). Scattered pieces of a block or two are read faster,
 * because they wait for memory at the same time. Large pieces gain nothing. All blocks that it
 * copies are of one version of the file. If the file gets another version during the call, the call
 * begins again. If that happens several times, pieces of older versions become misses that cannot
 * be filled. Returns how many pieces were served whole. An error of one piece is in its result.
 * struct_size of v[0] is the size of all elements.
 * CM_EINVAL: v is NULL, or struct_size is neither 0 nor a multiple of 8 from sizeof(cm_read_vec) of
 * the first release to 4096. */
CM_API int64_t cm_read_many(cm_file *file, cm_read_vec *v, size_t n);

/* The data ends with the origin, maybe inside a block. If the size was not known, it is known now,
 * also to a later attach; without data only at offset 0, or if the block before is cached whole. */
#define CM_FILL_EOF 1u
/* Stores as cm_warm() does: in the pool at once, whatever the policy and the advice say, as not
 * used yet. For a program that warms from an origin of its own kind. */
#define CM_FILL_WARM 2u

/* Offers data that was read from the origin AFTER the miss was returned; or what your own write has
 * put there before the miss (after cm_write_end()), if nobody else can have written since. `data`
 * begins at miss->offset. `len` is at most miss->len rounded up to a block. Where miss->len ends
 * inside a block the file ends, and what is offered behind it is not stored. `len` may end inside a
 * block if it is miss->len, or with CM_FILL_EOF: then `data` ends where the origin ends. Nobody may
 * change `data` during the call, because others read what is stored. Returns 0 if every block is
 * stored (durable on DAX) or waits in the probation buffer. A positive result is one of
 * CM_NOT_STORED_*, the first reason met: at least one block was not stored, others may be.
 * CM_EINVAL (miss is NULL; data is NULL, and len not 0; an unknown flag; the data may not end
 * inside a block) CM_ETICKET (longer than its miss) CM_EFOREIGN (the miss is of another file, or of
 * a read without a miss). */
CM_API int cm_fill(cm_file *file, const cm_miss *miss, const void *data, size_t len,
                   uint32_t flags);

/* Reads `len` bytes of the origin at `off` into `buf`. Returns the bytes read, or a negative error.
 * The count is less than len only at the end of the file. It must not count what stands behind the
 * end (a block that was filled up): the library drops that only while it knows the size.
 * cm_read_through() returns a negative error unchanged (cm_warm(): no less than INT_MIN); use
 * values below -1000, because the library's own are never below that. It reads what the origin has
 * now. If it is bound to an older version it must fail, unless a version is wanted
 * (cm_read_through_version, cm_request.incarnation): see OTHERS at cm_file_open(). off, len and buf
 * are multiples of 4096, so an O_DIRECT descriptor works. No lock is held. The callback must not
 * call back into the same cache.
 * If it returns more than len, the result is CM_EINVAL, and nothing is stored. If its thread ends
 * in it (cancelled, pthread_exit), or an exception leaves it, nothing is stored, and the readers
 * that waited for the read go to the origin themselves. If it never returns, they do so after
 * cm_options.join_timeout_ns. On Windows it must return. An exception may leave it only if the
 * library was compiled with -fexceptions: meson does so, and cachemax.c needs that flag
 * (docs/embedding.md "One file"). Else the readers wait as if it never returned, and cm_close()
 * returns CM_EBUSY. */
typedef int64_t (*cm_origin_read_fn)(void *ctx, uint64_t off, void *buf, size_t len);

/* Reads [offset, offset+len) into buf: cm_read(), the origin and cm_fill() in one call. `ctx` is
 * passed to origin_read. Returns the bytes read, less than len only at the end of the file, or a
 * negative error. Trouble of the cache does not fail the read. Readers that miss the same block
 * wait for one origin read, at most cm_options.join_timeout_ns. If it fails, each of them reads the
 * origin itself. Sequential readers get wider origin reads, at most cm_options.read_size_max; not
 * while nothing can be stored.
 * All blocks of the result are of one version of the file: if the file gets another version
 * meanwhile, the call begins again. If that happens several times, it reads the origin alone, in
 * one call if read_size_max allows it. (A bracket makes no other version. Beside a bracket each
 * block is of before, during or after it.)
 * The origin may be read into `buf` and stored from there. So buf must not be memory that others
 * can write meanwhile (of a guest, of a client): read those into your own memory first. Blocks as
 * long as the origin does.
 * Errors: what origin_read returned; CM_EINVAL (origin_read is NULL, or buf is, and len not 0; the
 * origin returned more than len) CM_ERANGE CM_ENOMEM (no buffer, for as long as the join timeout).
 */
CM_API int64_t cm_read_through(cm_file *file, uint64_t offset, void *buf, size_t len,
                               cm_origin_read_fn origin_read, void *ctx);
/* Reads as cm_read_through(), from one version of the file. *incarnation before the call: 0, or the
 * version that the result must belong to; CM_EMOVED if the file has, or gets, another one. After
 * the call: the version of the result; 0 if its version is not known (it came from the origin
 * alone: the file is bypassed, its time to live is over, or it changes all the time), and after an
 * error. CM_EMOVED, too, if the time to live is over. origin_read is not called for another version
 * than the wanted one. Errors as cm_read_through(), and CM_EINVAL (incarnation is NULL) CM_EMOVED.
 */
CM_API int64_t cm_read_through_version(cm_file *file, uint64_t offset, void *buf, size_t len,
                                       uint64_t *incarnation, cm_origin_read_fn origin_read,
                                       void *ctx);

/* ---- Warming ------------------------------------------------------------------------------- */

/* Compares what is cached of the range with the origin; see cm_warm(). */
#define CM_WARM_VERIFY 1u

typedef struct cm_warm_options {
    uint32_t struct_size; /* set by CM_WARM_OPTIONS_INIT; 0: that of the first release */
    uint32_t flags;       /* CM_WARM_VERIFY */
    /* Bytes to read from the origin in a second, on the average. 0: no limit. It then reads in
     * shorter pieces: an eighth of this, at least a block. */
    uint64_t bytes_per_second;
    /* Called after each piece, and some ten times a second while the call waits for anything but
     * origin_read. It gets how many bytes of the range were done, cached ones included, and how
     * many there are in all (CM_SIZE_UNKNOWN: not known yet). A return value other than 0 cancels:
     * CM_ECANCELED. May be NULL. Not called while it counts what is cached, or looks for it: some
     * ms per GiB of the pool. */
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    uint64_t reserved[2]; /* 0 */
} cm_warm_options;
#define CM_WARM_OPTIONS_INIT CM_INIT_(cm_warm_options)
/* Sets *opts to what CM_WARM_OPTIONS_INIT is, for languages that cannot use the macro; `size` as
 * for cm_validator_init(). */
CM_API void cm_warm_options_init(cm_warm_options *opts, size_t size);

typedef struct cm_warm_report {
    uint32_t struct_size; /* set by CM_WARM_REPORT_INIT */
    uint32_t reserved;
    uint64_t end;    /* the range is done up to here: to go on later, begin here */
    uint64_t cached; /* bytes up to there that were found cached or are stored now, of the file's
                      * present version; end - offset at most */
    uint64_t stored; /* bytes that this call stored */
    uint64_t read;   /* bytes that this call read from the origin */
    /* CM_WARM_VERIFY; else 0. */
    uint64_t verified; /* cached bytes that are what the origin has */
    uint64_t differed; /* cached bytes of blocks that are not; these are forgotten */
    uint64_t
        undecided; /* bytes of blocks that were written all the time; they are forgotten, too */
} cm_warm_report;
#define CM_WARM_REPORT_INIT CM_INIT_(cm_warm_report)

/* Reads what of [offset, offset+len) is not cached, ahead of need, and stores it; len may be
 * CM_ALL. Works in whole blocks, from the first to the last that holds a byte of the range. `opts`
 * may be NULL for defaults. `ctx` is passed to origin_read, which is as in cm_read_through(). The
 * pieces are at most cm_options.read_size_max and 1/32 of the pool. *report is filled in also if
 * the call fails, unless an argument is wrong; it may be NULL.
 *
 * WHAT IS CACHED is skipped. It is not read, and does not count as a hit or as used. A block that
 * waits in the probation buffer is stored in the pool when the call ends, in the place of another
 * one if the pool or the quota is full. If a block cannot be stored (a bracket is open there, the
 * rate of fills allows no more, the mode is not CM_NORMAL), cm_checkpoint() does it, or it goes to
 * the pool when newer blocks push it out.
 *
 * WITH CM_WARM_VERIFY what is cached of a piece is first read from the origin, too, at the same
 * rate, and compared. A block that is not what the origin has should not exist: somebody changed
 * the origin without the cache, and its validator does not show it; or the pool's volume, or
 * memory, is damaged. It is forgotten, durably, and stored anew as one that was not cached. The
 * report counts it under `differed`, and the log has one line for the call. The result does not
 * tell. Writes beside the call never count as a difference if they have their brackets. Comparing
 * neither counts as a hit nor as a use. If the warming ends early, the rest of the range is
 * compared all the same, if the size of the file is known. If its cached blocks lie far apart, it
 * takes 64 KiB of memory then for each GiB of the pool; without them it is slower. Present a new
 * validator afterwards if something differed, as after a write. If the origin ends more than 4 GiB
 * before what may be stored of the file, all that is cached of the file is forgotten, and the call
 * ends with CM_NOT_STORED_STALE: make it again.
 *
 * ONCE MORE  In a full pool, or at a quota, what the call stores may take the places of blocks of
 * the range. So it counts at the end, and goes over the range again for what is missing, up to 8
 * times in all. A quarter of the range is read and stored again at most, and what others wrote.
 * report->read counts all reads. A pass that is cut short (an error, CM_ECANCELED) gives the
 * result, and takes nothing back of report->end and report->cached.
 *
 * WHAT IS NOT is stored in the pool at once. It does not wait in the probation buffer, and neither
 * the policy nor CM_ADVISE_NOREUSE keeps it out. It counts as not used yet, so it leaves before
 * blocks that are used; with CM_ADVISE_KEEP as used often. If another reader is reading a block,
 * the call waits for that, as cm_read_through() does. The counters take no miss for it; they count
 * it under origin_reads and origin_bytes, and the blocks that it stores under prefetch_blocks.
 *
 * RATE  The call sleeps between its pieces, and holds nothing meanwhile. It also keeps to
 * cm_options.fill_rate_limit, and lets other fills go first.
 *
 * RESULT  0: every block of the range was cached or stored, each at its own moment. All of it is
 * there at the end, unless others wrote or read meanwhile, or it takes most of the pool, or of its
 * quota: then a few blocks may be missing. Positive: some were left out. Then the call went on, and
 * the result is the first reason; or it ended early (report->end), and the result is the reason for
 * that.
 *
 * CM_NOT_STORED_ROOM ends the call: the range is longer than the pool, or its quota; or one of them
 * is full, and some of what the call has done was evicted: an eighth of the room, or a quarter of
 * the range. To go on would push out more. The report counts what was cached or stored, each block
 * at its own moment: some may have gone again; cm_file_cached() tells what is there. What is stored
 * is the beginning of the range, also in the place of what is cached further on: so do not warm a
 * file that is longer than its room as a whole at each start. Of several calls that are together
 * longer than the pool, or a quota, later ones push out what earlier ones stored.
 *
 * CM_NOT_STORED_MODE ends it: CM_FREEZE, CM_BYPASS, or the file is bypassed. (While the pool grows
 * nothing can be stored either: the call waits for the end of that.)
 *
 * CM_NOT_STORED_STALE: a bracket is open there, or the file got another version. What was stored of
 * the old version is forgotten, and the call goes on with the new one. It ends if the file has
 * outlived its time to live, and at an open bracket if the size of the file is not known.
 *
 * The other reasons do not end it, unless nothing could be stored of 16 pieces in a row.
 *
 * Negative: the call ended there. What was stored stays. The error of origin_read; CM_ECANCELED;
 * CM_EINVAL (origin_read is NULL, wrong options, report->struct_size is invalid, the origin
 * returned more than it was asked for) CM_EHANDLE (also: the file was closed meanwhile) CM_ERANGE
 * CM_ENOMEM (no buffer, for as long as the join timeout), and with CM_WARM_VERIFY those of
 * cm_invalidate(). Until it returns, cm_close() returns CM_EBUSY. */
CM_API int cm_warm(cm_file *file, uint64_t offset, uint64_t len, const cm_warm_options *opts,
                   cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report);

/* ---- Requests: reading through without blocking -------------------------------------------- */

/* A request is a cm_read_through() in steps, for event loops. The caller reads the origin, in
 * pieces that the library asks for, whenever and wherever it likes. No function of a request waits
 * for the origin or for another reader. docs/embedding.md has the loop:
 *
 *     cm_request_begin
 *     cm_request_step until it returns neither CM_REQUEST_READ nor CM_REQUEST_WAIT
 *       CM_REQUEST_READ: start to read the piece; its end calls cm_request_complete, then step
 *       CM_REQUEST_WAIT: go on with something else until a piece ends, `wake` is called, or
 *                        deadline_ns has come; then step
 *     cm_request_end
 */

/* How many pieces a request gives out at a time. */
#define CM_REQUEST_PIECES 4u

/* What must be read from the origin: [offset, offset+len) into buf. All three are multiples of
 * 4096. buf lies in the request's buffer or belongs to the library. It stays valid until the piece
 * is completed. */
typedef struct cm_piece {
    uint64_t offset;
    size_t len;
    void *buf;
    uint32_t number; /* of the piece in its request: below CM_REQUEST_PIECES, used again */
    uint32_t reserved;
} cm_piece;

/* Plain memory of the caller. It begins with CM_REQUEST_INIT, cm_request_init() or zeros. Between
 * begin and end it must stay at its address, the caller changes nothing in it, and the file stays
 * open. The functions of one request must not run at the same time in two threads; one after the
 * other they may. After cm_request_end() the library does not touch it, and it may begin again. */
typedef struct cm_request cm_request;
struct cm_request {
    uint32_t struct_size;
    uint32_t flags;  /* none yet: 0 */
    uint64_t offset; /* offset, buf and len as for cm_read_through() */
    void *buf;
    size_t len;
    uint64_t incarnation; /* in and out: as of cm_read_through_version(); set by cm_request_end() */
    /* How long to wait for the origin read of another reader. 0: cm_options.join_timeout_ns. */
    uint64_t join_timeout_ns;
    /* An origin read has ended that the request waited for: cm_request_step() has something to do.
     * The thread that ended it calls this, perhaps the one that uses the request. It must return
     * soon and must not call into the cache (CM_ECALLBACK): put `r` in a queue or write to a pipe.
     * It may come late, after a step that did not need it any more, but never after
     * cm_request_end(), which waits for a wake that is running. So a lock that `wake` takes must
     * not be held around cm_request_end(). NULL: step now and then. */
    void (*wake)(void *ctx, cm_request *r);
    void *wake_ctx;
    /* Out, after CM_REQUEST_WAIT: step again when cm_now() has reached it. 0: no need. */
    uint64_t deadline_ns;
    uint64_t opaque[104];
};
#define CM_REQUEST_INIT CM_INIT_(cm_request)
/* Sets *r to what CM_REQUEST_INIT is, for languages that cannot use the macro; `size` as for
 * cm_validator_init(). */
CM_API void cm_request_init(cm_request *r, size_t size);

/* Begins a request. Reads nothing yet. Until cm_request_end(), cm_close() returns CM_EBUSY. After
 * an error nothing has begun.
 * CM_EINVAL (r is NULL, or buf is, and len not 0; r has a wrong struct_size, has begun already, or
 * has unknown flags) CM_ERANGE. */
CM_API int cm_request_begin(cm_file *file, cm_request *r);
/* Goes on as far as it can without waiting: copies what is cached, and asks for what is not.
 * Returns 0 when the request is done, also if it failed: no piece is out, and none follows, and
 * cm_request_end() has the result. Returns CM_REQUEST_READ and a piece, or CM_REQUEST_WAIT.
 * Other readers may wait for a piece that was given out. So read it even if the request is not
 * needed any more, or complete it with an error.
 * CM_EINVAL (r has not begun, piece is NULL). */
CM_API int cm_request_step(cm_request *r, cm_piece *piece);
/* Takes back a piece, in any order. `result`: the bytes read (less than piece->len only at the end
 * of the file) or a negative error, which becomes the result of the request. (An error in what was
 * only read ahead does not: the next step asks for a shorter piece.) Nobody may change the piece's
 * memory during the call. Stores the blocks, and wakes who waits for them. More than piece->len:
 * the result becomes CM_EINVAL, and nothing is stored. Then step.
 * CM_EINVAL: r has not begun, or this piece is not given out. */
CM_API int cm_request_complete(cm_request *r, const cm_piece *piece, int64_t result);
/* Releases the request and returns its result: the bytes read or a negative error, as
 * cm_read_through_version(), and CM_EHANDLE if the file was closed meanwhile. A request that is not
 * done is cancelled: CM_ECANCELED. Waits for a `wake` of the request that is running.
 * CM_EBUSY: a piece is given out. The request goes on. Complete the piece first, with a negative
 * result if it was not read: the library never forgets a buffer that the origin may still write.
 * CM_EINVAL: r has not begun. */
CM_API int64_t cm_request_end(cm_request *r);

/* ---- Zero copy ----------------------------------------------------------------------------- */

typedef struct cm_iovec {
    const void *base;
    size_t len;
} cm_iovec;

#define CM_PINS_MAX 64u
/* A set of pins. Owned by the caller; n > 0 until cm_unpin(). Do not change it. */
typedef struct cm_pins {
    uint32_t n;
    uint32_t reserved;
    uint64_t opaque[2 + CM_PINS_MAX];
} cm_pins;

/* Like cm_read(), but returns addresses inside the pool or the probation buffer instead of copying.
 * Blocks whose places lie side by side make one piece. Those that were stored together mostly do,
 * others do not. At most n pieces (n >= 1) and CM_PINS_MAX blocks are returned. `iov` has room for
 * n; *iovcnt is set to the number of pieces used. Returns the bytes that they cover. `miss` is as
 * in cm_read(). If n or CM_PINS_MAX ended it, miss->len is 0, and CM_MISS_EOF is not set: another
 * call pins the rest. `iov` and `pins` need not be initialized. After 0 or an error there is
 * nothing to unpin.
 * The memory is read-only and belongs to the library. It stays readable and unchanged until
 * cm_unpin(), even if the block is written or evicted meanwhile, or the file is closed. cm_close()
 * returns CM_EBUSY until then. Hold pins for a short time. A page that is not in memory blocks its
 * reader, as in any mapped file (cm_open(): CM_OPEN_PREFAULT; docs/embedding.md has times).
 * Pins are of this process alone. A child of fork() does not have the memory of the pool: to use
 * the addresses there is a SIGSEGV (those in the probation buffer happen to work).
 * The lookup has the fault guard: damage to the index, to a header, or to a payload that this
 * session has not verified yet is a miss. Later damage is not noticed, because the guard covers
 * only the library's own accesses. A load by the caller then raises SIGBUS, for the handler that
 * was there before cm_open(). A system call that gets the address fails with EFAULT. If you cannot
 * accept that, use cm_read(). If you pass the addresses to system calls only, answer EFAULT with
 * cm_read_through(), which also takes the slot out of use.
 * If somebody cuts the pool's file inside a page meanwhile, pinned bytes of that page become zeros.
 * CM_ENOTSUP: the pool is sealed, or open with CM_OPEN_SHARED.
 * CM_EINVAL CM_ERANGE CM_EBUSY (more than 127 pins on one slot, or more than 4096 sets of pins in
 * this cache: use cm_read()). */
CM_API int64_t cm_pin_range(cm_file *file, uint64_t offset, size_t len, cm_iovec *iov, int n,
                            int *iovcnt, cm_pins *pins, cm_miss *miss);
/* Releases a set of pins, once, from any thread, also in a callback. In a child of fork() it
 * releases nothing of the parent's. CM_EINVAL: nothing is pinned, or it was released already
 * through a copy of the struct. */
CM_API int cm_unpin(cm_pins *pins);

/* ---- Writing: brackets --------------------------------------------------------------------- */

/* Names an open bracket. Plain data, owned by the caller. Any thread may end it, once. */
typedef struct cm_bracket {
    uint64_t id;
} cm_bracket;

/* Offset of a bracket: where the end of the file will be. Its length says how many bytes come
 * there; 0 or CM_ALL: that is not known yet. Such a bracket forgets nothing before the old end. If
 * another program truncated the file and nobody reported it, the cut-off blocks are not forgotten
 * either; they may be served again once the file has grown over them. So where others change the
 * file, too, use the range that you write, or call cm_file_revalidate() first. */
#define CM_APPEND UINT64_MAX

/* Call it before you write [offset, offset+len) of the origin. After it returned 0, the old bytes
 * can never be served again, whatever crashes next, and nothing that is read from the origin before
 * or during the bracket is stored. len 0: only attributes change (chmod, rename), but not with
 * CM_APPEND. CM_ALL: the whole rest of the file. *w is set on success; end it with cm_write_end().
 * In a checkpointed pool it waits for the sync of a page if it is the first one in a region since a
 * checkpoint (cm_checkpoint()).
 * Keep it short. While it is open, blocks of other files may not be stored either: a range shares
 * the pool's stripes with them, the more the larger it is and the smaller the pool. What is cached
 * is served all the same.
 * A range of more than 64 MiB keeps no blocks of other files out, but all of its own file. It
 * forgets the blocks one by one, as any other; those behind the last one that may be cached cost
 * nothing. That takes 20 ms for each GiB, and 0.2 s for 4 GiB that are cached. If the index is not
 * in memory, as after a restart, it is read meanwhile, perhaps all of it, 1/256 of the pool: for
 * 64 GiB about a second on an SSD (CM_OPEN_PREFAULT). If more than 4 GiB are left to look for, or
 * no block of the file stays, all of the file is forgotten at once. To keep the rest warm, change
 * so much in steps of at most 4 GiB, each in a bracket.
 * The last one that may be cached is the last one that was cached since the file was opened. Of a
 * file that was warm when it was opened, it is the last one of the size that it had then. If that
 * was not known, blocks may be cached anywhere: CM_ALL, and any truncation, forget all of the file.
 * After any error do not write. After CM_EFORGET do not write until the same call returns 0 (the
 * pool is empty then), or the pool was closed, in its readers, too, and deleted: docs/embedding.md
 * "A pool that cannot forget".
 * CM_EINVAL (w is NULL) CM_ERANGE CM_ENOMEM CM_EFORGET CM_EBRACKET (aborted meanwhile). */
CM_API int cm_write_begin(cm_file *file, uint64_t offset, uint64_t len, cm_bracket *w);
/* Call it before the size is set to new_size, or before holes are punched up to the end. Waits,
 * fails, and forgets as cm_write_begin(), but while it is open no block of the file is stored. */
CM_API int cm_truncate_begin(cm_file *file, uint64_t new_size, cm_bracket *w);

/* Call it after the write, successful or not. `after`: the validator taken after the write, inside
 * the bracket, or NULL. It is adopted if the file is attached with CM_SOLE_WRITER or CM_EXCLUSIVE
 * and no other bracket is open. Else somebody else may have written, too, so it is not looked at.
 * Returns 0, also for a racy `after` (CM_RACY_TIMES): it is adopted, but the file is cold at its
 * next attach until one that is not racy follows (cm_file_info.racy). Or CM_WANT_VALIDATOR: the
 * last bracket is closed, and no validator was adopted. Present one that was taken later
 * (cm_file_revalidate; of a sole writer also an empty bracket), or the file is cold when it is
 * attached next under another validator. A CM_EXCLUSIVE file needs none: the result is 0, also if
 * `after` was not adopted because other brackets are open. CM_EINVAL (w is NULL, `after` is no
 * validator: the bracket is still open, so end it with NULL) CM_EBRACKET (unknown, ended already,
 * or of another file). */
CM_API int cm_write_end(cm_file *file, const cm_bracket *w, const cm_validator *after);

/* Put cm_sync_begin() and cm_sync_end() around the origin's fsync. A sync that succeeds proves that
 * the origin holds what was written, region by region: it proves the regions of the file in which
 * no write was open when it began, and none has begun since. (A file has 64: docs/crash.md.)
 * `ok`: nonzero if fsync succeeded. 0 if it failed: the file is forgotten, and bypasses the cache
 * until the next boot of the system. No later sync ends that: a system may report pages that it
 * could not write only once, and keep them as if they were written. The next fsync then succeeds
 * without doing anything. For the same reason a sync is a proof only on a descriptor that was
 * opened before the writes. The first error counts: do not sync again and pass that result. If
 * fsync is not possible at all (EINVAL, EROFS), nothing is known: do not call cm_sync_end().
 * `after`: as in cm_file_revalidate(), or NULL. A cm_sync is plain data and needs no release. */
typedef struct cm_sync {
    uint64_t opaque[3];
} cm_sync;
/* Call it before the fsync. *s is set. CM_EINVAL: s is NULL. */
CM_API int cm_sync_begin(cm_file *file, cm_sync *s);
/* Call it after the fsync. Returns 0, or CM_IGNORED: `after` proves nothing, because a bracket was
 * open at or after its taken_at. With ok 0 the failure counts even if an error is returned.
 * In a checkpointed pool such a call waits for the sync of two pages. With another ok it waits for
 * the sync of a page if the file has changed, or may have (`after`).
 * CM_EINVAL (s is NULL, or `after` is no validator) CM_EFOREIGN (s is of another file) CM_EFORGET
 * (the failure, or `after`, could not be recorded). */
CM_API int cm_sync_end(cm_file *file, const cm_sync *s, int ok, const cm_validator *after);

/* Somebody else changed the origin. Forgets [offset, offset+len) durably, and refuses fills that
 * were read before now. len may be CM_ALL. Waits as cm_write_begin(). More than 4 GiB may forget
 * all of the file, as there. CM_ERANGE CM_ENOMEM CM_EFORGET. */
CM_API int cm_invalidate(cm_file *file, uint64_t offset, uint64_t len);
/* Forgets a file by its id, durably, attached or not (the file was deleted, its id is used again).
 * In a checkpointed pool it waits for the sync of two pages.
 * CM_EINVAL (id is NULL or zero) CM_EFORGET CM_EREADONLY. */
CM_API int cm_forget(cm_cache *cache, const cm_file_id *id);
/* Forgets, as cm_forget(), a file that is gone, and whose id no file will ever have again: it waits
 * for nothing. After a crash of the system the pool may still have blocks of it, which nobody asks
 * for. Ids of cm_identify() are such ids where the file system numbers the generations of its
 * inodes: ext4, xfs, btrfs and NTFS do. */
CM_API int cm_forget_gone(cm_cache *cache, const cm_file_id *id);

/* Makes safe what can be. Call it every few seconds, in a thread of its own, with any pool. It does
 * two things.
 *
 * IN ANY POOL it stores blocks that an earlier call has found in the probation buffer, too. While
 * the pool has slots that are empty, or that hold blocks of versions of files that ended in this
 * session, it stores all of them. In a full pool it stores those that had three hits, one of them
 * since that call.
 * (Hits of a thread on the eight blocks that it read last do not count.) So a kill, or a power cut
 * with DAX, does not lose them, and their hits get faster. Nothing is stored unless the mode is
 * CM_NORMAL, nor from a buffer of more than 2 % of a full pool and 64 KiB: each block would take
 * the place of another. A group that has all of its quota gets only slots of its own versions that
 * have ended. Quota and a large buffer do not keep back what cm_warm() has passed there and could
 * not store, while its file is open.
 *
 * WITHOUT DAX it then makes the pool survive a crash of the system: an OS crash, a power cut. What
 * was cached when the call began stays warm then, except what still waits in the probation buffer,
 * the parts of files that were written and not synced before, and those that are written after it.
 * A part is one of 64 regions of a file (docs/crash.md).
 *
 * A FILE THAT WAS WRITTEN needs an fsync of the origin, told by cm_sync_begin() and cm_sync_end(),
 * before the call. Unless its proof stays the same (CM_EXCLUSIVE), it also needs its new validator
 * before the call.
 *
 * WHICH FILES  Those that are open, and those that were closed in this session after all of it was
 * synced. Others stay as they are: if a program was killed, or closed a file before it was synced,
 * the parts that were not safe yet (of a new file: all) are cold after a crash of the system, until
 * the file was opened again and synced, and a checkpoint has followed.
 *
 * The call syncs what was written to the pool since the last one, which may take seconds; meanwhile
 * everything else goes on. From the first checkpoint of a pool on, also in later sessions,
 * cm_write_begin() and cm_invalidate() wait for a sync of one page when they are the first in a
 * region since a checkpoint (cm_stats: page_syncs). Before the first one nothing is synced, and the
 * pool empties itself after a crash of the system. cm_close() does what a checkpoint does.
 *
 * Any thread may call it; one sync runs at a time. Stop the thread that does so before cm_close().
 * CM_EREADONLY
 * CM_ENOTSUP (only blocks of the buffer were stored. Either the pool is in memory or on tmpfs, as
 * cm_info.durability says. Or it is not known that its volume keeps what it syncs, as ext4, xfs,
 * btrfs and f2fs with barriers do; then a line of the log says once what it is) CM_EIO (the volume
 * failed to write the pool: it is empty now, and can be used again. Or the pool was given up in
 * this session, because its volume copies on write and is full: nothing more is stored, and nothing
 * is left after a close) CM_ESEAL (the first one: what was cached is not safe yet) CM_EFORGET (the
 * same, but it could not be emptied: nothing is served). */
CM_API int cm_checkpoint(cm_cache *cache);

/* ---- What it says about itself ------------------------------------------------------------- */

/* The structs below grow at their end. The caller owns them and sets struct_size once
 * (CM_INFO_INIT, CM_STATS_INIT, CM_CHECK_REPORT_INIT). 0 is the size of the first release. The
 * library fills in the part that both the caller and the library know, and zeroes the rest. Then
 * struct_size is the number of bytes that were filled in. */

typedef struct cm_info {
    uint32_t struct_size; /* set by CM_INFO_INIT */
    uint32_t version;     /* format version */
    uint8_t uuid[16];     /* of the pool */
    uint64_t size;        /* of the pool file */
    uint64_t slots;
    uint64_t max_files;      /* how many files find a record; if there are more, some may not */
    uint64_t metadata_bytes; /* bytes of the pool that are not slots */
    uint64_t dram_bytes; /* that an open pool of this size takes, without the probation buffer; if
                          * files are kept, one bit for each slot more, and 64 bytes for each kept
                          * file */
    uint64_t epoch;
    uint64_t used_slots; /* slots that were ever used in this epoch (a hint). It begins at 0 again
                          * if the pool empties itself while it is open: a sync has failed */
    uint32_t durability; /* enum cm_durability, of the present owner or else of the last one */
    uint32_t clean;      /* 1: closed cleanly */
    uint32_t emptied;    /* 1: this open emptied the pool: after a crash without DAX, or because
                          * what the last owner wrote could not be synced. Only cm_get_info() knows
                          * it: 0 from cm_pool_info() */
    uint32_t owner_pid;  /* process that owns the pool or owned it last; 0: unknown */
    uint32_t owned;      /* 1: a process owns it now; one that only looks at it does not
                          * (cm_pool_info) */
    uint32_t mode;       /* enum cm_mode; trouble of the pool may have changed it. Only
                          * cm_get_info() knows it: 0 from cm_pool_info() */
    uint32_t superblocks_damaged; /* 0 or 1 */
    uint32_t sealed; /* enum cm_sealed; of a pool that is only looked at, as the file says */
    char flush[16];  /* instruction: "clwb", "clflushopt", "clflush", "dc cvap", "none" */
    /* The routine that fills copy with: "avx512-nt", "avx2-nt", "sse2-nt", "stnp", "generic"; in a
     * pool without flushes also "rep movsb", "avx2". Of a pool that is only looked at: the one that
     * a table of CPUs names; its owner may have measured another. */
    char copy[16];
    uint64_t memo_bytes; /* part of the metadata: room for what the policy keeps at a clean close */
    uint64_t created_at_ns; /* wall clock */
    uint64_t used_files;    /* records in use; estimated from 8192 of them if there are more. Of a
                             * sealed pool that is only looked at: those that say so */
    uint64_t names_bytes;   /* part of the metadata: room for names of files; 0: there is none */
    /* Of cm_file_set_keep(), for an open pool; 0 of one that is only looked at. */
    uint64_t kept_files; /* half of max_files at most when a file is added */
    uint64_t kept_bytes; /* room that they may need: the sum of their sizes, in whole blocks */
    uint64_t kept_max;   /* at most when a file is added; files that grow may need more later */
    /* The routine that hits copy with: "rep movsb", "avx512", "avx2", "sse2"; "": in steps, or
     * the pool is only looked at. */
    char hit_copy[16];
    /* 1: hits have measured which routine is the fastest, and with how many lines. 0: a table of
     * CPUs has named both; hits still measure, or could not, or CM_OPEN_NO_TUNING forbids it, or
     * the pool is sealed. */
    uint32_t hit_copy_measured;
    uint32_t copy_measured; /* the same of `copy`, which fills measure */
    uint32_t hit_lines;     /* cache lines of a block that a hit requests before it copies: 1, 8 or
                             * 24; 0 where hit_copy is "" */
    uint32_t reserved;      /* 0 */
} cm_info;
#define CM_INFO_INIT CM_INIT_(cm_info)
/* Fills in *info for an open pool. Also checks the size of the pool file. If it was truncated, the
 * log says so once, and nothing is cached any more (cm_close()). CM_EINVAL: info is NULL, or
 * struct_size is invalid. */
CM_API int cm_get_info(cm_cache *cache, cm_info *info);
/* Fills in *info for the pool file at `path`, open or not, also if another process has it open. Has
 * a fault guard while it runs, as cm_create(). CM_EINVAL (path or info is NULL, struct_size is
 * invalid), and as cm_open(): CM_ENOENT CM_EACCES CM_ENOTFILE CM_ENOTPOOL CM_ETRUNCATED
 * CM_EOVERSIZE CM_EDAMAGED CM_EBYTEORDER CM_ENOMEM CM_EIO, and CM_EVERSION CM_EINCOMPAT (these two
 * with the version, owned and owner_pid in *info, and all else 0; CM_EOVERSIZE with the size that
 * the file should have). */
CM_API int cm_pool_info(const char *path, cm_info *info);

/* X(name, text): counters since open. New ones come last, because their numbers are part of the
 * ABI. */
#define CM_STAT_MAP(X)                                                                             \
    X(hit_blocks, "blocks served, whole or in part, from the pool or the probation buffer")        \
    X(hit_bytes, "bytes served from there")                                                        \
    X(miss_blocks, "blocks looked up and not served, or not as much of them as was wanted")        \
    X(miss_absent, "misses: not cached")                                                           \
    X(miss_short, "misses: cached, but fewer valid bytes than wanted (these count as a hit, too)") \
    X(miss_conflict, "misses: changed while being read")                                           \
    X(miss_checksum, "misses: checksum wrong, slot dropped")                                       \
    X(miss_media, "misses: pool memory unreadable")                                                \
    X(miss_mode, "misses: bypassed by mode or failed fsync")                                       \
    X(fill_blocks, "blocks stored")                                                                \
    X(fill_bytes, "bytes of payload stored")                                                       \
    X(refused_stale, "fills refused: a write came between")                                        \
    X(refused_present, "fills refused: cached already")                                            \
    X(refused_busy, "fills refused: every slot or buffer entry tried was in use")                  \
    X(refused_full, "fills refused: no place in the index")                                        \
    X(refused_mode, "fills refused: mode, bypassed file, or the pool grew")                        \
    X(refused_policy, "fills refused: advice, rate limit or held back")                            \
    X(refused_media, "fills refused: pool memory not writable")                                    \
    X(evicted, "blocks evicted")                                                                   \
    X(displaced, "blocks evicted to make room in the index")                                       \
    X(forgotten, "blocks forgotten by brackets and invalidations")                                 \
    X(quarantined, "slots taken out of use")                                                       \
    X(brackets, "brackets begun")                                                                  \
    X(incarnations, "files that began cold, or were forgotten")                                    \
    X(escalations, "forgetting that had to go beyond a block")                                     \
    X(attach_kept, "files attached warm")                                                          \
    X(attach_new, "files attached cold")                                                           \
    X(records_evicted, "files forgotten to make room in the file table")                           \
    X(flights_joined, "reads that waited for another reader's origin read")                        \
    X(origin_reads, "reads of the origin by cm_read_through, requests and cm_warm")                \
    X(origin_bytes, "bytes that they read from the origin")                                        \
    X(prefetch_blocks, "blocks read ahead of need")                                                \
    X(pool_bytes, "bytes written to the pool, payload and metadata")                               \
    X(probation_hits, "of the blocks served: from the probation buffer")                           \
    X(buffered, "blocks that came for the first time: to the probation buffer")                    \
    X(promoted, "blocks that left it for the pool")                                                \
    X(unrecorded, "files attached without a record: cold at the next open")                        \
    X(verified, "blocks whose checksum was tested when they were served")                          \
    X(dropped, "blocks dropped by cm_drop")                                                        \
    X(checkpoints, "checkpoints that succeeded")                                                   \
    X(page_syncs, "pages of the pool synced before a write, or to forget a file")                  \
    X(checkpoint_us, "microseconds that checkpoints took, all together")                           \
    X(refused_quota, "fills refused: the quota of the file's group")

#define CM_LATENCY_BUCKETS 32
#define CM_CURVE_POINTS 7
#define CM_CURVE_UNKNOWN UINT64_MAX
typedef struct cm_stats_data {
    uint32_t struct_size;  /* set by CM_STATS_INIT */
    uint32_t counters;     /* how many the pool has; a newer library's may be more than the ones
                            * below */
    uint64_t opened_at_ns; /* wall clock of the open from which these counters count */
    uint64_t closed_at_ns; /* wall clock of the close; 0: open, or not closed cleanly */
    uint64_t lifetime_pool_bytes; /* bytes written to the pool since it was made: its wear */
    /* What the pool would serve with 1/8, 1/4, 1/2, 1, 2, 4 and 8 times its size: parts per million
     * of all blocks looked up. It is estimated from a sample of the blocks. Until enough of them
     * were read, an entry is CM_CURVE_UNKNOWN; for large sizes this takes longer. The counts behind
     * it are halved now and then. */
    uint64_t curve_hits[CM_CURVE_POINTS];
    uint64_t curve_reads;   /* reads of blocks in the sample for the pool's own size */
    uint64_t curve_skipped; /* reads left out because another thread was using the sample */
    /* Duration of cm_read calls, and of cm_read_whole calls without flags, that were served whole,
     * for 1 in 64 of them. Bucket i counts calls of [2^i, 2^(i+1)) ns. */
    uint64_t hit_latency[CM_LATENCY_BUCKETS];
    /* Duration of all origin reads of cm_read_through, requests and cm_warm, in such buckets. */
    uint64_t origin_latency[CM_LATENCY_BUCKETS];
    uint64_t reserved[16]; /* 0; room for values that are no counters */
#define CM_X(name, text) uint64_t name;
    CM_STAT_MAP(CM_X)
#undef CM_X
} cm_stats_data;
#define CM_STATS_INIT CM_INIT_(cm_stats_data)
/* Fills in *stats for an open pool. CM_EINVAL (stats is NULL, or struct_size is invalid) CM_EIO
 * CM_EVERSION (statistics of a library that this one does not understand). */
CM_API int cm_stats(cm_cache *cache, cm_stats_data *stats);
/* Reads the counters from the pool file at `path`, also while another process has it open. Errors
 * as cm_open() and cm_stats(). */
CM_API int cm_pool_stats(const char *path, cm_stats_data *stats);

/* The counters by number, for programs that show all of them, also those that are newer than the
 * program. Name, such as "hit_blocks", and what it counts. NULL after the last one. Static storage.
 */
CM_API const char *cm_stat_name(unsigned i);
CM_API const char *cm_stat_text(unsigned i);
/* Value of counter i; 0 if `stats`, by its struct_size, does not have it. For counters that are
 * newer than the program pass more room to cm_stats(): union { cm_stats_data s; char room[4096]; }
 * with s.struct_size = 4096. */
CM_API uint64_t cm_stat_value(const cm_stats_data *stats, unsigned i);

enum {
    CM_CHECK_REPAIR = 1u << 0,  /* drop what is wrong */
    CM_CHECK_METADATA = 1u << 1 /* do not read the payload */
};
typedef struct cm_check_report {
    uint32_t struct_size; /* set by CM_CHECK_REPORT_INIT */
    uint32_t reserved;
    uint64_t slots;       /* that were looked at */
    uint64_t valid;       /* with a block to which a cell leads; its version may have ended */
    uint64_t orphaned;    /* valid header, but no cell leads to it: wasted until it is used again */
    uint64_t bad_headers; /* VALID, but with a wrong check */
    uint64_t bad_payload; /* checksum wrong */
    uint64_t unreadable;  /* media errors */
    uint64_t stale_cells; /* cells that lead to no such block: harmless */
    uint64_t bad_cells;   /* cells that name a slot that does not exist */
    uint64_t duplicates;  /* a key that is cached twice: a bug */
    uint64_t records;     /* files known */
    uint64_t torn_records; /* cut short by a crash, or damaged: their files are cold */
    uint64_t dropped;      /* by repair */
    /* 1: this is a read-only check, and the next owner will empty the pool: at open, or when it
     * meets a block that is newer than the superblock */
    uint32_t would_empty;
    uint32_t superblocks_damaged; /* 0 or 1: torn or damaged; the next open that is not read-only
                                   * repairs it */
    uint64_t second_bucket; /* of the valid ones: found in the second of their two index buckets */
    /* Of the valid ones: left so by a crash of the system, in a checkpointed pool. The payload was
     * not written, or the block is cached twice. They are harmless, and dropped at their first
     * use. */
    uint64_t torn;
} cm_check_report;
#define CM_CHECK_REPORT_INIT CM_INIT_(cm_check_report)
/* Verifies the whole pool, beside other calls or opened read-only. Reads every slot, so it takes
 * long. `flags`: CM_CHECK_*. `progress` may be NULL. It gets the slots done and in all: none are
 * done while it reads the file table and the index, which comes first. A return value other than 0
 * cancels (CM_ECANCELED). `ctx` is passed to it. *report is filled in; it may be NULL.
 * Returns 0 if the pool is sound or was repaired. Returns CM_DAMAGED if damage is left; unreadable
 * media cannot be repaired. What a crash alone can leave is not damage.
 * CM_EINVAL CM_EREADONLY (repair of a read-only pool) CM_ECANCELED CM_ESEAL (what a callback of the
 * seal failed for was not judged; the rest was) CM_ETRUNCATED (the pool file was truncated while it
 * was open). */
CM_API int cm_check(cm_cache *cache, uint32_t flags,
                    int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                    cm_check_report *report);

#ifdef __cplusplus
}
#endif
#endif
