# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# sleep.sh - sourced: sleep without a process. The tests wait in many short steps, and there are
# machines on which each process that begins takes 10 ms of a processor. A test that looks at the
# process that sleeps says "exec sleep 60 &".

exec {sleep_fd}<> <(:) # a pipe that nobody writes to
sleep() { # SECONDS
  local none
  read -rt "$1" -u "$sleep_fd" none || :
}
