import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.plane import plane_slice
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Everyone
from tests.helpers.metamers import features, gnn


@pytest.mark.parametrize("kind", ["gcn", "gat", "everyone"])
def test_errors_by_their_definition(graph, kind):
    model = Everyone().double() if kind == "everyone" else gnn(conv=kind)
    layer = model if kind == "everyone" else 2
    found = plane_slice(model, graph, layer=layer, nodes=[0, 7], resolution=4, extent=(3.0, 2.0))
    wanted = Probe(model, layer)(graph).activation[[0, 7]]
    assert found.along.tolist() == [-3.0, -1.0, 1.0, 3.0] and found.across.abs().max() == 2
    for i, b in enumerate(found.across):
        for j, a in enumerate(found.along):
            x = graph.x + a * found.tangent + b * found.normal
            h = Probe(model, layer)(with_features(graph, x)).activation[[0, 7]]
            assert found.relative_error[i, j].item() == pytest.approx(((h - wanted).norm() / wanted.norm()).item())


def test_linear_model_has_a_straight_valley(graph):
    found = plane_slice(gnn(act="identity"), graph, layer=2, resolution=5, extent=2.0)
    assert found.relative_error[2].max() < 1e-12
    slope = found.relative_error[3] / found.across[3]
    torch.testing.assert_close(
        found.relative_error, slope * found.across.abs()[:, None].expand(5, 5), rtol=1e-9, atol=1e-12
    )
    assert (found.tangent * found.normal).sum().abs() < 1e-12
    assert found.normal.norm().item() == pytest.approx(1) and found.tangent.norm().item() == pytest.approx(1)


def test_metamers_of_a_walk_lie_in_their_plane(graph):
    model = gnn(act="elu")
    way = ml.walk(model, graph, layer=2, nodes=[3], steps=8, step_length=0.2, invisible=False)
    first, last = way.positions[4] - graph.x, way.positions[8] - graph.x
    probe = plane_slice(model, graph, layer=2, nodes=[3], tangent=first, normal=last, extent=1.0, resolution=1)
    a, b = ((last * v).sum().item() for v in (probe.tangent, probe.normal))
    found = plane_slice(
        model, graph, layer=2, nodes=[3], tangent=first, normal=last, extent=(abs(a), abs(b)), resolution=2
    )
    corner = found.relative_error[int(b > 0), int(a > 0)]
    assert corner < 1e-7 < found.relative_error.max()


def test_same_seed_same_plane_and_only_free_rows_count(graph):
    slices = [plane_slice(gnn(), graph, layer=1, nodes=[0], free_nodes=[0, 1], resolution=3, seed=s) for s in (0, 0, 1)]
    assert torch.equal(slices[0].relative_error, slices[1].relative_error)
    assert not torch.equal(slices[0].relative_error, slices[2].relative_error)
    assert slices[0].tangent.shape == (2, 40)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"extent": 0.0}, "extent must be positive"),
        ({"resolution": 0}, "resolution must be positive"),
        ({"tangent": torch.zeros(34, 40)}, "the tangent direction is zero"),
        ({"tangent": features(), "normal": 2 * features()}, "the two directions span no plane"),
        ({"normal": torch.ones(3)}, r"direction must be a tensor \[34, 40\]"),
        ({"dtype": torch.float32}, "tangents need torch.float64"),
    ],
)
def test_bad_input(graph, change, message):
    with pytest.raises(ValueError, match=message):
        plane_slice(gnn(), graph, layer=1, **change)
