"""Measures of a metamer: how closely it matches, how far its input is from the reference."""

from metamerlib.metrics.compare import compare
from metamerlib.metrics.consistency import consistency, excess_invariance
from metamerlib.metrics.cycles import CycleCounts, clustering, count_ratio, cycle_counts
from metamerlib.metrics.distributions import clustering_distance, degree_distance
from metamerlib.metrics.features import (
    feature_classifier_match,
    feature_cosine,
    feature_jaccard,
    relative_frobenius,
    retrieval_rank,
    tfidf_cosine,
)
from metamerlib.metrics.isomorphism import are_isomorphic
from metamerlib.metrics.matching import (
    activation_loss,
    chance_agreement,
    dead_units,
    node_relative_errors,
    pearson,
    prediction_auc,
    prediction_match,
    relative_error,
    snr_db,
    spearman,
)
from metamerlib.metrics.null_distribution import null_distribution
from metamerlib.metrics.spectrum import spectrum_distance
from metamerlib.metrics.structure import edge_flips, edge_homophily, edge_jaccard, num_components, wl_kernel
from metamerlib.metrics.verdict import Verdict, is_metamer

__all__ = [
    "CycleCounts",
    "Verdict",
    "activation_loss",
    "are_isomorphic",
    "chance_agreement",
    "clustering",
    "clustering_distance",
    "compare",
    "consistency",
    "count_ratio",
    "cycle_counts",
    "dead_units",
    "degree_distance",
    "edge_flips",
    "edge_homophily",
    "edge_jaccard",
    "excess_invariance",
    "feature_classifier_match",
    "feature_cosine",
    "feature_jaccard",
    "is_metamer",
    "node_relative_errors",
    "null_distribution",
    "num_components",
    "pearson",
    "prediction_auc",
    "prediction_match",
    "relative_error",
    "relative_frobenius",
    "retrieval_rank",
    "snr_db",
    "spearman",
    "spectrum_distance",
    "tfidf_cosine",
    "wl_kernel",
]
