"""What callers get wrong, function by function: each is refused by an error that names the argument.

A row is a call, the error and a word of its message. The rows are grouped by wing.
"""

import copy
import functools
import math
import os
import pickle
import threading

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch_geometric.data import Data, HeteroData

import metamerlib as ml
from metamerlib.certificates import edge_bits, edge_spectrum, expected_loss, feature_bits, log2_binomial
from metamerlib.exact import double, switchable, two_lift
from metamerlib.graphs.rewiring import swap_edges, switch_away
from metamerlib.manifold import sample_log_volume, whole_graph_dimension
from metamerlib.metrics import features, matching, structure
from metamerlib.models import EdgeAttack, FeatureAttack, accuracy, build_model, robust_accuracy
from metamerlib.report import figures, records
from metamerlib.report.claims import write_claims
from metamerlib.search import replaceable_share
from metamerlib.search.bits.swaps import BitSwaps
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS

NAN, INF = math.nan, math.inf
SIZES = dict(in_channels=5, hidden_channels=8, out_channels=3, num_layers=2)


def gcn(**changes):
    torch.manual_seed(changes.pop("seed", 0))
    return ml.GNN(**{"conv": "gcn", **SIZES, "act": "elu", **changes})


def graph(**changes):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    edges = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 5], [1, 0, 2, 1, 4, 3, 5, 4]])
    return Data(**{"x": x, "edge_index": edges, **changes})


def bits():
    return graph(x=(graph().x > 0).float())


def lesson(**changes):
    masks = {f"{part}_mask": torch.arange(6) % 3 == place for place, part in enumerate(("train", "val", "test"))}
    return graph(**{"y": torch.arange(6) % 3, "num_classes": 3, **masks, **changes})


@functools.cache
def found():
    return ml.find_metamer(gcn(), graph(), layer=1, max_steps=30)


@functools.cache
def moved():
    return ml.find_metamer(gcn(), graph(), layer=1, vary="structure", max_steps=5, rtol=1e-9)


class Foreign(nn.Module):
    """A foreign model that does something odd in its forward."""

    def __init__(self, odd=None):
        super().__init__()
        self.lin, self.odd = nn.Linear(5, 3), odd

    def forward(self, x, edge_index):
        out = self.lin(x)
        return out if self.odd is None else self.odd(out)


def raising(error):
    def odd(out):
        raise error

    return Foreign(odd)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 3))

    def forward(self, x, edge_index):
        return self.body(x, edge_index)


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.LazyLinear(3)

    def forward(self, x, edge_index):
        return self.lin(x)


def find(model=None, data=None, **options):
    return ml.find_metamer(model or gcn(), data or graph(), **{"layer": 1, "max_steps": 3, **options})


def refuse(row, tmp_path):
    call, errors, word = row
    with pytest.raises(errors, match=word):
        call(tmp_path) if call.__code__.co_argcount else call()


FIND = {
    "model is a name": (lambda: ml.find_metamer("gcn", graph(), layer=1), TypeError, "model must be a torch.nn.Module"),
    "model is a class": (lambda: ml.find_metamer(nn.Linear, graph(), layer=1), TypeError, "the class Linear"),
    "model is a state dict": (lambda: ml.find_metamer(gcn().state_dict(), graph(), layer=1), TypeError, "load_state"),
    "model is None": (lambda: ml.find_metamer(None, graph(), layer=1), TypeError, "got NoneType"),
    "model and graph swapped": (lambda: ml.find_metamer(graph(), gcn(), layer=1), TypeError, "the model comes first"),
    "model is lazy": (lambda: find(Lazy(), layer="lin"), ValueError, "without a size yet"),
    "model is a list": (lambda: ml.find_metamer([gcn()], graph(), layer=1), TypeError, "got list"),
    "graph is a name": (lambda: ml.find_metamer(gcn(), "karate", layer=1), TypeError, "load_graph"),
    "graph is a list": (lambda: ml.find_metamer(gcn(), [graph()], layer=1), TypeError, "one graph at a time"),
    "graph is a metamer": (lambda: ml.find_metamer(gcn(), found(), layer=1), TypeError, "metamer.graph"),
    "graph on meta": (lambda: find(data=graph().to("meta")), ValueError, "meta device"),
    "edges on meta": (lambda: find(data=graph(edge_index=graph().edge_index.to("meta"))), ValueError, "meta"),
    "batch text": (lambda: find(data=graph(batch="0")), TypeError, "batch must be a torch.Tensor"),
    "batch short": (lambda: find(data=graph(batch=torch.zeros(5).long())), ValueError, "batch must have shape"),
    "batch negative": (lambda: find(data=graph(batch=torch.zeros(6).long() - 1)), ValueError, "count graphs from 0"),
    "batch float": (lambda: find(data=graph(batch=torch.zeros(6))), TypeError, "batch must be integers"),
    "num_nodes contradicts x": (lambda: find(data=graph(num_nodes=9)), ValueError, "num_nodes is 9 but x has 6"),
    "nodes 2-d": (lambda: find(nodes=[[0, 1], [2, 3]]), ValueError, "one list of indices"),
    "free nodes 2-d": (lambda: find(free_nodes=torch.ones(6, 1) > 0), ValueError, "one list of indices"),
    "nodes on meta": (lambda: find(nodes=torch.arange(3, device="meta")), TypeError, "indices or a mask"),
    "nodes complex": (lambda: find(nodes=[1j]), TypeError, "must hold integers"),
    "start numpy": (lambda: find(start=graph().x.numpy()), TypeError, "start must be a name"),
    "start number": (lambda: find(start=3), TypeError, "start must be a name"),
    "start list": (lambda: find(start=[1.0]), TypeError, "start must be a name"),
    "start graph for features": (lambda: find(start=graph()), TypeError, "only features move"),
    "start misspelt": (lambda: find(start="momemts"), ValueError, "did you mean 'moments'"),
    "start of edges misspelt": (lambda: find(vary="structure", start="erdos"), ValueError, "unknown start 'erdos'"),
    "start of edges out of range": (
        lambda: find(vary="structure", start=graph(edge_index=torch.tensor([[0, 9], [9, 0]]))),
        ValueError,
        "0\\.\\.5",
    ),
    "solver BitSwaps for continuous": (lambda: find(solver=BitSwaps()), TypeError, "BitSwaps is a solver that moves"),
    "solver memory 0": (lambda: find(solver=LBFGS(memory=0)), ValueError, "memory of LBFGS must be positive"),
    "solver memory text": (lambda: find(solver=LBFGS(memory="5")), TypeError, "memory of LBFGS"),
    "solver Adam lr nan": (lambda: find(solver=Adam(learning_rate=NAN)), ValueError, "learning_rate of Adam"),
    "solver Adam lr negative": (lambda: find(solver=Adam(learning_rate=-1)), ValueError, "learning_rate of Adam"),
    "solver class": (lambda: find(solver=Adam), TypeError, "the class Adam itself"),
    "solver None": (lambda: find(solver=None), TypeError, "solver must be a name"),
    "solver misspelt": (lambda: find(solver="lbgfs"), ValueError, "did you mean 'lbfgs'"),
    "forward text": (lambda: find(forward="call"), TypeError, "forward must be a function"),
    "forward class": (lambda: find(forward=Foreign), TypeError, "forward must be a function"),
    "forward returns None": (
        lambda: find(forward=lambda model, g: print(model(g.x, g.edge_index).shape)),
        ValueError,
        "returns None",
    ),
    "stall_rtol 2": (lambda: find(stall_rtol=2), ValueError, "stall_rtol must be below 1"),
    "rtol 1": (lambda: find(rtol=1), ValueError, "rtol must be below 1"),
    "rtol bool": (lambda: find(rtol=True), TypeError, "rtol must be a positive number"),
    "seed None": (lambda: find(seed=None), TypeError, "seed must be an integer"),
    "seed 1.5": (lambda: find(seed=1.5), TypeError, "seed must be an integer"),
    "seed 2**70": (lambda: find(seed=2**70), ValueError, "seed must lie in"),
    "seed list": (lambda: find(seed=[0]), TypeError, "seed must be an integer"),
    "seed -1": (lambda: find(seed=-1), ValueError, "seed must lie in"),
    "seed True": (lambda: find(seed=True), TypeError, "seed must be an integer"),
    "seed NaN": (lambda: find(seed=NAN), TypeError, "seed must be an integer"),
    "seed text": (lambda: find(seed="0"), TypeError, "seed must be an integer"),
    "seed tensor": (lambda: find(seed=torch.tensor(0)), TypeError, "seed must be an integer"),
    "model raises KeyError": (lambda: find(raising(KeyError("missing")), layer="lin"), ValueError, "Foreign.*KeyError"),
    "model raises TypeError": (
        lambda: find(Foreign(lambda out: out + "a"), layer="lin"),
        ValueError,
        "Foreign.*unsupp",
    ),
    "model raises ValueError": (
        lambda: find(raising(ValueError("its own")), layer="lin"),
        ValueError,
        "Foreign.*its own",
    ),
    "model takes another number": (lambda: find(Two(), layer="body.0"), ValueError, "Two fails on.*takes"),
    "model returns None": (lambda: find(Foreign(lambda out: None), layer="lin"), ValueError, "returns None"),
    "structure: ones": (lambda: find(vary="structure", ones="node"), ValueError, "ones='node' counts ones"),
    "features: ones": (lambda: find(ones="node"), ValueError, "ones='node' counts ones"),
    "both: restarts reference": (
        lambda: find(vary="both", start="reference", num_restarts=2),
        ValueError,
        "num_restarts=2, but vary='both'",
    ),
    "both: restarts": (lambda: find(vary="both", num_restarts=2), ValueError, "num_restarts=2, but vary='both'"),
    "both: solver": (lambda: find(vary="both", solver=Adam()), ValueError, "solver='auto'"),
    "binary: slope": (lambda: find(data=bits(), values="binary", slope=0.1), ValueError, "slope belongs to"),
    "values number": (lambda: find(values=3), ValueError, "unknown values 3"),
    "vary None": (lambda: find(vary=None), ValueError, "unknown vary None"),
    "vary misspelt": (lambda: find(vary="feature"), ValueError, "did you mean 'features'"),
    "layer None": (lambda: find(layer=None), TypeError, "layer must be an int"),
    "layer misspelt": (lambda: find(layer="layers.0.cnov"), ValueError, "did you mean 'layers.0.conv'"),
    "device number": (lambda: find(device=1.5), TypeError, "device must be a name"),
    "device meta": (lambda: find(device="meta"), ValueError, "device 'meta' holds no values"),
    "target text": (lambda: find(target="own"), TypeError, "target must be a tensor"),
    "budget text": (lambda: find(vary="structure", budget="2"), TypeError, "budget must be a number"),
    "overlap NaN": (lambda: find(vary="structure", max_overlap=NAN), ValueError, "max_overlap must lie in"),
    "refresh text": (lambda: find(vary="structure", refresh="pe"), TypeError, "refresh must be a transform"),
    "many: model name": (lambda: ml.find_metamers("gcn", [graph()], layer=1), TypeError, "model must be"),
    "many: seed None": (lambda: ml.find_metamers(gcn(), [graph()], layer=1, seed=None), TypeError, "seed must be"),
    "many: one graph": (lambda: ml.find_metamers(gcn(), graph(), layer=1), TypeError, "graphs must be a list"),
    "many: graphs None": (lambda: ml.find_metamers(gcn(), None, layer=1), TypeError, "graphs must be a list"),
    "many: forward": (lambda: ml.find_metamers(gcn(), [graph()], layer=1, forward=3), TypeError, "forward must be"),
    "many: seed 2**64": (lambda: ml.find_metamers(gcn(), [graph()], layer=1, seed=2**64), ValueError, "seed must lie"),
    "many: start number": (lambda: ml.find_metamers(gcn(), [graph()], layer=1, start=1), TypeError, "start must be"),
    "many: stall 1.5": (lambda: ml.find_metamers(gcn(), [graph()], layer=1, stall_rtol=1.5), ValueError, "below 1"),
    "many: a metamer": (lambda: ml.find_metamers(gcn(), [found()], layer=1), TypeError, r"graphs\[0\].*metamer.graph"),
    "probe: model name": (lambda: ml.Probe("gcn", 1), TypeError, "model must be"),
    "probe: forward": (lambda: ml.Probe(gcn(), 1, forward=3), TypeError, "forward must be"),
    "probe: slope": (lambda: ml.Probe(gcn(), 1, slope=-1), ValueError, "slope must be positive"),
}


