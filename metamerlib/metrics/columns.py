"""What each metric means: one row for each column of a comparison."""

from __future__ import annotations

from collections.abc import Mapping

FEATURES = {
    "feature_cosine": "S_feat: mean over rows of the cosine between a node's features in both graphs",
    "feature_jaccard": "share of the ones of both feature tables that they have in common; NaN unless all are 0 or 1",
    "tfidf_cosine": "mean row cosine of features weighted by inverse document frequency; NaN for negative features",
    "relative_frobenius": "Frobenius norm of the difference of the feature tables, divided by the reference's",
    "classifier_match": "share of nodes that a classifier of features alone puts into the same class in both graphs",
    "classifier_accuracy": "accuracy of that classifier on the test nodes' features of the metamer",
    "retrieval_rank": "median rank of a node's own reference row among all, by cosine to its row in the metamer",
    "retrieval_first": "share of nodes whose own reference row comes first in that search",
}


_START, _SHUFFLED = "{}; at the start of the search", "{}; beside the reference's rows of other nodes"
METRICS: Mapping[str, str] = {
    "L_act": "squared distance of the activations, divided by the squared norm of the target",
    "relative_error": "distance of the activations, divided by the norm of the target: the root of L_act",
    "node_error_median": "median over nodes of the relative error of a node's activations",
    "node_error_p95": "95th percentile over nodes of the relative error of a node's activations",
    "silent_nodes": "number of nodes whose target activations are all zero",
    "pearson": "Pearson's r between the entries of the activations",
    "spearman": "Spearman's rho between the entries of the activations",
    "snr_db": "ratio of signal to noise of the activations, in decibels of power",
    "dead_units": "number of entries active in the target and at or below zero before the ReLU in the metamer",
    "prediction_match": "S_match: share of matched nodes that keep their predicted class",
    "chance_match": "agreement of two independent draws from the predicted classes' shares",
    "start_match": "share of matched nodes with the reference's predicted class at the start of the search",
    "shuffled_match": "share of matched nodes whose class in the metamer is that of another node in the reference",
    "output_agreement": "concordance correlation of predicted numbers, in regression in place of prediction_match",
    "output_agreement_start": "the same between the reference and the start",
    "prediction_auc": "area under the ROC curve of the metamer's scores for the reference's classes; NaN unless two",
    **FEATURES,
    "zero_rows": "number of rows that are zero in one of the two feature tables and left out of the cosine",
    "classifier_accuracy_reference": "accuracy of the classifier of features on the reference's test nodes",
    **{f"{name}_start": _START.format(text) for name, text in FEATURES.items()},
    **{f"{name}_shuffled": _SHUFFLED.format(text) for name, text in FEATURES.items()},
    "wl_kernel": "S_struct: normalised Weisfeiler-Lehman subtree kernel of both graphs, three rounds",
    "wl_kernel_start": "the same kernel between the reference and the start of the search",
    "edge_jaccard": "share of the undirected edges of both graphs that they have in common",
    "edge_jaccard_start": "the same share between the reference and the start of the search",
    "edge_jaccard_shuffled": "the same share between the metamer and the reference with its nodes shuffled",
    "wl_features": "the same kernel from the rows of the features as first colours",
    "wl_classes": "the same kernel from the true classes as first colours; NaN without classes",
    "edge_flips": "undirected edges to be put in or taken out to get from the reference to the metamer",
    "degree_distance": "Wasserstein distance of the degrees, in neighbours per node",
    "clustering_distance": "Wasserstein distance of the nodes' local clustering coefficients",
    "spectrum_distance": "Wasserstein distance of the normalised Laplacian's eigenvalues; smoothed above 1500 nodes",
    "triangle_ratio": "triangles of the metamer per triangle of the reference; NaN where only the reference has none",
    "four_cycle_ratio": "the same ratio of cycles of four nodes",
    "isomorphic": "1 if some renaming of the nodes turns the edges into the reference's, 0 if none; NaN: undecided",
    "edge_homophily": "share of the metamer's edges that join nodes of one true class; NaN without classes",
    "edge_homophily_reference": "the same share of the reference's edges",
    "components": "connected components of the metamer",
    "components_reference": "connected components of the reference",
    "excess_invariance": "S_match minus the similarity of what was changed",
    "consistency": "one minus the absolute excess invariance, cut to 0 to 1",
    "null_max_pearson": "largest Pearson's r of all null draws",
    "null_max_spearman": "largest Spearman's rho of all null draws",
    "null_max_snr_db": "largest ratio of signal to noise of all null draws, in decibels of power",
    "is_metamer": "true where predictions agree, the error is small, and all three correlates beat the null",
}
