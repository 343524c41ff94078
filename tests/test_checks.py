import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

import metamerlib as ml
from metamerlib.checks import (
    check_choice,
    check_device,
    check_features,
    check_graph,
    check_model,
    check_nodes,
    check_options,
    check_positive,
    check_solver,
)
from metamerlib.search.bits.ste import BitSTE
from metamerlib.search.bits.swaps import BitSwaps
from metamerlib.search.edges.prbcd import PRBCD
from metamerlib.search.edges.ste import EdgeSTE
from metamerlib.search.edges.swaps import EdgeSwaps
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS


def graph(**changes):
    plain = dict(x=torch.ones(3, 2), edge_index=torch.tensor([[0, 1], [1, 0]]))
    return Data(**{**plain, **changes})


def test_good_graphs_pass():
    check_graph(graph())
    check_graph(graph(edge_index=torch.empty(2, 0, dtype=torch.long)))
    check_graph(graph(edge_index=torch.tensor([[0], [2]]), edge_weight=torch.tensor([-1.5])))
    check_graph(graph(x=torch.zeros(3, 2, dtype=torch.float64)))


@pytest.mark.parametrize(
    "bad, error, text",
    [
        ("karate", TypeError, "graph must be a torch_geometric.data.Data, got str"),
        (HeteroData(), TypeError, "got HeteroData"),
        (Data(), ValueError, "needs x and edge_index"),
        (graph(x=None), ValueError, "needs x and edge_index"),
        (graph(x=np.ones((3, 2))), TypeError, "features must be a torch.Tensor.*got ndarray"),
        (graph(x=torch.ones(3, 2, dtype=torch.long)), TypeError, r"got torch.int64; convert with x.float\(\)"),
        (graph(x=torch.ones(3, 2).to_sparse()), TypeError, r"must be dense, got torch.sparse_coo.*x.to_dense\(\)"),
        (graph(x=torch.ones(3)), ValueError, r"shape \[num_nodes, num_features\], got \[3\]"),
        (graph(x=torch.tensor([[1.0], [torch.nan], [torch.inf]])), ValueError, "hold 2 NaN or infinite entries"),
        (graph(edge_index=torch.ones(2, 1)), TypeError, "edge_index must be a torch.long tensor.*torch.float32"),
        (graph(edge_index=torch.ones(3, 2, dtype=torch.long)), ValueError, r"shape \[2, E\], got \[3, 2\]"),
        (graph(edge_index=torch.tensor([[0], [3]])), ValueError, r"0\.\.2 for 3 nodes, got 0\.\.3"),
        (graph(edge_index=torch.tensor([[0], [-1]])), ValueError, r"0\.\.2 for 3 nodes, got -1\.\.0"),
        (graph(edge_weight=torch.ones(3)), ValueError, r"edge_weight must have shape \[2\], got \[3\]"),
        (graph(edge_weight=torch.tensor([1.0, torch.nan])), ValueError, "edge_weight holds NaN"),
        (graph(edge_weight=[1.0, 1.0]), TypeError, "edge_weight must be a torch.Tensor.*got list"),
    ],
)
def test_bad_graphs_are_named(bad, error, text):
    with pytest.raises(error, match=text):
        check_graph(bad)


def test_rows_of_given_features_must_fit():
    with pytest.raises(ValueError, match=r"features have 2 rows but the graph has 3 nodes"):
        check_features(torch.ones(2, 2), 3)


@pytest.mark.parametrize("nodes", [2, [2], (2,), range(2, 3), np.array([2]), torch.tensor([2]), np.int64(2)])
def test_nodes_by_index(nodes):
    index = check_nodes("nodes", nodes, 3)
    assert index.dtype == torch.long and index.tolist() == [2]


def test_nodes_by_mask_and_all():
    assert check_nodes("nodes", torch.tensor([True, False, True]), 3).tolist() == [0, 2]
    assert check_nodes("nodes", np.array([False, True, False]), 3).tolist() == [1]
    assert check_nodes("nodes", None, 3) is None