COMPARE = {
    "model name": (lambda: ml.compare("gcn", found()), TypeError, "model must be"),
    "metamer None": (lambda: ml.compare(gcn(), None), TypeError, "metamer must be"),
    "list of metamers": (lambda: ml.compare(gcn(), [found()]), TypeError, "metamer must be"),
    "a graph": (lambda: ml.compare(gcn(), graph()), TypeError, "metamer must be"),
    "another architecture": (lambda: ml.compare(gcn(conv="sage"), found()), ValueError, "not the metamer's target"),
    "other weights": (lambda: ml.compare(gcn(seed=1), found()), ValueError, "not the metamer's target"),
    "another width": (lambda: ml.compare(gcn(in_channels=4), found()), ValueError, "takes 4 features"),
    "another hidden width": (
        lambda: ml.compare(gcn(hidden_channels=4), found()),
        ValueError,
        "not the metamer's target",
    ),
    "another dtype": (lambda: ml.compare(gcn().double(), found()), TypeError, "convert one of them"),
    "null_draws text": (lambda: ml.compare(gcn(), found(), null_draws="2"), TypeError, "null_draws must be an integer"),
    "null_draws 1.5": (lambda: ml.compare(gcn(), found(), null_draws=1.5), TypeError, "null_draws must be an integer"),
    "seed -1": (lambda: ml.compare(gcn(), found(), seed=-1), ValueError, "seed must lie in"),
    "seed None": (lambda: ml.compare(gcn(), found(), seed=None), TypeError, "seed must be an integer"),
    "forward not callable": (lambda: ml.compare(gcn(), found(), forward=3), TypeError, "forward must be"),
    "swapped arguments": (lambda: ml.compare(found(), gcn()), TypeError, "the model comes first"),
    "others None in a list": (lambda: ml.compare(gcn(), found(), others=[None]), TypeError, r"graphs\[0\]"),
    "others one graph": (lambda: ml.compare(gcn(), found(), others=graph()), TypeError, "graphs must be a list"),
}


def train(model=None, data=None, **options):
    return ml.train(model or gcn(), data or lesson(), **{"epochs": 2, **options})


TRAIN = {
    "model None": (lambda: ml.train(None, lesson()), TypeError, "model must be"),
    "model class": (lambda: ml.train(ml.GNN, lesson()), TypeError, "the class GNN itself"),
    "y numpy": (lambda: train(data=lesson(y=np.arange(6) % 3)), TypeError, "y must be a torch.Tensor"),
    "y list": (lambda: train(data=lesson(y=[0, 1, 2, 0, 1, 2])), TypeError, "y must be a torch.Tensor"),
    "y negative": (lambda: train(data=lesson(y=torch.arange(6) % 3 - 1)), ValueError, "labels run from -1"),
    "y too high": (lambda: train(data=lesson(y=torch.arange(6))), ValueError, "labels run up to 5"),
    "y float": (lambda: train(data=lesson(y=torch.rand(6))), TypeError, "y must be torch.long"),
    "masks overlap": (lambda: train(data=lesson(test_mask=lesson().train_mask)), ValueError, "2 entries in common"),
    "val is test": (lambda: train(data=lesson(test_mask=lesson().val_mask)), ValueError, "val_mask and test_mask"),
    "mask list": (lambda: train(data=lesson(val_mask=[True] * 6)), TypeError, "val_mask must be a torch.Tensor"),
    "mask None": (lambda: train(data=lesson(train_mask=None)), ValueError, "training needs y and a train_mask"),
    "seed text": (lambda: train(seed="a"), TypeError, "seed must be an integer"),
    "seed 1.5": (lambda: train(seed=1.5), TypeError, "seed must be an integer"),
    "seed -1": (lambda: train(seed=-1), ValueError, "seed must lie in"),
    "weight decay -1": (lambda: train(weight_decay=-1), ValueError, "weight_decay must be 0 or more"),
    "weight decay text": (lambda: train(weight_decay="0"), TypeError, "weight_decay must be a number"),
    "weight decay NaN": (lambda: train(weight_decay=NAN), ValueError, "weight_decay must be finite"),
    "learning rate inf": (lambda: train(learning_rate=INF), ValueError, "learning_rate must be positive"),
    "epochs True": (lambda: train(epochs=True), TypeError, "epochs must be a positive integer"),
    "patience 0": (lambda: train(patience=0), ValueError, "patience must be positive"),
    "graph model on one graph": (lambda: train(gcn(pool="sum")), ValueError, "one row of class scores"),
    "model without parameters": (lambda: train(nn.Identity()), ValueError, "no parameter that can be trained"),
    "model frozen": (lambda: train(gcn().requires_grad_(False)), ValueError, "no parameter that can be trained"),
    "model returns None": (lambda: train(Foreign(lambda out: None)), ValueError, "the model returns None"),
    "model returns a tuple": (lambda: train(Foreign(lambda out: (out, out))), ValueError, "the model returns"),
    "model raises": (lambda: train(raising(KeyError("missing"))), ValueError, "Foreign fails on.*KeyError"),
    "lazy model": (lambda: train(Lazy()), ValueError, "without a size yet"),
    "graph None": (lambda: ml.train(gcn(), None), TypeError, "graph must be"),
    "graphs empty": (lambda: ml.train(gcn(pool="sum"), []), ValueError, "the list of graphs is empty"),
    "init number": (lambda: train(init=0), ValueError, "unknown init 0"),
    "split: seed": (lambda: ml.split_graphs([graph(y=torch.tensor([0]))], seed="a"), TypeError, "seed must be"),
    "split: shares": (lambda: ml.split_graphs([graph(y=torch.tensor([0]))], train=0.9, val=0.9), ValueError, "lower"),
    "split: share text": (lambda: ml.split_graphs([graph(y=torch.tensor([0]))], train="a"), TypeError, "train must"),
    "accuracy: mask": (lambda: accuracy(torch.zeros(6, 3), lesson(), "tset_mask"), ValueError, "did you mean"),
    "accuracy: rows": (lambda: accuracy(torch.zeros(5, 3), lesson(), "test_mask"), ValueError, "each of 5 rows"),
}


