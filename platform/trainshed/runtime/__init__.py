"""The cluster side: the only code that imports ray, torch, deepspeed and transformers."""