@pytest.mark.parametrize(
    "nodes, error, text",
    [
        ([], ValueError, "nodes is empty"),
        (torch.zeros(3, dtype=torch.bool), ValueError, "mask without a True entry"),
        (torch.ones(4, dtype=torch.bool), ValueError, "mask of length 4; expected 3"),
        ([3], ValueError, r"nodes must lie in 0\.\.2, got 3\.\.3"),
        ([-1, 0], ValueError, r"nodes must lie in 0\.\.2, got -1\.\.0"),
        ([1, 1], ValueError, "names a node twice; got 2 entries, 1 distinct"),
        ([0.5], TypeError, "must hold integers, got torch.float32"),
        ("all", TypeError, "must be indices or a mask, got 'all'"),
        ({0, 1}, TypeError, r"must be indices or a mask, got \{0, 1\}"),
    ],
)
def test_bad_nodes_are_named(nodes, error, text):
    with pytest.raises(error, match=text):
        check_nodes("nodes", nodes, 3)


@pytest.mark.parametrize("got", [0, -1, float("nan"), float("inf")])
def test_numbers_must_be_positive_and_finite(got):
    with pytest.raises(ValueError, match=f"rtol must be positive and finite, got {got}"):
        check_positive("rtol", got)


@pytest.mark.parametrize("got, integer", [("1", False), (None, False), (True, True), (1.5, True)])
def test_numbers_must_be_numbers(got, integer):
    with pytest.raises(TypeError, match=r"steps must be a positive"):
        check_positive("steps", got, integer=integer)


def test_choices_list_what_is_known():
    check_choice("solver", "adam", ["adam", "lbfgs"])
    with pytest.raises(ValueError, match=r"unknown solver 'sgd'; choose one of \['adam', 'lbfgs'\]"):
        check_choice("solver", "sgd", ["adam", "lbfgs"])


def test_model_must_fit_the_graph():
    model = ml.GNN(conv="gcn", in_channels=2, hidden_channels=4, out_channels=2, num_layers=2)
    check_model(model, graph())
    with pytest.raises(TypeError, match=r"model is torch.float32 but the features are torch.float64"):
        check_model(model, graph(x=torch.ones(3, 2).double()))
    with pytest.raises(ValueError, match=r"takes 2 features but the graph has 5"):
        check_model(model, graph(x=torch.ones(3, 5)))
    model.layers[1].double()
    with pytest.raises(TypeError, match=r"model is torch.float64 but"):
        check_model(model, graph())
    with pytest.raises(ValueError, match=r"model is on meta but the graph on cpu; pass device="):
        check_model(model.float().to("meta"), graph())


def test_devices_must_exist():
    check_device(None)
    check_device("cpu")
    with pytest.raises(ValueError, match=r"device 'abacus' cannot be used here"):
        check_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device 'cuda' cannot be used here; choose 'cpu' or None"):
            check_device("cuda")


def test_a_solver_must_move_what_may_vary():
    class Own:
        def iterate(self, problem):
            yield from ()

    check_solver(Own(), ["swaps"], moves="bits")
    check_solver(LBFGS(), ["lbfgs"], moves="features")
    with pytest.raises(TypeError, match=r"LBFGS is a solver that moves features.*moves bits; choose one of \['auto'"):
        check_solver(LBFGS(), ["swaps"], moves="bits")
    with pytest.raises(TypeError, match="have a method iterate, got int"):
        check_solver(3, ["swaps"], moves="bits")


KINDS = {
    ("features", "continuous"): (LBFGS(), Adam()),
    ("features", "binary"): (BitSwaps(), BitSTE()),
    ("structure", "binary"): (EdgeSwaps(), EdgeSTE(), PRBCD()),
}


@pytest.mark.parametrize("vary, values", [*KINDS, ("structure", "weighted")])
def test_solvers_of_other_kinds_are_refused_before_any_computing(vary, values):
    def forward(model, graph):
        raise AssertionError("computed")

    path = graph(x=torch.eye(3), edge_index=torch.tensor([[0, 1], [1, 0]]))
    own = KINDS["features", "continuous"] if values == "weighted" else KINDS[vary, values]
    for solver in [solver for solvers in KINDS.values() for solver in solvers if solver not in own]:
        with pytest.raises(TypeError, match=f"{type(solver).__name__} is a solver that moves"):
            ml.find_metamer(
                torch.nn.Linear(3, 2), path, layer="", vary=vary, values=values, solver=solver, forward=forward
            )


def test_options_are_checked_one_by_one():
    check_options()
    with pytest.raises(ValueError, match="slope must be positive"):
        check_options(slope=-1.0)
    with pytest.raises(TypeError):
        check_options("graph")