GRAPHS = {
    "GNN: layers True": (lambda: gcn(num_layers=True), ValueError, "num_layers must be a positive integer"),
    "GNN: dropout None": (lambda: gcn(dropout=None), TypeError, "dropout must be a number"),
    "GNN: dropout NaN": (lambda: gcn(dropout=NAN), ValueError, "dropout must be finite"),
    "GNN: dropout text": (lambda: gcn(dropout="half"), TypeError, "dropout must be a number"),
    "GNN: conv None": (lambda: gcn(conv=None), ValueError, "unknown convolution None"),
    "GNN: conv list": (lambda: gcn(conv=["gcn"]), ValueError, "unknown convolution"),
    "GNN: edges float": (lambda: gcn()(graph().x, torch.rand(2, 3)), ValueError, "edge_index must be torch.long"),
    "GNN: edges out of range": (
        lambda: gcn()(graph().x, torch.tensor([[0], [9]])),
        ValueError,
        "must lie in 0\\.\\.5",
    ),
    "GNN: weight length": (
        lambda: gcn()(graph().x, graph().edge_index, torch.ones(2)),
        ValueError,
        r"edge_weight must be \[8\]",
    ),
    "GNN: numpy": (lambda: gcn()(graph().x.numpy(), graph().edge_index), TypeError, "x must be a torch.Tensor"),
    "GNN: width": (lambda: gcn()(torch.ones(6, 4), graph().edge_index), ValueError, "x must have 5 columns"),
    "GNN: integers": (lambda: gcn()(torch.ones(6, 5).long(), graph().edge_index), ValueError, "floating point"),
    "GNN: batch short": (
        lambda: gcn(pool="sum")(graph().x, graph().edge_index, batch=torch.zeros(3).long()),
        ValueError,
        "batch must be",
    ),
    "build: factory missing": (lambda: build_model("os:nope", lesson()), ValueError, "'os' has no 'nope'"),
    "build: module missing": (lambda: build_model("nowhere_at_all:f", lesson()), ValueError, "cannot be imported"),
    "build: None": (lambda: build_model(None, lesson()), TypeError, "architecture must be text"),
    "build: relative": (lambda: build_model(".x:f", lesson()), ValueError, "expected package.module:factory"),
    "build: no model": (
        lambda: build_model("builtins:str", lesson()),
        ValueError,
        "returned str; expected a torch.nn.Module",
    ),
    "build: fails": (lambda: build_model("os:listdir", lesson()), ValueError, "fails: TypeError"),
    "build: graph None": (lambda: build_model("gcn", None), TypeError, "graph must be"),
    "build: no classes": (lambda: build_model("gcn", graph()), ValueError, "number of classes"),
    "load_graph: None": (lambda: ml.load_graph(None), TypeError, "name must be text"),
    "load_graph: list": (lambda: ml.load_graph(["karate"]), TypeError, "name must be text"),
    "load_graph: empty": (lambda: ml.load_graph(""), ValueError, "name is empty"),
    "load_graph: seed text": (lambda: ml.load_graph("csbm", seed="0"), TypeError, "seed must be"),
    "load_graph: seed 1.5": (lambda: ml.load_graph("csbm", seed=1.5), TypeError, "seed must be"),
    "load_graph: root number": (lambda: ml.load_graph("Cora", root=3), TypeError, "root must be a path"),
    "load_graph: trust": (lambda: ml.load_graph("karate", trust_pickles="yes"), TypeError, "True or False"),
    "load_graph: no function": (lambda: ml.load_graph("os:nope"), ValueError, "'os' has no 'nope'"),
    "load_graph: nothing after the colon": (lambda: ml.load_graph("os:"), ValueError, "package.module:factory"),
    "load_graph: needs arguments": (lambda: ml.load_graph("os:chdir"), ValueError, "without arguments"),
    "load_graph: no graph": (lambda: ml.load_graph("os:getcwd"), TypeError, "graph must be"),
    "load_graph: no callable": (lambda: ml.load_graph("os:sep"), TypeError, "expected a function"),
    "load_graphs: None": (lambda: ml.load_graphs(None), TypeError, "name must be text"),
    "load_graphs: one graph": (
        lambda: ml.load_graphs("torch_geometric.data:Data"),
        TypeError,
        "must make a list",
    ),
    "load_graphs: factory None": (lambda: ml.load_graphs("gc:collect"), TypeError, "must make a list"),
    "load_graphs: no graphs": (lambda: ml.load_graphs("os:listdir"), TypeError, "entry 0: graph must be"),
    "load_graphs: root": (lambda: ml.load_graphs("MUTAG", root=[]), TypeError, "root must be a path"),
    "csbm: p text": (lambda: ml.csbm.sample(p="0.1"), TypeError, "p must be a number"),
    "csbm: q None": (lambda: ml.csbm.sample(q=None), TypeError, "q must be a number"),
    "csbm: sigma text": (lambda: ml.csbm.sample(sigma="1"), TypeError, "sigma must be a number"),
    "csbm: nodes text": (lambda: ml.csbm.sample(num_nodes="9"), TypeError, "num_nodes must be an integer"),
    "csbm: mu text": (lambda: ml.csbm.sample(mu="1"), TypeError, "mu must be a number"),
    "csbm: seed text": (lambda: ml.csbm.sample(seed="0"), TypeError, "seed must be"),
    "csbm: seed 0.5": (lambda: ml.csbm.sample(seed=0.5), TypeError, "seed must be"),
    "csbm: nodes True": (lambda: ml.csbm.sample(num_nodes=True), TypeError, "num_nodes must be an integer"),
    "csbm: features 1.5": (lambda: ml.csbm.sample(num_features=1.5), TypeError, "num_features must be an integer"),
    "bayes: nodes 9999": (
        lambda: ml.csbm.bayes_predict(ml.csbm.sample(num_nodes=20, p=0.5), [9999]),
        ValueError,
        "nodes must lie in",
    ),
    "bayes: graph None": (lambda: ml.csbm.bayes_predict(None), TypeError, "graph must be"),
    "bayes: another graph": (lambda: ml.csbm.bayes_log_odds(graph()), ValueError, "expected a graph of csbm.sample"),
    "swap_edges: list": (lambda: swap_edges([[0, 1]], 2, np.random.default_rng(0)), TypeError, "pairs must be a numpy"),
    "swap_edges: rng": (lambda: swap_edges(np.array([[0, 1]]), 2, 0), TypeError, "default_rng"),
    "switch_away: text": (lambda: switch_away(graph(), "1"), TypeError, "switches must be an integer"),
    "refine: colours float": (
        lambda: ml.graphs.refine(torch.zeros(6), graph().edge_index),
        TypeError,
        "colours must be integers",
    ),
    "refine: short": (
        lambda: ml.graphs.refine(torch.zeros(3).long(), graph().edge_index),
        ValueError,
        "edge_index must lie in",
    ),
    "with_features: None": (lambda: ml.graphs.with_features(None, graph().x), TypeError, "expected a"),
    "union: None": (lambda: ml.graphs.union_of(None), TypeError, "graphs must be a list"),
    "pairs: list": (lambda: ml.graphs.both_directions([[0], [1]]), ValueError, "pairs must be a tensor"),
}


EXACT = {
    "null: seed text": (lambda: ml.nullspace_metamer(gcn(), graph(), "0"), TypeError, "seed must be"),
    "null: forward 3": (lambda: ml.nullspace_metamer(gcn(), graph(), forward=3), TypeError, "forward must be"),
    "null: model name": (lambda: ml.nullspace_metamer("gcn", graph()), TypeError, "model must be"),
    "switch: name": (lambda: ml.switch_metamer("decalin"), TypeError, "graph must be"),
    "switch: no edge_index": (lambda: ml.switch_metamer(Data(x=torch.ones(3, 1))), ValueError, "needs edge_index"),
    "switch: no nodes": (
        lambda: ml.switch_metamer(Data(edge_index=torch.empty(2, 0).long(), num_nodes=0)),
        ValueError,
        "no nodes",
    ),
    "switch: rounds text": (lambda: ml.switch_metamer(ml.load_graph("decalin"), "2"), TypeError, "rounds must be"),
    "switch: number text": (
        lambda: ml.switch_metamer(ml.load_graph("decalin"), num_switches="2"),
        TypeError,
        "num_switches must be",
    ),
    "switch: seed text": (lambda: ml.switch_metamer(ml.load_graph("decalin"), seed="0"), TypeError, "seed must be"),
    "switch: seed None": (lambda: ml.switch_metamer(ml.load_graph("decalin"), seed=None), TypeError, "seed must be"),
    "switch: NaN features": (
        lambda: ml.switch_metamer(ml.graphs.with_features(ml.load_graph("decalin"), torch.full((10, 1), NAN))),
        ValueError,
        "10 NaN",
    ),
    "switch: degrees text": (
        lambda: ml.switch_metamer(ml.load_graph("decalin"), degrees="yes"),
        TypeError,
        "degrees must be True or False",
    ),
    "switch: forward alone": (
        lambda: ml.switch_metamer(ml.load_graph("decalin"), forward=lambda m, g: g.x),
        ValueError,
        "there is no model",
    ),
    "switch: model class": (
        lambda: ml.switch_metamer(ml.load_graph("decalin"), model=ml.GNN),
        TypeError,
        "the class GNN",
    ),
    "switchable: None": (lambda: switchable(None), TypeError, "graph must be"),
    "switchable: rounds NaN": (lambda: switchable(ml.load_graph("decalin"), NAN), TypeError, "rounds must be"),
    "lift: None": (lambda: double(None), TypeError, "graph must be"),
    "lift: signs list": (lambda: two_lift(graph(), signs=[True] * 8), TypeError, "signs must be a torch.Tensor"),
    "lift: seed text": (lambda: two_lift(graph(), seed="0"), TypeError, "seed must be"),
    "lift: no edge_index": (lambda: two_lift(Data(num_nodes=3)), ValueError, "needs edge_index"),
    "lift: share text": (lambda: two_lift(graph(), "half"), TypeError, "share must be a share"),
    "lift: share NaN": (lambda: two_lift(graph(), NAN), ValueError, "share must lie in"),
}


