"""Random graphs, convolutions, layers and solvers: the result is admissible, and its loss is that of its graph."""

import math

import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.models.convolutions import CONVOLUTIONS

hypothesis = pytest.importorskip("hypothesis", reason="Hypothesis draws the graphs; it comes with `.[test]`")
st = hypothesis.strategies
EXAMPLES = 40
SEARCHES = {
    "features": {},
    "adam": dict(solver="adam"),
    "restarts": dict(num_restarts=2),
    "bits": dict(values="binary"),
    "bits of nodes": dict(values="binary", ones="node"),
    "ste": dict(values="binary", solver="ste"),
    "edges": dict(vary="structure"),
    "degrees": dict(vary="structure", start="configuration"),
    "retreat": dict(vary="structure", solver="retreat", max_overlap=0.5),
    "dense edges": dict(vary="structure", solver="ste"),
    "weighted": dict(vary="structure", values="weighted"),
    "both": dict(vary="both"),
}


@st.composite
def graphs(draw, binary, edges_move):
    """Draw a graph of one to ten nodes; where edges are to move, most have some and leave room for others."""
    tiny = draw(st.integers(0, 5)) == 0
    num_nodes, width = draw(st.integers(1, 9) if tiny else st.integers(5, 10)), draw(st.integers(1, 6))
    pairs = [(a, b) for a in range(num_nodes) for b in range(a)]
    least, most = (2, len(pairs) - 3) if edges_move and not tiny else (0, None)
    kept = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=least, max_size=most)) if pairs else []
    edges = torch.tensor([*kept, *[(b, a) for a, b in kept]], dtype=torch.long).reshape(-1, 2).T.contiguous()
    numbers = st.integers(0, 1) if binary else st.floats(-1e3, 1e3, width=32).map(lambda v: 0.0 if abs(v) < 1e-3 else v)
    x = draw(st.lists(numbers, min_size=num_nodes * width, max_size=num_nodes * width))
    return Data(x=torch.tensor(x, dtype=torch.float64).reshape(num_nodes, width), edge_index=edges)


def undirected(graph):
    row, col = graph.edge_index
    return {(int(a), int(b)) for a, b in zip(row, col, strict=True)}


@pytest.mark.parametrize("name", SEARCHES)
def test_results_are_admissible(name, record_property):
    options = SEARCHES[name]
    binary = options.get("values") == "binary"
    edges_move = options.get("vary", "features") != "features"
    kinds = sorted(conv for conv, row in CONVOLUTIONS.items() if row.reads_edges or not edges_move)
    seen = {"found": 0, "refused": 0}

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(
        graph=graphs(binary, edges_move), conv=st.sampled_from(kinds), layer=st.integers(1, 2), seed=st.integers(0, 9),
        act=st.sampled_from(["relu", "elu"]),
    )  # fmt: skip
    def run(graph, conv, layer, seed, act):
        torch.manual_seed(seed)
        width = graph.x.size(1)
        model = ml.GNN(conv=conv, in_channels=width, hidden_channels=4, out_channels=3, num_layers=2, act=act).double()
        before = graph.clone()
        try:
            m = ml.find_metamer(model, graph, layer=layer, seed=seed, max_steps=12, **options)
        except (ValueError, TypeError) as error:
            assert len(str(error)) > 30, error
            seen["refused"] += 1
            return
        finally:
            assert torch.equal(graph.x, before.x) and torch.equal(graph.edge_index, before.edge_index)
        seen["found"] += 1
        check(m, model.eval(), layer, options)

    run()
    record_property("cases", EXAMPLES)
    assert seen["found"] > seen["refused"], seen


def check(m, model, layer, options):
    with torch.no_grad():
        own, h = (activation(model, graph, layer) for graph in (m.reference, m.graph))
    loss = float((h - own).square().sum() / own.square().sum())
    assert m.status == "non_finite" or m.loss == pytest.approx(loss, rel=1e-5, abs=1e-12)
    assert m.loss <= 1e-4 or m.status != "converged"
    assert math.isnan(m.loss) or m.relative_error == pytest.approx(m.loss**0.5)
    edges, old = undirected(m.graph), undirected(m.reference)
    assert all((b, a) in edges and a != b for a, b in edges) and len(edges) == m.graph.edge_index.size(1)
    if options.get("vary", "features") == "features":
        assert edges == old
    elif options.get("values") == "weighted":
        assert bool((m.graph.edge_weight >= 0).all())
    else:
        assert len(edges) == len(old)
        assert len(edges & old) <= math.floor(options.get("max_overlap", 1) * len(old) / 2) * 2
    if options.get("vary") == "structure":
        assert torch.equal(m.graph.x, m.reference.x)
    if options.get("start") == "configuration":
        degrees = [torch.bincount(g.edge_index[0], minlength=g.x.size(0)) for g in (m.graph, m.reference)]
        assert torch.equal(*degrees)
    if options.get("values") == "binary":
        assert bool(((m.graph.x == 0) | (m.graph.x == 1)).all()) and m.graph.x.sum() == m.reference.x.sum()
        assert options.get("ones") != "node" or torch.equal(m.graph.x.sum(1), m.reference.x.sum(1))


def activation(model, graph, layer):
    kept = []
    handle = model.layers[layer - 1].register_forward_hook(lambda module, given, out: kept.append(out))
    model(graph.x, graph.edge_index, graph.get("edge_weight"))
    handle.remove()
    return kept[0]
