import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.search.bits.starts import frequency_keys
from metamerlib.search.bits.swaps import BitSwaps
from tests.helpers.bits import WIDTH, bit_graph, bits, flipped, flipped_within_rows
from tests.helpers.metamers import check_honest, gnn


def find(model, graph, layer=1, **others):
    return ml.find_metamer(model, graph, layer=layer, values="binary", **{"max_steps": 60, **others})


def check_bits(m, ones="graph"):
    x, reference = m.graph.x, m.reference.x
    assert ((x == 0) | (x == 1)).all() and x.dtype == reference.dtype
    if ones == "node":
        assert torch.equal(x.sum(1), reference.sum(1))
    assert x.sum() == reference.sum() == m.start.x.sum()
    assert m.settings["ones"] == ones and m.settings["values"] == "binary"


class Square(nn.Module):
    """A foreign model that reads the features in no linear way, so there is no row space."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = GCNConv(WIDTH, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        return self.out(torch.tanh(self.conv(x + 0.1 * x.square().sum(1, keepdim=True), edge_index)))


@pytest.mark.parametrize("solver", ["swaps", "ste"])
@pytest.mark.parametrize("conv", ["gcn", "sage", "gin", "gat", "cheb", "appnp", "mlp", None])
@pytest.mark.parametrize("layer", [1, 2])
def test_every_model_gets_a_metamer_of_bits(conv, layer, solver):
    torch.manual_seed(0)
    model, name = (Square().double(), ["conv", "out"][layer - 1]) if conv is None else (gnn(conv=conv), layer)
    m = find(model, bit_graph(), name, solver=solver)
    check_bits(m)
    check_honest(model, m, name)
    assert (m.settings["row_space"] is None) == (conv is None or solver == "ste")
    first = m.history.loss[0]
    assert m.loss < (0.25 if solver == "swaps" else 0.7) * first


@pytest.mark.parametrize("solver", ["swaps", "ste"])
@pytest.mark.parametrize("ones", ["graph", "node"])
@pytest.mark.parametrize("max_overlap", [None, 0, 0.2])
def test_ones_and_overlap_are_kept(solver, ones, max_overlap):
    graph = bit_graph()
    m = find(gnn(), graph, 2, solver=solver, ones=ones, max_overlap=max_overlap, max_steps=40)
    check_bits(m, ones)
    for x in (m.start.x, m.graph.x):
        if max_overlap is not None:
            assert (x * graph.x).sum() <= max_overlap * graph.x.sum()
    assert m.loss < m.history.loss[0]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), rows=st.integers(2, 12), width=st.integers(2, 9), share=st.floats(0.05, 0.95),
    ones=st.sampled_from(["graph", "node"]), solver=st.sampled_from(["swaps", "ste"]),
)  # fmt: skip
def test_any_bits_any_graph(seed, rows, width, share, ones, solver):
    generator = torch.Generator().manual_seed(seed)
    x = bits(seed, rows, width, share)
    x[0, 0] = 1.0
    edges = torch.randint(rows, (2, 3 * rows), generator=generator)
    torch.manual_seed(seed)
    model = ml.GNN(conv="sage", in_channels=width, hidden_channels=4, out_channels=2, num_layers=1).double()
    m = find(model, Data(x=x, edge_index=edges), ones=ones, solver=solver, max_steps=15, seed=seed)
    check_bits(m, ones)
    assert m.status in ("converged", "stalled", "max_steps", "unmoved")


def test_only_free_rows_move():
    graph = bit_graph()
    free = torch.tensor([0, 5, 33, 2])
    m = find(gnn(), graph, 2, free_nodes=free, nodes=[0, 1], max_overlap=0.0)
    fixed = torch.ones(34, dtype=torch.bool).index_fill(0, free, False)
    check_bits(m)
    assert torch.equal(m.graph.x[fixed], graph.x[fixed])
    assert not (m.graph.x * graph.x)[free].any()


@pytest.mark.parametrize("ones, move", [("graph", flipped), ("node", flipped_within_rows)])
def test_planted_solution_is_found_from_a_few_flips(ones, move):
    graph = bit_graph()
    model = gnn(conv="sage", hidden_channels=128, act="elu")
    m = find(model, graph, start=move(graph.x, 4), ones=ones, max_steps=300, rtol=1e-20)
    assert m.status == "converged" and torch.equal(m.graph.x, graph.x)


def test_start_reference_is_where_the_search_ends():
    m = find(gnn(), bit_graph(), start="reference")
    assert (m.status, m.steps, m.loss) == ("converged", 1, 0.0)


def test_columns_keep_their_frequencies_at_the_start():
    x = bits(1, 4000, 5, 0.0)
    share = torch.tensor([0.0, 0.02, 0.1, 0.5, 1.0], dtype=torch.float64)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < share] = 1.0
    drawn = (frequency_keys(x, 0) > 0).double().mean(0)
    torch.testing.assert_close(drawn, x.mean(0), rtol=0, atol=0.02)


def test_restarts_return_the_best():
    losses = [find(gnn(), bit_graph(), 2, num_restarts=n, max_steps=30).loss for n in (1, 3)]
    assert losses[1] <= losses[0]
    m = find(gnn(), bit_graph(), 2, num_restarts=3, max_steps=30)
    assert m.steps == 90 and len(m.history) == 30


@pytest.mark.parametrize("solver", ["swaps", "ste", BitSwaps(pool=7)])
def test_same_seed_same_metamer(solver):
    one, again, other = (find(gnn(), bit_graph(), solver=solver, seed=seed).graph.x for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_single_precision():
    graph = bit_graph()
    m = find(gnn().float(), with_features(graph, graph.x.float()), 2, max_steps=200)
    check_bits(m)
    assert m.loss < 0.05


def too_many(x):
    x = x.clone()
    x[0, (x[0] == 0).nonzero()[0]] = 1
    return x


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(start="moments"), ValueError, "unknown start 'moments'"),
        (dict(solver="adam"), ValueError, "unknown solver 'adam'"),
        (dict(solver=3), TypeError, "solver must be a name"),
        (dict(budget=3), ValueError, "budget limits edge flips"),
        (dict(max_overlap=1.5), ValueError, "between 0 and 1"),
        (dict(max_overlap="half"), TypeError, "share between 0 and 1"),
        (dict(start="reference", max_overlap=0.5), ValueError, "the start holds 1"),
        (dict(start="reference", num_restarts=2), ValueError, "needs random starts"),
        (dict(start=too_many(bits())), ValueError, "as many ones as the reference"),
        (dict(start=bits().roll(1, 0), ones="node"), ValueError, "rows differ"),
        (dict(start=bits() * 0.5), ValueError, "other entries"),
        (dict(start=bits()[:5]), ValueError, "5 rows but the graph has 34"),
        (dict(start=bits().float()), ValueError, "start must be torch.float64"),
    ],
)
def test_bad_requests(options, error, message):
    with pytest.raises(error, match=message):
        find(gnn(), bit_graph(), **options)


def test_features_that_are_no_bits():
    graph = bit_graph()
    normalised = with_features(graph, graph.x / graph.x.sum(1, keepdim=True).clamp(min=1))
    with pytest.raises(ValueError, match=r"\(x > 0\).float\(\)"):
        find(gnn(), normalised)
    with pytest.raises(ValueError, match="no ones"):
        find(gnn(), with_features(graph, torch.zeros_like(graph.x)))


@pytest.mark.parametrize("ones", ["graph", "node"])
def test_too_few_zeros_for_another_place(ones):
    graph = bit_graph()
    with pytest.raises(ValueError, match="too few zeros"):
        find(gnn(), with_features(graph, 1 - graph.x), max_overlap=0.1, ones=ones)