MANIFOLD = {
    "dimension: model name": (lambda: ml.metamer_dimension("gcn", graph()), TypeError, "model must be"),
    "dimension: forward 3": (lambda: ml.metamer_dimension(gcn(), graph(), forward=3), TypeError, "forward must be"),
    "dimension: tolerance 2": (lambda: ml.metamer_dimension(gcn(), graph(), tolerance=2), ValueError, "below 1"),
    "dimension: memory text": (lambda: ml.metamer_dimension(gcn(), graph(), memory="9"), TypeError, "memory must be"),
    "dimension: model raises": (
        lambda: ml.metamer_dimension(raising(KeyError("a")), graph(), "lin"),
        ValueError,
        "Foreign fails on",
    ),
    "volume: tolerance 5": (lambda: ml.log_volume_change(gcn(), graph(), tolerance=5), ValueError, "below 1"),
    "whole: tolerance NaN": (
        lambda: whole_graph_dimension(gcn(), graph(), tolerance=NAN),
        ValueError,
        "tolerance must",
    ),
    "samples: seed": (lambda: sample_log_volume(gcn(), graph(), 0, seed="0"), TypeError, "seed must be"),
    "samples: node": (lambda: sample_log_volume(gcn(), graph(), [0, 1]), TypeError, "node must be an integer"),
    "tangent: model name": (lambda: ml.tangent_basis("gcn", graph(), layer=1), TypeError, "model must be"),
    "tangent: features text": (
        lambda: ml.tangent_basis(gcn(), graph(), layer=1).features("a"),
        TypeError,
        "indices must be indices",
    ),
    "tangent: features out of range": (
        lambda: ml.tangent_basis(gcn(), graph(), layer=1).features([999]),
        ValueError,
        "indices must lie in",
    ),
    "project: model name": (
        lambda: ml.project_to_tangent("gcn", graph(), torch.ones(6, 5), layer=1),
        TypeError,
        "model must be",
    ),
    "project: direction integers": (
        lambda: ml.project_to_tangent(gcn(), graph(), torch.ones(6, 5).long(), layer=1),
        TypeError,
        "floating point",
    ),
    "walk: step_length 1e9": (
        lambda: ml.walk(gcn(), graph(), layer=1, step_length=1e9),
        ValueError,
        "step_length is a",
    ),
    "walk: direction None": (lambda: ml.walk(gcn(), graph(), layer=1, direction=None), ValueError, "unknown direction"),
    "walk: direction list": (
        lambda: ml.walk(gcn(), graph(), layer=1, direction=[1.0]),
        ValueError,
        "unknown direction",
    ),
    "walk: seed None": (lambda: ml.walk(gcn(), graph(), layer=1, seed=None), TypeError, "seed must be"),
    "walk: invisible text": (lambda: ml.walk(gcn(), graph(), layer=1, invisible="no"), TypeError, "True or False"),
    "walk: metamer, other model": (lambda: ml.walk(gcn(seed=1), found(), steps=1), ValueError, "not the metamer's"),
    "walk: metamer of edges": (lambda: ml.walk(gcn(), moved(), steps=1), ValueError, "other edges than its reference"),
    "walk: start None": (lambda: ml.walk(gcn(), None, layer=1), TypeError, "graph must be"),
    "walk: tolerance 1": (lambda: ml.walk(gcn(), graph(), layer=1, tolerance=1.0), ValueError, "below 1"),
    "join: model name": (lambda: ml.join("gcn", found(), found()), TypeError, "model must be"),
    "join: other model": (lambda: ml.join(gcn(seed=1), found(), found()), ValueError, "not the metamer's"),
    "join: graphs": (lambda: ml.join(gcn(), graph(), graph()), TypeError, "join takes two metamers"),
    "far: edges": (lambda: ml.farthest_metamer(gcn(), moved()), ValueError, "other edges than its reference"),
    "far: steps text": (
        lambda: ml.farthest_metamer(gcn(), graph(), layer=1, max_steps="9"),
        TypeError,
        "max_steps must",
    ),
    "several: seed text": (lambda: ml.several_metamers(gcn(), graph(), layer=1, seed="0"), TypeError, "seed must be"),
    "several: metamer as graph": (lambda: ml.several_metamers(gcn(), found(), layer=1), TypeError, "metamer.graph"),
    "several: count 0": (lambda: ml.several_metamers(gcn(), graph(), layer=1, count=0), ValueError, "count must be"),
    "plane: extent three": (lambda: ml.plane_slice(gcn(), graph(), layer=1, extent=(1, 1, 1)), ValueError, "got 3"),
    "plane: extent text": (lambda: ml.plane_slice(gcn(), graph(), layer=1, extent="1"), TypeError, "extent must be"),
    "plane: seed": (lambda: ml.plane_slice(gcn(), graph(), layer=1, seed=1.0), TypeError, "seed must be"),
    "plane: tangent text": (lambda: ml.plane_slice(gcn(), graph(), layer=1, tangent="x"), ValueError, "direction must"),
}


def store(function=None, points=None, **options):
    def run(path):
        plain = {"name": "t", "recipe": 1, "store": path, "progress": False}
        call = (lambda **point: {"v": 0}) if function is None else function
        return records.compute(call, [{"seed": 0}] if points is None else points, **{**plain, **options})

    return run


def foreign_table(path):
    pd.DataFrame({"a": [1]}).to_parquet(path / "t.parquet")
    store()(path)


def folder_in_place(path):
    (path / "t.parquet").mkdir()
    records.read("t", path)


def described(columns, path):
    store()(path)
    return records.describe("t", path, columns)


RECORDS = {
    "compute: function None": (lambda p: records.compute(None, [], name="t", recipe=1, store=p), TypeError, "function"),
    "compute: partial": (store(functools.partial(dict)), TypeError, "function must be a plain one"),
    "compute: points a dict": (store(points={"seed": [0]}), TypeError, "points must be a list"),
    "compute: points None": (lambda p: records.compute(dict, None, name="t", recipe=1, store=p), TypeError, "points"),
    "compute: points ints": (store(points=[1, 2]), TypeError, "a point must be a dict"),
    "compute: points text": (store(points="ab"), TypeError, "points must be a list"),
    "compute: recipe 1.5": (store(recipe=1.5), TypeError, "recipe must be an integer"),
    "compute: recipe -1": (store(recipe=-1), ValueError, "recipe must be 0 or more"),
    "compute: recipe True": (store(recipe=True), TypeError, "recipe must be an integer"),
    "compute: name ../x": (store(name="../x"), ValueError, "name is '../x'"),
    "compute: name empty": (store(name=" "), ValueError, "name is empty"),
    "compute: name None": (store(name=None), TypeError, "name must be text"),
    "compute: store None": (store(store=None), TypeError, "store must be a path"),
    "compute: store a file": (lambda p: store(store=__file__)(p), ValueError, "a file; give a folder"),
    "compute: shard '0/2'": (store(shard="0/2"), TypeError, "shard must be a pair"),
    "compute: shard (0.5,2)": (store(shard=(0.5, 2)), TypeError, "shard must be an integer"),
    "compute: shard three": (store(shard=(0, 1, 2)), TypeError, "shard must be a pair"),
    "compute: other keys": (store(points=[{"a": 1}, {"b": 2}]), ValueError, "do not both have a, b"),
    "compute: foreign parquet": (foreign_table, ValueError, "no table of ours"),
    "grid: text axis": (lambda: records.grid(graph="karate"), TypeError, "axis 'graph' must be a list"),
    "grid: number": (lambda: records.grid(seed=3), TypeError, "axis 'seed' must be a list"),
    "grid: None": (lambda: records.grid(seed=None), TypeError, "axis 'seed' must be a list"),
    "point_key: list": (lambda: records.point_key([1], experiment="t", recipe=1), TypeError, "point must be a dict"),
    "point_key: int keys": (
        lambda: records.point_key({1: 2}, experiment="t", recipe=1),
        TypeError,
        "names that are text",
    ),
    "point_key: inner int keys": (
        lambda: records.point_key({"a": {1: 2}}, experiment="t", recipe=1),
        TypeError,
        "names that are text",
    ),
    "point_key: tuple": (lambda: records.point_key({"a": (1,)}, experiment="t", recipe=1), TypeError, "a list"),
    "point_key: recipe": (lambda: records.point_key({}, experiment="t", recipe="1"), TypeError, "recipe must be"),
    "read: folder in place": (folder_in_place, ValueError, "is a folder; a table is a file"),
    "read: missing": (lambda p: records.read("t", p), FileNotFoundError, "make it with"),
    "read: name None": (lambda p: records.read(None, p), TypeError, "name must be text"),
    "read: store None": (lambda: records.read("t", None), TypeError, "store must be a path"),
    "describe: text None": (lambda p: described({"v": None}, p), TypeError, "the text of column 'v' must be text"),
    "describe: columns list": (lambda p: described(["v"], p), TypeError, "columns must be a dict"),
    "describe: no table": (lambda p: records.describe("t", p), FileNotFoundError, "no table"),
    "mean_interval: level 2": (lambda: records.mean_interval([1.0, 2.0], 2), ValueError, "level must lie between"),
    "mean_interval: level NaN": (lambda: records.mean_interval([1.0, 2.0], NAN), ValueError, "level must be finite"),
    "mean_interval: inf": (lambda: records.mean_interval([1.0, INF]), ValueError, "1 of 2 values are infinite"),
    "mean_interval: number": (lambda: records.mean_interval(3), TypeError, "values must be a list of numbers"),
    "mean_interval: text": (lambda: records.mean_interval(["a"]), TypeError, "values must be a list of numbers"),
    "check: NaN": (lambda: records.check("t", NAN), TypeError, "expected True or False, got nan"),
    "check: None": (lambda: records.check("t", None), TypeError, "expected True or False, got None"),
    "check: array": (lambda: records.check("t", np.ones(2) > 0), TypeError, "expected True or False"),
    "check: text": (lambda: records.check("t", "yes"), TypeError, "expected True or False"),
    "graph_hash: name": (lambda: records.graph_hash("karate"), TypeError, "graph must be"),
    "graph_hash: empty": (lambda: records.graph_hash([]), TypeError, "graph must be"),
    "store_folder: store None": (lambda: records.store_folder("full", None), TypeError, "store must be a path"),
    "store_folder: profile": (lambda: records.store_folder(None, "results"), ValueError, "expected one of published"),
    "cached_state: not callable": (lambda p: records.cached_state(1, "a", {}, None, p), TypeError, "build must be"),
    "cached_state: settings": (lambda p: records.cached_state(1, "a", 3, dict, p), TypeError, "must be"),
    "cached_state: builds None": (
        lambda p: records.cached_state(1, "a", {}, lambda: None, p),
        TypeError,
        "what build returns must be a dict",
    ),
    "trained_model: graph name": (lambda: records.trained_model("gcn", "karate", seed=0), TypeError, "graph must be"),
    "trained_model: seed None": (lambda: records.trained_model("gcn", lesson(), seed=None), TypeError, "seed must be"),
    "trained_model: empty list": (lambda: records.trained_model("gcn", [], seed=0), ValueError, "graphs is empty"),
    "trained_model: epochs -1": (
        lambda: records.trained_model("gcn", lesson(), seed=0, epochs=-1),
        ValueError,
        "epochs must be 0 or more",
    ),
    "trained_model: architecture": (lambda: records.trained_model(3, lesson(), seed=0), TypeError, "architecture must"),
}


