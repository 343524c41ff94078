"""What the tests of binary features share: a small graph with bits, and its models."""

import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.search.bits.problem import move_ones

WIDTH = 40


def bits(seed=0, rows=34, width=WIDTH, share=0.12):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, width, generator=generator) < share).double()


def bit_graph(seed=0):
    return with_features(ml.load_graph("karate").clone(), bits(seed))


def flipped(x, flips, seed=0):
    """Return bits with ``flips`` ones moved to zeros of any row."""
    return move_ones(x, flips, seed=seed)


def flipped_within_rows(x, flips, seed=0):
    """Return bits with one of the ones of ``flips`` rows moved to a zero of the same row."""
    generator = torch.Generator().manual_seed(seed)
    moved = x.clone()
    able = ((x.sum(1) > 0) & (x.sum(1) < x.size(1))).nonzero()[:, 0]
    for row in able[torch.randperm(able.numel(), generator=generator)[:flips]].tolist():
        for value in (1, 0):
            there = (x[row] == value).nonzero()[:, 0]
            moved[row, there[torch.randint(there.numel(), (1,), generator=generator)]] = 1 - value
    return moved
