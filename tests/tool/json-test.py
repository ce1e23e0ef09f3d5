#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""json-test.py BUILD - docs/json.md against the command: each key that is printed with --json is in
the section of its command, and each key there is printed. Commands that need no mount are run; of
all others the source tells the keys. The last line is "N passed, N failed, N skipped".
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from live import Results

r = Results()
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CM = os.path.join(os.path.realpath(sys.argv[1]), 'src/tool/cachemax')
# Which commands print what a source file has.
SOURCES = {
    'cmd_advise.c': ['advise'], 'cmd_check.c': ['check'], 'cmd_files.c': ['files'],
    'cmd_info.c': ['info'], 'cmd_stats.c': ['stats'], 'json.c': ['advise', 'stats', 'replay'],
    'replay/cmd_replay.c': ['replay'], 'bench/cmd_bench.c': ['bench'], 'bench/figures.c': ['bench'],
    'compare/report.c': ['compare'], 'control/cmd_list.c': ['list'],
    'control/warm_result.c': ['warm', 'pin'], 'control/warm_trace.c': ['warm', 'pin'],
    'control/cmd_unpin.c': ['unpin'], 'control/cmd_cached.c': ['cached'],
    'control/cmd_forget.c': ['forget'], 'control/cmd_record.c': ['record'],
    'control/cmd_mode.c': ['mode'],
    'dash/report.c': [], 'dump/output.c': []}  # not stable, as the page says


def sections():
    """{command: (keys, all words in backticks)} of the page; the keys begin the rows of tables."""
    with open(os.path.join(TOP, 'docs/json.md'), encoding='utf-8') as f:
        parts = re.split(r'^## (.*)$', f.read(), flags=re.M)
    found = {}
    for title, text in zip(parts[1::2], parts[2::2]):
        cells = re.findall(r'^\| ((?:`\w+`(?:, | or )?)+) \|', text, re.M)
        keys = {word for cell in cells for word in re.findall(r'`(\w+)`', cell)}
        for command in re.findall(r'`(\w+)`', title):
            found[command] = keys, set(re.findall(r'`([^`]+)`', text))
    return found


def keys_of(value):
    """All keys of an object, and of those in it, but numbers."""
    if isinstance(value, list):
        return {key for v in value for key in keys_of(v)}
    if not isinstance(value, dict):
        return set()
    return {k for k in value if not k.isdigit()} | keys_of(list(value.values()))


def literals(path):
    """The keys that a source file has in its calls of json_*()."""
    with open(path, encoding='utf-8') as f:
        text = f.read()
    found = set()
    for m in re.finditer(r'\bjson_\w+\((?!struct )', text):
        depth, begin, second = 1, m.end(), None
        for i in range(m.end(), len(text)):
            depth += {'(': 1, ')': -1}.get(text[i], 0)
            if depth == 0 or (depth == 1 and text[i] == ','):
                second = None if second is None else text[begin:i]
                if second is not None or depth == 0:
                    break
                second, begin = '', i + 1
        # Of "a ? b : c" the keys are b and c, and of a comparison nothing is.
        found |= set(re.findall(r'"(\w+)"', (second or '').split('?')[-1]))
    return found


def run(*args):
    p = subprocess.run([CM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       stdin=subprocess.DEVNULL, check=False, timeout=300)
    return p.stdout


def check_ratios(bench):
    """After one round each ratio is that of its two figures. A speedup is the rival's time, by
    ours."""
    compared = 0
    for key, d in bench['details'].items():
        ratio = bench['ratios'][key]
        if ratio is None or 'rival' not in d:
            continue
        want = d['ours'] / d['rival']
        if 'speedup' in key or key == 'readers_beside_filler':
            want = d['rival'] / d['ours']
        r.check('ratio: ' + key, abs(ratio - want) <= 0.01 * want + 0.0001, (ratio, d))
        if 'met' in d:
            r.equal('met: ' + key, d['met'],
                    ratio >= d['limit'] if d['kind'] == 'at least' else ratio <= d['limit'])
        compared += 1
    r.check('ratios', compared > 10, bench['ratios'])


def printed():
    """{command: keys} of what is run."""
    with open('file', 'wb') as f:
        f.write(os.urandom(300000))
    run('create', 'p', '--size', '4M', '--names', '--quiet')
    run('cat', 'file', '--pool', 'p')
    with open('trace', 'w', encoding='ascii') as f:
        f.write('cachemax-trace 1\nf 1 a\n' + 'r 1 0 65536 1\n' * 9 + 'w 1 0 4096 1\nend 0\n')
    found = {c: keys_of(json.loads(run(c, 'p', '--json')))
             for c in ('info', 'check', 'files', 'advise', 'stats')}
    with subprocess.Popen([CM, 'stats', 'p', '--json', '--watch=0.1'], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        found['stats'] |= keys_of(json.loads(p.stdout.readline()))
        p.terminate()
    found['replay'] = set()
    for more in (['--size', '64'], ['--sizes', '0.5,0.9', '--restart-at', '0.5', 'clean'],
                 ['--size', '64', '--policy', 'auto', '--curve'],
                 ['--size', '64', '--policy', 'lru', '--restart-at', '0.5', 'none']):
        found['replay'] |= keys_of(json.loads(run('replay', 'trace', '--json', *more)))
    bench = json.loads(run('bench', '.', '--size', '64M', '--rounds', '1', '--threads', '2',
                           '--json'))
    found['bench'] = keys_of(bench)
    check_ratios(bench)
    found['list'] = keys_of(json.loads(run('list', '--json')))
    found['dump'] = {key for what in (['superblock'], ['slot', '0'], ['cell', '0'], ['record', '0'],
                                      ['file', 'file'], ['find', 'file', '0'])
                     for key in json.loads(run('dump', 'p', *what, '--json'))}
    return found


def main():
    said, found = sections(), printed()
    # Of compare/report.py, and of a function of compare/report.c.
    found['compare'] = {'fio', 'system', 'began', 'mount', 'origin', 'pool_volume'}
    for path in sorted(glob.glob(os.path.join(TOP, 'src/tool/**/*.c'), recursive=True)):
        name, keys = os.path.relpath(path, os.path.join(TOP, 'src/tool')), literals(path)
        if keys and r.check('known: ' + name, name in SOURCES, 'which command prints its keys?'):
            for command in SOURCES[name]:
                found.setdefault(command, set()).update(keys)
    r.equal('sections', sorted(said), sorted(found))
    for command in sorted(set(said) & set(found)):
        keys, words = said[command]
        r.equal(command + ': each key is documented', sorted(found[command] - words), [])
        r.equal(command + ': each key that is documented exists', sorted(keys - found[command]), [])


work = tempfile.mkdtemp(prefix='cachemax-json.')
os.chdir(work)
try:
    main()
finally:
    os.chdir('/')
    shutil.rmtree(work)
r.end()
