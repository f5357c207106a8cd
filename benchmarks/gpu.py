"""One GPU: pre-training, LoRA and QLoRA, decoding, each beside the bare tool; the plan beside the measured peak.

    python benchmarks/gpu.py [--parts pretrain adapters decode] [--pairs 5] [--steps 20] [--engine ddp]
    python benchmarks/gpu.py --device cpu --tiny          (a minute; only shows that it runs)

Needs torch, transformers, pydantic, pyarrow, numpy, pyyaml and psutil; adapters need peft, QLoRA bitsandbytes too,
`--engine deepspeed` needs deepspeed; what is not there is left out with a line. Runs in 8 minutes on one GPU: a part
that could not end in time is left out and said.

pretrain: A = the loop of `runtime/training/loop/loop.py` under a BareHost, with its metrics; B = the same model,
batches, optimizer and clipping in a loop of twenty lines. Both autocast to bf16 over fp32 weights; `--compile` and
`--attention` hold for both. Interleaved A B A B, median step after the warm-up. MFU is `runtime/training/loop/
utilisation.py`'s, as in every training. adapters: a 7 B shape, A = our job, B = the script that people write with peft.
decode: A = the engine of an endpoint, B = `generate`. Writes G1 (MFU), G2 (platform / bare), G3 and G4 (LoRA, QLoRA,
with -memory and -plan), G5 (plan / peak), G6 (decoding) into benchmarks/results/, where there is a GPU.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

NEEDED = ("torch", "transformers", "pydantic", "pyarrow", "numpy", "yaml", "psutil")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    raise SystemExit(f"benchmarks/gpu.py needs {', '.join(MISSING)}: python -m pip install {' '.join(MISSING)}")
sys.path.insert(0, str(Path(__file__).parents[1] / "platform"))

import torch  # noqa: E402
from gpu_adapters import SIZES, tune, write_model  # noqa: E402
from gpu_decoding import decode  # noqa: E402
from gpu_parts import size_for  # noqa: E402
from gpu_pretraining import pretrain  # noqa: E402

LIMIT_S = 480
LONGEST_S = {"pretrain": 180, "adapters": 240, "decode": 90}
"""What a part takes at most on one H100, the model's making included."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", nargs="+", choices=LONGEST_S, default=list(LONGEST_S))
    parser.add_argument("--engine", choices=("ddp", "deepspeed"), default="ddp", help="of pre-training")
    parser.add_argument("--compile", action="store_true", help="both sides of pre-training through torch.compile")
    parser.add_argument("--attention", default="sdpa", help="transformers' attn_implementation in pre-training")
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand weights")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: give --device cpu --tiny, or run it on a machine with a GPU")
    device, began = torch.device(options.device), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for part in options.parts:
            if not options.tiny and time.monotonic() - began + LONGEST_S[part] > LIMIT_S:
                print(f"{part}: left out, it may not end within {LIMIT_S} s; say --parts {part}", flush=True)
                continue
            run(part, Path(scratch) / "model", device, options)
    sys.stdout.flush()
    os._exit(0)  # an endpoint's engine runs until its process ends


def run(part: str, folder: Path, device: torch.device, options: argparse.Namespace) -> None:
    """One part; the existing model is made by the first that wants it."""
    if part == "pretrain":
        pretrain(device, options)
        return
    size = size_for(device, SIZES, tiny=options.tiny)
    if not folder.exists():
        write_model(folder, size, device)
    (tune if part == "adapters" else decode)(folder, size, device, options)


if __name__ == "__main__":
    main()
