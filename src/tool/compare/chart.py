# SPDX-License-Identifier: BSD-2-Clause
"""chart.py - the comparison as an SVG: for each workload four bars with their names and values.

It loads nothing and needs no script. Colours follow the reader's scheme, and carry no meaning of
their own: each bar is named, and has a pattern of its own, too.
"""
from xml.sax.saxutils import escape

from report import PLACES, number, times

WIDTH, LABEL, BAR = 760, 150, 360
ROW, HEAD, GAP, TOP = 22, 30, 16, 92

STYLE = """
  svg { --ink: #1c1c1c; --soft: #595959; --paper: #ffffff; --line: #8a8a8a;
        --origin: #7a7a7a; --fast: #b35c00; --cold: #5b8fc7; --warm: #0b57a4; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #f0f0f0; --soft: #b8b8b8; --paper: #16181c; --line: #8a8a8a;
          --origin: #a0a0a0; --fast: #e8954a; --cold: #7fb0e6; --warm: #4d9bf0; } }
  text { font: 13px system-ui, sans-serif; fill: var(--ink); }
  .title { font-size: 18px; font-weight: 600; } .head { font-weight: 600; }
  .soft { fill: var(--soft); } .paper { fill: var(--paper); }
  .axis { stroke: var(--line); }
  .origin { fill: var(--origin); } .fast { fill: var(--fast); }
  .cold { fill: var(--cold); } .warm { fill: var(--warm); }
  .mark { stroke: var(--paper); stroke-width: 2; }
"""

PATTERNS = """
  <pattern id="fast" width="8" height="8" patternUnits="userSpaceOnUse">
    <rect class="fast" width="8" height="8"/><path class="mark" d="M0 8L8 0"/></pattern>
  <pattern id="cold" width="6" height="6" patternUnits="userSpaceOnUse">
    <rect class="cold" width="6" height="6"/><path class="mark" d="M1 0V6"/></pattern>
  <pattern id="origin" width="6" height="6" patternUnits="userSpaceOnUse">
    <rect class="origin" width="6" height="6"/><path class="mark" d="M0 1H6"/></pattern>
"""


def text(x, y, words, kind="", anchor="start"):
    return '<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>' % \
        (x, y, kind, anchor, escape(words))


def panel(w, y):
    """One workload. Its bars begin at zero and share a scale, which no other panel has."""
    out = [text(16, y + 16, w["title"], "head")]
    most = max(p["iops"] for p in w["places"].values()) or 1
    base = w["places"]["origin"]["iops"]
    y += HEAD
    out.append('<path class="axis" d="M%d %dV%d"/>' % (LABEL, y - 4, y + ROW * len(PLACES)))
    for place, name in PLACES:
        p = w["places"][place]
        length = max(1.0, p["iops"] / most * BAR)
        fill = 'class="warm"' if place == "warm" else 'fill="url(#%s)"' % place
        out.append(text(LABEL - 8, y + 12, name, anchor="end"))
        out.append('<rect x="%d" y="%d" width="%.1f" height="16" %s/>' % (LABEL, y, length, fill))
        words = "%s IOPS, p99 %s us" % (number(p["iops"]), number(p["p99_us"]))
        if place != "origin" and base > 0:
            words += ", %s x" % times(p["iops"] / base)
        out.append(text(LABEL + int(length) + 8, y + 12, words))
        y += ROW
    return out, y + GAP


def chart(report):
    body, y = [], TOP
    for w in report["workloads"]:
        part, y = panel(w, y)
        body += part
    for note in report["notes"]:
        words, line = note.split(), "note:"
        while words:
            if len(line) + len(words[0]) > 108:
                body.append(text(16, y, line, "soft"))
                y, line = y + 18, "     "
            line += " " + words.pop(0)
        body.append(text(16, y, line, "soft"))
        y += 18
    summary = "; ".join("%s: the warm cache has %s times the IOPS of the origin" %
                        (w["title"], times(w["ratios"]["warm_to_origin"]))
                        for w in report["workloads"])
    head = [text(16, 30, "Origin, fast volume, and the origin through the cache", "title"),
            text(16, 52, "origin: %s (%s), fast volume: %s (%s)" % (
                report["origin"]["directory"], report["origin"]["file_system"],
                report["pool_volume"]["directory"], report["pool_volume"]["file_system"]), "soft"),
            text(16, 72, "%s; %d MiB, medians of %d rounds of %d s; x: times the origin" % (
                report["began"], report["size_bytes"] >> 20, report["rounds"], report["seconds"]),
                "soft")]
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>',
         '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
         'role="img" aria-labelledby="t d">' % (WIDTH, y, WIDTH, y),
         '<title id="t">cachemax compare</title>', '<desc id="d">%s</desc>' % escape(summary),
         "<style>%s</style>" % STYLE, "<defs>%s</defs>" % PATTERNS,
         '<rect class="paper" width="%d" height="%d"/>' % (WIDTH, y), *head, *body, "</svg>", ""])
