import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.prediction import linear_prediction
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import whole_jacobian
from tests.helpers.metamers import WIDTH, features, gnn

FIELD = [0, *sorted({1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31})]


@pytest.mark.parametrize("conv", ["gcn", "sage", "gin", "mlp"])
def test_a_linear_model_has_its_metamer_nearest_to_the_start_there(graph, conv):
    model, start = gnn(conv=conv, act="identity"), features(3)
    J = whole_jacobian(model, graph, 2, 0).flatten(1)
    away = (graph.x - start).flatten()
    nearest = start + (torch.linalg.pinv(J) @ (J @ away)).reshape(34, WIDTH)
    predicted = linear_prediction(model, graph, start, layer=2, nodes=[0])
    torch.testing.assert_close(predicted, nearest, rtol=1e-8, atol=1e-8)
    before, after = (Probe(model, 2)(with_features(graph, x)).activation[0] for x in (graph.x, predicted))
    torch.testing.assert_close(after, before)


def test_a_search_on_a_linear_model_ends_where_it_was_predicted(graph):
    model = gnn(act="identity")
    metamer = ml.find_metamer(model, graph, layer=1, nodes=[0], free_nodes=FIELD, rtol=1e-12, seed=0)
    at = metamer.start.x[FIELD]
    predicted = linear_prediction(model, graph, at, layer=1, nodes=[0], free_nodes=FIELD)
    activation = Probe(model, 1)(with_features(graph, graph.x.index_copy(0, torch.tensor(FIELD), predicted))).activation
    torch.testing.assert_close(activation[0], metamer.target[0])
    cosine = ml.metrics.feature_cosine
    moved = (predicted - at).norm()
    assert moved <= (metamer.graph.x[FIELD] - at).norm() + 1e-6 and moved > 0
    assert cosine(predicted, graph.x[FIELD]).mean > cosine(at, graph.x[FIELD]).mean


def test_what_is_not_free_is_left_out_and_the_reference_predicts_itself(graph):
    model = gnn(act="elu")
    same = linear_prediction(model, graph, graph.x[FIELD], layer=2, nodes=[0], free_nodes=FIELD)
    torch.testing.assert_close(same, graph.x[FIELD])


def test_a_start_of_another_shape_is_refused(graph):
    with pytest.raises(
        ValueError, match=r"start must be a tensor \[2, 40\], one row for each free node, got \[34, 40\]"
    ):
        linear_prediction(gnn(), graph, features(1), layer=2, nodes=[0], free_nodes=[0, 1])
