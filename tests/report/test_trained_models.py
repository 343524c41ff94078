import pytest
import torch

from metamerlib.graphs.load import load_graph
from metamerlib.report import trained_models
from metamerlib.report.trained_models import trained, trained_model, weights_hash
from tests.helpers.graphs import rings_and_stars


def test_trained_graph_classifiers_are_kept_under_graphs_seed_and_pooling(tmp_path, monkeypatch):
    monkeypatch.setattr(trained_models, "project_root", lambda: tmp_path)
    graphs = rings_and_stars(10)
    for graph in graphs:
        graph.x, graph.num_classes = graph.x.float(), 2
    options = dict(hidden_channels=4, epochs=3)
    model, share = trained_model("gcn", graphs, seed=0, **options)
    again, same_share = trained_model("gcn", graphs, seed=0, **options)
    assert share == same_share and torch.equal(model.head.weight, again.head.weight) and not model.training
    trained_model("gcn", graphs, seed=0, pool="mean", **options)
    trained_model("gcn", graphs[:-1], seed=0, **options)
    assert len(list(tmp_path.rglob("*.pt"))) == 3


def test_untrained_graph_classifiers_are_drawn_under_the_seed():
    graphs = rings_and_stars(10)
    for graph in graphs:
        graph.x, graph.num_classes = graph.x.float(), 2
    (one, share), (other, _) = (trained_model("gin", graphs, seed=seed, epochs=0) for seed in (0, 1))
    assert 0 <= share <= 1 and not torch.equal(one.head.weight, other.head.weight)


def test_a_trained_model_takes_any_keyword_of_a_model_and_is_kept_under_it(tmp_path, monkeypatch):
    monkeypatch.setattr(trained_models, "project_root", lambda: tmp_path)
    graph = load_graph("karate")
    for options in ({}, {"act": "elu"}, {"residual": "skip", "norm": "layer"}):
        trained_model("gcn", graph, seed=0, epochs=2, **options)
    elu, _ = trained_model("gcn", graph, seed=0, epochs=2, act="elu")
    assert len(list(tmp_path.rglob("*.pt"))) == 3 and isinstance(elu.layers[0].act, torch.nn.ELU)


def test_keywords_for_a_factory_are_refused():
    with pytest.raises(ValueError, match="builds its own model, so it takes no act"):
        trained_model("package.module:factory", load_graph("karate"), seed=0, act="elu")


def test_weights_have_one_hash_for_one_network_and_another_for_any_other():
    graph = load_graph("karate")
    fresh = [trained("gin", graph, seed=seed, epochs=0) for seed in (0, 0, 1)]
    assert fresh[0].weights == fresh[1].weights != fresh[2].weights and len(fresh[0].weights) == 12
    with torch.no_grad():
        bias = next(iter(fresh[0].model.parameters()))
        bias += bias.abs().max() * 1e-6
    assert weights_hash(fresh[0].model) != fresh[1].weights


def test_a_row_names_the_weights_and_both_accuracies(tmp_path, monkeypatch):
    monkeypatch.setattr(trained_models, "project_root", lambda: tmp_path)
    graph = load_graph("bow-sbm")
    row, again = (trained("gcn", graph, seed=0, epochs=5, hidden_channels=4).row() for _ in range(2))
    model, test_accuracy = trained_model("gcn", graph, seed=0, epochs=5, hidden_channels=4)
    with torch.no_grad():
        right = model(graph.x, graph.edge_index).argmax(1) == graph.y
    assert row == again and row["test_accuracy"] == test_accuracy
    assert row["val_accuracy"] == right[graph.val_mask].double().mean().item()
    assert row["weights"] == weights_hash(model)
