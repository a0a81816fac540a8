"""Multirun on Ray: the jobs of ``hydra/launcher=ray`` end as those of one process would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NARROW = ["data.n_symbols=2", "data.days=90", "data.late_listings=0"]


def multirun(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a multirun of the quickstart on Ray, which under load takes minutes to start."""
    return subprocess.run(
        [
            sys.executable, "-m", "quantcore.backtest", "-m", "+experiment=quickstart", "hydra/launcher=ray",
            *NARROW, *arguments,
        ],
        cwd=place, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_jobs_on_ray_make_a_folder_each_and_a_refused_one_decides_the_exit_code(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    done = multirun(tmp_path, "strategy.fast=12,500,24")
    assert done.returncode == 2, done.stderr
    assert "strategy.slow must be > fast = 500" in done.stderr
    assert "[job strategy.fast=500]" in done.stderr
    runs = tmp_path / "data" / "runs"
    folders = sorted((runs / "backtest").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert (folder / "tearsheet.html").is_file()
        assert json.loads((folder / "metrics.json").read_text())["symbols"] == 2
        assert f"data/runs/backtest/{folder.name}\n" in done.stdout
    told = [line.split(") ", 1) for line in done.stdout.splitlines()]
    jobs = [line for line in told if line[1].startswith("job ")]
    assert [text.split("=")[1] for _, text in sorted(jobs, key=lambda j: j[1])] == [
        "12",
        "24",
        "500",
    ]
    speaker = None
    for line in told:  # each job's lines in one piece
        speaker = line[0] if line in jobs else speaker
        assert line[0] == speaker
    assert len((runs / "trials.jsonl").read_text().splitlines()) == 3  # the market, two trials
    assert not list((runs / ".partial").iterdir())


@pytest.mark.integration
def test_a_dead_cluster_is_refused_in_one_line_before_any_job(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    done = multirun(tmp_path, "strategy.fast=12,24", "hydra.launcher.ray.init.address=127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr == (
        "hydra.launcher.ray.init.address must be that of a running Ray cluster, was 127.0.0.1:1: "
        "[Errno 111] Connection refused\n"
    )
    assert not list(tmp_path.iterdir())
