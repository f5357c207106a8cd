"""The most bytes of tensors that were alive at once, whatever the allocator: for tests of what the plan says."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts each storage that an operation makes, from there until it is gone; views of the model's own are none."""

    def __init__(self, model):
        super().__init__()
        self.alive, self.peak = 0, 0
        self._known = {one.untyped_storage()._cdata: 0 for one in [*model.parameters(), *model.buffers()]}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self.alive)
        return made

    def _add(self, storage):
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.alive += storage.nbytes()
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key):
        self.alive -= self._known.pop(key)
