import subprocess
import sys

from kfc_bench.results.fingerprint import short_hash


def test_short_hash_does_not_depend_on_order():
    assert short_hash({"a": 1, "b": [2]}) == short_hash({"b": [2], "a": 1})
    assert short_hash({"a": 1}) != short_hash({"a": 2})
    assert len(short_hash(None)) == 12


def test_reading_and_reporting_results_needs_no_torch():
    modules = "kfc_bench.results.frames, kfc_bench.report.summary, kfc_bench.report.export"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
