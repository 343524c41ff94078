"""Certificates: what a search could at best have found, and whether it finds what is known to be there.

Nouns: a counting estimate (bits that an input carries against bits that a match needs), a positive control.
Order of data: ``rate_distortion`` turns a spectrum of activations and a number of bits into a loss, for features;
``edges`` counts graphs; ``every_graph`` looks at all of a small family; ``positive_control`` searches for a solution
that is known to exist; ``appraisal`` takes every measure of one trained model, with a reason where one is missing.
Stands to the right of ``search`` on purpose: an estimate must not steer the search that it judges.
Imports everything to its left.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "rate_distortion": ["Spectrum", "activation_spectrum", "expected_loss", "feature_bits", "log2_binomial"],
        "edges": ["edge_bits", "edge_spectrum"],
        "every_graph": ["family_losses"],
        "positive_control": ["positive_control"],
    },
)
