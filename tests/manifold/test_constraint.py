import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.constraint import check_apart
from metamerlib.manifold.matching import match
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Everyone, whole_jacobian
from tests.helpers.metamers import WIDTH, features, gnn


def path_of_nodes(graph):
    line = torch.stack([torch.arange(33), torch.arange(1, 34)])
    path = graph.clone()
    path.edge_index = torch.cat([line, line.flip(0)], 1)
    return path


def error_at(model, graph, x, layer, nodes):
    before, after = (Probe(model, layer)(g).activation[nodes] for g in (graph, with_features(graph, x)))
    return ((after - before).norm() / before.norm()).item()


@pytest.mark.parametrize("conv, size", [("gcn", 7), ("gat", 5), ("mlp", 3)])
def test_small_balls_stand_for_the_whole_graph(graph, conv, size):
    path, nodes, free = path_of_nodes(graph), [10], [9, 10, 11]
    model = gnn(conv=conv, act="elu")
    small = match(model, path, layer=2, nodes=nodes, free_nodes=free)
    assert small.graph.num_nodes == size
    x = path.x[free] + features(3, rows=3)
    error = error_at(model, path, path.x.index_copy(0, torch.tensor(free), x), 2, nodes)
    assert small.true_error(x) == pytest.approx(error, rel=1e-9)
    assert small.relative_errors(small.visible(x)[None]).item() == pytest.approx(error, rel=1e-9)
    J = whole_jacobian(model, path, 2, 10).reshape(3, 34, WIDTH)[:, free].flatten(1)
    push = small.linearise(small.visible(small.base)).push(small.visible(x)) * small.target.activation.norm()
    torch.testing.assert_close(push, J @ x.flatten())


@pytest.mark.parametrize("conv", ["gcn", "gat", "sage"])
def test_copies_are_evaluated_at_once(graph, conv):
    model = gnn(conv=conv)
    constraint = match(model, graph, layer=1, nodes=[4, 5])
    xs = torch.stack([graph.x + 0.1 * features(seed) for seed in range(3)])
    errors = constraint.relative_errors(constraint.visible(xs))
    assert errors.tolist() == pytest.approx([error_at(model, graph, x, 1, [4, 5]) for x in xs])
    assert check_apart(constraint, constraint.visible(xs))


def test_models_that_couple_a_union_are_found_out(graph):
    model = Everyone().double()
    constraint = match(model, graph, layer=model)
    u = constraint.visible(torch.stack([graph.x, 2 * graph.x]))
    assert not check_apart(constraint, u) and check_apart(constraint, u[:1])


def test_visible_and_invisible_parts_add_up(graph):
    constraint = match(gnn(), graph, layer=2)
    x = features(5)
    parts = constraint.lift(constraint.visible(x)) + constraint.invisible(x)
    torch.testing.assert_close(parts, x)
    assert constraint.true_error(graph.x + constraint.invisible(x)) < 1e-13
    assert constraint.residual(constraint.visible(graph.x)).norm() < 1e-14


def test_pattern_counts_all_relus_up_to_the_layer(graph):
    model = gnn()
    for layer in (1, 2):
        constraint = match(model, graph, layer=layer)
        z = Probe(model, 1)(graph).pre_activation
        assert torch.equal(constraint.pattern(constraint.visible(graph.x)), (z > 0).flatten())
    smooth = match(gnn(act="elu"), graph, layer=2)
    assert smooth.pattern(smooth.visible(graph.x)).numel() == 0


def test_rows_of_pooled_layers_are_matched_whole(graph):
    model = gnn(pool="mean")
    constraint = match(model, graph, layer="pool")
    assert constraint.target.activation.shape == (1, 8)
    with pytest.raises(ValueError, match="this layer has 1 rows, not one for each of the 34 nodes; drop nodes"):
        ml.walk(model, graph, layer="pool", nodes=[0])


def test_free_nodes_out_of_sight_have_nothing_to_bind_them(graph):
    path = path_of_nodes(graph)
    constraint = match(gnn(act="elu"), path, layer=2, nodes=[10], free_nodes=[10, 30])
    linear = constraint.linearise(constraint.visible(constraint.base))
    assert linear.matrix.reshape(3, 2, 8)[:, 1].norm() == 0 < linear.matrix.norm()
