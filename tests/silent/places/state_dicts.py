"""What transforms with a `state_dict` hide."""

import torch
from base import Transformed, place

OWNER = "transforms"


@place
def transform_state_dict_of_itself():
    """A transform's `state_dict` returns the dictionary that it goes on to change."""

    class Aliases:
        def __init__(self):
            self.state = {"calls": 0}

        def __call__(self, value):
            self.state["calls"] += 1
            return value + self.state["calls"] / 100

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    return {"dataset": Transformed(Aliases())}


@place
def transform_state_dict_of_tensor():
    """A transform's `state_dict` has the tensor that it goes on to change."""

    class Aliases:
        def __init__(self):
            self.value = torch.tensor(0.2)

        def __call__(self, value):
            return value + self.value.mul_(1.3).add_(0.1).remainder_(1).item()

        def state_dict(self):
            return {"value": self.value}

        def load_state_dict(self, state):
            self.value = state["value"]

    return {"dataset": Transformed(Aliases())}


@place
def transform_state_dict_lacks():
    """A transform's `state_dict` has its first number, and not its second."""

    class Forgets:
        first, second = 0, 0

        def __call__(self, value):
            self.first += 1
            self.second += 3
            return value + self.first / 100 + self.second / 70

        def state_dict(self):
            return {"first": self.first}

        def load_state_dict(self, state):
            self.first = state["first"]

    return {"dataset": Transformed(Forgets())}


@place
def transform_state_dict_of_instance():
    """A transform has `state_dict` and `load_state_dict` as attributes of the object."""

    class Counts:
        calls = 0

        def __init__(self):
            self.state_dict = lambda: {"calls": self.calls}
            self.load_state_dict = lambda state: setattr(self, "calls", state["calls"])

        def __call__(self, value):
            self.calls += 1
            return value + self.calls / 100

    return {"dataset": Transformed(Counts())}


@place
def transform_state_dict_fails():
    """A transform's `load_state_dict` raises."""

    class Fails:
        calls = 0

        def __call__(self, value):
            self.calls += 1
            return value + self.calls / 100

        def state_dict(self):
            return {"calls": self.calls}

        def load_state_dict(self, state):
            raise RuntimeError("no")

    return {"dataset": Transformed(Fails())}
