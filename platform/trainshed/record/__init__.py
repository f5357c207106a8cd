"""What a run leaves behind, on any pyarrow file system. The only memory between jobs; no Ray, no torch."""
