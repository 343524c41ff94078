import itertools
import time

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.nn import RGCNConv

import metamerlib as ml
from metamerlib.exact import slots, switching
from metamerlib.exact.lifts import double
from metamerlib.exact.switching import each_switch, switchable
from metamerlib.graphs.refinement import edge_classes, initial_colours, refine
from tests.helpers.exact import (
    ALL,
    WITHOUT_DEGREES,
    check_simple,
    edge_set,
    errors,
    hops_of,
    model_of,
    molecules,
    plain,
    random_graph,
    to_data,
)


def brute_force(graph, rounds, degrees=False):
    """Every admissible switch by its definition: the edges taken away and those put in."""
    classes = edge_classes(graph)
    first = initial_colours(graph, degrees=degrees)
    colour = refine(first, graph.edge_index, rounds=rounds, classes=classes).tolist()
    pairs = [tuple(pair) for pair in graph.edge_index.T.tolist()]
    kind = dict(zip(pairs, [0] * len(pairs) if classes is None else classes.tolist(), strict=True))
    found = set()
    for (a, b), (c, d) in itertools.permutations(pairs, 2):
        distinct = len({a, b, c, d}) == 4 and (a, d) not in kind and (c, b) not in kind
        if distinct and (colour[a], kind[a, b], kind[b, a], colour[b]) == (
            colour[c], kind[c, d], kind[d, c], colour[d],
        ):  # fmt: skip
            found.add((frozenset(map(frozenset, [(a, b), (c, d)])), frozenset(map(frozenset, [(a, d), (c, b)]))))
    return found


def graphs():
    irregular = [double(random_graph(seed)) for seed in range(2)]
    regular = [to_data(nx.random_regular_graph(d, 20, seed=d)) for d in (2, 3)]
    return [plain("decalin"), plain("bicyclopentyl"), *regular, plain("karate"), plain("davis"), *irregular]


@pytest.mark.parametrize("rounds", [0, 1, 2, None])
def test_counts_are_those_of_brute_force(rounds):
    for graph in [*graphs(), *molecules("MUTAG", 3)]:
        found, wanted = switchable(graph, rounds), brute_force(graph, rounds)
        ends = {frozenset(edge) for taken, _ in wanted for edge in taken}
        assert (found.switches, found.switches_error) == (len(wanted), 0)
        assert (found.edges, found.nodes) == (len(ends), len(set().union(*ends)))
        marked = {frozenset(pair) for pair in graph.edge_index[:, found.edge_mask].T.tolist()}
        assert marked == ends and found.node_mask.nonzero().flatten().tolist() == sorted(set().union(*ends))


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_large_buckets_are_searched_by_chance_and_then_one_by_one(rounds, monkeypatch):
    star, full = nx.star_graph(30), nx.complete_bipartite_graph(6, 7)
    for graph in [plain("karate"), plain("davis"), to_data(nx.disjoint_union(star, full)), to_data(full)]:
        exact = switchable(graph, rounds)
        monkeypatch.setattr(slots, "MOST_PAIRS", 0)
        monkeypatch.setattr(switching, "DRAWS", 400)
        monkeypatch.setattr(switching, "MORE_DRAWS", 1)
        drawn = switchable(graph, rounds)
        monkeypatch.undo()
        assert torch.equal(drawn.edge_mask, exact.edge_mask) and drawn.nodes == exact.nodes
        assert abs(drawn.switches - exact.switches) <= 5 * drawn.switches_error


def depth(conv, rounds, degrees=False):
    """Hops whose activations stay."""
    return rounds + 1 if degrees or conv in WITHOUT_DEGREES else rounds


def check_exact(graph, conv, rounds, **options):
    """Switch as far as possible; activations of every layer within the depth are the same."""
    other = ml.switch_metamer(graph, rounds, **options)
    check_simple(other, graph)
    model = model_of(conv, graph.num_features)
    within = [
        error
        for layer, error in enumerate(errors(model, graph, other), 1)
        if rounds is None or hops_of(conv, layer) <= depth(conv, rounds, options.get("degrees", False))
    ]
    assert all(error < 1e-12 for error in within), (conv, rounds, within)
    return len(within)


