"""Two whole runs on one store at once: both end well, and the table has the bytes of one run alone."""

import subprocess
import sys

from tests.helpers.copies import ROOT, environment

TABLES, POINTS = 40, 12
PROGRAM = f"""
import sys
from metamerlib import records

def value(seed):
    return [{{"value": (seed + part) / 7, "name": None if part else str(seed)}} for part in range(2)]

for place in range({TABLES}):
    points = records.grid(seed=list(range({POINTS})))
    table = records.compute(value, points, name=f"t{{place}}", recipe=1, store=sys.argv[1], progress=False)
    assert len(table) == 2 * {POINTS}, (place, len(table))
"""


def started(store):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(store)], env=environment(ROOT), cwd=ROOT)


def test_runs_at_once_on_forty_tables(tmp_path, record_property):
    assert started(tmp_path / "alone").wait(120) == 0
    both = [started(tmp_path / "shared") for _ in range(3)]
    assert [process.wait(240) for process in both] == [0, 0, 0]
    for place in range(TABLES):
        name = f"t{place}.parquet"
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    assert not (tmp_path / "shared" / ".points").exists()
    record_property("cases", TABLES)
