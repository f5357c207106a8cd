"""Imported last by the process that workers are forked from: the collector passes over what stands by now."""

import gc

gc.collect()
gc.freeze()
