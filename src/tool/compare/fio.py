# SPDX-License-Identifier: BSD-2-Clause
"""fio.py - the workloads, and fio, which measures them.

A file of half the size is read at random and in sequence; one of a quarter is read and written; the
last quarter is small files, 2000 at most. The origin has a second file to write to: what is below
the mount must not change without the mount.
"""
import json
import os
import subprocess

from places import Refused, drop_pages, one_line, start, write_file

SMALL = 16 << 10
SMALL_MOST = 2000
JOBS = 4
STATISTICS = "--percentile_list=99"
FOUR = ["--numjobs=%d" % JOBS, "--size=%d%%" % (100 // JOBS),
        "--offset_increment=%d%%" % (100 // JOBS)]

# name, file or directory, fio's options, (name of a row, its key in fio's output, its title)
WORKLOADS = [
    ("random-read", "data", ["--rw=randread", "--bs=4k", "--readonly", *FOUR],
     [("random-read", "read", "4 KiB random reads, 4 jobs")]),
    ("sequential-read", "data", ["--rw=read", "--bs=128k", "--readonly"],
     [("sequential-read", "read", "128 KiB sequential reads")]),
    ("small-files", "small", ["--rw=read", "--bs=16k", "--readonly", "--openfiles=1",
                              "--file_service_type=sequential"],
     [("small-files", "read", "files of 16 KiB, read whole")]),
    ("mixed", "mixed", ["--rw=randrw", "--rwmixread=70", "--bs=4k", *FOUR],
     [("mixed-read", "read", "4 KiB mixed 70/30, the reads"),
      ("mixed-write", "write", "4 KiB mixed 70/30, the writes")]),
]


class Files:
    """How large the test files of one volume are."""

    def __init__(self, size):
        self.data = size // 2 >> 20 << 20
        self.mixed = size // 4 >> 20 << 20
        self.small = min(SMALL_MOST, size // 4 // SMALL)

    def bytes(self):
        return self.data + self.mixed + self.small * SMALL

    def write_mixed(self, fd):
        write_file(fd, "mixed", self.mixed)

    def write(self, fd):
        write_file(fd, "data", self.data)
        self.write_mixed(fd)
        os.mkdir("small", 0o700, dir_fd=fd)
        for i in range(self.small):
            write_file(fd, "small/%d" % i, SMALL)
        os.fsync(fd)

    def drop_pages(self, fd):
        """So that the next read of a file goes to the volume, also one that is not direct."""
        for name in ["data", "mixed"] + ["small/%d" % i for i in range(self.small)]:
            drop_pages(fd, name)


class Fio:
    def __init__(self, path, files, seconds):
        self.path, self.files, self.seconds, self.process = path, files, seconds, None

    def version(self):
        try:
            return subprocess.run([self.path, "--version"], capture_output=True, text=True,
                                  timeout=60).stdout.strip()
        except (OSError, subprocess.SubprocessError) as e:
            raise Refused("fio cannot be run: %s" % e)

    def run(self, workload, directory, direct, once=False):
        """{row: {"iops", "bytes_per_second", "mean_us", "p99_us"}}. With `once` each block is read
        one time at most, else the workload goes on until its time is over."""
        name, what, options, rows = workload
        command = [self.path, "--name=" + name, "--ioengine=psync", "--thread", "--randrepeat=0",
                   "--direct=%d" % direct, "--allow_file_create=0", "--group_reporting",
                   "--runtime=%d" % self.seconds, STATISTICS, "--output-format=json", *options]
        if what == "small":
            command += ["--directory=small", "--filename_format=$filenum",
                        "--nrfiles=%d" % self.files.small, "--filesize=%d" % SMALL]
        else:
            command += ["--filename=" + what]
        if not once:
            command += ["--time_based", "--norandommap"]
        self.process = start(command, cwd=directory, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        try:
            out, err = self.process.communicate(timeout=self.seconds * 4 + 300)
        except subprocess.TimeoutExpired:
            raise Refused("fio hangs in '%s'" % name)
        status = self.process.returncode
        self.process = None
        text = out.decode("utf-8", "replace")
        if status != 0:
            why = (one_line(err) or one_line(out.split(b"{")[0]))[-600:]
            raise Refused("fio failed in '%s' with status %d: %s" %
                          (name, status, why or "it did not say why"))
        try:
            job = json.loads(text[text.index("{"):])["jobs"][0]
            return {row: figures(job[key]) for row, key, _ in rows}
        except (ValueError, KeyError, IndexError, TypeError):
            raise Refused("what fio printed in '%s' is not understood" % name)

    def end(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def figures(part):
    latency = part["clat_ns"]
    return {"iops": part["iops"], "bytes_per_second": part["bw_bytes"],
            "mean_us": latency["mean"] / 1000,
            "p99_us": latency.get("percentile", {}).get("99.000000", 0) / 1000}
