"""A view of one node type gives what the heterogeneous model gives, and every tool takes it."""

import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GraphConv, HeteroConv, HGTConv, Linear, SAGEConv, to_hetero

import metamerlib as ml
from metamerlib.models.hetero import Constant


class Relational(nn.Module):
    """Two layers of one convolution for each relation, then a linear map of the films."""

    def __init__(self, conv=SAGEConv, width=4):
        super().__init__()
        sizes = {"film": 9, "actor": 9, "studio": 6}

        def layer(sizes):
            return HeteroConv({r: conv((sizes[r[0]], sizes[r[2]]), width) for r in RELATIONS})

        self.convs = nn.ModuleList([layer(sizes), layer(dict.fromkeys(sizes, width))])
        self.head = nn.Linear(width, 3)

    def forward(self, x_dict, edge_index_dict):
        for conv in self.convs:
            x_dict = {kind: x.tanh() for kind, x in conv(x_dict, edge_index_dict).items()}
        return {"film": self.head(x_dict["film"])}


class Attention(nn.Module):
    def __init__(self, graph, width=4):
        super().__init__()
        self.first = nn.ModuleDict({kind: Linear(graph[kind].x.size(1), width) for kind in graph.node_types})
        self.conv = HGTConv(width, width, graph.metadata(), heads=2)
        self.head = nn.Linear(width, 3)

    def forward(self, data):
        x = {kind: self.first[kind](data[kind].x).tanh() for kind in data.node_types}
        return self.head(self.conv(x, data.edge_index_dict)["film"])


RELATIONS = [("actor", "in", "film"), ("film", "has", "actor"), ("studio", "makes", "film"), ("film", "by", "studio")]


@pytest.fixture
def graph():
    generator = torch.Generator().manual_seed(0)
    data = HeteroData()
    for kind, rows, width in (("film", 12, 9), ("actor", 7, 9), ("studio", 4, 6)):
        data[kind].x = torch.randn(rows, width, generator=generator)
    for source, name, target in (RELATIONS[0], RELATIONS[2]):
        films = torch.arange(12).repeat(2)
        other = torch.randint(data[source].num_nodes, (24,), generator=generator)
        edges = torch.stack([other, films]).unique(dim=1)
        data[source, name, target].edge_index = edges
        back = next(r for r in RELATIONS if (r[0], r[2]) == (target, source))
        data[back].edge_index = edges.flip(0)
    data["film"].y = torch.randint(3, (12,), generator=generator)
    return data


@pytest.fixture(params=["sage", "graph", "hgt"])
def model(request, graph):
    torch.manual_seed(1)
    made = {"sage": Relational, "graph": lambda: Relational(GraphConv), "hgt": lambda: Attention(graph)}
    return made[request.param]().eval()


def output(model, graph):
    out = model(graph) if isinstance(model, Attention) else model(graph.x_dict, graph.edge_index_dict)
    return out["film"] if isinstance(out, dict) else out


