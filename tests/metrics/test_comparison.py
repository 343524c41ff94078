import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import metamerlib as ml
from metamerlib.exact.lifts import double
from metamerlib.metrics.cycles import cycle_counts
from metamerlib.metrics.features import feature_cosine
from metamerlib.metrics.matching import prediction_match, snr_db
from metamerlib.metrics.null import other_graphs
from metamerlib.metrics.spectrum import degree_distance
from metamerlib.metrics.structure import edge_jaccard, wl_kernel
from metamerlib.metrics.structure_scores import UNCHANGED, edge_distances, structure_scores
from metamerlib.probing.probe import Probe
from tests.helpers.graphs import gnn as graph_level
from tests.helpers.graphs import rings_and_stars
from tests.helpers.metamers import gnn

CONTRACT = """L_act relative_error node_error_median node_error_p95 silent_nodes pearson spearman snr_db
prediction_match chance_match start_match shuffled_match feature_cosine feature_cosine_start
feature_cosine_shuffled zero_rows feature_jaccard feature_jaccard_start feature_jaccard_shuffled tfidf_cosine
tfidf_cosine_start tfidf_cosine_shuffled relative_frobenius relative_frobenius_start
relative_frobenius_shuffled classifier_match classifier_accuracy classifier_accuracy_reference retrieval_rank
retrieval_first wl_kernel wl_features wl_classes edge_jaccard edge_flips degree_distance clustering_distance
spectrum_distance triangle_ratio four_cycle_ratio edge_homophily edge_homophily_reference components
components_reference isomorphic excess_invariance consistency dead_units is_metamer null_max_pearson
null_max_spearman null_max_snr_db matched different failed neighbour_cosine edge_overlap centred_error nearest_ratio
visible_cosine visible_cosine_start visible_cosine_shuffled feature_cosine_nullspace rise kept visible_rank
visible_reason"""
TYPES = dict.fromkeys(("is_metamer", "matched", "different"), bool) | dict.fromkeys(("failed", "visible_reason"), str)


@pytest.fixture(scope="module")
def graph():
    graph = ml.load_graph("karate")
    graph.x = graph.x.double()
    return graph


def build(graph, **options):
    return gnn(**({"in_channels": graph.num_features, "hidden_channels": 8, "out_channels": 4} | options))


@pytest.fixture(scope="module")
def model(graph):
    return build(graph)


@pytest.fixture(scope="module")
def metamer(model, graph):
    return ml.find_metamer(model, graph, layer=1, rtol=1e-8)


def rewired(metamer):
    edges = metamer.reference.edge_index
    other = copy.copy(metamer.reference)
    other.edge_index = torch.cat([edges[:, edges.sum(0) != 1], torch.tensor([[0, 9], [9, 0]])], dim=1)
    return replace(metamer, graph=other)


def test_every_metric_of_the_contract_is_there(model, metamer):
    scores = ml.compare(model, metamer, null_draws=5)
    assert set(CONTRACT.split()) <= set(scores.index) and scores.index.is_unique
    assert all(type(value) is TYPES.get(name, float) for name, value in scores.items())


def test_scores_agree_with_the_metamer_and_with_single_metrics(model, graph, metamer):
    scores = ml.compare(model, metamer, null_draws=20)
    assert scores["L_act"] == pytest.approx(metamer.loss)
    assert scores["relative_error"] == pytest.approx(metamer.relative_error)
    assert scores["dead_units"] == metamer.dead_units
    output = [model.eval()(each.x, each.edge_index) for each in (metamer.graph, metamer.reference)]
    assert scores["prediction_match"] == prediction_match(*output)
    assert scores["feature_cosine"] == feature_cosine(metamer.graph.x, graph.x).mean
    assert scores["excess_invariance"] == scores["prediction_match"] - scores["feature_cosine"]
    assert scores["wl_kernel"] == scores["edge_jaccard"] == 1
    assert scores["matched"] and scores["null_max_pearson"] < scores["pearson"]
    # Eight units of the first layer read the clubs' 34 indicators, and most of each stays.
    assert scores["different"] == (scores["retrieval_first"] < 0.5 and scores["feature_cosine"] < 0.5)
    assert scores["is_metamer"] == scores["different"] and math.isnan(scores["nearest_ratio"])


