/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_rules.h - which operations the cache takes part in, and which pass it by.
 *
 * No state, no call of a system. The shell says what it sees; the answer is what it does. The rules
 * have numbers, which the tests name.
 *
 * STREAMS that are never cached (fc_stream_fits):
 *   S1  directories
 *   S2  alternate streams: they are small, and share a file's id with its content
 *   S3  encrypted files: the pool would hold their plain text. (Compressed ones are cached: what a
 *       reader gets of them is the plain content, and the pool holds it uncompressed.) A file that
 *       is encrypted while it is read is judged again before the bracket of that ends, and after
 *       each read for the pool it is looked whether the file is still a cached one
 *   S4  paging files
 *   S5  files that are not all here: another program brings their content when somebody reads them
 *   S6  files of the pool's own volume: there is nothing to gain, and the pool is one of them
 *   S7  what the system needs for itself (fc_is_the_systems)
 * Where the file system does not tell the kind or the name, for want of memory, it may be any of
 * these: reads pass, changes count, and the next operation asks again.
 *
 * One passes from then on until nobody uses it:
 *   S8  a file with a reparse point that somebody opens as it lies there, to read it. Filters below
 *       make the content of such files (deduplication), but not for this handle. (wof.sys, which
 *       compresses single files, hides its reparse points, so it is not meant.) The file may get
 *       its reparse point later: a control code tells of that. If there is no memory to note such a
 *       handle, all files of its volume with a reparse point pass until that is mounted again
 *
 * READS that the service is not asked for (fc_read_asks):
 *   R1  paging I/O: it moves pages between memory and disk. Whoever waits for a page must not wait
 *       for a program
 *   R2  those of the service's process: it would wait for itself
 *   R3  those that may not wait: at a raised IRQL, with APCs off, inside another operation of the
 *       file system. The service might need what the caller holds
 *   R4  those of a transaction: it sees what others do not
 *   R5  other kinds than a plain read: compressed content, pages of the system's cache (MDLs)
 *   R6  where byte ranges are locked: only the file system knows who may read them
 *   R7  non-cached ones that are not whole blocks: the file system refuses what does not fit its
 *       sectors, and the caller should see that. Whole blocks are answered, as databases read so
 *   R8  without a length, at a negative place, beyond the largest file
 *   R9  those of a handle that was opened while an oplock was being broken, and did not wait for
 *       that (FILE_COMPLETE_IF_OPLOCKED). The owner of the oplock may have written into a cache of
 *       its own, and be about to write it back; a server of files has owners on other machines. The
 *       file system keeps the reads of this handle waiting for it. Other handles need not wait:
 *       they have waited at the open, or are the owner's, or were opened afterwards. An oplock that
 *       lets its owner write so is given only to who is alone, and broken by the next open that may
 *       read. And those of a handle that was marked (FSCTL_MARK_HANDLE): it may read one certain
 *       copy of a mirror, or past what the system's cache has. So its reads are no fills, either
 *   R10 those of a handle that is closed, whose file object another driver has kept: the file
 *       system refuses them
 *
 * CHANGES (fc_change_way):
 *   C1  paging I/O brings to the disk what has been a change already, and the lazy writer tells how
 *       far that has come (FileEndOfFileInformation with AdvanceOnly): nothing is done, but C7.
 *       Others may write so, too: a driver (FLTFL_IO_OPERATION_PAGING), and the file system itself,
 *       inside of a change, zeros where nothing was written yet (CcZeroData()). The memory manager
 *       and the system's cache have a section of what they write. So a paging write to a file that
 *       has none, and is no paging file, counts as C4: it must not wait for the service. Nobody has
 *       the file in memory, so its end is the end of that change. Whose write it is nobody can say
 *       for sure, and no bracket need cover it, also if one is open. So all of these count
 *   C2  what the service's process changes is an outside write: it would wait for itself. (Its log
 *       may be a cached file)
 *   C3  what others see later or never (transactions), and stores that nobody sees (mappings, pages
 *       of the system's cache that were handed out for writing) last until the stream is not used
 *       any more: an outside write of that length
 *   C4  what may not wait is an outside write
 *   C5  all else gets a bracket. What moves only the file's times, or its number in the journal
 *       (names, attributes, rights, the object's id, a record that ends all changes so far), gets
 *       an empty one, or nothing: filter_core.h, B8
 *   C6  what its name leaves out, or its kind (S3, S5), may be cached under another name, or as
 *       another kind: an attribute is enough for that (FileBasicInformation). If only its kind
 * leaves it out, or the file has several names, a change counts as C3. So does a new name that is
 *       cached, or may be because it is a short one (with a "~"): the changes before it were not
 *       seen. If that cannot be noted, the file does not get the name
 *   C7  a write to the disk that fails. The system goes on with what it has in memory, gives it up
 *       at any time, and says that the next flush succeeded. Then the file has what was there
 *       before, and a fill may have read what was written. So it counts as C3 from that moment on:
 *       the memory is gone when nobody uses the stream any more. What the system tries again by
 *       itself does not count
 *   C8  a dismount. What the system has not written yet may be lost, if it is done by force or the
 *       disk is gone, and the file's times may be on the disk. A stream that was written and is in
 *       use then (its bytes may be in memory) counts as C7. From then on all reads of that mount
 *       pass, and its changes are outside: it lives as long as somebody has a file of it open, and
 *       the disk may be mounted again meanwhile, with other streams of the same files. A dismount
 *       is known when a program asks the volume for it (not a file: file systems refuse that), when
 *       the disk is removed, and at the latest when the same device is mounted again. While what a
 *       program has asked for is on its way, reads pass, nothing is filled and no sync counts; but
 *       changes have brackets, because it may be denied
 *   C9  a control code that is neither known to leave the content alone nor to change it, as one of
 *       a later Windows. Its result tells. A file system that does not know it either has done
 *       nothing, and says so (fc_is_refused). All other ends, also those of errors and warnings,
 *       may come after a part of the work: then it was a change of the whole file, outside, before
 *       its caller hears of the end (filter_core.h, B9)
 *   C10 a change that goes past the system's cache (a non-cached write, a control code that is not
 *       refused, as in C9). The file system takes its pages out of the cache, but those that
 *       somebody has mapped stay as they are, and it does not say so. Who reads through the cache
 *       gets old bytes then, and so does a fill. So if the system has pages of the file at the end
 *       of the change, all later fills come from the disk, as long as the stream is used. A write
 *       to the volume as a whole is such a change of all files, and the file system does not know
 *       which: so it counts for each stream of that volume that is in use at its end, and for each
 *       later one of which the system has pages when the driver first sees it: somebody may have
 *       had it mapped. A driver that comes to a volume that was in use has missed such changes: the
 *       same streams count. A file system denies a write to what belongs to a file, before it
 *       begins. A control code that is not known may be denied after a part of its work: for C9
 *       this is no refusal
 */
#ifndef CACHEMAX_FILTER_RULES_H
#define CACHEMAX_FILTER_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* What the shell sees of an operation on a stream. */
struct fc_op {
    bool paging;     /* for the memory manager */
    bool service;    /* of the service's process */
    bool waits;      /* the caller may be kept waiting */
    bool transacted; /* belongs to a transaction */
    bool plain;      /* data between a buffer and the file, and nothing else */
    bool mapping;    /* gives away a way to store without further operations */
    bool locked;     /* byte ranges of the stream are locked */
    bool early;      /* of a handle that did not wait for the owner of an oplock, or was marked */
    bool closed;     /* of a handle that is closed */
    bool non_cached; /* of a handle without the system's cache */
    int64_t off;     /* of a read */
    uint32_t len;
};

enum fc_way {
    FC_NOTHING, /* it is no change, for the cache */
    FC_BRACKET,
    FC_OUTSIDE,
    FC_LASTING /* an outside write that ends with the stream */
};

/* What the shell sees of a stream. */
struct fc_stream {
    bool directory, alternate, encrypted, paging, recalled;
    bool pools_volume;
    const char *path; /* UTF-8, with '\', from the volume's root on: "\data\file" */
};

/* Are a file's times so recent that a later write may leave them as they are? In units of 100 ns:
 * the times of the last write and of the last change, the time of the day, and the clock that files
 * get their times from, which has a tick. The same that cm_identify() says on Windows. */
bool fc_times_are_racy(uint64_t written, uint64_t changed, uint64_t now, uint64_t tick);

/* Of a control code (FSCTL_...) only the function counts; method and access, its lowest and highest
 * bits, do not matter. 0xffff: it is no file system's. */
uint32_t fc_function_of(uint32_t code);
#define FC_DISMOUNT_VOLUME 8u
#define FC_MARK_HANDLE 63u
enum fc_control {
    FC_READS,       /* it leaves the file alone */
    FC_MOVES_TIMES, /* it leaves the content alone */
    FC_CHANGES,     /* a bracket around the whole file */
    FC_UNKNOWN      /* C9 */
};
enum fc_control fc_control_of(uint32_t function);

/* C9: does this status (an NTSTATUS) say that the file system has not even begun? */
bool fc_is_refused(uint32_t status);
/* C10: the same of a write to the volume as a whole. */
bool fc_is_denied(uint32_t status);

bool fc_read_asks(const struct fc_op *op, uint32_t block);
enum fc_way fc_change_way(const struct fc_op *op);
bool fc_stream_fits(const struct fc_stream *s);
/* The same whatever its name is. */
bool fc_stream_has_kind(const struct fc_stream *s);
/* Does the system need it to run, or to run the service? */
bool fc_is_the_systems(const char *path);

#endif