@pytest.mark.parametrize("kind", ["film", "actor", "studio"])
def test_the_view_gives_what_the_model_gives_wherever_it_is(model, graph, kind):
    seen, data = ml.hetero.view(model, graph, kind, "film")
    torch.testing.assert_close(seen(data.x, data.edge_index), output(model, graph))
    other = graph.clone()
    other[kind].x = torch.randn(graph[kind].x.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(seen(other[kind].x, data.edge_index), output(model, other))
    twice = torch.cat([data.edge_index, data.edge_index + data.num_nodes], 1)
    both = torch.cat([output(model, graph), output(model, other)])
    torch.testing.assert_close(seen(torch.cat([data.x, other[kind].x]), twice), both)


@pytest.mark.parametrize("kind", ["film", "actor"])
def test_a_metamer_of_one_type_keeps_the_outputs_of_the_model(model, graph, kind):
    seen, data = ml.hetero.view(
        model.double(), graph.clone().apply(lambda t: t.double() if t.is_floating_point() else t), kind, "film"
    )
    found = ml.find_metamer(seen, data, layer="model.head", rtol=1e-6, max_steps=3000, seed=1)
    assert found.loss < 1e-4
    changed = graph.clone().apply(lambda t: t.double() if t.is_floating_point() else t)
    reference = output(model, changed)
    changed[kind].x = found.graph.x
    error = (output(model, changed) - reference).norm() / reference.norm()
    assert error.item() == pytest.approx(found.relative_error, rel=1e-3, abs=1e-9) and error < 1e-2
    assert (found.graph.x - data.x).norm() > 0.1 * data.x.norm()


def test_the_null_space_is_that_of_the_maps_which_read_the_type(graph):
    model = Relational().double().eval()
    wide = graph.clone().apply(lambda t: t.double() if t.is_floating_point() else t)
    seen, data = ml.hetero.view(model, wide, "actor", "film")
    assert any(isinstance(module, Constant) for module in seen.modules())
    hidden = ml.nullspace_metamer(seen, data, layer="model.head")
    assert hidden.relative_error < 1e-12
    maps = [
        conv.lin_l.weight if r[0] == "actor" else conv.lin_r.weight
        for r, conv in ((r, model.convs[0].convs[r]) for r in RELATIONS)
        if "actor" in (r[0], r[2])
    ]
    rank = torch.linalg.matrix_rank(torch.cat(maps).detach()).item()
    moved = hidden.graph.x - data.x
    assert rank == 8 and torch.linalg.matrix_rank(moved, rtol=1e-10).item() == 9 - rank


def test_geometry_and_comparison_take_the_view(graph):
    model = Relational().double().eval()
    wide = graph.clone().apply(lambda t: t.double() if t.is_floating_point() else t)
    seen, data = ml.hetero.view(model, wide, "film")
    data.num_classes = 3
    table = ml.metamer_dimension(seen, data, layer="model.convs.0[film]", nodes=[0, 5])
    assert (table["receptive_field"] == 1).all() and (table["rank"] == 4).all()  # films meet films in two steps
    deep = ml.metamer_dimension(seen, data, layer="model.head", nodes=[0, 5])
    assert (deep["receptive_field"] > 1).all()
    way = ml.walk(seen, data, layer="model.head", steps=3, step_length=0.05, seed=0)
    assert way.positions.size(0) == 4
    found = ml.find_metamer(seen, data, layer="model.head", seed=0)
    assert ml.compare(seen, found)["prediction_match"] > 0.9


def test_a_model_made_by_to_hetero_is_called(graph):
    plain = nn.ModuleList([SAGEConv((-1, -1), 4)])

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = plain[0]

        def forward(self, x, edge_index):
            return self.conv(x, edge_index).tanh()

    torch.manual_seed(0)
    model = to_hetero(Plain(), graph.metadata())
    wanted = model(graph.x_dict, graph.edge_index_dict)
    seen, data = ml.hetero.view(model, graph, "studio", "film")
    torch.testing.assert_close(seen(data.x, data.edge_index), wanted["film"])


def test_links_are_shared_neighbours(graph):
    _, data = ml.hetero.view(Relational(), graph, "film")
    wanted = set()
    for relation in (RELATIONS[0], RELATIONS[2]):
        other, film = graph[relation].edge_index.tolist()
        met = list(zip(film, other, strict=True))
        wanted |= {(a, b) for a, u in met for b, v in met if u == v and a != b}
    assert set(map(tuple, data.edge_index.T.tolist())) == wanted


def test_what_a_view_cannot_do_is_refused(graph):
    seen, data = ml.hetero.view(Relational(), graph, "film")
    with pytest.raises(ValueError, match="train the heterogeneous model"):
        seen.train()
    with pytest.raises(ValueError, match="vary the features only"):
        seen(data.x, data.edge_index[:, 1:])
    with pytest.raises(ValueError, match="features"):
        ml.find_metamer(seen, data, layer="model.head", vary="edges", max_steps=3)
    with pytest.raises(ValueError, match="'film', 'actor', 'studio'"):
        ml.hetero.view(Relational(), graph, "movie")
    with pytest.raises(TypeError, match="HeteroData"):
        ml.hetero.view(Relational(), data, "film")
    with pytest.raises(ValueError, match="by name, or one parameter"):
        ml.hetero.view(nn.Bilinear(9, 9, 2), graph, "film")
    del graph["studio"].x
    with pytest.raises(ValueError, match="'studio' has no features"):
        ml.hetero.view(Relational(), graph, "film")
