"""Every wrong input raises a clear error before anything is computed."""

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data, HeteroData

import metamerlib as ml

SIZES = dict(in_channels=5, hidden_channels=8, out_channels=3, num_layers=2)
NAN = float("nan")


class Odd(nn.Module):
    """A model with layers that cannot be matched."""

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Count(nn.Module):
        def forward(self, x):
            return x.long()

    class Total(nn.Module):
        def forward(self, x):
            return x.sum()

    class Broken(nn.Module):
        def forward(self, x):
            return x * torch.nan

    def __init__(self):
        super().__init__()
        self.lin, self.act, self.never = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8)
        self.pair, self.count, self.total, self.broken = self.Pair(), self.Count(), self.Total(), self.Broken()

    def forward(self, x, edge_index):
        h = self.act(self.act(self.lin(x)))
        self.pair(h), self.count(h), self.total(h), self.broken(h)
        return h


def gcn(**changes):
    torch.manual_seed(0)
    return ml.GNN(**{"conv": "gcn", **SIZES, **changes})


def zero():
    model = gcn()
    for p in model.parameters():
        nn.init.zeros_(p)
    return model


def graph(**changes):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    return Data(**{"x": x, "edge_index": edges, **changes})


def with_entry(value):
    x = graph().x
    x[2, 3] = value
    return graph(x=x)


def edges(*pairs):
    return graph(edge_index=torch.tensor(pairs).T.contiguous())


GRAPHS = {
    "no graph": (None, TypeError, r"graph must be a torch_geometric.data.Data, got NoneType"),
    "kind": (HeteroData(), TypeError, r"graph must be a torch_geometric.data.Data, got HeteroData"),
    "no features": (graph(x=None), ValueError, r"graph needs x and edge_index"),
    "no edge_index": (graph(edge_index=None), ValueError, r"graph needs x and edge_index"),
    "nan": (with_entry(NAN), ValueError, r"features hold 1 NaN or infinite entries"),
    "inf": (with_entry(float("-inf")), ValueError, r"features hold 1 NaN or infinite entries"),
    "integers": (graph(x=torch.ones(6, 5).long()), TypeError, r"must be floating point, got torch.int64"),
    "array": (graph(x=np.ones((6, 5))), TypeError, r"features must be a torch.Tensor.*got ndarray"),
    "sparse": (graph(x=torch.eye(6)[:, :5].to_sparse()), TypeError, r"features must be dense, got torch.sparse_coo"),
    "vector": (graph(x=torch.ones(6)), ValueError, r"\[num_nodes, num_features\], got \[6\]"),
    "double": (graph(x=torch.ones(6, 5).double()), TypeError, r"model is torch.float32.*features are torch.float64"),
    "half": (graph(x=torch.ones(6, 5).half()), TypeError, r"model is torch.float32.*features are torch.float16"),
    "width": (graph(x=torch.ones(6, 4)), ValueError, r"the model takes 5 features but the graph has 4"),
    "edge out of range": (edges([0, 6], [6, 0]), ValueError, r"edge_index must lie in 0\.\.5 for 6 nodes, got 0\.\.6"),
    "negative edge": (edges([0, -1]), ValueError, r"0\.\.5 for 6 nodes, got -1\.\.0"),
    "edge dtype": (graph(edge_index=torch.ones(2, 3)), TypeError, r"torch.long tensor \[2, E\], got torch.float32"),
    "edge shape": (graph(edge_index=torch.ones(3, 2).long()), ValueError, r"shape \[2, E\], got \[3, 2\]"),
    "weights": (graph(edge_weight=torch.ones(5)), ValueError, r"edge_weight must have shape \[6\], got \[5\]"),
    "nan weight": (graph(edge_weight=torch.full((6,), NAN)), ValueError, r"edge_weight holds NaN"),
}


@pytest.mark.parametrize("search", ["find_metamer", "nullspace_metamer", "train"])
@pytest.mark.parametrize("bad, error, text", GRAPHS.values(), ids=GRAPHS)
def test_graphs(bad, error, text, search):
    options = {"layer": 1} if search == "find_metamer" else {}
    with pytest.raises(error, match=text):
        getattr(ml, search)(gcn(), bad, **options)


