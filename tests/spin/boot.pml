/* SPDX-License-Identifier: BSD-2-Clause
 *
 * boot.pml - a pool without DAX: the page cache holds the truth (cm_super_must_empty,
 * cm_super_open, cm_super_close in superblock.c; settle in cache.c).
 *
 * One cached block and one superblock (super.pml has the pair). Until a sync the disk may hold any
 * past version of the block. The superblock has epoch, state, boot and mount, and is always written
 * through. A block counts only under the epoch in which it was stored. Sessions forget the block,
 * write the origin, fill, and close cleanly (the sync of the data may fail). Or there is a crash:
 * of the process (the page cache stays), of the system (the boot is another one, and what the disk
 * holds counts), or of the volume (it goes away and is mounted again in the same boot). Mounts are
 * numbered anew in each boot.
 *
 * Proves: the content that a session serves is the origin's present content.
 *
 * Mutants: IGNORE_BOOT  IGNORE_MOUNT  CLEAN_FIRST the superblock says CLEAN before the data is
 *          synced   CLEAN_ANYWAY it also says CLEAN if that sync failed   OPEN_LATE the session
 *          begins before OPEN is durable   NO_EPOCH an emptied pool keeps its epoch   UNKNOWN_SAME
 *          (UNKNOWN) boots without an identity count as the same
 * Reachability: REACH_PROCESS, REACH_CLEAN a block survives a process crash; a close and a boot
 */
#define BIT(x) (1 << (x))
byte block, diskm = 1;           /* cached version, 0: none; versions that the disk may hold */
byte bepoch[5];                  /* epoch in which each version was stored */
byte content = 1;
byte epoch = 1, boot = 1, mount = 1;
byte sepoch = 1, sboot, smount;  /* the superblock */
bit sopen, in;                   /* its state; a session runs */
byte ncr, ops;
bit crossed;                     /* the last event: 0 a process crash, 1 a close and a boot */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef OPS
#define OPS 6
#endif
#ifdef UNKNOWN
#ifdef UNKNOWN_SAME
#define SAME_BOOT (smount == mount)
#else
#define SAME_BOOT false
#endif
#elif defined(IGNORE_BOOT)
#define SAME_BOOT (smount == mount)
#elif defined(IGNORE_MOUNT)
#define SAME_BOOT (sboot == boot)
#else
#define SAME_BOOT (sboot == boot && smount == mount)
#endif

inline lose_page_cache() {
  if
  :: diskm & 1 -> block = 0
  :: diskm & 2 -> block = 1
  :: diskm & 4 -> block = 2
  :: diskm & 8 -> block = 3
  :: diskm & 16 -> block = 4
  fi;
  diskm = BIT(block)
}
active proctype World() {
  byte pc;
  do
  :: atomic { pc == 0 && ops < OPS -> ops++; /* cm_open: cm_super_must_empty */
     epoch = sepoch;
     if
     :: sopen && !SAME_BOOT ->
#ifndef NO_EPOCH
        epoch++
#else
        skip
#endif
     :: else
     fi;
     pc = 1;
#ifdef OPEN_LATE
     in = 1
#endif
     }
  :: atomic { pc == 1 -> /* cm_super_open: durable before any other store */
     sepoch = epoch; sopen = 1; sboot = boot; smount = mount; in = 1; pc = 2 }
  :: atomic { in && content < 4 && ops < OPS -> ops++; /* a bracket, and the origin is written */
     block = 0; diskm = diskm | 1; content++ }
  :: atomic { in && block == 0 && ops < OPS -> ops++; /* a fill */
     block = content; bepoch[content] = epoch; diskm = diskm | BIT(content) }
  /* cm_close: settle */
#ifdef CLEAN_FIRST
  :: atomic { pc == 2 -> in = 0; sopen = 0; pc = 4 }
  :: atomic { pc == 4 -> diskm = BIT(block); pc = 0; crossed = 1 }
#else
  :: atomic { pc == 2 -> in = 0; diskm = BIT(block); pc = 3 }
  :: atomic { pc == 2 -> in = 0; /* the sync fails: from now on nothing may count */
#ifdef CLEAN_ANYWAY
     pc = 3
#else
     sepoch++; pc = 0
#endif
     }
  :: atomic { pc == 3 -> sopen = 0; pc = 0; crossed = 1 }
#endif
  /* In every state of a session: this is what a reader gets. */
  :: atomic { in && block > 0 && bepoch[block] == epoch -> assert(block == content);
#ifdef REACH_PROCESS
     assert(!(ncr > 0 && !crossed && bepoch[block] < 9 && ops > 3 && pc == 2 && mount == 1))
#endif
#ifdef REACH_CLEAN
     assert(!(crossed && boot > 1))
#endif
     }
  :: atomic { ncr < CRASHES -> ncr++; in = 0; pc = 0; crossed = 0 }        /* the process */
  :: atomic { ncr < CRASHES -> ncr++; in = 0; pc = 0;                      /* the system */
     boot++; mount = 1; lose_page_cache() }
  :: atomic { ncr < CRASHES -> ncr++; in = 0; pc = 0;                      /* the volume */
     mount++; lose_page_cache() }
  od
}
