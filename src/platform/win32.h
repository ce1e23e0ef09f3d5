/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32.h - shared by the files of the Windows back end, and by no others.
 */
#ifndef CM_PLATFORM_WIN32_H
#define CM_PLATFORM_WIN32_H

#include "platform/win32_path.h"

#include "platform/platform.h"

enum {                         /* of struct cm_plat_file.state */
       WIN32_TAKEN = 1u << 0,  /* another open has it open for writing: this one only reads */
       WIN32_LOCKED = 1u << 1, /* holds the lock */
       WIN32_NAMED = 1u << 2   /* made by this process, and has its name */
};

static inline HANDLE win32_handle(const struct cm_plat_file *f)
{
    return (HANDLE)f->handle;
}

/* An offset in the form that the calls for reading, writing and locking take. */
static inline OVERLAPPED win32_at(uint64_t offset)
{
    return (OVERLAPPED){ .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
}

/* win32_file.c */

/* The CM_E* code for an error number of the system. */
int win32_error(DWORD error);
/* Can the CPU's stores reach the media of the file's volume? */
bool win32_volume_is_dax(HANDLE h);
/* Does the file occupy space for `size` bytes? */
bool win32_is_allocated(HANDLE h, uint64_t size);
/* Deletes a file. If a program has it open for a moment, this waits. */
void win32_delete(const wchar_t *path);

/* win32_identity.c */

/* The ids of volume and file, in three words; the first one is the volume's serial number.
 * CM_ENOTFILE: the file has no id (a name of the volume does not help), but word[0] is right.
 * CM_EIO. */
int win32_file_words(HANDLE h, uint64_t word[3]);

/* Is a file with this name (\Device\VOLUME\PATH) none that can be told from others? CM_ENOTFILE: it
 * is a named stream, which has the id and the times of its file. CM_ECLONE: it lies in a shadow
 * copy, which has the numbers of its volume. Else 0. */
int win32_name_refused(const wchar_t *nt_name);

/* Could another file of a file system of this type have the same id, size and times after a
 * restart? FAT and exFAT number files by the place of their directory entry, and have no time of
 * change. NTFS, ReFS and volumes of clusters keep their ids. Others are not known: those of CDFS
 * and UDF are chosen by the maker of the image, those of a virtual machine's shared folder are
 * counted as files are looked up. There a name of the volume helps (`named`): who gives it vouches
 * for the ids. */
bool win32_may_be_another(const wchar_t *type, bool named);

/* Are a file's times so recent that a later write may leave them as they are? FILETIMEs: of the
 * last write and the last change, of now, and of the clock that files get their times from. */
bool win32_times_are_racy(uint64_t written, uint64_t changed, uint64_t now, uint64_t tick);

/* win32_volume.c */

/* \Device\VOLUME\PATH, to be freed; NULL: not known. The path is as it was opened: to bring it into
 * its normal form takes rights to the directories. */
wchar_t *win32_nt_name(HANDLE h);
/* The length of \Device\VOLUME in such a name; 0: it begins otherwise. */
size_t win32_device_length(const wchar_t *nt_name);
/* The word that stands for the volume of this file with this name, and with this serial number.
 * CM_ECLONE: another volume that is there has the number, or the name does not say which volume it
 * is, as in a DFS namespace. CM_ENOMEM. For a file on a share it opens the share's root for a
 * moment. Any thread may call it. */
int win32_volume_word(HANDLE h, const wchar_t *nt_name, uint64_t serial, uint64_t *word);

/* win32_run.c */

/* 0 if the system has no such function. */
FARPROC win32_find(const wchar_t *module, const char *name);

#endif
