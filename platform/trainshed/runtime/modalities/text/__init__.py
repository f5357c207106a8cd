"""Texts: from token ids of different lengths to one tensor."""
