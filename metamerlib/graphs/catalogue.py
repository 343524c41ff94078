"""Which graphs there are, where they come from and under which licence: one row each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Entry:
    """One line of `available_graphs`; for real graphs also PyG's class, its name argument and the folder."""

    name: str
    level: str
    graphs: int
    nodes: int
    source: str
    licence: str
    cls: str = ""
    argument: str = ""
    folder: str = ""


_MIT, _NONE = "MIT (repository)", "none stated"
_PLANETOID, _G2G = "Yang et al. 2016, planetoid", "Bojchevski & Günnemann 2018, graph2gauss"
_GEOM, _TU = "Pei et al. 2020, geom-gcn", "Morris et al. 2020, TUDataset"
_YANDEX, _HETEROPHILOUS = "Platonov et al. 2023, heterophilous-graphs", "HeterophilousGraphDataset"
REAL_GRAPHS = (
    Entry("Cora", "node", 1, 2708, _PLANETOID, _MIT, "Planetoid", "Cora", "Cora"),
    Entry("CiteSeer", "node", 1, 3327, _PLANETOID, _MIT, "Planetoid", "CiteSeer", "CiteSeer"),
    Entry("PubMed", "node", 1, 19717, _PLANETOID, _MIT, "Planetoid", "PubMed", "PubMed"),
    Entry("Cora_ML", "node", 1, 2995, _G2G, _MIT, "CitationFull", "Cora_ML", "CitationFull/cora_ml"),
    Entry("CiteSeer_full", "node", 1, 4230, _G2G, _MIT, "CitationFull", "CiteSeer", "CitationFull/citeseer"),
    Entry("DBLP", "node", 1, 17716, _G2G, _MIT, "CitationFull", "DBLP", "CitationFull/dblp"),
    Entry("CS", "node", 1, 18333, "Shchur et al. 2018, gnn-benchmark", _MIT, "Coauthor", "CS", "CS"),
    Entry("Texas", "node", 1, 183, _GEOM, _NONE, "WebKB", "Texas", "texas"),
    Entry("Wisconsin", "node", 1, 251, _GEOM, _NONE, "WebKB", "Wisconsin", "wisconsin"),
    Entry("Actor", "node", 1, 7600, _GEOM, _NONE, "Actor", "", "Actor"),
    Entry("minesweeper", "node", 1, 10000, _YANDEX, _MIT, _HETEROPHILOUS, "minesweeper", "minesweeper"),
    Entry("tolokers", "node", 1, 11758, _YANDEX, _MIT, _HETEROPHILOUS, "tolokers", "tolokers"),
    Entry("MUTAG", "graph", 188, 3371, _TU, _NONE, "TUDataset", "MUTAG", "MUTAG"),
    Entry("PROTEINS", "graph", 1113, 43471, _TU, _NONE, "TUDataset", "PROTEINS", "PROTEINS"),
)


_NETWORKX, _OWN = "none stated (networkx: BSD-3-Clause)", "metamerlib"
EMBEDDED = (
    Entry("karate", "node", 1, 34, "Zachary 1977, torch_geometric", "none stated (torch_geometric: MIT)"),
    Entry("davis", "node", 1, 32, "Davis et al. 1941, networkx", _NETWORKX),
    Entry("les-miserables", "node", 1, 77, "Knuth 1993, networkx", _NETWORKX),
    Entry("csbm", "node", 1, 400, _OWN, "MIT"),
    Entry("bow-sbm", "node", 1, 400, _OWN, "MIT"),
    Entry("decalin", "node", 1, 10, _OWN, "MIT"),
    Entry("bicyclopentyl", "node", 1, 10, _OWN, "MIT"),
    Entry("decalin-bicyclopentyl", "graph", 2, 20, _OWN, "MIT"),
)


def available_graphs() -> pd.DataFrame:
    """List the graphs that `load_graph` (level node) and `load_graphs` (level graph) know.

    Returns:
        Columns name, kind (embedded or real), level, graphs, nodes (over all graphs), source, licence.

    Example:
        >>> table = available_graphs()
        >>> list(table[table.kind == "embedded"].name)[:3]
        ['karate', 'davis', 'les-miserables']
    """
    table = pd.DataFrame([asdict(entry) for entry in (*EMBEDDED, *REAL_GRAPHS)])
    table["kind"] = np.where(table["cls"] == "", "embedded", "real")
    return table[["name", "kind", "level", "graphs", "nodes", "source", "licence"]]
