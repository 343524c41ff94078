import gc
import weakref

import pytest
import torch

from metamerlib.graphs.edges import both_directions, undirected_pairs
from metamerlib.graphs.edit import with_edges
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.messages import listen, metric_of
from metamerlib.search.edges.problem import structure_problem
from metamerlib.search.edges.ste import adjacency_gradient
from tests.helpers.edges import random_graph
from tests.search.edges.test_relaxation import CONVOLUTIONS, model_of


def problem_of(conv, layer=2, num_edges=20):
    graph, probe = random_graph(), Probe(model_of(conv), layer)
    target = Target.of(probe.check(graph), None)
    other = undirected_pairs(random_graph(seed=5, num_edges=num_edges))
    return structure_problem(probe, graph, target, other, EdgeLimits.of(graph))


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_a_model_that_is_listened_to_computes_the_same(conv):
    graph, probe = random_graph(), Probe(model_of(conv), 2)
    twin = probe.copy()
    calls = listen(twin.model)
    torch.testing.assert_close(twin(graph).activation, probe(graph).activation)
    assert calls


@pytest.mark.parametrize("conv", ["gcn", "sgc", "gin", "sage"])
def test_gradient_of_the_adjacency_matrix_is_that_of_a_small_change(conv):
    """Edges of weight zero make the slope plain; for averages the slope is that of the degree's difference."""
    problem = problem_of(conv, layer=1)
    pairs = problem.start
    look = problem.look_closely(pairs)
    degree = torch.bincount(pairs.reshape(-1), minlength=14).double()
    gradient = adjacency_gradient(look.calls, degree)
    relaxed = problem.relaxed()
    present = {tuple(p) for p in pairs.T.tolist()}
    absent = [(a, b) for a in range(14) for b in range(a + 1, 14) if (a, b) not in present][:30]
    extra = torch.tensor(absent).T
    edges = both_directions(torch.cat([pairs, extra], dim=1))
    weight = torch.cat([torch.ones(pairs.size(1)), torch.zeros(len(absent))]).double().requires_grad_()
    recording = relaxed.record(problem.graph.x, edges, weight.repeat(2))
    (0.5 * problem.target.residual(recording, 1)[0].square().sum()).backward()
    slopes, found = weight.grad[pairs.size(1) :], gradient[extra[0], extra[1]]
    tolerance = 1e-8 if conv == "gin" else 0.35
    assert (slopes - found).norm() <= tolerance * slopes.norm()


def test_metric_reproduces_products():
    problem = problem_of("gcn", layer=1)
    look = problem.look_closely(problem.start, 3, torch.Generator().manual_seed(0))
    call, ones = look.calls[0], torch.ones(14, dtype=torch.float64)
    metric = metric_of(call, look.probes[0], ones, rank=8)
    plain = call.gradient @ call.message.T
    torch.testing.assert_close((call.gradient @ metric.backward) @ (call.message @ metric.forward).T, plain)


def test_edges_of_a_graph_are_replaced_with_what_belonged_to_them():
    graph = random_graph()
    graph.edge_attr = torch.ones(40, 2)
    fewer = with_edges(graph, graph.edge_index[:, :2])
    assert "edge_attr" not in fewer
    assert graph.edge_index.size(1) == 40


def test_a_look_leaves_no_cycle_behind():
    """Activations held in a cycle would pile up until the garbage collector runs."""
    problem = problem_of("gcn")
    gc.collect()
    gc.disable()
    try:
        seen = weakref.ref(problem.look_closely(problem.start, 2, torch.Generator()).calls[0])
        problem.calls.clear()
        assert seen() is None
    finally:
        gc.enable()