def test_the_reference_itself_is_perfect(model, graph, metamer):
    scores = ml.compare(model, replace(metamer, graph=graph, start=graph), null_draws=5)
    for name in ("pearson", "spearman", "prediction_match", "feature_cosine", "classifier_match"):
        assert scores[name] == pytest.approx(1), name
    for name in ("L_act", "relative_error", "relative_frobenius", "excess_invariance", "dead_units"):
        assert scores[name] == 0, name
    assert scores["retrieval_rank"] == scores["consistency"] == scores["edge_overlap"] == 1
    assert scores["matched"] and not scores["is_metamer"] and scores["failed"] == "retrieval, likeness"


def test_changed_edges_are_judged_by_the_kernel(model, graph, metamer):
    changed = rewired(metamer)
    scores = ml.compare(model, changed, null_draws=5)
    assert scores["feature_cosine"] == 1
    assert scores["wl_kernel"] == wl_kernel(changed.graph, graph) < 1
    assert scores["edge_jaccard"] == edge_jaccard(changed.graph, graph) == 77 / 79
    assert scores["edge_overlap"] == 77 / 78 and "overlap" in scores["failed"] and not scores["different"]
    assert scores["edge_jaccard_shuffled"] < 0.5
    assert scores["excess_invariance"] == scores["prediction_match"] - scores["wl_kernel"]


def test_structure_of_changed_edges_is_measured(model, graph, metamer):
    changed = rewired(metamer)
    scores = ml.compare(model, changed, null_draws=2)
    assert scores["edge_flips"] == 2 and scores["isomorphic"] == 0
    # One edge at node 0 moves: its neighbour there loses what node 9 gains.
    assert scores["degree_distance"] == pytest.approx(degree_distance(changed.graph, graph))
    for name in ("degree_distance", "clustering_distance", "spectrum_distance"):
        assert 0 < scores[name] < 0.1, name
    counts = cycle_counts(changed.graph).triangles, cycle_counts(graph).triangles
    assert scores["triangle_ratio"] == counts[0] / counts[1] and counts[1] == 45
    assert scores["components"] == scores["components_reference"] == 1
    assert abs(scores["edge_homophily"] - scores["edge_homophily_reference"]) <= 1 / 78 + 1e-6
    assert scores["wl_features"] < scores["wl_kernel"] < 1


def test_known_values_of_equal_edges_are_those_that_are_computed(metamer):
    kept = replace(metamer, graph=metamer.reference)
    assert edge_distances(kept.graph, metamer.reference) == UNCHANGED


def test_an_exact_metamer_is_seen_by_what_no_colour_sees(graph):
    both = double(graph)
    switched = ml.switch_metamer(both)
    scores = structure_scores(SimpleNamespace(graph=switched, reference=both, start=both), 0)
    assert scores["wl_kernel"] == scores["wl_features"] == scores["wl_classes"] == 1
    assert scores["degree_distance"] == scores["edge_jaccard"] == scores["isomorphic"] == 0
    assert scores["spectrum_distance"] > 0.03 and scores["triangle_ratio"] == 0
    assert (scores["components"], scores["components_reference"]) == (1, 2)


def test_a_single_node_has_chance_levels_of_its_own(model, graph):
    metamer = ml.find_metamer(model, graph, layer=1, nodes=[5], free_nodes=[5, 6])
    scores = ml.compare(model, metamer, null_draws=20)
    assert scores["L_act"] == pytest.approx(metamer.loss)
    assert scores["feature_cosine"] == feature_cosine(metamer.graph.x[[5, 6]], graph.x[[5, 6]]).mean
    assert scores["null_max_pearson"] < 1 - 1e-9
    assert abs(scores["feature_cosine_shuffled"]) < 1


