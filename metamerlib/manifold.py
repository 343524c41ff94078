"""The set of metamers near a graph: its dimension, its volume, its tangent space, and walks on it."""

from metamerlib.dimension import metamer_dimension as metamer_dimension
from metamerlib.extremes import farthest_metamer as farthest_metamer
from metamerlib.extremes import several_metamers as several_metamers
from metamerlib.joining import join as join
from metamerlib.montecarlo import sample_log_volume as sample_log_volume
from metamerlib.slicing import plane_slice as plane_slice
from metamerlib.tangent import project_to_tangent as project_to_tangent
from metamerlib.tangent import tangent_basis as tangent_basis
from metamerlib.volume import log_volume_change as log_volume_change
from metamerlib.volume import split_linear as split_linear
from metamerlib.walking import walk as walk
from metamerlib.whole import whole_graph_dimension as whole_graph_dimension
