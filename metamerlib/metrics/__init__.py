"""Metrics: how closely a metamer matches, how far its input is from the reference.

Nouns: plain functions of tensors and graphs, one family to a file; ``Verdict``.
Order of data: ``matching``, ``features``, ``visible``, ``structure``, ``cycles``, ``spectrum``, ``isomorphism``
measure; ``null`` draws what chance gives; ``pooled`` sets one row beside a collection's; ``verdict`` says matched,
different or both; ``comparison`` asks all about one metamer, and ``transfer`` asks other models about it.
A metric is a function in its family and one row in ``columns``.
``columns`` is text alone, so that tables are read without torch. Imports ``search`` and what lies left of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["features", "matching", "structure"],
    submod_attrs={
        "comparison": ["compare"],
        "invariance": ["consistency", "excess_invariance"],
        "cycles": ["CycleCounts", "clustering", "count_ratio", "cycle_counts"],
        "spectrum": ["clustering_distance", "degree_distance", "spectrum_distance"],
        "features": [
            "feature_classifier_match",
            "feature_cosine",
            "feature_jaccard",
            "neighbour_cosine",
            "relative_frobenius",
            "retrieval_rank",
            "tfidf_cosine",
        ],
        "isomorphism": ["are_isomorphic"],
        "matching": [
            "activation_loss",
            "chance_agreement",
            "dead_units",
            "node_relative_errors",
            "pearson",
            "prediction_auc",
            "prediction_match",
            "relative_error",
            "snr_db",
            "spearman",
        ],
        "null": ["null_distribution"],
        "pooled": ["PooledMatch", "pooled_match"],
        "structure": ["edge_flips", "edge_homophily", "edge_jaccard", "edge_overlap", "num_components", "wl_kernel"],
        "transfer": ["normalised_agreement", "transfer"],
        "verdict": ["Verdict", "is_metamer"],
        "visible": ["VisibleLikeness", "kept", "visible_cosine", "visible_likeness"],
    },
)
