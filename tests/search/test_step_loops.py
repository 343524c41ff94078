"""Step loops of searches for features never wait for a GPU: no number is fetched, no tensor copied to the host."""

import ast
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.probing.target import Target
from metamerlib.search import loop
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.features.problem import feature_problem
from metamerlib.search.features.starts import feature_starts
from metamerlib.search.loop import Evaluation, solve
from tests.helpers.metamers import WIDTH, features

SEARCH = Path(loop.__file__).parent
FETCHES = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "unique", "masked_select", "_unique2", "item")
GRAPH = with_features(ml.load_graph("karate").clone(), features())


class Fetches(TorchDispatchMode):
    """Notes operations that make the host wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if name in FETCHES or masked:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


class Bowl:
    """A quadratic on the device `meta`, whose tensors hold no numbers to be fetched."""

    start = torch.empty(3, 5, 2, device="meta")

    def evaluate(self, position):
        objective = position.square().sum((1, 2))
        return Evaluation(objective, 2 * position, objective)


@pytest.mark.parametrize("solver", [LBFGS(), Adam()], ids=["lbfgs", "adam"])
def test_solvers_fetch_nothing(solver):
    steps = solver.iterate(Bowl())
    assert all(next(steps)[0].is_meta for _ in range(30))


def test_the_loop_looks_every_twenty_steps():
    """The look is the first thing that fails on `meta`; without it, the end is."""
    seen = []

    class Counted(Bowl):
        def evaluate(self, position):
            seen.append(position)
            return super().evaluate(position)

    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        solve(Counted(), LBFGS(), max_steps=100, rtol=1e-4, stall_rtol=1e-3)
    assert len(seen) == loop.CHECK_EVERY_ON_GPU and caught.traceback[1].name == "solve"


def fetches_of_the_model(model):
    """Return what two passes through the layers fetch by themselves, forward and back."""
    x = GRAPH.x.clone().requires_grad_()
    with Fetches() as mode:
        for _ in range(2):
            h = model.layers[0](x, GRAPH.edge_index, None, None, None)
            h = model.layers[1](h, GRAPH.edge_index, None, None, None)
            torch.autograd.grad(h.sum(), x)
    return mode.seen


@pytest.mark.parametrize("conv", ["gcn", "gat", "gatv2", "sage", "gin", "cheb", "sgc", "appnp", "mlp"])
@pytest.mark.parametrize("free", [None, torch.tensor([0, 3, 5])], ids=["all", "some"])
def test_evaluations_fetch_no_more_than_the_model(conv, free):
    """GAT and Cheb of PyTorch Geometric take out self-loops at each call, and the host waits.

    SGC and Cheb compute their normalised weights anew, which are compared with those of the sparse matrix at hand.
    """
    torch.manual_seed(0)
    model = ml.GNN(conv=conv, in_channels=WIDTH, hidden_channels=6, out_channels=3, num_layers=2).double().eval()
    probe = ml.Probe.fitting(model, 2, GRAPH)
    starts = feature_starts(GRAPH, free, None, 2, 0)
    problem = feature_problem(probe, GRAPH, Target.of(probe.check(GRAPH), None), starts, free, reduce=True)
    problem.evaluate(problem.start)
    with Fetches() as mode:
        problem.evaluate(problem.start)
        problem.relaxed(0.1, problem.start).evaluate(problem.start)
    if conv in ("gat", "gatv2", "cheb", "sgc"):
        known = ["equal"] if conv in ("cheb", "sgc") else []
        assert len([name for name in mode.seen if name not in known]) <= len(fetches_of_the_model(model))
    else:
        assert not mode.seen


def test_the_watch_sees_what_waits():
    with Fetches() as mode:
        x = torch.arange(3.0)
        x[x > 1], x.sum().item(), bool((x > 1).any())
    assert {"index", "_local_scalar_dense"} <= {*mode.seen} and len(mode.seen) >= 3


@pytest.mark.parametrize("path", sorted(SEARCH.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_solver_copies_to_the_host(path):
    called = [
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert not {"item", "cpu", "numpy", "tolist"} & {*called}