@pytest.mark.parametrize("rounds", [0, 1, 2, 10, None])
@pytest.mark.parametrize("conv", ALL)
def test_activations_stay_up_to_the_depth(conv, rounds):
    compared = sum(check_exact(graph, conv, rounds) for graph in graphs() if switchable(graph, rounds).edges)
    assert compared > 0 or (conv, rounds) == ("appnp", 0) or depth(conv, rounds) < hops_of(conv, 1)


@pytest.mark.parametrize("name", ["MUTAG", "PROTEINS"])
@pytest.mark.parametrize("conv", ALL)
def test_activations_of_molecules_stay(conv, name):
    found = [graph for graph in molecules(name) if switchable(graph).edges]
    assert found and all(check_exact(graph, conv, None) == 4 for graph in found)


@pytest.mark.parametrize("conv", ALL)
def test_doubled_graphs_with_features_of_their_own(conv):
    both = double(ml.load_graph("karate"))
    assert switchable(both).edges == switchable(both).num_edges == 156
    check_exact(both, conv, None)
    other = ml.switch_metamer(both)
    assert not edge_set(other) & edge_set(both)


@pytest.mark.parametrize("degrees", [False, True])
@pytest.mark.parametrize("rounds", [0, 1, 2])
@pytest.mark.parametrize("conv", ["gcn", "cheb", "gat", "gatv2", "sage", "gin"])
def test_one_round_too_few_is_seen(conv, rounds, degrees):
    """Just beyond the depth that these rounds keep, some switch changes an activation."""
    layer = depth(conv, rounds, degrees) + 1
    x = torch.nn.functional.one_hot(torch.arange(400) % 2)
    trees = (to_data(nx.random_labeled_tree(400, seed=seed), x) for seed in range(3))
    for graph in trees:
        other = ml.switch_metamer(graph, rounds, degrees=degrees)
        found = errors(model_of(conv, 2), graph, other)
        assert max(found[: layer - 1], default=0) < 1e-12
        if found[layer - 1] > 1e-4:
            return
    pytest.fail("no switch was seen")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(4, 30),
    density=st.floats(0.5, 3.0),
    kinds=st.integers(1, 3),
    rounds=st.sampled_from([0, 1, 2, None]),
    degrees=st.booleans(),
    conv=st.sampled_from(["gcn", "gat", "gin", "cheb"]),
)
def test_any_graph(seed, nodes, density, kinds, rounds, degrees, conv):
    edges = min(int(density * nodes), nodes * (nodes - 1) // 2)
    graph = random_graph(seed, nodes, edges, kinds)
    wanted = brute_force(graph, rounds, degrees)
    assert switchable(graph, rounds, degrees=degrees).switches == len(wanted)
    if not wanted:
        with pytest.raises(ValueError, match="admits no switch"):
            ml.switch_metamer(graph, rounds, degrees=degrees)
        return
    check_exact(graph, conv, rounds, degrees=degrees, seed=seed)
    other = ml.switch_metamer(graph, rounds, degrees=degrees, seed=seed)
    assert edge_set(other) != edge_set(graph) and torch.equal(other.x, graph.x)
    steps = None if rounds is None else rounds + 1
    before, after = (refine(initial_colours(g, degrees=degrees), g.edge_index, rounds=steps) for g in (graph, other))
    assert torch.equal(before, after)


def test_a_switch_by_hand():
    # Two paths 0-1-2 and 3-4-5: the only switches exchange an end of one with the end of the other.
    paths = to_data(nx.disjoint_union(nx.path_graph(3), nx.path_graph(3)))
    assert switchable(paths).switches == len(brute_force(paths, None)) == 4
    other = ml.switch_metamer(paths, num_switches=1, seed=0)
    assert other.num_switches == 1 and len(edge_set(other) & edge_set(paths)) == 2
    assert edge_set(other) <= {(0, 1), (1, 2), (3, 4), (4, 5), (0, 4), (2, 4), (1, 3), (1, 5)}


def test_degrees_let_one_round_fewer_do():
    # Same depth, more switches: what stays is the colour after T + 1 rounds from features and degrees.
    x = torch.nn.functional.one_hot(torch.arange(400) % 2)
    graph = to_data(nx.random_labeled_tree(400, seed=0), x)
    without, with_degrees = switchable(graph, 2), switchable(graph, 1, degrees=True)
    assert with_degrees.switches > without.switches
    other = ml.switch_metamer(graph, 1, degrees=True)
    assert max(errors(model_of("gcn", 2, num_layers=2), graph, other)) < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_each_switch_is_made_once(seed):
    graph = random_graph(seed, 12, 16, 2)
    found = list(each_switch(graph, 1))
    assert len(found) == switchable(graph, 1).switches == len(brute_force(graph, 1))
    assert len({frozenset(edge_set(other)) for _, other in found}) == len(found)
    for gone, other in found:
        check_simple(other, graph)
        lost = edge_set(graph) - edge_set(other)
        assert len(lost) == 2 and {tuple(sorted(e)) for e in graph.edge_index[:, gone].T.tolist()} == lost


def test_too_many_like_edges_are_refused():
    with pytest.raises(ValueError, match="use switchable"):
        next(each_switch(to_data(nx.cycle_graph(3000))))


def test_chains_leave_fewer_edges_in_common():
    ring = to_data(nx.random_regular_graph(3, 60, seed=0))
    one, some = (ml.switch_metamer(ring, num_switches=n, seed=1) for n in (1, 10))
    all_ = ml.switch_metamer(ring, seed=1)
    shared = [len(edge_set(other) & edge_set(ring)) for other in (one, some, all_)]
    assert shared[0] == 88 and shared[0] > shared[1] > shared[2] == 0
    assert (one.num_switches, some.num_switches) == (1, 10)


def test_chains_longer_than_needed_go_on():
    assert ml.switch_metamer(plain("decalin"), num_switches=200).num_switches == 200


def test_same_seed_same_graph():
    graph = plain("karate")
    first, again, other = (ml.switch_metamer(graph, 0, seed=seed).edge_index for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_weights_and_attributes_stay_with_what_they_belong_to():
    graph = double(ml.load_graph("les-miserables"))
    other = ml.switch_metamer(graph)
    sums = [g.edge_weight.new_zeros(154).index_add(0, g.edge_index[0], g.edge_weight) for g in (graph, other)]
    assert torch.equal(*sums) and max(errors(model_of("gcn", 77), graph, other)) < 1e-12
    molecule = next(g for g in molecules("MUTAG") if switchable(g).edges)
    found = ml.switch_metamer(molecule)
    before, after = (refine(initial_colours(g), g.edge_index, classes=edge_classes(g)) for g in (molecule, found))
    assert torch.equal(before, after) and found.edge_attr.shape == molecule.edge_attr.shape
    reverse = {(a, b): kind for a, b, kind in zip(*found.edge_index.tolist(), found.edge_attr.tolist(), strict=True)}
    assert all(reverse[b, a] == kind for (a, b), kind in reverse.items())


def test_attributes_restrict_the_switches():
    square = to_data(nx.disjoint_union(nx.cycle_graph(4), nx.cycle_graph(4)))
    assert switchable(square, 0).switches == len(brute_force(square, 0)) > 0
    square.edge_attr = torch.where(square.edge_index.sum(0) == 1, 1.0, 0.0)
    assert 0 < switchable(square, 0).switches == len(brute_force(square, 0))
    square.edge_attr = torch.arange(16)
    assert switchable(square, 0).switches == 0


def test_everything_else_is_kept():
    graph = plain("karate")
    graph.y, graph.name = torch.arange(34), "club"
    before = graph.edge_index.clone()
    other = ml.switch_metamer(graph, 1)
    assert torch.equal(other.y, graph.y) and other.name == "club" and torch.equal(graph.edge_index, before)
    assert "num_switches" not in graph


def test_what_cannot_be_switched_is_said():
    with pytest.raises(ValueError, match=r"34 nodes and 78 edges admits no switch .*\.lifts\.double\(graph\)"):
        ml.switch_metamer(ml.load_graph("karate"))
    with pytest.raises(ValueError, match="over 0 rounds: take fewer rounds, or two copies"):
        ml.switch_metamer(ml.load_graph("karate"), 0)
    with pytest.raises(ValueError, match="num_switches must be 1 or more, got 0"):
        ml.switch_metamer(plain("decalin"), num_switches=0)
    with pytest.raises(ValueError, match="rounds=-1"):
        ml.switch_metamer(plain("decalin"), -1)
    for bad in ([[0, 1], [1, 2]], [[0, 0, 1], [0, 1, 0]], [[0, 1, 0, 1], [1, 0, 1, 0]]):
        with pytest.raises(ValueError, match="give a simple undirected graph"):
            switchable(Data(edge_index=torch.tensor(bad), num_nodes=3))


def test_graphs_without_edges_or_features():
    bare = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)
    assert switchable(bare).nodes == switchable(bare).switches == 0
    ring = Data(edge_index=plain("decalin").edge_index, num_nodes=10)
    assert switchable(ring).switches == 12 and ml.switch_metamer(ring).x is None


@pytest.mark.slow
def test_near_linear_in_the_number_of_edges():
    generator = torch.Generator().manual_seed(0)
    seconds = []
    for edges in (5_000, 40_000):
        pairs = torch.randint(0, edges // 5, (2, edges), generator=generator)
        low, high = pairs[:, pairs[0] != pairs[1]].sort(dim=0).values
        keys = (low * edges + high).unique()
        ends = torch.stack([keys // edges, keys % edges])
        graph = Data(edge_index=torch.cat([ends, ends.flip(0)], dim=1), num_nodes=edges // 5)
        began = time.process_time()
        assert switchable(graph, 1).edges > 0.99 * len(keys)
        ml.switch_metamer(graph, 1)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 24 * seconds[0]


def read_types(model, graph):
    return model(graph.x, graph.edge_index, graph.edge_type)


def twice_with_types():
    """Two copies of decalin, every edge of one of two types."""
    graph = plain("decalin")
    graph.edge_type = (graph.edge_index.sum(0) % 3 == 0).long()
    return double(graph)


def test_types_of_edges_count():
    graph = twice_with_types()
    other = ml.switch_metamer(graph, seed=1)
    torch.manual_seed(0)
    conv = RGCNConv(1, 4, num_relations=2)
    torch.testing.assert_close(read_types(conv, other), read_types(conv, graph))
    assert not torch.equal(other.edge_index, graph.edge_index) and other.edge_type.sum() == graph.edge_type.sum()


@pytest.mark.parametrize("name", ["pos", "pe", "node_type", "batch"])
def test_other_attributes_of_nodes_count(name):
    graph = plain("decalin")
    graph[name] = torch.arange(10) if name == "batch" else torch.arange(10.0)[:, None]
    assert switchable(graph).switches == 0
    with pytest.raises(ValueError, match=f"{name} counted too, delete what the model does not read"):
        ml.switch_metamer(graph)


def test_a_model_that_is_given_is_checked():
    graph = twice_with_types()
    conv = RGCNConv(1, 4, num_relations=2)
    assert ml.switch_metamer(graph, model=conv, forward=read_types).num_switches > 0
    assert conv.weight.dtype == torch.float32

    def know_the_neighbours(model, graph):
        source, target = graph.edge_index
        return read_types(model, graph).index_add(0, target, source[:, None].to(graph.x).expand(-1, 4))

    with pytest.raises(ValueError, match=r"tells the switched graph apart: the output differs by \d"):
        ml.switch_metamer(graph, model=conv, forward=know_the_neighbours)


def test_layers_beyond_the_rounds_are_noticed():
    x = torch.nn.functional.one_hot(torch.arange(200) % 2).float()
    tree = to_data(nx.random_labeled_tree(200, seed=0), x)
    model = ml.GNN(conv="gcn", in_channels=2, hidden_channels=8, out_channels=4, num_layers=4)
    with pytest.raises(ValueError, match=r"differs by .* use rounds=None"):
        ml.switch_metamer(tree, 1, model=model)


def test_a_model_that_fails_is_said():
    with pytest.raises(ValueError, match=r"the model RGCNConv fails on .* pass forward="):
        ml.switch_metamer(twice_with_types(), model=RGCNConv(3, 4, num_relations=2))