OPTIONS = {
    "no nodes": ({"nodes": []}, ValueError, r"nodes is empty; name at least one node"),
    "empty mask": ({"nodes": torch.zeros(6, dtype=torch.bool)}, ValueError, r"nodes is a mask without a True entry"),
    "short mask": ({"nodes": torch.ones(5, dtype=torch.bool)}, ValueError, r"mask of length 5; expected 6"),
    "node too large": ({"nodes": [6]}, ValueError, r"nodes must lie in 0\.\.5, got 6\.\.6"),
    "node negative": ({"nodes": -1}, ValueError, r"nodes must lie in 0\.\.5, got -1\.\.-1"),
    "node twice": ({"nodes": [1, 1]}, ValueError, r"nodes names a node twice"),
    "node 0.5": ({"nodes": [0.5]}, TypeError, r"nodes must hold integers, got torch.float32"),
    "node name": ({"nodes": "all"}, TypeError, r"nodes must be indices or a mask, got 'all'"),
    "no free nodes": ({"free_nodes": ()}, ValueError, r"free_nodes is empty"),
    "free too large": ({"free_nodes": [0, 9]}, ValueError, r"free_nodes must lie in 0\.\.5, got 0\.\.9"),
    "layer 0": ({"layer": 0}, ValueError, r"layer 0 does not exist; this model has layers 1\.\.2"),
    "layer 3": ({"layer": 3}, ValueError, r"layer 3 does not exist; this model has layers 1\.\.2"),
    "layer name": ({"layer": "conv1"}, ValueError, r"layer 'conv1' does not exist; the modules are \['layers'"),
    "layer kind": ({"layer": 1.0}, TypeError, r"layer must be an int, a module name or a module, got 1\.0"),
    "layer true": ({"layer": True}, TypeError, r"layer must be an int, a module name or a module, got True"),
    "layer call": ({"layer": "layers.0:x"}, ValueError, r"part after the colon must be the index of the call"),
    "no such call": ({"layer": "layers.0:1"}, ValueError, r"'layers\.0:1': the module is called 1 times, count from 0"),
    "strange layer": ({"layer": nn.Linear(5, 8)}, ValueError, r"layer Linear is not a module of this model"),
    "steps 0": ({"max_steps": 0}, ValueError, r"max_steps must be positive and finite, got 0"),
    "steps -1": ({"max_steps": -1}, ValueError, r"max_steps must be positive and finite, got -1"),
    "steps 1.5": ({"max_steps": 1.5}, TypeError, r"max_steps must be a positive integer, got 1\.5"),
    "rtol -1": ({"rtol": -1e-4}, ValueError, r"rtol must be positive and finite, got -0\.0001"),
    "rtol 0": ({"rtol": 0}, ValueError, r"rtol must be positive and finite, got 0"),
    "rtol nan": ({"rtol": NAN}, ValueError, r"rtol must be positive and finite, got nan"),
    "rtol text": ({"rtol": "1e-4"}, TypeError, r"rtol must be a positive number, got '1e-4'"),
    "stall": ({"stall_rtol": -0.1}, ValueError, r"stall_rtol must be positive and finite, got -0\.1"),
    "restarts 0": ({"num_restarts": 0}, ValueError, r"num_restarts must be positive and finite, got 0"),
    "restarts of one start": ({"num_restarts": 2, "start": "reference"}, ValueError, r"num_restarts=2 needs random"),
    "slope": ({"slope": -0.1}, ValueError, r"slope must be positive and finite, got -0\.1"),
    "slope in a line search": ({"slope": 0.1, "solver": "lbfgs"}, ValueError, r"use solver='adam'"),
    "solver": ({"solver": "sgd"}, ValueError, r"unknown solver 'sgd'; choose one of \['auto', 'lbfgs', 'adam'\]"),
    "solver kind": ({"solver": 3}, TypeError, r"solver must be a name or have a method iterate, got int"),
    "vary": ({"vary": "nodes"}, ValueError, r"unknown vary 'nodes'; choose one of \['features'"),
    "values": ({"values": "integer"}, ValueError, r"unknown values 'integer'; choose one of"),
    "ones": ({"ones": "row"}, ValueError, r"unknown ones 'row'; choose one of \['graph', 'node'\]"),
    "budget": ({"budget": 3}, ValueError, r"budget limits edges or ones, but real features have neither"),
    "overlap": ({"max_overlap": 0.1}, ValueError, r"max_overlap limits edges or ones, but real features have neither"),
    "start": ({"start": "zeros"}, ValueError, r"unknown start 'zeros'; choose one of \['moments', 'reference'\]"),
    "start rows": ({"start": torch.ones(5, 5)}, ValueError, r"features have 5 rows but the graph has 6 nodes"),
    "start width": ({"start": torch.ones(6, 4)}, ValueError, r"start must be torch.float32 \[6, 5\], got.*\[6, 4\]"),
    "start dtype": ({"start": torch.ones(6, 5).double()}, ValueError, r"start must be torch.float32.*torch.float64"),
    "start nan": ({"start": torch.full((6, 5), NAN)}, ValueError, r"features hold 30 NaN"),
    "device": ({"device": "abacus"}, ValueError, r"device 'abacus' cannot be used here"),
}


