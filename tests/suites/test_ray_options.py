"""What a cell takes of a node, and clusters that are not there; no cluster is started."""

from __future__ import annotations

import pickle
import socket
import sys

import pytest

from ssl_ce.errors import UserError
from ssl_ce.locks import alone
from ssl_ce.suites import ray_cluster
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.ray_executor import _Home, _Sealed
from ssl_ce.suites.suite import dump_suite, load_suite


def test_resources_come_from_the_entry_then_what_it_extends_then_the_suite(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(
        resources={"cpus": 2},
        pretrain={
            "plain": {"recipe": "quickstart", "tap": "conv1"},
            "large": {"extends": "plain", "settings": {"optim.lr": 0.01}, "resources": {"gpus": 2}},
            "larger": {"extends": "large", "settings": {"optim.lr": 0.02}, "resources": {"cpus": 8}},
        },
        evaluate=[{"evaluator": "knn", "subjects": ["{run}@{tap}"], "resources": {"gpus": 0.5}, "floors": False}],
    )
    suite = load_suite(str(path), ["pretrain.plain.resources.gpus=0"])
    plan = make_plan(suite, runs=tmp_path / "runs", results=tmp_path / "results")
    found = {cell.name: (cell.resources.cpus, cell.resources.gpus) for cell in plan.pretrainings}
    assert found == {"plain": (2, 0), "large": (2, 2), "larger": (8, 2)}
    assert {(cell.resources.cpus, cell.resources.gpus) for cell in plan.evaluations} == {(2, 0.5)}
    again = tmp_path / "again.yaml"
    again.write_text(dump_suite(suite))
    assert load_suite(str(again)).pretrain["larger"].resources == suite.pretrain["larger"].resources


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"gpus": 1.5}, "give a whole number of GPUs, or a part of one"),
        ({"cpus": 0}, "greater than 0"),
        ({"gpu": 1}, "Did you mean 'resources.gpus'"),
    ],
)
def test_wrong_resources_are_refused(write, resources, words):
    with pytest.raises(UserError, match=words):
        load_suite(str(write(resources=resources)))


def test_without_the_extra_one_line_says_how_to_install_it(ce, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = ce(f"benchmark {write()} --executor ray")
    assert (answer.code, answer.err) == (
        2,
        "Error: --executor ray needs the extra 'cluster': pip install 'ssl-ce[cluster]'\n",
    )


def test_an_address_belongs_to_ray(ce, write):
    answer = ce(f"benchmark {write()} --address 10.0.0.1:6379")
    assert (answer.code, answer.err) == (
        2,
        "Error: --address is that of a Ray cluster: give --executor ray with it.\n",
    )


@pytest.mark.parametrize("address", ["cluster", "ray://10.0.0.1:10001", "10.0.0.1:", ":6379"])
def test_an_address_of_no_cluster_is_refused(ce, write, address):
    pytest.importorskip("ray")
    answer = ce(f"benchmark {write()} --executor ray --address {address}")
    assert answer.code == 2
    assert f"'{address}' is none of these" in answer.err


def test_a_cluster_that_is_not_there_is_no_hang(ce, write, monkeypatch):
    """Nobody listens; then somebody does who is no Ray, for which Ray itself would wait 40 s and end the process."""
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "_PATIENCE", 3.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for words in ("refused", "nothing said within 3 s"):
            answer = ce(f"benchmark {write()} --executor ray --address {address}")
            assert answer.code == 2
            assert answer.err.startswith(f"Error: No Ray cluster answers at --address {address} (")
            assert words in answer.err
            assert answer.err.count("\n") == 1
            listener.listen()
    assert not (write().parent / "results").exists()


def test_a_node_without_our_folders_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSL_CE_TOLD", raising=False)
    folder = tmp_path / "results"
    home = _Home(tmp_path, (folder,), {})
    with alone(folder, str):
        assert home.enter() == ""
    assert home.enter() == f"its folder {folder} is another one, or cannot be locked"
    assert _Home(tmp_path / "gone", (), {}).enter() == f"it has no folder {tmp_path / 'gone'}"


def test_a_sealed_cell_is_opened_by_who_receives_it():
    sealed = _Sealed(pickle.dumps({"a": "cell"}), "entry")
    assert pickle.loads(pickle.dumps(sealed)) == {"a": "cell"}
