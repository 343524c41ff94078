"""Two hundred calls of each kind of search and measure: memory stays flat, and no tensor, hook or file is left."""

import gc
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from torch.nn.modules import module as torch_module

import metamerlib as ml
from tests.helpers.calls import calls

CALLS, MOST_GROWTH = 200, 6_000_000  # bytes, over the second half of the calls


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tensors() -> int:
    gc.collect()
    return sum(1 for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter))


def setting():
    graph = ml.load_graph("davis")
    graph.x = (graph.x > 0).float()
    torch.manual_seed(0)
    return ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=8, out_channels=2, num_layers=2), graph


MODEL, GRAPH = setting()
FOUND = ml.find_metamer(MODEL, GRAPH, layer=1, max_steps=5)


def saved(folder):
    FOUND.save(folder / "m.pt")
    return ml.Metamer.load(folder / "m.pt")


def drawn(folder):
    plt.close(FOUND.plot())


def with_model(call):
    return lambda folder: call(MODEL)


CALLED = {
    **{name: with_model(call) for name, call in calls(GRAPH, layer=1, epochs=1, nodes=[0, 1], max_steps=2).items()},
    "compare": lambda folder: ml.compare(MODEL, FOUND, null_draws=1),
    "transfer": lambda folder: ml.transfer(FOUND, MODEL),
    "save and load": saved,
    "page": lambda folder: FOUND.to_html(folder / "m.html"),
    "picture": drawn,
}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process where Linux tells it")
@pytest.mark.parametrize("name", CALLED)
def test_memory_is_flat(name, tmp_path, record_property):
    call = CALLED[name]
    for count in range(CALLS):
        if count == CALLS // 2:
            before = tensors(), len(os.listdir("/proc/self/fd")), resident()
        call(tmp_path)
    after = tensors(), len(os.listdir("/proc/self/fd")), resident()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < MOST_GROWTH
    assert not torch_module._global_forward_hooks and not torch_module._global_forward_pre_hooks
    record_property("cases", CALLS)
