"""The set of metamers near a graph: its dimension and its volume."""

from metamerlib.dimension import metamer_dimension as metamer_dimension
from metamerlib.montecarlo import sample_log_volume as sample_log_volume
from metamerlib.volume import log_volume_change as log_volume_change
from metamerlib.volume import split_linear as split_linear
from metamerlib.whole import whole_graph_dimension as whole_graph_dimension