def test_reproducible_under_a_seed(model, metamer):
    first, again = (ml.compare(model, metamer, null_draws=5, seed=3) for _ in range(2))
    assert first.equals(again)
    other = ml.compare(model, metamer, null_draws=5, seed=4)
    assert other["null_max_pearson"] != first["null_max_pearson"] and other["L_act"] == first["L_act"]


def test_model_and_metamer_are_left_as_they_were(graph):
    model = build(graph, norm="batch").train()
    model(graph.x, graph.edge_index).sum().backward()
    before, gradients = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    metamer = ml.find_metamer(model, graph, layer=1, max_steps=20)
    keys, x = list(metamer.graph.keys()), metamer.graph.x.clone()
    ml.compare(model, metamer, null_draws=2)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert list(metamer.graph.keys()) == keys and torch.equal(metamer.graph.x, x)


def test_models_without_classes_and_graphs_without_labels(graph):
    bare = ml.load_graph("karate")
    bare.x = graph.x
    for name in ("y", "train_mask", "val_mask", "test_mask"):
        del bare[name]
    with_classes, without = build(bare), build(bare, out_channels=1)
    metamer = ml.find_metamer(with_classes, bare, layer=1)
    assert np.isfinite(ml.compare(with_classes, metamer, null_draws=2)["classifier_match"])
    scores = ml.compare(without, ml.find_metamer(without, bare, layer=1, rtol=1e-6), null_draws=2)
    missing = ["prediction_match", "chance_match", "start_match", "shuffled_match", "classifier_match"]
    assert scores[[*missing, "excess_invariance", "consistency"]].astype(float).isna().all()
    assert scores["matched"]


def test_a_forward_of_ones_own(graph, model, metamer):
    def forward(model, data):
        return model(data.x, data.edge_index)

    assert ml.compare(model, metamer, forward=forward, null_draws=2).equals(ml.compare(model, metamer, null_draws=2))


def test_no_draws_leave_the_start_alone(model, metamer):
    scores = ml.compare(model, metamer, null_draws=0)
    assert np.isfinite(scores["null_max_pearson"]) and scores["matched"]
    with pytest.raises(ValueError, match="got null_draws=-1"):
        ml.compare(model, metamer, null_draws=-1)


@pytest.mark.parametrize("layer, kinds", [("pool", 1), (1, 0)])
def test_other_graphs_stand_for_the_reference_of_a_pooled_layer(layer, kinds):
    graphs = rings_and_stars(6)
    model = graph_level()
    metamer = ml.find_metamer(model, graphs[0], layer=layer)
    without, beside = (ml.compare(model, metamer, null_draws=6, others=others) for others in (None, graphs))
    assert beside.L_act == without.L_act == pytest.approx(metamer.loss, rel=1e-6)
    assert beside.prediction_match == 1.0 and beside.matched in (True, False)
    assert math.isnan(without.nearest_ratio) and math.isnan(beside.centred_error) == (not kinds)
    assert (beside.null_max_snr_db >= without.null_max_snr_db) and np.isfinite(beside.null_max_pearson)
    probe = Probe(model, layer)
    with torch.no_grad():
        drawn = list(other_graphs(probe, probe(graphs[0]), graphs, draws=6))
    assert len(drawn) == (6 if kinds else 1)
    ratios = [snr_db(each.activation, metamer.target) for each in drawn] if kinds else []
    best = max((ratio for ratio in ratios if np.isfinite(ratio)), default=-np.inf)
    assert beside.null_max_snr_db == max(best, without.null_max_snr_db)


def test_other_graphs_must_be_of_the_collection():
    graphs = rings_and_stars(2)
    metamer = ml.find_metamer(graph_level(), graphs[0], layer="pool")
    for others, text in (([], "list of graphs is empty"), ([ml.load_graph("karate")], "others have 34 features")):
        with pytest.raises(ValueError, match=text):
            ml.compare(graph_level(), metamer, others=others)
