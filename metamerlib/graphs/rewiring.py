"""Random graphs beside a given one: fresh edges, switched edges, the same degrees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor
from metamerlib.graphs.edges import among, both_directions, pair_keys, undirected_pairs
from metamerlib.graphs.edit import with_edges
from metamerlib.plain import as_count, as_flag, as_integer, as_seed, shown

MOST_ROUNDS = 1000


def draw_pairs(count: int, num_nodes: int, avoid: Tensor, generator: torch.Generator) -> Tensor:
    """Draw different pairs of nodes uniformly, none of them among the sorted keys ``avoid``.

    Args:
        count: Number of pairs.
        num_nodes: N.
        avoid: Sorted keys of pairs that may not be drawn.
        generator: Source of randomness, on the CPU.

    Returns:
        Pairs (low, high) ``[2, count]``.

    Raises:
        ValueError: If there are not that many.

    Example:
        >>> draw_pairs(2, 3, torch.tensor([1]), torch.Generator().manual_seed(0)).sort().values.tolist()
        [[0, 1], [2, 2]]
    """
    device = avoid.device
    total = num_nodes * (num_nodes - 1) // 2
    if count > total - avoid.numel():
        raise ValueError(
            f"{count} pairs of nodes are wanted, but only {total - avoid.numel()} of the {total} pairs are free"
        )
    if 4 * (count + avoid.numel()) > total:
        low, high = torch.triu_indices(num_nodes, num_nodes, 1, device=device)
        keys = pair_keys((low, high), num_nodes)
        keys = keys[~among(keys, avoid)]
        keys = keys[torch.randperm(keys.numel(), generator=generator, device="cpu").to(device)[:count]]
    else:
        keys = avoid.new_empty(0)
        while keys.numel() < count:
            block = (2, 2 * (count - keys.numel()) + 8)
            ends = torch.randint(num_nodes, block, generator=generator, device="cpu").to(device)
            fresh = pair_keys(ends[:, ends[0] != ends[1]], num_nodes)
            keys = _first_ones(torch.cat([keys, fresh[~among(fresh, avoid)]]))[:count]
    return torch.stack([keys // num_nodes, keys % num_nodes])


def _first_ones(keys: Tensor) -> Tensor:
    """Drop later copies of each key and keep the order, on which the uniformity of a cut-off draw rests."""
    values, order = keys.sort(stable=True)
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    return keys[order[first].sort().values]


def check_generator(generator: object) -> None:
    """Raise unless randomness comes from a generator of torch."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {shown(generator)}; use torch.Generator()")


def random_edges(reference: Tensor, num_nodes: int, fresh: int, overlap: int, generator: torch.Generator) -> Tensor:
    """Replace edges of a graph by pairs of nodes drawn uniformly (Erdos and Renyi, 1959).

    Args:
        reference: Undirected edges ``[2, |E|]``.
        num_nodes: N.
        fresh: Edges that are replaced; all of them give a uniform graph of the same size.
        overlap: Largest number of the reference's edges that may come back by chance or stay.
        generator: Source of randomness.
    """
    as_tensor("reference", reference, 2, "E", dtype="integer")
    size, num_nodes = reference.size(1), as_count("num_nodes", num_nodes)
    check_generator(generator)
    fresh, overlap = as_count("fresh", fresh, least=0, most=size), as_count("overlap", overlap, least=0)
    order = torch.randperm(size, generator=generator, device="cpu").to(reference.device)
    kept = reference[:, order[fresh:]]
    known = pair_keys(reference, num_nodes).sort().values
    avoid = pair_keys(kept, num_nodes).sort().values if fresh == size else known
    drawn = draw_pairs(fresh, num_nodes, avoid, generator)
    back = among(pair_keys(drawn, num_nodes), known).nonzero().reshape(-1)
    excess = kept.size(1) + back.numel() - overlap
    if excess > 0:
        stays = torch.ones(fresh, dtype=torch.bool, device=drawn.device)
        stays[back[:excess]] = False
        drawn = drawn[:, stays]
        avoid = torch.cat([known, pair_keys(drawn, num_nodes)]).unique()
        drawn = torch.cat([drawn, draw_pairs(size - kept.size(1) - drawn.size(1), num_nodes, avoid, generator)], dim=1)
    return torch.cat([kept, drawn], dim=1)