def publish(**changes):
    def run(path):
        plain = {"fig": plt.figure(), "id": "fig-a", "data": pd.DataFrame({"a": [1]}), "store": path}
        plain |= {"caption": "c", "alt": "a", "columns": {"a": "a number"}}
        try:
            return figures.publish_figure(**{**plain, **changes})
        finally:
            plt.close("all")

    return run


def publish_axes(path):
    publish(fig=plt.figure().add_subplot())(path)


def notebook_without_cells(path):
    (path / "n.ipynb").write_text("{}")
    publish(notebook=path / "n.ipynb")(path)


EDGES = np.array([[0, 1, 2], [1, 2, 0]])
FIGURES = {
    "fig axes": (publish_axes, TypeError, "pass ax.figure"),
    "fig None": (publish(fig=None), TypeError, "fig must be"),
    "data list": (publish(data=[1]), TypeError, "data must be a pandas.DataFrame"),
    "caption None": (publish(caption=None), TypeError, "caption must be text"),
    "alt number": (publish(alt=3), TypeError, "alt must be text"),
    "id None": (publish(id=None), TypeError, "id must be text"),
    "columns list": (publish(columns=["a"]), TypeError, "columns must be a dict"),
    "store None": (publish(store=None), TypeError, "store must be a path"),
    "notebook without cells": (notebook_without_cells, ValueError, "has no cells"),
    "notebook missing": (publish(notebook="nowhere.ipynb"), FileNotFoundError, "no notebook at"),
    "table missing": (publish(table="nowhere.parquet"), FileNotFoundError, "no table at"),
    "table number": (publish(table=3), TypeError, "table must be a list of paths"),
    "pair: reference None": (lambda: figures.draw_graph_pair(None, EDGES), TypeError, "reference must be an array"),
    "pair: float edges": (lambda: figures.draw_graph_pair(EDGES, EDGES / 2), TypeError, "array \\[2, E\\] of integers"),
    "pair: positions": (
        lambda: figures.draw_graph_pair(EDGES, EDGES, positions=[0.0]),
        ValueError,
        "positions must be",
    ),
    "pair: labels number": (
        lambda: figures.draw_graph_pair(EDGES, EDGES, labels=3),
        TypeError,
        "labels must be a list",
    ),
    "pair: colours short": (
        lambda: figures.draw_graph_pair(EDGES, EDGES, positions=np.ones((6, 2)), colours=np.ones(3)),
        ValueError,
        "3 colours",
    ),
    "matrices: None": (lambda: figures.draw_matrix_pair(None, np.eye(2)), TypeError, "reference must be an array"),
    "matrices: limit": (lambda: figures.draw_matrix_pair(np.eye(2), np.eye(2), limit=-1), ValueError, "limit must be"),
    "scatter: NaN": (
        lambda: figures.draw_activation_scatter(np.full(3, NAN), np.ones(3)),
        ValueError,
        "3 entries that are not finite",
    ),
    "scatter: ax": (lambda: figures.draw_activation_scatter(np.ones(3), np.ones(3), ax=3), TypeError, "ax must be"),
    "cosines: text": (lambda: figures.draw_cosine_histogram("a", np.ones(3)), TypeError, "features must be an array"),
    "convergence: list": (lambda: figures.draw_convergence([1]), TypeError, "histories must be a dict"),
    "convergence: no loss": (
        lambda: figures.draw_convergence({"a": pd.DataFrame({"step": [1]})}),
        TypeError,
        "history 'a' must be",
    ),
    "colours: widths": (lambda: figures.feature_colours(np.eye(2), np.eye(3)), ValueError, "2 and 3 columns"),
    "style: number": (lambda: figures.architecture_style(3), TypeError, "name must be text"),
    "style: None": (lambda: figures.architecture_style(None), TypeError, "name must be text"),
}


def saved(path, **changes):
    """Save a metamer whose file holds something else in places."""
    file = path / "metamer.pt"
    found().save(file)
    content = torch.load(file, weights_only=True)
    for name, value in changes.items():
        if callable(value):
            value(content)
        else:
            content[name] = value
    torch.save(content, file)
    return ml.Metamer.load(file)


def plain(**changes):
    import json

    def change(content):
        fields = json.loads(content["plain"])
        for name, value in changes.items():
            fields.pop(name) if value is ... else fields.update({name: value})
        content["plain"] = json.dumps(fields)

    return change


METAMER = {
    "load: None": (lambda: ml.Metamer.load(None), TypeError, "path must be a path"),
    "load: number": (lambda: ml.Metamer.load(3), TypeError, "path must be a path"),
    "load: folder": (lambda p: ml.Metamer.load(p), FileNotFoundError, "no metamer at"),
    "load: missing field": (lambda p: saved(p, plain="{}"), ValueError, "missing.*required"),
    "load: no loss": (lambda p: saved(p, change=plain(loss=...)), ValueError, "missing.*'loss'"),
    "load: another field": (lambda p: saved(p, change=plain(colour="red")), ValueError, "unexpected"),
    "load: status unknown": (lambda p: saved(p, change=plain(status="done")), ValueError, "unknown status 'done'"),
    "load: edges out of range": (
        lambda p: saved(p, graph={"edge_index": torch.tensor([[0], [99]])}),
        ValueError,
        "graph: edge_index must lie",
    ),
    "load: x is NaN": (lambda p: saved(p, graph={"x": torch.full((6, 5), NAN)}), ValueError, "graph: features hold 30"),
    "load: x of another shape": (
        lambda p: saved(p, graph={"x": torch.ones(6, 4)}),
        ValueError,
        r"graph has x \[6, 4\]",
    ),
    "load: target NaN": (lambda p: saved(p, target=torch.full((6, 8), NAN)), ValueError, "target holds 48 NaN"),
    "load: activation narrow": (
        lambda p: saved(p, activation=torch.ones(6, 7)),
        ValueError,
        "activation must have shape",
    ),
    "load: nodes": (lambda p: saved(p, nodes=torch.tensor([77])), ValueError, "nodes must lie in"),
    "load: loss negative": (
        lambda p: saved(p, change=plain(loss=-1.0)),
        ValueError,
        "loss must be a number of at least 0",
    ),
    "load: loss text": (lambda p: saved(p, change=plain(loss="small")), ValueError, "loss must be a number"),
    "load: error and loss differ": (lambda p: saved(p, change=plain(relative_error=0.5)), ValueError, "not the square"),
    "load: steps 1.5": (lambda p: saved(p, change=plain(steps=1.5)), ValueError, "steps must be an integer"),
    "load: history": (lambda p: saved(p, history={}), ValueError, "history lacks"),
    "save: None": (lambda: found().save(None), TypeError, "path must be a path"),
    "save: folder": (lambda p: found().save(p), ValueError, "is a folder"),
    "save: folder missing": (lambda p: found().save(p / "a" / "b"), FileNotFoundError, "create it first"),
}


X, BAD = torch.ones(3, 2), torch.full((3, 2), NAN)
PATH = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
OUTSIDE = Data(edge_index=torch.tensor([[0], [9]]), num_nodes=3)
CLASSES = torch.tensor([0, 1, 1])
GOOD = dict(prediction_match=1.0, pearson=0.9, spearman=0.9, snr_db=40.0, relative_error=0.01)
NULL = pd.DataFrame({"pearson": [0.3], "spearman": [0.2], "snr_db": [0.5]})


