import json

from mpqlib import benchmarks


def test_bench_writes_its_rows(tmp_path, monkeypatch):
    """Making the peer's step asserts that both find the same costs of the same actions."""
    monkeypatch.setattr(benchmarks, "SIZES", ((24, 32),))
    result = benchmarks.bench(tmp_path / "planner.json", rounds=3)
    (row,) = json.loads((tmp_path / "planner.json").read_text())["rows"]
    assert set(row) == {"name", "task", "N", "H", "threads", "ours_ms", "peer", "peer_ms", "ratio"}
    assert row == result["rows"][0] and row["ratio"] > 1


def test_bench_without_the_peer_says_so(tmp_path, monkeypatch, capsys):
    import sys

    from mpqlib.__main__ import main

    monkeypatch.setitem(sys.modules, "pytorch_mppi", None)
    assert main(["bench", "--out", str(tmp_path / "planner.json")]) == 2
    assert "pytorch_mppi is not installed" in capsys.readouterr().err
