import html
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.__main__ import main
from metamerlib.report.evaluation import ABOUT, candidate

ROOT = Path(ml.__file__).parents[1]
FAST = {"measures": ["features"], "epochs": 10, "max_steps": 60}


def factory(graph):
    return ml.GNN(conv="sage", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2), (1, 2)


def test_a_factory_is_trained_once_for_each_seed():
    graph = ml.load_graph("karate")
    row = ml.evaluate(factory, graph, seeds=[0, 1, 2], **FAST)
    assert list(row.index) == list(ABOUT) and row["model"] == "factory" and row["seeds"] == 3
    each = [ml.evaluate(factory, graph, seeds=[seed], **FAST) for seed in (0, 1, 2)]
    kept = [one["kept_logits"] for one in each]
    assert row["kept_logits"] == pytest.approx(np.mean(kept)) and np.std(kept) > 0
    assert row["kept_logits_low"] < row["kept_logits"] < row["kept_logits_high"]
    assert np.isnan(each[0]["kept_logits_low"])


def test_a_trained_model_is_measured_as_it_stands():
    graph = ml.load_graph("karate")
    fit = ml.train(factory(graph)[0], graph, epochs=30)
    before = {name: value.clone() for name, value in fit.model.state_dict().items()}
    row = ml.evaluate(fit.model, graph, **FAST)
    assert row["test_accuracy"] == pytest.approx(fit.test_accuracy)
    assert all(torch.equal(value, before[name]) for name, value in fit.model.state_dict().items())


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("gatv", {}, "did you mean 'gatv2'"),
        ("nowhere.at_all:factory", {}, "cannot be imported"),
        (lambda graph: "no model", {}, "expected factory"),
        (nn.Linear, {}, "model_or_factory must be"),
        ("gcn", {"measures": ["featuers"]}, "did you mean 'features'"),
        ("gcn", {"seeds": []}, "give 1 at least"),
        ("gcn", {"seeds": 0}, "seeds must be a list"),
        ("gcn", {"layers": 1}, "layers must be a pair"),
        ("gcn", {"rtol": 2.0}, "below 1"),
        ("gcn", {"epochs": 0}, "epochs must be"),
    ],
)
def test_bad_input_is_refused_in_words(model, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ml.evaluate(model, ml.load_graph("karate"), **options)


def test_names_of_layers_come_from_the_factory_else_from_the_model():
    graph = ml.load_graph("karate")
    assert candidate(factory, graph)[1] == (1, 2)
    assert candidate(ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=3), graph)[1] == (
        2,
        3,
    )
    assert candidate(nn.Linear(34, 4), graph)[1] == (None, None)


def test_the_command_writes_the_row_for_a_saved_graph(tmp_path, capsys):
    torch.save(ml.load_graph("karate"), tmp_path / "mine.pt")
    given = ["evaluate", "gcn", "--graph", str(tmp_path / "mine.pt"), "--epochs", "5", "--measures", "exact"]
    assert main([*given, "--csv", str(tmp_path / "row.csv"), "--html", str(tmp_path / "row.html")]) == 0
    printed, row = capsys.readouterr().out, pd.read_csv(tmp_path / "row.csv")
    assert "exact_share" in printed and row.loc[0, "exact_share"] == 0 and list(row.columns) == list(ABOUT)
    page = (tmp_path / "row.html").read_text()
    assert "gcn on karate" in page and html.escape(ABOUT["exact_share"]) in page


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["evaluat", "gcn", "--graph", "karate"], "did you mean 'evaluate'"),
        (["evaluate", "gcn", "--graph", "karat"], "Did you mean 'karate'"),
        (["evaluate", "gcn", "--graph", "nothing.pt"], "there is no file nothing.pt"),
        (["evaluate", "gcn", "--graph", "karate", "--seeds", "one"], "must hold integers"),
        (["evaluate", "gcn", "--graph", "karate", "--csv", "no/such/row.csv"], "does not exist"),
        (["evaluate", "gcn", "--graph", "karate", "--layers", "a"], "expected hidden,logits"),
    ],
)
def test_the_command_refuses_bad_input_with_a_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_help_shows_an_example():
    done = subprocess.run([sys.executable, "-m", "metamerlib", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "evaluate package.module:factory --graph Cora" in done.stdout