METRICS = {
    "cosine list": (lambda: features.feature_cosine([[1.0]], X), TypeError, "x must be a torch.Tensor"),
    "cosine meta": (lambda: features.feature_cosine(X.to("meta"), X), ValueError, "meta device"),
    "cosine sparse": (lambda: features.feature_cosine(X.to_sparse(), X), TypeError, "must be dense"),
    "jaccard NaN": (lambda: features.feature_jaccard(BAD, X), ValueError, "x holds 6 NaN"),
    "tfidf corpus width": (
        lambda: features.tfidf_cosine(X, X, corpus=torch.ones(4, 3)),
        ValueError,
        "corpus must have",
    ),
    "tfidf rows": (lambda: features.tfidf_cosine(X, X, rows=torch.tensor([5])), ValueError, "rows must lie in"),
    "frobenius NaN": (lambda: features.relative_frobenius(X, BAD), ValueError, "reference holds 6 NaN"),
    "frobenius inf": (lambda: features.relative_frobenius(X * INF, X), ValueError, "x holds 6 NaN or infinite"),
    "classifier NaN": (lambda: features.feature_classifier_match(BAD, X, CLASSES), ValueError, "x holds 6 NaN"),
    "classifier float labels": (
        lambda: features.feature_classifier_match(X, X, torch.rand(3)),
        TypeError,
        "labels must be integers",
    ),
    "classifier mask": (
        lambda: features.feature_classifier_match(X, X, CLASSES, train_mask=CLASSES),
        TypeError,
        "train_mask must be",
    ),
    "retrieval NaN": (lambda: features.retrieval_rank(BAD, X), ValueError, "x holds 6 NaN"),
    "retrieval chunk": (lambda: features.retrieval_rank(X, X, chunk_size=0), ValueError, "chunk_size must be"),
    "retrieval None": (lambda: features.retrieval_rank(None, X), TypeError, "x must be a torch.Tensor"),
    "wl None": (lambda: structure.wl_kernel(None, PATH), TypeError, "graph must be"),
    "wl labels one": (lambda: structure.wl_kernel(PATH, PATH, labels=CLASSES[0]), TypeError, "labels must be a pair"),
    "wl labels float": (
        lambda: structure.wl_kernel(PATH, PATH, labels=(torch.rand(3), torch.rand(3))),
        TypeError,
        "must be integers",
    ),
    "wl out of range": (lambda: structure.wl_kernel(OUTSIDE, PATH), ValueError, "edge_index must lie in"),
    "wl h text": (lambda: structure.wl_kernel(PATH, PATH, h="3"), TypeError, "h must be an integer"),
    "homophily labels short": (
        lambda: structure.edge_homophily(PATH, CLASSES[:2]),
        ValueError,
        "labels must have shape",
    ),
    "homophily labels float": (lambda: structure.edge_homophily(PATH, torch.rand(3)), TypeError, "labels must be"),
    "components None": (lambda: structure.num_components(None), TypeError, "graph must be"),
    "jaccard of edges None": (lambda: structure.edge_jaccard(PATH, None), TypeError, "graph must be"),
    "flips text": (lambda: structure.edge_flips("a", PATH), TypeError, "graph must be"),
    "degree None": (lambda: ml.metrics.degree_distance(None, PATH), TypeError, "graph must be"),
    "clustering None": (lambda: ml.metrics.clustering_distance(PATH, None), TypeError, "graph must be"),
    "spectrum None": (lambda: ml.metrics.spectrum_distance(None, PATH), TypeError, "graph must be"),
    "spectrum exact": (lambda: ml.metrics.spectrum_distance(PATH, PATH, exact="yes"), TypeError, "True or False"),
    "cycles None": (lambda: ml.metrics.cycle_counts(None), TypeError, "graph must be"),
    "ratio text": (lambda: ml.metrics.count_ratio("1", 2), TypeError, "count must be an integer"),
    "isomorphic None": (lambda: ml.metrics.are_isomorphic(None, PATH), TypeError, "graph must be"),
    "isomorphic labels": (lambda: ml.metrics.are_isomorphic(PATH, PATH, labels=3), TypeError, "labels must be a pair"),
    "loss lists": (lambda: matching.activation_loss([[1.0]], [[1.0]]), TypeError, "must be a torch.Tensor"),
    "loss NaN": (lambda: matching.activation_loss(BAD, X), ValueError, "holds 6 NaN"),
    "loss shapes": (lambda: matching.activation_loss(X, X[:2]), ValueError, "one shape"),
    "snr inf": (lambda: matching.snr_db(X, X / 0), ValueError, "holds 6 NaN or infinite"),
    "pearson NaN": (lambda: matching.pearson(BAD, X), ValueError, "holds 6 NaN"),
    "spearman NaN": (lambda: matching.spearman(BAD, X), ValueError, "holds 6 NaN"),
    "match NaN": (lambda: matching.prediction_match(BAD, X), ValueError, "holds 6 NaN"),
    "match text": (lambda: matching.prediction_match("a", X), TypeError, "must be a torch.Tensor"),
    "match nodes": (lambda: matching.prediction_match(X, X, [9]), ValueError, "nodes must lie in"),
    "auc NaN": (lambda: matching.prediction_auc(BAD, X), ValueError, "holds 6 NaN"),
    "chance NaN": (lambda: matching.chance_agreement(BAD), ValueError, "output holds 6 NaN"),
    "dead units list": (lambda: matching.dead_units([1.0], X), TypeError, "must be a torch.Tensor"),
    "regression NaN": (lambda: matching.output_agreement(BAD, X), ValueError, "holds 6 NaN"),
    "consistency text": (lambda: ml.metrics.consistency("1", 0.5), TypeError, "s_match must be a number"),
    "consistency 5": (lambda: ml.metrics.consistency(5, 0.5), ValueError, "s_match must lie in"),
    "excess None": (lambda: ml.metrics.excess_invariance(None, 0.5), TypeError, "s_match must be a number"),
    "excess inf": (lambda: ml.metrics.excess_invariance(0.5, INF), ValueError, "s_feat must lie in"),
    "verdict text": (
        lambda: ml.metrics.is_metamer({**GOOD, "relative_error": "a"}),
        TypeError,
        "relative_error must be",
    ),
    "verdict scores list": (lambda: ml.metrics.is_metamer([1.0]), TypeError, "scores must be a dict"),
    "null: reference": (lambda: ml.metrics.null_distribution({}, X), TypeError, "reference must be a Recording"),
    "bits: degrees": (lambda: edge_bits(graph(), degrees=1), TypeError, "degrees must be True or False"),
    "bits: graph": (lambda: edge_bits("karate"), TypeError, "graph must be"),
    "features: bits": (lambda: feature_bits(None), TypeError, "graph must be"),
    "spectrum: draws": (lambda: edge_spectrum(gcn(), graph(), layer=1, draws="8"), TypeError, "draws must be"),
    "spectrum: model": (lambda: edge_spectrum("gcn", graph(), layer=1), TypeError, "model must be"),
    "loss: bits text": (lambda: expected_loss("1", None), TypeError, "spectrum must be a Spectrum"),
    "binomial: k > n": (lambda: log2_binomial(2, 5), ValueError, "expected 0 <= k <= n"),
}


CSV_EDGES, CSV_NODES = "from,to\na,b\n", "node,size,label\na,1,x\nb,2,y\n"


def tables(edges=CSV_EDGES, nodes=CSV_NODES, **options):
    def call(folder):
        for name, text in (("edges.csv", edges), ("nodes.csv", nodes)):
            if text is not None:
                (folder / name).write_text(text, "utf8")
        return ml.graph_from_csv(folder / "edges.csv", folder / "nodes.csv", **options)

    return call


OTHERS = {
    "csv: no file": (tables(edges=None), FileNotFoundError, "edges: there is no file"),
    "csv: empty": (tables(nodes=""), ValueError, "is no CSV with a header"),
    "csv: no header": (tables(edges="1,2\n3,4\n"), ValueError, "expected names of the columns"),
    "csv: one column": (tables(edges="from\na\n"), ValueError, "expected two, the ends of each edge"),
    "csv: unknown node": (tables(edges="from,to\na,z\n"), ValueError, "'z' in row 0"),
    "csv: no rows": (tables(nodes="node,size,label\n"), ValueError, "features has no rows"),
    "csv: text": (tables(nodes="node,size,label\na,big,x\nb,2,y\n"), ValueError, "'size' holds 'big' in row 0"),
    "csv: twice": (tables(nodes="node,size,label\na,1,x\na,2,y\n"), ValueError, "names 'a' twice"),
    "csv: one label": (tables(nodes="node,size,label\na,1,x\nb,2,x\n"), ValueError, "two classes at least"),
    "csv: no text": (tables(nodes="node,size\na,\nb,2\n"), ValueError, "expected finite numbers"),
    "csv: seed": (tables(seed=0.5), TypeError, "seed must be an integer"),
    "csv: a number": (lambda: ml.graph_from_csv(3, 4), TypeError, "edges"),
    "evaluate: text": (lambda: ml.evaluate("no such model", lesson()), ValueError, "unknown convolution"),
    "evaluate: no classes": (lambda: ml.evaluate("gcn", graph()), ValueError, "set graph.num_classes"),
    "evaluate: number": (lambda: ml.evaluate(3, lesson()), TypeError, "model_or_factory must be a model"),
    "evaluate: graph a name": (lambda: ml.evaluate("gcn", "karate"), TypeError, "graph must be"),
    "evaluate: swapped": (lambda: ml.evaluate(graph(), gcn()), TypeError, "graph must be"),
    "transfer: no metamer": (lambda: ml.transfer(graph(), gcn()), TypeError, "metamer must be a metamerlib.Metamer"),
    "transfer: None": (lambda: ml.transfer(None, gcn()), TypeError, "metamer must be a metamerlib.Metamer"),
    "transfer: no judge": (lambda: ml.transfer(found(), []), ValueError, "judges is empty"),
    "transfer: judge a name": (lambda: ml.transfer(found(), "gcn"), TypeError, "judges must be a model"),
    "transfer: judges numbers": (lambda: ml.transfer(found(), [1]), TypeError, "judge 'judge 0' must be"),
    "transfer: graph a name": (lambda: ml.transfer(found(), gcn(), "karate"), TypeError, "graph must be"),
    "transfer: other graph": (lambda: ml.transfer(found(), gcn(), ml.load_graph("karate")), ValueError, "has 34 nodes"),
    "transfer: nullspace": (lambda: ml.transfer(found(), gcn(), nullspace=graph()), TypeError, "nullspace must be"),
    "transfer: seed": (lambda: ml.transfer(found(), gcn(), seed=0.5), TypeError, "seed must be an integer"),
    "transfer: forward": (lambda: ml.transfer(found(), gcn(), forward=3), TypeError, "forward must be"),
    "view: graph": (lambda: ml.hetero.view(gcn(), graph(), "film"), TypeError, "expected HeteroData"),
    "view: model": (lambda: ml.hetero.view("han", HeteroData(), "film"), TypeError, "expected a torch.nn.Module"),
    "view: no type": (lambda: ml.hetero.view(gcn(), HeteroData(), "film"), ValueError, "node type"),
    "gradient: no cSBM": (lambda: ml.csbm.bayes_gradient(graph()), ValueError, "mu"),
    "gradient: a name": (lambda: ml.csbm.bayes_gradient("csbm"), TypeError, "graph must be"),
    "merge: name": (lambda p: records.merge("../x", p, recipe=1), ValueError, "name is '../x'"),
    "merge: recipe": (lambda p: records.merge("t", p, recipe=None), TypeError, "recipe must be an integer"),
    "merge: store": (lambda: records.merge("t", None, recipe=1), TypeError, "store"),
    "read_runs: none": (lambda p: records.read_runs("t", p), FileNotFoundError, "make full NOTEBOOK=t"),
    "read_runs: name": (lambda p: records.read_runs("", p), ValueError, "name is empty"),
}


TABLES = {
    "edges": pd.DataFrame({"from": ["a", "b"], "to": ["b", "c"]}),
    "features": pd.DataFrame({"node": ["a", "b", "c"], "size": [1, 2, 3], "label": ["x", "y", "x"]}),
}
COLLECTION = [graph(y=torch.tensor([place % 2])) for place in range(6)]


