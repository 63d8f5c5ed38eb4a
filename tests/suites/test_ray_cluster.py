"""Cells on a real Ray cluster of two nodes on this machine. The second has the only GPU, made up, and is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from ssl_ce.errors import Stopped, UserError
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.suites import ray_executor
from ssl_ce.suites.benchmark import run_suite
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.ray_cluster import connect
from ssl_ce.suites.ray_executor import RayExecutor
from ssl_ce.suites.schedule import run_cells
from ssl_ce.suites.status import states
from ssl_ce.suites.suite import load_suite

pytest.importorskip("ray", reason="needs the extra 'cluster'")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")]


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    # A node that is gone is noticed after 3 s; one that is slow, on a busy machine, has 10 s for each answer.
    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3, "health_check_timeout_ms": 10_000}
    head = {**small, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    folder = cluster.head_node.get_session_dir_path()
    cluster.second = cluster.add_node(**small, num_gpus=1)
    yield cluster
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(node):
    """{pid: command line} of a node's raylet and all that it started, at any remove."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [node.all_processes["raylet"][0].process.pid]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    commands = {}
    for pid in found:
        try:
            commands[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return commands


def cells_on(node):
    """Process ids of those that run cells."""
    return [pid for pid, command in processes_of(node).items() if "spawn_main" in command]


def test_a_cell_runs_where_its_gpu_is_and_again_when_its_process_dies_and_stops_on_ctrl_c(
    cluster, write, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    endless = {"recipe": "quickstart", "settings": {"optim.steps": 100_000}, "resources": {"gpus": 1}}
    suite = load_suite(str(write(pretrain={"long": endless}, evaluate=[])))
    plan = make_plan(suite, runs=Path("runs"), results=Path("results"))
    connect(cluster.address)
    killed, said = [], []

    def watch(event):
        if event.kind != "progress" or not event.report.step:
            said.append(event.report.text if event.report else "")
        elif not killed:
            killed.extend(cells_on(cluster.second))
            os.kill(killed[0], signal.SIGKILL)
        elif "its worker died, 1 of 3 times" in said:
            os.kill(os.getpid(), signal.SIGINT)
            said.clear()

    too_much = load_suite(str(write(pretrain={"long": {**endless, "resources": {"gpus": 2}}}, evaluate=[])))
    cells = make_plan(too_much, runs=Path("runs"), results=Path("results")).cells
    with pytest.raises(UserError, match="pretrain long-s0 needs 1 CPU, 2 GPUs, and no node of the cluster has that"):
        RayExecutor(cells, ())
    executor = RayExecutor(plan.cells, (plan.results, plan.runs))
    with monkeypatch.context() as patch:  # such a node was there, and is no more
        patch.setattr(ray_executor, "_LONG", 1.0)
        assert run_cells(cells, executor)["long-s0"].message == "no node of the cluster has 1 CPU, 2 GPUs any more"
    assert executor.slots == 2
    try:
        with pytest.raises(Stopped, match="Stopped after saving"):
            run_suite(plan, plan.cells, states(plan, []), executor, watch)
    finally:
        executor.close()
    assert len(killed) == 1
    run = RunDirectory(plan.pretrainings[0].path)
    assert run.saved()
    assert run.manifest()["step"] > 0
    deadline = time.monotonic() + 10
    while cells_on(cluster.second):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_suite_is_whole_though_a_node_dies_in_the_middle(cluster, ce, write, tmp_path):
    """Both nodes train, and have saved; then the second is lost with all that runs on it."""
    settings = {
        "method.encoder.width": 0.1,
        "method.decoder.width": 0.1,
        "optim.steps": 200,
        "log.tensorboard": False,
        "log.online_every": 0,
        "log.samples_every": 0,
        "log.checkpoint_every": 20,
    }
    evaluate = [{"evaluator": "knn", "subjects": ["{run}@{tap}"], "floors": False}]
    path = write(settings=settings, evaluate=evaluate, resources={"gpus": 0})
    runs = [RunDirectory(tmp_path / f"runs/tiny/{name}-s0") for name in ("plain", "faster")]
    steps = {run.path.name: [] for run in runs}
    lost, ended = {}, threading.Event()

    def watch():
        while not ended.wait(0.05):
            for run in runs:
                steps[run.path.name].append(run.manifest().get("step", 0))
            if not lost and all(seen[-1] for seen in steps.values()):
                lost.update(processes_of(cluster.second))
                for pid in lost:
                    os.kill(pid, signal.SIGKILL)
                lost["steps"] = {name: seen[-1] for name, seen in steps.items()}

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = ce(f"benchmark {path} --executor ray --address {cluster.address}")
    finally:
        ended.set()
        watcher.join()
    assert answer.code == 0, answer.err
    assert any("spawn_main" in str(command) for command in lost.values()), "no cell ran on the node that died"
    assert max(lost["steps"].values()) < 200
    assert all(seen == sorted(seen) and seen[-1] == 200 for seen in steps.values()), "a run was begun anew"
    lines = Path("results/tiny/records.jsonl").read_text().splitlines()
    subjects = [json.loads(line)["subject"]["name"] for line in lines]
    assert sorted(subjects) == ["runs/tiny/faster-s0@conv1", "runs/tiny/plain-s0@conv1"]
    assert "Missing" not in answer.out
    assert "Raylet" not in answer.out + answer.err
    page = Path("results/tiny/suite.md").read_text()
    assert "| plain@conv1 |" in page
    assert "| faster@conv1 |" in page
    assert "## Failed" not in page