@pytest.mark.parametrize("options, error, text", OPTIONS.values(), ids=OPTIONS)
def test_options(options, error, text):
    with pytest.raises(error, match=text):
        ml.find_metamer(gcn(), graph(), **{"layer": 1, **options})


MODELS = {
    "number": (Odd(), 1, ValueError, r"layer 1 by number needs a metamerlib.GNN; choose a name: \['lin', 'act'"),
    "never called": (Odd(), "never", ValueError, r"layer 'never' is never called by the model's forward"),
    "called twice": (Odd(), "act", ValueError, r"layer 'act' is called 2 times; say which.*'act:0'"),
    "third call": (Odd(), "act:2", ValueError, r"layer 'act:2': the module is called 2 times, count from 0"),
    "tuple": (Odd(), "pair", TypeError, r"layer 'pair' outputs tuple; expected one floating-point tensor"),
    "integers": (Odd(), "count", TypeError, r"layer 'count' outputs torch.int64; expected one floating-point"),
    "one number": (Odd(), "total", ValueError, r"layer 'total' outputs a single number"),
    "nan": (Odd(), "broken", ValueError, r"target activation holds NaN or infinite entries"),
    "all zero": (zero(), 1, ValueError, r"target activation is zero on all matched nodes"),
    "dtype": (gcn().double(), 1, TypeError, r"model is torch.float64 but the features are torch.float32"),
    "device": (gcn().to("meta"), 1, ValueError, r"model is on meta but the graph on cpu; pass device="),
    "pooled": (gcn(pool="sum"), "pool", ValueError, r"this layer has 1 rows, not one for each of the 6 nodes"),
}


@pytest.mark.parametrize("model, layer, error, text", MODELS.values(), ids=MODELS)
def test_models(model, layer, error, text):
    nodes = [0] if layer == "pool" else None
    with pytest.raises(error, match=text):
        ml.find_metamer(model, graph(), layer=layer, nodes=nodes)


def test_models_that_fail_on_the_reference():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 2)

        def forward(self, x, edge_index):
            return self.lin(x)

    with pytest.raises(ValueError, match=r"fails on the reference graph Data\(x=\[6, 5\].*cannot be multiplied"):
        ml.find_metamer(Narrow(), graph(), layer="lin")


SIZES_OF = {
    "conv": ({"conv": "gcm"}, ValueError, r"unknown convolution 'gcm'; choose one of \['gcn', 'gat', 'gatv2'"),
    "act": ({"act": "swish"}, ValueError, r"unknown activation 'swish'; choose one of \['relu', 'elu'"),
    "residual": ({"residual": "dense"}, ValueError, r"unknown residual 'dense'; choose one of \['none', 'skip'"),
    "norm": ({"norm": "graph"}, ValueError, r"unknown norm 'graph'; choose one of \[None, 'batch', 'layer', 'pair'\]"),
    "pool": ({"pool": "max"}, ValueError, r"unknown pool 'max'; choose one of \[None, 'sum', 'mean'\]"),
    "layers": ({"num_layers": 0}, ValueError, r"num_layers must be a positive integer, got 0"),
    "width": ({"hidden_channels": 8.0}, ValueError, r"hidden_channels must be a positive integer, got 8\.0"),
    "classes": ({"out_channels": -3}, ValueError, r"out_channels must be a positive integer, got -3"),
    "dropout": ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\), got 1\.0"),
}


@pytest.mark.parametrize("changes, error, text", SIZES_OF.values(), ids=SIZES_OF)
def test_architectures(changes, error, text):
    with pytest.raises(error, match=text):
        gcn(**changes)


def test_nothing_is_computed_before_the_error(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("the model was called")

    model = gcn()
    monkeypatch.setattr(type(model), "forward", fail)
    for options, error, _ in OPTIONS.values():
        if not str(options.get("layer", "")).endswith(":1") and "start" not in options:
            with pytest.raises(error):
                ml.find_metamer(model, graph(), **{"layer": 1, **options})