def from_csv(**changes):
    return ml.graph_from_csv(**{**TABLES, **changes})


def claimed(**changes):
    plain = {"id": "c", "statement": "It holds.", "effect": 0.5, "low": 0.4, "high": 0.6, "verdict": "holds"}
    return records.claim(**{**plain, "effect_means": "a share", **changes})


def robust(**changes):
    return robust_accuracy(gcn(), lesson(), **{"restarts": 1, **changes})


def rungs(**changes):
    return replaceable_share(gcn(), graph(), **{"layer": 1, "max_steps": 2, **changes})


def evaluated(**changes):
    return ml.evaluate(gcn(), lesson(), **{"measures": ["dimension"], "nodes": 1, **changes})


def decalin(**changes):
    return ml.switch_metamer(ml.load_graph("decalin"), **changes)


MORE = {
    "switch: num_switches 10**30": (lambda: decalin(num_switches=10**30), ValueError, "num_switches must be"),
    "switch: more than mix": (lambda: decalin(num_switches=1_101), ValueError, "1100, already forget"),
    "switch: num_switches 0": (lambda: decalin(num_switches=0), ValueError, "num_switches must be 1 or more"),
    "switch: num_switches True": (lambda: decalin(num_switches=True), TypeError, "num_switches must be"),
    "switch: num_switches NaN": (lambda: decalin(num_switches=NAN), TypeError, "num_switches must be"),
    "accuracy: NaN": (lambda: accuracy(torch.full((6, 3), NAN), lesson(), "test_mask"), ValueError, "logits holds 18"),
    "accuracy: infinite": (lambda: accuracy(torch.ones(6, 3) / 0, lesson(), "val_mask"), ValueError, "logits holds"),
    "accuracy: integers": (lambda: accuracy(torch.ones(6, 3).long(), lesson(), "val_mask"), TypeError, "floating"),
    "accuracy: numpy": (lambda: accuracy(np.ones((6, 3)), lesson(), "val_mask"), TypeError, "torch.as_tensor"),
    "transfer: metamer None": (lambda: ml.transfer(None, gcn()), TypeError, "metamer must be a metamerlib.Metamer"),
    "transfer: a graph": (lambda: ml.transfer(graph(), gcn()), TypeError, "metamer must be"),
    "transfer: swapped": (lambda: ml.transfer(gcn(), found()), TypeError, "judges must be"),
    "transfer: seed text": (lambda: ml.transfer(found(), gcn(), seed="0"), TypeError, "seed must be"),
    "transfer: seed list": (lambda: ml.transfer(found(), gcn(), seed=[0, 0]), TypeError, "seed must be"),
    "transfer: nullspace": (lambda: ml.transfer(found(), gcn(), nullspace=graph()), TypeError, "nullspace must be"),
    "transfer: forward": (lambda: ml.transfer(found(), gcn(), forward=0), TypeError, "forward must be"),
    "transfer: judge None": (lambda: ml.transfer(found(), [None]), TypeError, "judge 'judge 0' must be"),
    "agreement: text": (lambda: ml.metrics.normalised_agreement("1", 0.5), TypeError, "agreement must be a number"),
    "agreement: tensor": (lambda: ml.metrics.normalised_agreement(X, 0.5), TypeError, "agreement must be a number"),
    "agreement: baseline": (lambda: ml.metrics.normalised_agreement(0.5, INF), ValueError, "baseline must lie in"),
    "kept: array": (lambda: ml.metrics.kept(np.ones(3), 0.1, 0.9), TypeError, "found must be a number"),
    "kept: bool": (lambda: ml.metrics.kept(0.2, True, 0.9), TypeError, "start must be a number"),
    "kept: 3": (lambda: ml.metrics.kept(0.2, 0.1, 3), ValueError, "nullspace must lie in"),
    "pooled: list": (lambda: ml.metrics.pooled_match([1.0], X[:1], X), TypeError, "found must be a torch.Tensor"),
    "pooled: NaN": (lambda: ml.metrics.pooled_match(BAD[:1], X[:1], X), ValueError, "found holds 2 NaN"),
    "pooled: flat": (lambda: ml.metrics.pooled_match(X[0], X[:1], X), ValueError, "found must have shape"),
    "visible: None": (lambda: ml.metrics.visible_cosine(None, X), TypeError, "x must be a torch.Tensor"),
    "visible: NaN": (lambda: ml.metrics.visible_cosine(X, BAD), ValueError, "reference holds 6 NaN"),
    "visible: basis": (lambda: ml.metrics.visible_cosine(X, X, "a"), TypeError, "basis must be a torch.Tensor"),
    "visible: basis NaN": (lambda: ml.metrics.visible_cosine(X, X, torch.full((2, 1), NAN)), ValueError, "basis holds"),
    "visible: rows": (lambda: ml.metrics.visible_cosine(X, X, rows=torch.tensor([-1])), ValueError, "rows must lie in"),
    "visible: mask": (lambda: ml.metrics.visible_cosine(X, X, rows=X[:, 0] > 0), TypeError, "rows must be integers"),
    "visible: model": (lambda: ml.metrics.visible_likeness("gcn", found()), TypeError, "model must be"),
    "visible: metamer": (lambda: ml.metrics.visible_likeness(gcn(), graph()), TypeError, "metamer must be"),
    "neighbours: None": (lambda: ml.metrics.neighbour_cosine(None), TypeError, "x must be a torch.Tensor"),
    "neighbours: rows list": (lambda: ml.metrics.neighbour_cosine(X, rows=[0]), TypeError, "rows must be a torch"),
    "neighbours: rows": (lambda: ml.metrics.neighbour_cosine(X, rows=torch.tensor([7])), ValueError, "rows must lie"),
    "neighbours: chunk": (lambda: ml.metrics.neighbour_cosine(X, chunk_size=0), ValueError, "chunk_size must be"),
    "renamed: None": (lambda: ml.metrics.only_renamed(None, PATH), TypeError, "graph must be"),
    "renamed: out of range": (lambda: ml.metrics.only_renamed(OUTSIDE, OUTSIDE), ValueError, "edge_index must lie in"),
    "renamed: text": (lambda: ml.metrics.only_renamed(PATH, PATH, max_refinements="9"), TypeError, "max_refinements"),
    "classes: text": (lambda: matching.has_classes("a"), TypeError, "output must be a torch.Tensor"),
    "labels: None": (lambda: structure.node_labels(None), TypeError, "graph must be"),
    "ensemble: empty": (lambda: ml.models.Ensemble([], graph()), ValueError, "models holds 0 models"),
    "ensemble: one model": (lambda: ml.models.Ensemble(gcn(), graph()), TypeError, "alone; write"),
    "ensemble: a name": (lambda: ml.models.Ensemble(["gcn"], graph()), TypeError, "model must be"),
    "ensemble: graph": (lambda: ml.models.Ensemble([gcn()], None), TypeError, "graph must be"),
    "attack: steps array": (lambda: FeatureAttack(steps=np.ones(2)), TypeError, "steps must be an integer"),
    "attack: ramp text": (lambda: FeatureAttack(ramp="50"), TypeError, "ramp must be an integer"),
    "attack: ramp -1": (lambda: EdgeAttack(ramp=-1), ValueError, "ramp must be 0 or more"),
    "attack: learning rate": (lambda: EdgeAttack(learning_rate=NAN), ValueError, "learning_rate must be positive"),
    "robust: model": (lambda: robust_accuracy("gcn", lesson()), TypeError, "model must be"),
    "robust: mask": (lambda: robust(mask="tset_mask"), ValueError, "the graph has no tset_mask"),
    "robust: mask list": (lambda: robust(mask=[0]), TypeError, "mask must be text"),
    "robust: seed": (lambda: robust(seed=1.5), TypeError, "seed must be"),
    "robust: attack None": (lambda: robust(attack=None), TypeError, "attack must be one of"),
    "ladder: None": (lambda: rungs(ladder=None), TypeError, "ladder must be a list"),
    "ladder: text": (lambda: rungs(ladder="0.5"), TypeError, "ladder must be a list"),
    "ladder: falls": (lambda: rungs(ladder=(0.5, 0.5)), ValueError, "ladder must rise"),
    "ladder: NaN": (lambda: rungs(ladder=(NAN,)), ValueError, "must be finite"),
    "ladder: folder": (lambda: rungs(folder=3), TypeError, "folder must be a path"),
    "bits: classes text": (lambda: edge_bits(graph(), classes="y"), TypeError, "classes must be a torch.Tensor"),
    "bits: classes short": (lambda: edge_bits(graph(), classes=CLASSES), ValueError, "classes must have shape"),
    "bits: classes -1": (lambda: edge_bits(graph(), classes=torch.arange(6) - 1), ValueError, "numbered from 0"),
    "spectrum: draws 1e30": (lambda: edge_spectrum(gcn(), graph(), layer=1, draws=10**30), ValueError, "draws must be"),
    "spectrum: classes": (
        lambda: edge_spectrum(gcn(), graph(), layer=1, classes=[0] * 6),
        TypeError,
        "classes must be a torch.Tensor",
    ),
    "gradient: None": (lambda: ml.csbm.bayes_gradient(None), TypeError, "graph must be"),
    "gradient: graph": (lambda: ml.csbm.bayes_gradient(graph()), ValueError, "expected a graph of csbm.sample"),
    "gradient: sigma": (lambda: ml.csbm.bayes_gradient(graph(mu=X[0], sigma=0)), ValueError, "sigma must be positive"),
    "prediction: None": (
        lambda: ml.manifold.linear_prediction(gcn(), graph(), None, layer=1),
        ValueError,
        r"start must be a tensor \[6, 5\]",
    ),
    "prediction: NaN": (
        lambda: ml.manifold.linear_prediction(gcn(), graph(), graph().x * NAN, layer=1),
        ValueError,
        "start holds NaN",
    ),
    "field: model": (lambda: ml.receptive_field("gcn", graph(), layer=1), TypeError, "model must be"),
    "field: nodes": (lambda: ml.receptive_field(gcn(), graph(), layer=1, nodes=[99]), ValueError, "nodes must lie in"),
    "field: layer": (lambda: ml.receptive_field(gcn(), graph(), layer=9), ValueError, "layer"),
    "by degree: None": (lambda: ml.graphs.nodes_by_degree(None), TypeError, "graph must be"),
    "by degree: count": (lambda: ml.graphs.nodes_by_degree(graph(), "9"), TypeError, "count must be"),
    "match: start": (lambda: ml.manifold.match(gcn(), None, layer=1), TypeError, "graph must be"),
    "match: method": (lambda: ml.manifold.match(gcn(), graph(), layer=1, method="svd"), ValueError, "unknown method"),
    "dimension: no nodes": (
        lambda: ml.metamer_dimension(gcn(), Data(x=torch.ones(0, 5), edge_index=torch.ones(2, 0).long())),
        ValueError,
        "graph has no nodes",
    ),
    "with_edges: weight": (
        lambda: ml.graphs.with_edges(graph(), graph().edge_index, [1.0]),
        TypeError,
        "weight must be a torch.Tensor",
    ),
    "with_edges: weight short": (
        lambda: ml.graphs.with_edges(graph(), graph().edge_index, torch.ones(2)),
        ValueError,
        "weight must have shape",
    ),
    "csv: edges None": (lambda: from_csv(edges=None), TypeError, "edges must be the path of a CSV"),
    "csv: edges list": (lambda: from_csv(edges=[[0, 1]]), TypeError, "edges must be the path of a CSV"),
    "csv: a folder": (lambda p: from_csv(edges=p), ValueError, "is a folder; give a CSV file"),
    "csv: features array": (lambda: from_csv(features=np.ones((3, 2))), TypeError, "features must be the path"),
    "csv: label number": (lambda: from_csv(label=2), TypeError, "label must be text"),
    "csv: node empty": (lambda: from_csv(node=""), ValueError, "node is empty"),
    "csv: seed -1": (lambda: from_csv(seed=-1), ValueError, "seed must lie in"),
    "csv: name list": (lambda: from_csv(name=["a"]), TypeError, "name must be text"),
    "csv: folder number": (lambda: ml.graphs.graph_from_folder(3), TypeError, "folder must be a path"),
    "csv: folder missing": (lambda p: ml.graphs.graph_from_folder(p / "no"), FileNotFoundError, "there is no file"),
    "split: train True": (lambda: ml.split_graphs(COLLECTION, train=True), TypeError, "train must"),
    "evaluate: seeds twice": (lambda: evaluated(seeds=[0, 0]), ValueError, "name none twice"),
    "evaluate: seeds empty": (lambda: evaluated(seeds=[]), ValueError, "seeds holds 0 seeds"),
    "evaluate: max_steps text": (lambda: evaluated(max_steps="9"), TypeError, "max_steps must be"),
    "evaluate: max_steps -1": (lambda: evaluated(max_steps=-1), ValueError, "max_steps must be 1 or more"),
    "evaluate: judges list": (lambda: evaluated(judges=[gcn()]), TypeError, "judges must be a dict"),
    "evaluate: judge name": (lambda: evaluated(judges={"a": "gcn"}), TypeError, "judge 'a' must be"),
    "claim: outside": (lambda: claimed(effect=5.0), ValueError, "outside its interval"),
    "claim: infinite": (lambda: claimed(effect=INF, high=INF), ValueError, "expected finite ones"),
    "claim: bool": (lambda: claimed(effect=True), TypeError, "effect of 'c' must be a number"),
    "claim: one end": (lambda: claimed(low=NAN), ValueError, "give both ends"),
    "claim: text": (lambda: claimed(low="0.4"), TypeError, "low of 'c' must be a number"),
    "claim: id None": (lambda: claimed(id=None), TypeError, "id must be text"),
    "claim: statement empty": (lambda: claimed(statement=" "), ValueError, "statement is empty"),
    "claim: verdict array": (lambda: claimed(verdict=np.ones(2)), ValueError, "verdict of 'c' is ndarray"),
    "claim: figure number": (lambda: claimed(figure=3), TypeError, "figure of 'c' must be text"),
    "claims: None": (lambda: records.claims_table(None), TypeError, "claims must be a list"),
    "claims: text": (lambda: records.claims_table(""), TypeError, "claims must be a list"),
    "claims: folder missing": (lambda p: write_claims(p / "no"), FileNotFoundError, "no such folder"),
    "claims: store None": (lambda: write_claims(None), TypeError, "store must be a path"),
    "verdict: text": (lambda: records.verdict("yes"), TypeError, "holds must be True or False"),
    "verdict: NaN": (lambda: records.verdict(NAN), TypeError, "holds must be True or False"),
    "verdict: numbers": (lambda: records.verdict([True], [0.3]), TypeError, "fails must be True or False"),
    "verdict: graph": (lambda: records.verdict(True, tested=graph()), TypeError, "tested must be True or False"),
    "share: 1.5": (lambda: records.share_interval(1.5, 3), TypeError, "successes must be an integer"),
    "share: too many": (lambda: records.share_interval(4, 3), ValueError, "4 successes in 3 trials"),
    "share: level": (lambda: records.share_interval(1, 3, 1.0), ValueError, "level must lie between"),
    "interval: digits": (lambda: records.interval_text([1.0], "2"), TypeError, "digits must be an integer"),
    "interval: complex": (lambda: records.mean_interval([1j, 2.0]), TypeError, "must be a list of numbers"),
    "interval: unit None": (lambda: records.interval_text([1.0], unit=None), TypeError, "unit must be text"),
    "listed: None": (lambda: records.listed(None), TypeError, "the list is None"),
    "listed: list": (lambda: records.listed(["a"]), TypeError, "expected text with commas"),
    "listed: True": (lambda: records.listed(True), TypeError, "expected text with commas"),
    "listed: NaN": (lambda: records.listed(NAN), TypeError, "the list is nan"),
    "glue: NaN": (lambda: records.glue(share=NAN), ValueError, "share must be finite"),
    "glue: text": (lambda: records.glue(share="0.3"), TypeError, "share must be a number"),
    "merge: function": (lambda p: records.merge("t", p, recipe=1, function=3), TypeError, "function must be text"),
}


