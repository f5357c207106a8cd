"""What each of several gloo workers does that reads the weights of a folder together with the others."""

import torch

from engine_worker import begin, end
from trainshed.errors import PlatformError
from trainshed.runtime.models import tensor_files
from trainshed.runtime.models.tensor_files import TensorFiles


class Watched(TensorFiles):
    """Says what it has read itself."""

    def __init__(self, *given):
        self.read = []
        super().__init__(*given)

    def _read(self, name, rows):
        self.read.append(name)
        return super()._read(name, rows)


def read_all(rank, workers, folder, rendezvous):
    """FOLDER/RANK.pt has the tensors of FOLDER/same, and what is said of a folder that only this worker has."""
    begin(rank, workers, rendezvous)
    tensor_files.PIECE_BYTES = 80
    files = Watched(folder / "same", "model")
    pieces = list(files.shared_rows("a"))
    found = {"a": torch.cat(pieces), "b": files.shared("b"), "c": files.shared("c")}
    try:
        TensorFiles(folder / f"other-{rank}", "model")
    except PlatformError as error:
        found["said"] = str(error)
    torch.save({**found, "pieces": [len(one) for one in pieces], "read": files.read}, folder / f"{rank}.pt")
    end()
