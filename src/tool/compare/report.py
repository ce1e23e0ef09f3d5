# SPDX-License-Identifier: BSD-2-Clause
"""report.py - medians, the table and the JSON of a comparison."""
import json
import os
import statistics
import tempfile

PLACES = [("origin", "origin alone"), ("fast", "fast volume alone"),
          ("cold", "cache, cold"), ("warm", "cache, warm")]
RATIOS = [("cold_to_origin", "cold", "origin"), ("warm_to_origin", "warm", "origin"),
          ("warm_to_fast", "warm", "fast")]
FIGURES = ["iops", "bytes_per_second", "mean_us", "p99_us"]


def summary(rows, measured):
    """rows: (name, title). measured[row][place] is a list of figures, one of each round."""
    out = []
    for name, title in rows:
        places = {}
        for place, _ in PLACES:
            rounds = measured[name][place]
            places[place] = {f: round(statistics.median(r[f] for r in rounds), 3) for f in FIGURES}
            places[place]["rounds_iops"] = [round(r["iops"], 3) for r in rounds]
        ratios = {ratio: round(places[a]["iops"] / places[b]["iops"], 3)
                  if places[b]["iops"] > 0 else None for ratio, a, b in RATIOS}
        out.append({"name": name, "title": title, "places": places, "ratios": ratios})
    return out


def number(value):
    return "%.0f" % value if value >= 100 else "%.3g" % value if value > 0 else "-"


def times(value):
    return "-" if value is None else "%.3g" % value if value < 100 else "%.0f" % value


def table(report):
    lines = []
    for w in report["workloads"]:
        lines.append("%-30s %10s %10s %12s %12s %12s" %
                     (w["title"], "IOPS", "MB/s", "mean us", "p99 us", "to origin"))
        base = w["places"]["origin"]["iops"]
        for place, title in PLACES:
            p = w["places"][place]
            ratio = round(p["iops"] / base, 3) if base > 0 else None
            lines.append("  %-28s %10s %10s %12s %12s %12s" %
                         (title, number(p["iops"]), number(p["bytes_per_second"] / 1e6),
                          number(p["mean_us"]), number(p["p99_us"]),
                          times(ratio) + ("" if ratio is None else " x")))
        lines.append("  the warm cache has %s times the IOPS of the origin, %s times those of the "
                     "fast volume" % (times(w["ratios"]["warm_to_origin"]),
                                      times(w["ratios"]["warm_to_fast"])))
        lines.append("")
    lines += ["note: " + n for n in report["notes"]]
    return "\n".join(lines).rstrip("\n") + "\n"


def write_whole(path, text):
    """All of the file or, after an error, none. The user's own umask decides who may read it."""
    folder = os.path.dirname(os.path.abspath(path))
    mask = os.umask(0)
    os.umask(mask)
    fd, name = tempfile.mkstemp(prefix=".cachemax-compare.", dir=folder)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as f:
            f.write(text)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def as_json(report):
    return json.dumps(report, indent=2) + "\n"