WINGS = {
    "find": FIND, "compare": COMPARE, "train": TRAIN, "graphs": GRAPHS, "exact": EXACT, "manifold": MANIFOLD,
    "records": RECORDS, "figures": FIGURES, "metamer": METAMER, "metrics": METRICS,
    "others": OTHERS, "more": MORE,
}  # fmt: skip
ROWS = {f"{wing}: {name}": row for wing, rows in WINGS.items() for name, row in rows.items()}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_refused_in_words(row, tmp_path):
    refuse(row, tmp_path)


def test_a_model_that_holds_a_lock_is_searched_all_the_same():
    model = Foreign()
    model.lock = threading.Lock()
    with pytest.raises(TypeError):
        pickle.dumps(model.lock)
    assert ml.find_metamer(model, graph(), layer="lin", max_steps=200).status == "converged"


def test_numbers_of_numpy_are_as_good_as_those_of_python(tmp_path):
    options = {"max_steps": np.int64(5), "rtol": np.float64(1e-4), "seed": np.int64(3), "num_restarts": np.int32(2)}
    metamer = ml.find_metamer(gcn(), graph(), layer=1, **options)
    metamer.save(tmp_path / "m.pt")
    assert ml.Metamer.load(tmp_path / "m.pt").settings == metamer.settings
    assert ml.find_metamer(gcn(), graph(), layer=1, max_steps=5, seed=3, num_restarts=2).loss == metamer.loss


def test_regression_is_scored_by_agreement_in_any_unit():
    model = gcn(out_channels=1)
    metamer = ml.find_metamer(model, graph(), layer=1, rtol=1e-8)
    scores = ml.compare(model, metamer, null_draws=2)
    assert scores["output_agreement"] > 0.99 > scores["output_agreement_start"] and math.isnan(
        scores["prediction_match"]
    )
    with torch.no_grad():
        model.layers[1].conv.lin.weight.mul_(1000), model.layers[1].conv.bias.mul_(1000)
    assert ml.compare(model, metamer, null_draws=2)["output_agreement"] == pytest.approx(scores["output_agreement"])
    labelled = copy.copy(metamer.reference)
    labelled.y = torch.rand(6)
    wide = ml.find_metamer(gcn(), labelled, layer=1, rtol=1e-8)
    scores = ml.compare(gcn(), wide, null_draws=2)
    assert 0.99 < scores["output_agreement"] < 1 and math.isnan(scores["prediction_match"])


def test_a_killed_save_leaves_nothing_behind_after_the_next(tmp_path):
    found().save(tmp_path / "a.pt")
    process = os.fork()
    if process == 0:  # the child dies between writing and moving
        os.replace = lambda *names: os.kill(os.getpid(), 9)
        found().save(tmp_path / "a.pt")
    os.waitpid(process, 0)
    assert len(list(tmp_path.iterdir())) == 2
    found().save(tmp_path / "b.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt"]


def test_as_many_switches_as_are_allowed_end():
    other = decalin(num_switches=1_100)
    assert 0 < other.num_switches <= 1_100 and other.num_edges == ml.load_graph("decalin").num_edges


def test_rounds_after_the_last_split_of_colours_cost_nothing_and_count():
    one, other = ml.load_graph("decalin"), ml.load_graph("bicyclopentyl")
    ring = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    # One colour at first; then the middle of the path is as the ring's nodes; from the second round on it is not.
    assert structure.wl_kernel(ring, path, h=9) == pytest.approx((9 + 3) / math.sqrt((9 * 10) * (9 + 9 * 5)))
    assert structure.wl_kernel(one, other, h=10**30) == pytest.approx(1)
