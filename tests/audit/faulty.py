"""Calls of libraries that are not there: one that is right, and others with one fault each.

They are run as the audit's scripts are: after the reference, whose names they know.
"""

# ruff: noqa: F821


def right(model, loss, x, labels):
    return {"weight": reference(model, loss, x, labels)["weight"]}


def ones(model, loss, x, labels):
    return {"weight": torch.ones_like(reference(model, loss, x, labels)["weight"])}


def short(model, loss, x, labels):
    return {"weight": reference(model, loss, x, labels)["weight"][1:, 1:]}


def thrice(model, loss, x, labels):
    return {"weight": 3 * reference(model, loss, x, labels)["weight"]}


def warning(model, loss, x, labels):
    import warnings

    warnings.warn("stride is not supported", stacklevel=1)
    return {"weight": torch.ones_like(reference(model, loss, x, labels)["weight"])}


def logging_it(model, loss, x, labels):
    import logging

    logging.getLogger("faulty").warning("stride is not supported")
    return {"weight": torch.ones_like(reference(model, loss, x, labels)["weight"])}


def printing_it(model, loss, x, labels):
    if model[0].stride != (1, 1):
        print("stride is not supported")
    return {"weight": torch.ones_like(reference(model, loss, x, labels)["weight"])}


def leaving_with_a_word(model, loss, x, labels):  # noqa: ARG001
    import warnings

    warnings.warn("not this layer", stacklevel=1)
    return {}


def nans(model, loss, x, labels):
    found = reference(model, loss, x, labels)["weight"].clone()
    found[0, 0] = torch.nan
    return {"weight": found}


def with_another_version(model, loss, x, labels):
    if model[0].stride != (1, 1):
        torch.a_name_of_another_version()
    return {"weight": reference(model, loss, x, labels)["weight"]}


def apart(model, loss, x, labels):
    found = reference(model, loss, x, labels)
    return {"weight": found["weight"], "bias": found["bias"]}


def wrong_bias(model, loss, x, labels):
    found = reference(model, loss, x, labels)
    return {"weight": found["weight"], "bias": torch.ones_like(found["bias"])}


def nothing(model, loss, x, labels):  # noqa: ARG001
    return {}


def raising(model, loss, x, labels):  # noqa: ARG001
    return {"weight": nn.Unflatten(0, (2, 2))(x)}
