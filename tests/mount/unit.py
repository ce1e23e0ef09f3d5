#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""unit.py - systemctl and journalctl for one unit, where no systemd runs. day-test.sh installs it
under both names.

  systemctl start|stop|restart|disable|is-active|status UNIT
  systemctl show -P MainPID|StatusText UNIT
  systemctl daemon-reload, list-units
  journalctl ...

The unit's file is named in /run/unit-file. "start" leaves a process that begins ExecStart, with the
variables of EnvironmentFile and a socket for sd_notify(3). It writes what it is told to
/run/unit.json, and begins it again after a failure (Restart=on-failure, RestartPreventExitStatus=).
"stop" does ExecStop, and sends SIGTERM if that was not enough. Nothing else of the file is looked
at.
"""
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

STATE, STOP, LOG, NOTIFY = '/run/unit.json', '/run/unit.stop', '/run/unit.log', '/run/unit.notify'
WAIT = 120  # seconds, for what happens at once on a quiet machine


def state(**new):
    now = {'active': 'inactive', 'MainPID': 0, 'StatusText': ''}
    if os.path.exists(STATE):
        with open(STATE, encoding='utf-8') as f:
            now = json.load(f)
    if new:
        now.update(new)
        with open(STATE + '.new', 'w', encoding='utf-8') as f:
            json.dump(now, f)
        os.rename(STATE + '.new', STATE)
    return now


def read_unit(unit):
    instance = unit.split('@')[1].rsplit('.', 1)[0]
    path = '/' + instance.replace('-', '/')
    values = {}
    with open('/run/unit-file', encoding='utf-8') as f:
        name = f.read().strip()
    with open(name, encoding='utf-8') as f:
        for line in f:
            key, equals, value = line.strip().partition('=')
            if equals and not key.startswith('#'):
                values[key] = value.replace('%i', instance).replace('%f', path)
    options = {}
    if os.path.exists(values['EnvironmentFile']):
        with open(values['EnvironmentFile'], encoding='utf-8') as f:
            for line in f:
                key, _, value = line.strip().partition('=')
                options[key] = value
    command = []
    for word in shlex.split(values['ExecStart']):
        command += options.get(word[1:], '').split() if word.startswith('$') else [word]
    return values, command


def once(command):
    """Begins it, and notes what it tells until it ends. Its exit status."""
    if os.path.exists(NOTIFY):
        os.unlink(NOTIFY)
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(NOTIFY)
    told.settimeout(0.1)
    with open(LOG, 'ab') as log:
        p = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, NOTIFY_SOCKET=NOTIFY))
    state(MainPID=p.pid, active='activating')
    while p.poll() is None:
        try:
            lines = told.recv(4096).decode().splitlines()
        except TimeoutError:
            continue
        for line in lines:
            key, _, value = line.partition('=')
            if key == 'STATUS':
                state(StatusText=value)
            elif key == 'READY':
                state(active='active')
    return p.returncode


def supervise(unit):
    values, _ = read_unit(unit)
    final = values.get('RestartPreventExitStatus', '').split()
    while True:
        rc = once(read_unit(unit)[1])
        done = os.path.exists(STOP) or rc == 0 or str(rc) in final
        state(active=('inactive' if os.path.exists(STOP) or rc == 0 else 'failed') if done
              else 'activating', MainPID=0)
        if done or values.get('Restart') != 'on-failure':
            return
        time.sleep(float(values.get('RestartSec', 1)))


def wait_for(*wanted):
    end = time.time() + WAIT
    while state()['active'] not in wanted:
        if time.time() > end:
            sys.exit('systemctl: it is still ' + state()['active'])
        time.sleep(0.05)


def start(unit):
    if os.path.exists(STOP):
        os.unlink(STOP)
    state(active='activating', StatusText='')
    if os.fork() == 0:
        os.setsid()
        null = os.open('/dev/null', os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        supervise(unit)
        os._exit(0)
    wait_for('active', 'failed', 'inactive')


def stop(unit):
    if state()['active'] in ('inactive', 'failed'):
        return
    with open(STOP, 'w', encoding='utf-8'):
        pass
    if subprocess.call(shlex.split(read_unit(unit)[0]['ExecStop'].lstrip('-'))):
        os.kill(state()['MainPID'], signal.SIGTERM)
    wait_for('inactive', 'failed')


def main():
    args = sys.argv[1:]
    if os.path.basename(sys.argv[0]) == 'journalctl':
        with open(LOG, encoding='utf-8', errors='replace') as f:
            print(f.read(), end='')
        return 0
    verb, unit = args[0], args[-1]
    if verb == 'start':
        start(unit)
    elif verb == 'stop':
        stop(unit)
    elif verb == 'restart':
        stop(unit)
        start(unit)
    elif verb == 'show':
        print(state()[args[2]])
    elif verb in ('is-active', 'status'):
        print(state()['active'])
        return 0 if state()['active'] == 'active' else 3
    elif verb == 'list-units':
        if state()['active'] != 'inactive':
            print('cachemax-mount@', state()['active'])
    elif verb not in ('daemon-reload', 'disable'):
        sys.exit('systemctl: unknown: ' + verb)
    return 0


if __name__ == '__main__':
    sys.exit(main())
