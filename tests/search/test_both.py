import pytest
import torch

import metamerlib as ml
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.helpers.metamers import loss_of
from tests.search.edges.test_relaxation import model_of


def find(values, binary=False, **options):
    graph = random_graph()
    if binary:
        graph.x = (graph.x > 0).double()
    model = model_of("gcn")
    chosen = dict(layer=2, vary="both", values=values, max_steps=36, rtol=1e-9)
    return model, graph, ml.find_metamer(model, graph, **{**chosen, **options})


@pytest.mark.parametrize("values", [None, ("continuous", "weighted"), ("binary", "binary"), ["binary", "weighted"]])
def test_every_pair_of_values(values):
    model, graph, m = find(values, binary=values is not None and values[0] == "binary")
    assert m.loss == pytest.approx(loss_of(model, m, 2), rel=1e-6)
    assert m.loss <= m.history.loss.min() * (1 + 1e-6)
    assert m.loss < m.history.loss[0]
    assert not m.graph.x.equal(graph.x)
    assert not torch.equal(m.graph.edge_index, graph.edge_index)


def test_limits_hold_for_the_edges():
    _, graph, m = find(("continuous", "binary"), max_overlap=0.0)
    check_simple(m.graph, 20)
    assert overlap(m.graph, graph) == 0 == m.settings["overlap"]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="unknown values"):
        find(("binary", "ternary"))
    with pytest.raises(ValueError, match="use solver='auto'"):
        find(None, solver="lbfgs")
    with pytest.raises(TypeError, match="pass a Data"):
        find(None, start=torch.ones(14, 6))