def mixed_edges(reference: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a graph uniformly among those with as many edges within and between any two classes (Holland et al., 1983).

    Args:
        reference: Undirected edges ``[2, |E|]``.
        classes: Class of every node ``[N]``, integers from 0.
        generator: Source of randomness.

    Example:
        >>> reference, classes = torch.tensor([[0, 2], [1, 3]]), torch.tensor([0, 0, 1, 1])
        >>> mixed_edges(reference, classes, torch.Generator()).tolist()
        [[0, 2], [1, 3]]
    """
    counts = class_mixing(reference, classes)
    members = [(classes == c).nonzero().reshape(-1) for c in range(len(counts))]
    drawn = []
    for one, other in counts.nonzero().tolist():
        wanted, keys = int(counts[one, other]), reference.new_empty(0)
        while keys.numel() < wanted:
            # Half of the block at most is wanted of a sparse graph; a dense one only takes more rounds.
            block = (2 * wanted + 8,)
            ends = [
                members[c][
                    torch.randint(len(members[c]), block, generator=generator, device="cpu").to(reference.device)
                ]
                for c in (one, other)
            ]
            fresh = pair_keys((ends[0], ends[1]), classes.numel())[ends[0] != ends[1]]
            keys = _first_ones(torch.cat([keys, fresh]))
        drawn.append(keys[:wanted])
    keys = torch.cat(drawn) if drawn else reference.new_empty(0)
    return torch.stack([keys // classes.numel(), keys % classes.numel()])


def class_mixing(pairs: Tensor, classes: Tensor) -> Tensor:
    """Count the edges ``[2, |E|]`` within and between classes, in the upper triangle of a matrix ``[C, C]``.

    >>> class_mixing(torch.tensor([[0, 0], [1, 2]]), torch.tensor([0, 0, 1])).tolist()
    [[1, 1], [0, 0]]
    """
    ends = classes[pairs].sort(dim=0).values
    number = int(classes.max()) + 1
    return torch.bincount(ends[0] * number + ends[1], minlength=number**2).view(number, number)


def switched_edges(reference: Tensor, num_nodes: int, lowest: int, highest: int, generator: torch.Generator) -> Tensor:
    """Draw a graph with the reference's degrees by random double-edge switches (configuration model).

    A switch replaces edges (a, b), (c, d) by (a, d), (c, b). Switches go on for ten rounds over all edges, and then
    until at most ``highest`` of the reference's edges are left; never fewer than ``lowest`` are.

    Args:
        reference: Undirected edges ``[2, |E|]``.
        num_nodes: N.
        lowest: Reference edges that stay at least.
        highest: Reference edges that stay at most, where switches can bring that about.
        generator: Source of randomness.

    Returns:
        Undirected edges ``[2, |E|]``; where no admissible switch was found in a thousand rounds, more than
        ``highest`` of them are the reference's.
    """
    as_tensor("reference", reference, 2, "E", dtype="integer")
    num_nodes, lowest, highest = (
        as_count("num_nodes", num_nodes),
        as_count("lowest", lowest, least=0),
        as_count("highest", highest, least=0),
    )
    check_generator(generator)
    pairs, size = reference.clone(), reference.size(1)
    known = pair_keys(reference, num_nodes).sort().values
    overlap = size
    for mixed in range(MOST_ROUNDS):
        close = lowest > 0 and overlap <= highest
        if overlap <= highest and (close or mixed >= 10):
            break
        old = among(pair_keys(pairs, num_nodes), known)
        first, second, new = _propose_switches(pairs, num_nodes, generator)
        gain = (
            sum(among(pair_keys(edge, num_nodes), known).long() for edge in new)
            - old[first].long()
            - old[second].long()
        )
        # Once mixed, only switches that lead away from the reference count.
        wanted = (gain < 0) if mixed >= 10 or lowest > 0 else torch.ones_like(old[first])
        loss = (-gain).clamp(min=0)
        chosen = wanted & (overlap - (loss * wanted).cumsum(0) >= lowest)
        first, second = first[chosen], second[chosen]
        pairs[:, first], pairs[:, second] = new[0][:, chosen], new[1][:, chosen]
        overlap += int(gain[chosen].sum())
    return pairs


def _propose_switches(pairs: Tensor, num_nodes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Pair the edges at random and return the slots and new edges of switches that keep the graph simple."""
    size = pairs.size(1)
    order = torch.randperm(size, generator=generator, device="cpu").to(pairs.device)
    first, second = order[: size // 2], order[size // 2 : 2 * (size // 2)]
    flip = (torch.rand(size // 2, generator=generator, device="cpu") < 0.5).to(pairs.device)
    (a, b), (c, d) = pairs[:, first], torch.where(flip, pairs[:, second].flip(0), pairs[:, second])
    keys = torch.stack([pair_keys((a, d), num_nodes), pair_keys((c, b), num_nodes)])
    present = pair_keys(pairs, num_nodes).sort().values
    _, place, count = keys.reshape(-1).unique(return_inverse=True, return_counts=True)
    once = (count[place] == 1).reshape(2, -1).all(0)
    fine = (a != d) & (b != c) & (a != c) & (b != d) & once & ~among(keys, present).any(0)
    new = [torch.stack([a, d])[:, fine], torch.stack([c, b])[:, fine]]
    return first[fine], second[fine], new


def swap_edges(
    pairs: np.ndarray,
    num_nodes: int,
    rng: np.random.Generator,
    *,
    directed: bool = False,
    part: np.ndarray | None = None,
) -> np.ndarray:
    """Attempt one double edge swap for every two edges, all at once.

    Edges (a, b), (c, d) become (a, d), (c, b). A swap is refused if it made a loop,
    an edge that is there before the round, or one that another swap makes too.
    Every degree stays, and so does simplicity.

    Args:
        pairs: edges of a simple graph [M, 2], each once.
        num_nodes: number of nodes N.
        rng: source of randomness.
        directed: whether (a, b) and (b, a) are two edges.
        part: the graph that each node belongs to [N], of a disjoint union.

    Returns:
        The edges after the round [M, 2]; the argument is not changed.

    >>> swap_edges(np.array([[0, 1], [1, 2]]), 3, np.random.default_rng(0)).tolist()
    [[0, 1], [1, 2]]
    """
    if not isinstance(pairs, np.ndarray) or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise TypeError(
            f"pairs must be a numpy array of integers [M, 2], got {shown(pairs)}; see undirected_pairs(...).T"
        )
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {shown(rng)}; use numpy.random.default_rng(seed)")
    num_nodes, directed = as_count("num_nodes", num_nodes), as_flag("directed", directed)
    if part is not None and (not isinstance(part, np.ndarray) or part.shape != (num_nodes,)):
        raise ValueError(f"part must be an array [{num_nodes}], the graph of each node, got {shown(part)}")
    order = rng.permutation(len(pairs))
    if part is not None:
        order = order[np.argsort(part[pairs[order, 0]], kind="stable")]
    one, two = order[0 : len(order) // 2 * 2 : 2], order[1::2]
    (a, b), (c, d) = pairs[one].T, pairs[two].T
    if not directed:
        turned = rng.random(len(two)) < 0.5
        c, d = np.where(turned, d, c), np.where(turned, c, d)
    ends = np.concatenate([pairs, np.stack([a, d], axis=1), np.stack([c, b], axis=1)])
    sides = ends if directed else np.sort(ends, axis=1)
    _, name, count = np.unique(sides @ np.array([num_nodes, 1]), return_inverse=True, return_counts=True)
    new = (count[name] == 1)[len(pairs) :].reshape(2, -1).all(axis=0)
    swapped = new & (a != d) & (c != b) & (part is None or part[a] == part[c])
    result = pairs.copy()
    result[one[swapped], 1] = d[swapped]
    result[two[swapped]] = np.stack([c, b], axis=1)[swapped]
    return result


def edge_places(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Find where each edge is stored, and where its reverse is (nowhere in directed graphs)."""
    source, target = edge_index
    forward, backward = (source < target).nonzero()[:, 0], (source > target).nonzero()[:, 0]
    forward = forward[(source * num_nodes + target)[forward].argsort()]
    backward = backward[(target * num_nodes + source)[backward].argsort()]
    if torch.equal(edge_index[:, forward], edge_index[:, backward].flip(0)):
        return forward, backward
    return (source != target).nonzero()[:, 0], forward[:0]


def switch_away(graph: Data, switches: int, seed: int = 0) -> Data:
    """Return the graph after random double-edge switches, none of which takes back another.

    Args:
        graph: Simple and undirected.
        switches: Number of switches, each of which replaces two edges; at most as many as there are edges for.
        seed: Seed of the switches.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> ml.metrics.edge_jaccard(graph, switch_away(graph, 5)) == 68 / 88
        True
    """
    pairs = undirected_pairs(graph)
    seed = as_seed(seed)
    if not 0 <= 2 * as_integer("switches", switches) <= pairs.size(1):
        raise ValueError(f"switches must lie in 0..{pairs.size(1) // 2} for {pairs.size(1)} edges, got {switches}")
    left = pairs.size(1) - 2 * switches
    moved = switched_edges(pairs, int(graph.num_nodes), left, left, torch.Generator().manual_seed(seed))
    return with_edges(graph, both_directions(moved))
