"""A match that is set up once serves every move, and says what it does not take."""

import pytest
import torch

import metamerlib as ml
from metamerlib.manifold import match
from tests.helpers.metamers import gnn


@pytest.fixture
def model():
    return gnn(act="elu")


def test_every_move_is_the_same_from_a_constraint(model, graph):
    one = match(model, graph, layer=2, nodes=[0, 5])
    options = {"layer": 2, "nodes": [0, 5]}
    ways = [ml.walk(one, steps=3), ml.walk(model, graph, steps=3, **options)]
    assert torch.equal(ways[0].positions, ways[1].positions)
    far = [ml.farthest_metamer(one, max_steps=2), ml.farthest_metamer(model, graph, max_steps=2, **options)]
    assert torch.equal(far[0].graph.x, far[1].graph.x)
    apart = [
        ml.several_metamers(one, count=2, max_steps=2),
        ml.several_metamers(model, graph, count=2, max_steps=2, **options),
    ]
    assert all(torch.equal(a.graph.x, b.graph.x) for a, b in zip(*apart, strict=True))
    paths = [ml.join(one, *apart[0], points=3), ml.join(model, *apart[1], points=3)]
    assert torch.equal(paths[0].positions, paths[1].positions)
    planes = [ml.plane_slice(one, resolution=3), ml.plane_slice(model, graph, resolution=3, **options)]
    assert torch.equal(planes[0].relative_error, planes[1].relative_error)
    direction = torch.ones_like(graph.x)
    tangents = [
        ml.project_to_tangent(one, direction=direction),
        ml.project_to_tangent(model, graph, direction, **options),
    ]
    assert torch.allclose(*tangents, atol=1e-8)
    assert ml.tangent_basis(one).rank == ml.tangent_basis(model, graph, **options).rank
    predictions = [
        ml.manifold.linear_prediction(one, start=0 * graph.x),
        ml.manifold.linear_prediction(model, graph, 0 * graph.x, **options),
    ]
    assert torch.equal(*predictions)


def test_the_tangent_at_a_metamer_is_taken_there(model, graph):
    metamer = ml.find_metamer(model, graph, layer=2, nodes=[0], rtol=1e-14)
    v = torch.randn(graph.x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = ml.project_to_tangent(model, metamer, v, method="dense")
    assert not torch.allclose(
        there, ml.project_to_tangent(model, graph, v, layer=2, nodes=[0], method="dense"), atol=1e-3
    )
    assert torch.allclose(there, ml.tangent_basis(model, metamer).project(v), atol=1e-8)


def test_a_constraint_takes_nothing_beside_itself(model, graph):
    one = match(model, graph, layer=2)
    assert match(one) is one
    with pytest.raises(TypeError, match="a constraint has its own start, layer; drop it"):
        ml.walk(one, graph, layer=1)


def test_an_option_that_no_match_takes_is_named(model, graph):
    with pytest.raises(TypeError, match="unexpected argument 'node'; a match takes layer, nodes, free_nodes, forward"):
        ml.walk(model, graph, layer=2, node=[0])


def test_a_basis_is_not_made_without_its_matrix(model, graph):
    with pytest.raises(ValueError, match="method='matrix-free'; drop method"):
        ml.tangent_basis(model, graph, layer=2, method="matrix-free")


def test_a_path_from_a_constraint_takes_no_options(model, graph):
    ends = [ml.find_metamer(model, graph, layer=2, nodes=[0], seed=seed) for seed in (0, 1)]
    with pytest.raises(TypeError, match="a constraint has its own method; drop it"):
        ml.join(match(model, graph, layer=2, nodes=[0]), *ends, method="dense")
