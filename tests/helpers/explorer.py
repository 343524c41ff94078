"""The packed examples of the explorer, read back into plain modules of PyTorch Geometric and graphs."""

from pathlib import Path

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, GINConv, SAGEConv

from metamerlib.report.explorer import read_data
from metamerlib.search.page import unpacked

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
DATA = STATIC / "explorer-data.js"


def examples():
    return {example["id"]: example for example in read_data(DATA)["examples"]}


def parameter(packed, *, vector=False):
    values = torch.from_numpy(unpacked(packed)).float()
    return nn.Parameter(values[0] if vector else values)


def convolution(row):
    """Return a layer of PyTorch Geometric with the packed weights."""
    out, inside = row["weight"]["shape"]
    if row["kind"] == "gcn":
        conv = GCNConv(inside, out)
        conv.lin.weight, conv.bias = parameter(row["weight"]), parameter(row["bias"], vector=True)
    elif row["kind"] == "sage":
        conv = SAGEConv(inside, out)
        conv.lin_l.weight, conv.lin_l.bias = parameter(row["weight"]), parameter(row["bias"], vector=True)
        conv.lin_r.weight = parameter(row["root"])
    else:
        width, inside = row["inner"]["shape"]
        conv = GINConv(nn.Sequential(nn.Linear(inside, width), nn.ELU(), nn.Linear(width, out)), eps=row["eps"])
        for module, name in ((conv.nn[0], "inner"), (conv.nn[2], "weight")):
            bias = "inner_bias" if name == "inner" else "bias"
            module.weight, module.bias = parameter(row[name]), parameter(row[bias], vector=True)
    return conv


def graph_of(example, frame=None):
    """Return an example's reference, or a frame of a search, as a graph."""
    frame = frame or {}
    edges = torch.tensor(frame.get("edges", example["edges"])).t()
    x = torch.from_numpy(unpacked(frame.get("x", example["x"]))).float()
    return Data(x=x, edge_index=torch.cat([edges, edges.flip(0)], dim=1))


@torch.no_grad()
def activations(model, graph):
    """Return the activations of all layers, by plain PyTorch Geometric in float64."""
    x, found = graph.x.double(), []
    for row in model["layers"]:
        x = convolution(row).double()(x, graph.edge_index)
        x = nn.functional.elu(x) if row["act"] == "elu" else x
        found.append(x)
    return found


def errors(model, reference, graph):
    pairs = zip(activations(model, graph), activations(model, reference), strict=True)
    return [float((got - wanted).norm() / wanted.norm()) for got, wanted in pairs]


def library_model(model):
    """Return the packed model as one of the library's."""
    import metamerlib as ml

    rows = model["layers"]
    first, last = rows[0].get("inner", rows[0]["weight"])["shape"], rows[-1]["weight"]["shape"]
    found = ml.GNN(
        conv=model["id"], in_channels=first[1], hidden_channels=16, out_channels=last[0], num_layers=2, act="elu"
    )
    for layer, row in zip(found.layers, rows, strict=True):
        layer.conv.load_state_dict(convolution(row).state_dict())
    return found.eval()
