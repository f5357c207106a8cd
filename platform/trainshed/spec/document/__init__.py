"""YAML documents: plain data with line numbers, faults, dotted paths, and the base of every class in a job."""
