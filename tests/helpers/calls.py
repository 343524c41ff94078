"""What the library does with a model and a graph, by name: each search and each measure once."""

import metamerlib as ml


def calls(graph, *, layer, epochs, nodes=None, **limits):
    """Return functions of a model; `limits` go to the searches, `nodes` to the measures."""

    def search(**options):
        return lambda model: ml.find_metamer(model, graph, layer=layer, **limits, **options)

    return {
        "features": search(),
        "adam": search(solver="adam"),
        "bits": search(values="binary"),
        "edges": search(vary="structure"),
        "weighted": search(vary="structure", values="weighted"),
        "both": search(vary="both"),
        "many": lambda model: ml.find_metamers(model, [graph, graph], layer=layer, **limits),
        "dimension": lambda model: ml.metamer_dimension(model, graph, layer=layer, nodes=nodes),
        "volume": lambda model: ml.log_volume_change(model, graph, layer=layer, nodes=nodes),
        "null space": lambda model: ml.nullspace_metamer(model, graph),
        "train": lambda model: ml.train(model, graph, epochs=epochs),
    }
