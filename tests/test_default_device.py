"""Another default device than that of the inputs changes nothing: every tensor is made where it belongs.

The device `meta` holds no numbers, so that whatever is made there by mistake is an error at its first use; a GPU would
be as strict about tensors on two devices, and about random numbers from a generator of another one.
"""

import copy

import pytest
import torch

import metamerlib as ml
from metamerlib.certificates import activation_spectrum, edge_spectrum, expected_loss, feature_bits
from metamerlib.graphs.edit import with_features

GRAPH = ml.load_graph("davis")
GRAPH = with_features(GRAPH, (GRAPH.x > 0).float())
ALIKE = with_features(GRAPH, torch.ones_like(GRAPH.x))
MODEL = ml.GNN(conv="gcn", in_channels=GRAPH.num_features, hidden_channels=8, out_channels=2, num_layers=2, act="elu")
FOUND = ml.find_metamer(MODEL, GRAPH, layer=1, max_steps=4)
EDGES = ml.find_metamer(MODEL, GRAPH, layer=1, max_steps=4, vary="structure")


def find(**options):
    return lambda: ml.find_metamer(MODEL, GRAPH, **{"layer": 1, "max_steps": 12, "rtol": 1e-12, **options}).loss


CALLED = {
    "features": find(),
    "features of some": find(nodes=[1, 2, 3], free_nodes=[1, 2, 3, 4]),
    "restarts": find(num_restarts=2),
    "adam": find(solver="adam"),
    "bits": find(values="binary"),
    "bits of nodes": find(values="binary", ones="node"),
    "bits kept": find(values="binary", max_overlap=0.5),
    "ste": find(values="binary", solver="ste", max_steps=5),
    "edges": find(vary="structure"),
    "edges of degrees": find(vary="structure", start="configuration"),
    "edges kept": find(vary="structure", max_overlap=0.2),
    "retreat": find(vary="structure", solver="retreat", max_overlap=0.5),
    "dense edges": find(vary="structure", solver="ste", max_steps=5),
    "prbcd": find(vary="structure", solver="prbcd", max_steps=5),
    "weighted": find(vary="structure", values="weighted", max_steps=5),
    "both": find(vary="both", max_steps=5),
    "many": lambda: ml.find_metamers(MODEL, [GRAPH, GRAPH], layer=1, max_steps=5)[1].loss,
    "compare": lambda: ml.compare(MODEL, FOUND, null_draws=2)["L_act"],
    "compare edges": lambda: ml.compare(MODEL, EDGES, null_draws=2)["edge_jaccard"],
    "transfer": lambda: ml.transfer(FOUND, MODEL)["agreement"].item(),
    "dimension": lambda: ml.metamer_dimension(MODEL, GRAPH, layer=1)["dimension"].sum(),
    "volume": lambda: ml.log_volume_change(MODEL, GRAPH, layer=1, nodes=[0, 1])["total"].sum(),
    "null space": lambda: ml.nullspace_metamer(MODEL, GRAPH).loss,
    "switch": lambda: ml.switch_metamer(ALIKE, rounds=0).edge_index[0, 5].item(),
    "walk": lambda: ml.walk(MODEL, GRAPH, layer=1, steps=2).positions.sum().item(),
    "tangent": lambda: ml.project_to_tangent(MODEL, GRAPH, ALIKE.x, layer=1).sum().item(),
    "train": lambda: ml.train(MODEL, GRAPH, epochs=2).test_accuracy,
    "train against edges": lambda: ml.train(MODEL, GRAPH, epochs=2, adversarial="edges").test_accuracy,
    "train against features": lambda: ml.train(MODEL, GRAPH, epochs=2, adversarial="features").test_accuracy,
    "load": lambda: ml.load_graph("les-miserables").x.sum().item(),
    "load words": lambda: ml.load_graph("bow-sbm").x.sum().item(),
    "load many": lambda: ml.load_graphs("decalin-bicyclopentyl")[0].edge_index.sum().item(),
    "sample": lambda: ml.csbm.bayes_log_odds(ml.csbm.sample(num_nodes=20)).sum().item(),
    "bound of bits": lambda: feature_bits(GRAPH),
    "bound of edges": lambda: expected_loss(10.0, edge_spectrum(MODEL, GRAPH, layer=1, draws=3)),
    "bound of features": lambda: expected_loss(10.0, activation_spectrum(MODEL, GRAPH, layer=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_the_default_device_is_left_aside(name):
    state = copy.deepcopy(MODEL.state_dict())
    alone = CALLED[name]()
    before = torch.get_default_device()
    torch.set_default_device("meta")
    try:
        assert CALLED[name]() == alone
    finally:
        torch.set_default_device(before)
    assert all(torch.equal(value, state[key]) for key, value in MODEL.state_dict().items())
